"""File trees and initial RAM disks from listings: Bazel keeps no modes, owners or devices, a listing does."""

load("//rules:providers.bzl", "CvmTreeInfo", "cvm_tree_info")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _archive(ctx, verb, out):
    args = ctx.actions.args()
    inputs = [ctx.file.listing]
    args.add("--listing", ctx.file.listing)
    for target, name in ctx.attr.files.items():
        files = target.files.to_list()
        if len(files) != 1:
            fail("%s: files[%s] must be one file, is %d" % (ctx.label, target.label, len(files)))
        inputs.append(files[0])
        args.add("--file", files[0], format = name + "=%s")
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "tree",
        verb = verb,
        progress = "Archiving",
        inputs = inputs,
        outputs = [out],
        arguments = args,
    )

def _cvm_tree_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".tar")
    _archive(ctx, "tar", out)
    return [DefaultInfo(files = depset([out])), cvm_tree_info(archive = out)]

_LISTING_ATTRS = dict(
    CVM_ATTRS,
    files = attr.label_keyed_string_dict(
        allow_files = True,
        doc = "Each file to the name that the listing calls it by.",
    ),
    listing = attr.label(
        mandatory = True,
        allow_single_file = True,
        doc = "What the tree holds, in the words of Linux's gen_init_cpio: dir, file, slink, nod, pipe, sock.",
    ),
)

cvm_tree = rule(
    implementation = _cvm_tree_impl,
    attrs = _LISTING_ATTRS,
    provides = [CvmTreeInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Makes a file tree from a listing and the files it names.

Makes `<name>.tar`. Refuses a name in the listing that `files` lacks, and a file that the listing does not name.
Promises equal bytes for equal inputs: owners and modes come from the listing, times are zero.""",
)

def _cvm_initrd_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    _archive(ctx, "cpio", out)
    return [DefaultInfo(files = depset([out]))]

cvm_initrd = rule(
    implementation = _cvm_initrd_impl,
    attrs = _LISTING_ATTRS,
    toolchains = CVM_TOOLCHAINS,
    doc = """Makes an initial RAM disk (newc cpio) from a listing and the files it names.

Makes a file called `<name>`. Promises equal bytes for equal inputs.""",
)
