"""How this repository's own tests are declared."""

load("//rules/private:vitest_test.bzl", "vitest_test")

def unit_tests(name):
    """Declares a vitest_test for every folder below a folder, and a suite of them all.

    Args:
      name: the folder; the suite's name
    """
    folders = {}
    for file in native.glob([name + "/*/*.test.ts"]):
        folders.setdefault(file.rpartition("/")[0], []).append(file)
    for folder, files in folders.items():
        area = folder.rpartition("/")[2]
        vitest_test(
            name = folder.replace("/", "_"),
            srcs = files,
            data = native.glob(
                ["vectors/%s/**" % area, folder + "/*.ts"],
                exclude = files,
                allow_empty = True,
            ) + ["//tools:sources"],
            types = [],
        )
    native.test_suite(
        name = name,
        tests = [folder.replace("/", "_") for folder in folders],
    )
