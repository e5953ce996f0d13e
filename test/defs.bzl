"""How this repository's own tests are declared."""

load("//rules/private:vitest_test.bzl", "vitest_test")

# Areas whose tests also look at real certificates, where there are any.
_REAL_CERTIFICATES = ["cbor", "nns", "proposal"]

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
            data = ["//:package-lock.json"] + native.glob(
                       ["vectors/%s/**" % area, folder + "/*.ts"],
                       exclude = files,
                       allow_empty = True,
                   ) + ["//test/nns:sources", "//tools:sources"] +
                   (["@cvm_shared_vectors//:marker", "@cvm_shared_vectors//:nns"] if area in _REAL_CERTIFICATES else []),
            env = {"CVM_SHARED_VECTORS_MARKER": "$(rlocationpath @cvm_shared_vectors//:marker)"} if area in _REAL_CERTIFICATES else {},
            types = [":types"],
        )
    native.test_suite(
        name = name,
        tests = [folder.replace("/", "_") for folder in folders],
    )
