"""② and the read-back of ④: a boot partition taken apart."""

load("//rules:providers.bzl", "CvmBootInfo", "CvmTreeInfo", "cvm_boot_info", "cvm_tree_info")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

_FILES = ["boot.tar", "boot_args", "vmlinuz", "initrd.img", "OVMF_SEV.fd", "version.txt"]

def _cvm_boot_files_impl(ctx):
    outputs = {name: ctx.actions.declare_file(ctx.label.name + "/" + name) for name in _FILES}
    args = ctx.actions.args()
    args.add(ctx.file.image)
    args.add("--output", outputs["boot.tar"].dirname)
    if ctx.attr.image_size_bytes:
        args.add("--image-size", ctx.attr.image_size_bytes)
    if ctx.attr.version:
        args.add("--expect-version", ctx.attr.version)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "extract-boot",
        progress = "Extracting the boot partition",
        inputs = [ctx.file.image],
        outputs = outputs.values(),
        arguments = args,
    )
    return [
        DefaultInfo(files = depset(outputs.values())),
        OutputGroupInfo(**{name: depset([file]) for name, file in outputs.items()}),
        cvm_tree_info(archive = outputs["boot.tar"]),
        cvm_boot_info(
            boot_args = outputs["boot_args"],
            firmware = outputs["OVMF_SEV.fd"],
            initrd = outputs["initrd.img"],
            kernel = outputs["vmlinuz"],
        ),
    ]

cvm_boot_files = rule(
    implementation = _cvm_boot_files_impl,
    attrs = dict(
        CVM_ATTRS,
        image = attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "An update image (update-img.tar.zst) or a boot partition (partition-boot.tzst).",
        ),
        image_size_bytes = attr.string(doc = "The size the image must have, when a lock says so."),
        version = attr.string(doc = "What the partition's version.txt must say, when a lock says so."),
    ),
    provides = [CvmBootInfo, CvmTreeInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Takes a boot partition apart.

Makes `<name>/boot.tar` (the whole tree, xattrs included) and, links resolved, `boot_args`, `vmlinuz`,
`initrd.img`, `OVMF_SEV.fd` and `version.txt`; each is also an output group. Refuses an image without them, with a journal that
needs replay, or of another size or version than the lock
says.""",
)
