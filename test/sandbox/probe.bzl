"""Actions that try what no action may do, and write down how far they got."""

load("//rules/private:node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")

def _probe_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".json")
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    args = ctx.actions.args()
    args.add(ctx.file._script)
    args.add(ctx.attr.attempt)
    args.add(out)
    ctx.actions.run(
        executable = node.binary,
        arguments = [args],
        inputs = [ctx.file._script],
        outputs = [out],
        mnemonic = "SandboxProbe",
        progress_message = "Trying what an action may not do %{label}",
        env = {},
        execution_requirements = {"block-network": "1"},
        toolchain = NODE_TOOLCHAIN_TYPE,
    )
    return [DefaultInfo(files = depset([out]))]

probe = rule(
    implementation = _probe_impl,
    attrs = {
        "attempt": attr.string(mandatory = True, values = ["environment", "machine", "machine-file", "socket", "undeclared-file"]),
        "_script": attr.label(default = "//test/sandbox:probe.mjs", allow_single_file = True),
    },
    toolchains = [NODE_TOOLCHAIN_TYPE],
    doc = "Makes `<name>.json`: what happened when an action, run like all of ours, tried something forbidden.",
)
