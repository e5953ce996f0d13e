"""How this repository's own tests are declared."""

load("//rules/private:vitest_test.bzl", "vitest_test")

def folder_test(name, folder, data = [], env = {}, **kwargs):
    """Declares the vitest_test of one folder: sources, vectors and support code are always there.

    Args:
      name: the target's name
      folder: the folder, below this package
      data: more files
      env: more environment
      **kwargs: for vitest_test
    """
    files = native.glob([folder + "/*.test.ts"])
    vitest_test(
        name = name,
        srcs = files,
        data = native.glob(
            [folder + "/*.ts", "support/**", "vectors/**"],
            exclude = files,
            allow_empty = True,
        ) + [
            "//:package-lock.json",
            "//:workflows",
            "//test/nns:sources",
            "//test/repro:sources",
            "//tools:sources",
            # Real certificates, where there are any.
            "@cvm_shared_vectors//:marker",
            "@cvm_shared_vectors//:nns",
        ] + data,
        env = dict(env, CVM_SHARED_VECTORS_MARKER = "$(rlocationpath @cvm_shared_vectors//:marker)"),
        types = [":types"],
        **kwargs
    )

def unit_tests(name):
    """Declares a test for every folder below a folder, and a suite of them all.

    Args:
      name: the folder; the suite's name
    """
    folders = {file.rpartition("/")[0]: True for file in native.glob([name + "/*/*.test.ts"])}
    for folder in folders:
        folder_test(
            name = folder.replace("/", "_"),
            folder = folder,
        )
    native.test_suite(
        name = name,
        tests = [folder.replace("/", "_") for folder in folders],
    )
