"""A lock that cannot be used, as a target: it fails when it is built, not while loading."""

load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_lock_error_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".unavailable")
    args = ctx.actions.args()
    args.add("--code", ctx.attr.code)
    args.add("--message", ctx.attr.message)
    args.add("--mend", ctx.attr.mend)
    run_cvm(
        ctx,
        noun = "lock",
        verb = "fail",
        progress = "Reading the lock of",
        inputs = [],
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_lock_error = rule(
    implementation = _cvm_lock_error_impl,
    attrs = dict(
        CVM_ATTRS,
        code = attr.string(mandatory = True, doc = "The error's code."),
        mend = attr.string(mandatory = True, doc = "What to do about it."),
        message = attr.string(mandatory = True, doc = "What is wrong."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = "Stands for a file that a lock does not give. Building it, or anything that needs it, fails with the error.",
)
