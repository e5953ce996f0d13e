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

# Programs and files that nobody here wrote, for test/cross. Where a test runs, these are its inputs: another version of one
# is another test run.
_ORACLE_FOLDERS = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/bin"]
_ORACLES = [
    "bash",
    "bsdtar",
    "cat",
    "cpio",
    "debugfs",
    "dumpe2fs",
    "e2fsck",
    "file",
    "gzip",
    "iasl",
    "matchpathcon",
    "mke2fs",
    "objdump",
    "openssl",
    "qemu-system-x86_64",
    "readelf",
    "sev-snp-measure",
    "sfdisk",
    "sgdisk",
    "sh",
    "sha256sum",
    "snp-create-id-block",
    "tar",
    "veritysetup",
    "zsh",
    "zstd",
]
_ORACLE_FILES = [
    "/usr/share/ovmf/OVMF.amdsev.fd",
    "/usr/share/ovmf/OVMF.inteltdx.ms.fd",
]

_ORACLES_BUILD = """\
exports_files(["marker"], visibility = ["//visibility:public"])

filegroup(
    name = "oracles",
    srcs = glob(["bin/**", "files/**"], allow_empty = True),
    visibility = ["//visibility:public"],
)
"""

def _oracles_impl(rctx):
    for name in _ORACLES:
        for folder in _ORACLE_FOLDERS:
            program = rctx.path(folder + "/" + name)
            if program.exists:
                rctx.symlink(program, "bin/" + name)
                break
    for name in _ORACLE_FILES:
        file = rctx.path(name)
        if file.exists:
            rctx.symlink(file, "files/" + file.basename)
    rctx.file("marker", "")
    rctx.file("BUILD.bazel", _ORACLES_BUILD)

oracles_repository = repository_rule(
    implementation = _oracles_impl,
    configure = True,
    local = True,
    doc = "Exposes the oracles that are installed to tests; what is missing is missing there too.",
)

def _test_deps_impl(_mctx):
    shared_vectors_repository(name = "cvm_shared_vectors")
    oracles_repository(name = "cvm_oracles")

test_deps = module_extension(implementation = _test_deps_impl)
