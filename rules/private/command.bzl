"""A command that people run: a launcher, Node.js and one bundle."""

load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")
load(":runfiles.bzl", "runfiles_path")

_LAUNCHER = """\
#!/bin/sh
# Finds its runfiles from any folder, through any link, and runs the bundle with the pinned Node.js.
set -eu
self=$0
while [ ! -d "$self.runfiles" ] && [ -L "$self" ]; do
  target=$(readlink "$self")
  case $target in
    /*) self=$target ;;
    *) self=$(dirname "$self")/$target ;;
  esac
done
if [ -d "$self.runfiles" ]; then
  runfiles=$self.runfiles
else
  runfiles=${{RUNFILES_DIR:-${{TEST_SRCDIR:-}}}}
fi
if [ ! -e "$runfiles/{bundle}" ]; then
  echo "error: {name} cannot find its runfiles beside $0; build it with bazel build {label}" >&2
  exit 1
fi
exec "$runfiles/{node}" "$runfiles/{bundle}" {arguments}"$@"
"""

# What a word may begin with, and what the shell makes of it.
_PLACES = {
    "%runfiles%/": '"$runfiles"/',
    "%workspace%/": '"${BUILD_WORKSPACE_DIRECTORY:?start it with bazel run}"/',
}

def _word(word):
    """Quotes a word for the shell; `%workspace%/` becomes the folder that `bazel run` was called in."""
    place = ""
    for begin, shell in _PLACES.items():
        if word.startswith(begin):
            place = shell
            word = word[len(begin):]
            break
    return place + "'%s'" % word.replace("'", "'\\''")

def _cvm_command_impl(ctx):
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    launcher = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(launcher, _LAUNCHER.format(
        arguments = "".join([_word(ctx.expand_location(word, ctx.attr.data)) + " " for word in ctx.attr.arguments]),
        bundle = runfiles_path(ctx, ctx.file.bundle),
        label = str(ctx.label).replace("@@//", "//"),
        name = ctx.label.name,
        node = runfiles_path(ctx, node.binary),
    ), is_executable = True)
    return [DefaultInfo(
        executable = launcher,
        files = depset([launcher]),
        runfiles = ctx.runfiles(files = [node.binary, ctx.file.bundle] + ctx.files.data, transitive_files = node.checked).merge(
            ctx.attr.bundle[DefaultInfo].default_runfiles,
        ),
    )]

cvm_command = rule(
    implementation = _cvm_command_impl,
    attrs = {
        "arguments": attr.string_list(doc = "Words that come before the user's own. `%workspace%/` at a word's start is the source tree; `%runfiles%/$(rlocationpath :label)` is a file of `data`."),
        "bundle": attr.label(
            allow_single_file = [".mjs"],
            default = "//tools:cvm-main",
            doc = "What to run: cvm.",
        ),
        "data": attr.label_list(allow_files = True, doc = "Files it finds in its runfiles."),
    },
    executable = True,
    toolchains = [NODE_TOOLCHAIN_TYPE],
    doc = "Makes a command of a bundle, for `bazel run` and for direct calls of `bazel-bin/…`.",
)
