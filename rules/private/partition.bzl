"""④ Partitions: a tree becomes ext4, and the root one gets its hash tree."""

load("//rules:providers.bzl", "CvmPartitionInfo", "CvmProposalInfo", "CvmTreeInfo", "cvm_partition_info")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _add_files(ctx, args):
    """Adds `--add SRC:DST:MODE` for the `add` attribute; gives the files."""
    files = []
    for target, place in ctx.attr.add.items():
        found = target.files.to_list()
        if len(found) != 1:
            fail("%s: add[%s] must be one file, is %d" % (ctx.label, target.label, len(found)))
        files.append(found[0])
        args.add("--add", found[0], format = "%s:" + place)
    return files

_ADD = attr.label_keyed_string_dict(
    allow_files = True,
    doc = "Files to add to the tree, each to `/path:mode` with an octal mode; owner and group are 0.",
)

def _cvm_root_partition_impl(ctx):
    archive = ctx.actions.declare_file(ctx.label.name)
    root_hash = ctx.actions.declare_file(ctx.attr.root_hash_name)
    tree = ctx.attr.tree[CvmTreeInfo].archive
    args = ctx.actions.args()
    args.add("--tar", tree)
    added = _add_files(ctx, args)
    args.add_all(ctx.attr.strip, before_each = "--strip")
    args.add("--output", archive)
    args.add("--root-hash-output", root_hash)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "root-partition",
        progress = "Writing the root partition",
        inputs = [tree] + added,
        outputs = [archive, root_hash],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([archive])),
        OutputGroupInfo(root_hash = depset([root_hash])),
        cvm_partition_info(archive = archive, kind = "root", root_hash = root_hash),
    ]

cvm_root_partition = rule(
    implementation = _cvm_root_partition_impl,
    attrs = dict(
        CVM_ATTRS,
        add = _ADD,
        root_hash_name = attr.string(default = "partition-root-hash", doc = "Name of the file with the root hash."),
        strip = attr.string_list(
            default = ["/run", "/boot", "/var"],
            doc = "Folders whose content stays out.",
        ),
        tree = attr.label(mandatory = True, providers = [CvmTreeInfo], doc = "The root tree."),
    ),
    provides = [CvmPartitionInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Writes a GuestOS root partition: ext4 of the root tree, then its dm-verity hash tree.

Makes a file called `<name>`; the output group `root_hash` holds the root hash. Labels files by the SELinux
file_contexts inside the tree. Refuses a tree that does not fit. The bytes depend on the tree, on `add` and on
nothing else: no lock, network or proposal enters them, or the blessed root hash could never be met.""",
)

def _cvm_boot_partition_impl(ctx):
    archive = ctx.actions.declare_file(ctx.label.name)
    tree = ctx.attr.tree[CvmTreeInfo].archive
    args = ctx.actions.args()
    args.add("--tar", tree)
    inputs = [tree] + _add_files(ctx, args)
    if ctx.attr.subtree:
        args.add("--subtree", ctx.attr.subtree)
    if ctx.attr.label_files:
        args.add("--file-contexts-from-tree")
    if ctx.attr.proposal:
        certificate = ctx.attr.proposal[CvmProposalInfo].certificate
        args.add("--add", certificate, format = "%s:/alternative_guestos_proposal.cbor:0644")
        inputs += [certificate, ctx.attr.proposal[CvmProposalInfo].facts]
    args.add("--output", archive)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "boot-partition",
        progress = "Writing the boot partition",
        inputs = inputs,
        outputs = [archive],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([archive])),
        cvm_partition_info(archive = archive, kind = "boot"),
    ]

cvm_boot_partition = rule(
    implementation = _cvm_boot_partition_impl,
    attrs = dict(
        CVM_ATTRS,
        add = _ADD,
        label_files = attr.bool(
            doc = "Label files by the SELinux file_contexts inside the tree. Otherwise the tree's own labels stay.",
        ),
        proposal = attr.label(
            providers = [CvmProposalInfo],
            doc = "A verified proposal, put at /alternative_guestos_proposal.cbor.",
        ),
        subtree = attr.string(doc = "The folder of the tree that becomes the partition; all of the tree when empty."),
        tree = attr.label(mandatory = True, providers = [CvmTreeInfo], doc = "The tree of the partition."),
    ),
    provides = [CvmPartitionInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Writes a GuestOS boot partition: ext4 of a tree, and the proposal of a recovery image.

Makes a file called `<name>`. Keeps owners, modes, times and xattrs of the tree. Refuses a tree that does not fit
and a proposal that was not verified.""",
)
