"""The kernel command lines of a release."""

load("//rules:providers.bzl", "CvmPartitionInfo")
load(":root_hash.bzl", "root_hash_of")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_boot_args_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    root_hash = root_hash_of(ctx)
    args = ctx.actions.args()
    args.add("--template", ctx.file.template)
    args.add("--root-hash-file", root_hash)
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "boot-args",
        progress = "Writing the kernel command lines",
        inputs = [ctx.file.template, root_hash],
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_boot_args = rule(
    implementation = _cvm_boot_args_impl,
    attrs = dict(
        CVM_ATTRS,
        root_partition = attr.label(
            mandatory = True,
            providers = [CvmPartitionInfo],
            doc = "Whose root hash goes in.",
        ),
        template = attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "boot_args with the text ROOT_HASH.",
        ),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Puts the root hash into the kernel command lines.

Makes a file called `<name>`. Refuses a template without ROOT_HASH or without the variables that are measured.""",
)
