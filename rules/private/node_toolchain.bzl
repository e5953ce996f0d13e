"""Node.js as a Bazel toolchain: one binary, pinned by package-lock.json, or a consumer's own of the same kind."""

NodeInfo = provider(
    doc = "Node.js for the execution platform.",
    fields = {
        "binary": "File: the node executable",
        "checked": "depset[File]: what has to be built before it is run: that a binary of somebody's own is of the pinned kind",
    },
)

def _toolchain_info(ctx, checked):
    return [
        platform_common.ToolchainInfo(node = NodeInfo(binary = ctx.file.binary, checked = depset(checked))),
        DefaultInfo(files = depset([ctx.file.binary])),
    ]

def _node_toolchain_impl(ctx):
    return _toolchain_info(ctx, [])

_BINARY = attr.label(
    mandatory = True,
    allow_single_file = True,
    doc = "The node executable.",
)

node_toolchain = rule(
    implementation = _node_toolchain_impl,
    attrs = {"binary": _BINARY},
    doc = "Declares the pinned Node.js binary. Gives `ToolchainInfo(node = NodeInfo)`.",
)

def _checked_node_toolchain_impl(ctx):
    checked = ctx.actions.declare_file(ctx.label.name + ".checked")
    args = ctx.actions.args()
    args.add(ctx.file._check)
    args.add(str(ctx.label))
    args.add(checked)
    ctx.actions.run(
        executable = ctx.file.binary,
        arguments = [args],
        inputs = [ctx.file._check],
        outputs = [checked],
        mnemonic = "CvmNodeCheck",
        progress_message = "Checking Node.js %{label}",
        env = {},
        execution_requirements = {"block-network": "1"},
    )
    return _toolchain_info(ctx, [checked])

_checked_node_toolchain = rule(
    implementation = _checked_node_toolchain_impl,
    attrs = {
        "binary": _BINARY,
        "_check": attr.label(default = "//rules/private:node_check.mjs", allow_single_file = True),
    },
    doc = "Declares a Node.js binary that package-lock.json does not pin. It is looked at before anything runs on it.",
)

NODE_TOOLCHAIN_TYPE = str(Label("//rules/toolchain:node"))

def cvm_node_toolchain(name, node, exec_compatible_with = [], **kwargs):
    """Declares a Node.js of your own for the build actions to run on, in the pinned one's place.

    Register it: `register_toolchains("//:<name>")` in MODULE.bazel or WORKSPACE.bazel, before those of rules_cvm. Another major version
    than the pinned one, or another zstd encoder in it, is refused when something is built: images would have other bytes.

    Args:
      name: the toolchain's name
      node: label of the node executable
      exec_compatible_with: constraints of the platform that it runs on, as `toolchain` takes them
      **kwargs: `visibility` and the like, for both targets
    """
    _checked_node_toolchain(
        name = name + ".node",
        binary = node,
        **kwargs
    )
    native.toolchain(
        name = name,
        exec_compatible_with = exec_compatible_with,
        toolchain = ":" + name + ".node",
        toolchain_type = NODE_TOOLCHAIN_TYPE,
        **kwargs
    )
