"""What only this repository's own tests need."""

_BUILD = """\
exports_files(["marker"], visibility = ["//visibility:public"])

filegroup(
    name = "nns",
    srcs = glob(["nns/**"], allow_empty = True),
    visibility = ["//visibility:public"],
)
"""

def _shared_vectors_impl(rctx):
    # Real certificates are not ours to copy. Where a folder of them lies beside the checkout, tests use them; where
    # it does not, they say that they were skipped.
    folder = rctx.path(str(rctx.workspace_root) + "/../shared/vectors/nns")
    rctx.watch(folder)
    if folder.exists:
        for file in folder.readdir():
            if file.basename.endswith(".cbor") or file.basename == "expected.json":
                rctx.symlink(file, "nns/" + file.basename)
    rctx.file("marker", "")
    rctx.file("BUILD.bazel", _BUILD)

shared_vectors_repository = repository_rule(
    implementation = _shared_vectors_impl,
    doc = "Exposes real certificates to tests when the folder that holds them exists, and nothing otherwise.",
)

def _test_deps_impl(_mctx):
    shared_vectors_repository(name = "cvm_shared_vectors")

test_deps = module_extension(implementation = _test_deps_impl)
