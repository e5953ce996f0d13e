"""Node.js as a Bazel toolchain: one binary, pinned by package-lock.json."""

NodeInfo = provider(
    doc = "Node.js for the execution platform.",
    fields = {"binary": "File: the node executable"},
)

def _node_toolchain_impl(ctx):
    return [
        platform_common.ToolchainInfo(node = NodeInfo(binary = ctx.file.binary)),
        DefaultInfo(files = depset([ctx.file.binary])),
    ]

node_toolchain = rule(
    implementation = _node_toolchain_impl,
    attrs = {
        "binary": attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "The node executable.",
        ),
    },
    doc = "Declares a Node.js binary. Gives `ToolchainInfo(node = NodeInfo)`.",
)

NODE_TOOLCHAIN_TYPE = str(Label("//rules/toolchain:node"))
