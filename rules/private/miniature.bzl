"""Stand-ins for a kernel and a firmware, small enough to be built and booted in a test."""

load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_miniature_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    args = ctx.actions.args()
    if ctx.attr.part == "blob":
        args.add("--size", ctx.attr.size_bytes)
        args.add("--seed", ctx.attr.seed)
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "miniature",
        verb = ctx.attr.part,
        progress = "Making the miniature %s" % ctx.attr.part,
        inputs = [],
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_miniature = rule(
    implementation = _cvm_miniature_impl,
    attrs = dict(
        CVM_ATTRS,
        part = attr.string(
            mandatory = True,
            values = ["kernel", "firmware", "blob", "svsm", "hyperv-firmware", "efi-kernel", "tdx-firmware"],
            doc = "kernel: a bzImage that prints its command line and powers off; firmware: an image with the tables " +
                  "that are measured; blob: filler; svsm: an ELF file like the kernel of COCONUT-SVSM; hyperv-firmware: " +
                  "an IGVM file like Hyper-V's guest firmware; efi-kernel, tdx-firmware: what TDX measures, not bootable.",
        ),
        seed = attr.string(default = "rules_cvm", doc = "blob: what the filler is derived from."),
        size_bytes = attr.string(default = "1048576", doc = "blob: its size."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = "Makes a part of a miniature system. Makes a file called `<name>`.",
)
