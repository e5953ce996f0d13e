"""How every action of ours is run: Node.js, one bundle, declared files; no network, no shell, no environment."""

load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")

# The attribute through which a rule finds the tool. Private: a tool that users could exchange proves nothing.
CVM_ATTRS = {
    "_cvm": attr.label(
        default = "//tools:cvm-build.mjs",
        allow_single_file = True,
        cfg = "exec",
    ),
}

CVM_TOOLCHAINS = [NODE_TOOLCHAIN_TYPE]

def _camel(words):
    return "".join([word[0].upper() + word[1:] for word in words.replace("-", " ").split(" ")])

def run_cvm(ctx, noun, verb, progress, inputs, outputs, arguments, bundle = None):
    """Runs `cvm <noun> <verb>` as an action with the mnemonic `Cvm<Noun><Verb>`.

    Args:
      ctx: the rule context; the rule has CVM_ATTRS and CVM_TOOLCHAINS
      noun: the command's noun
      verb: the command's verb, which may be several words
      progress: what a person reads while it runs; the label is added
      inputs: list of Files
      outputs: list of Files
      arguments: ctx.actions.args() with what follows the verb
      bundle: File, another bundle than the build tool's
    """
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    bundle = bundle or ctx.file._cvm
    words = ctx.actions.args()
    words.add(bundle)
    words.add_all([noun] + verb.split(" "))
    ctx.actions.run(
        executable = node.binary,
        arguments = [words, arguments],
        inputs = depset(inputs, transitive = [node.checked]),
        tools = [bundle],
        outputs = outputs,
        mnemonic = "Cvm" + _camel(noun) + _camel(verb),
        progress_message = progress + " %{label}",
        env = {},
        execution_requirements = {"block-network": "1"},
        toolchain = NODE_TOOLCHAIN_TYPE,
    )
