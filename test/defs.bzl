"""How this repository's own tests are declared."""

load("//rules/private:vitest_test.bzl", "vitest_test")

def unit_tests():
    """Declares a vitest_test for every folder below `unit`."""
    folders = {}
    for file in native.glob(["unit/*/*.test.ts"]):
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
