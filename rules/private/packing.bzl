"""⑦ What the rules that pack and describe partitions share. Their commands decide ⑥ anew, from the bytes they read."""

load("//rules:providers.bzl", "CvmPartitionInfo", "CvmProposalInfo")
load(":run_cvm.bzl", "CVM_ATTRS", "run_cvm")

# What ⑥ is decided on, beside the boot partition.
DECISION_ATTRS = dict(
    chip_ids = attr.string_list(doc = "Chips that the proposal must name, 128 hex digits each."),
    network = attr.string(
        default = "mainnet",
        values = ["mainnet", "dev"],
        doc = "Whose root key decides; `dev` marks the image as not for production.",
    ),
    proposal = attr.label(
        providers = [CvmProposalInfo],
        doc = "The proposal whose request binds the certificate on the boot partition.",
    ),
    root_partition = attr.label(mandatory = True, providers = [CvmPartitionInfo], doc = "The root partition."),
    vcpu_types = attr.string_list(
        default = ["EPYC-v4", "EPYC-Genoa", "EPYC-Turin"],
        doc = "QEMU CPU models to measure.",
    ),
    vcpus = attr.int_list(default = [64], doc = "vCPU counts to measure."),
)

PACKING_ATTRS = dict(
    CVM_ATTRS,
    boot_partition = attr.label(mandatory = True, providers = [CvmPartitionInfo], doc = "The boot partition."),
    verdict_name = attr.string(doc = "Name of the file that says what was checked; `<name>.verdict.json` when empty."),
    **DECISION_ATTRS
)

def pack_validated(ctx, verb, progress, arguments = [], inputs = []):
    """Declares the action that validates two partitions and packs them.

    Args:
      ctx: the rule context; the rule has PACKING_ATTRS
      verb: of the command: update-image or disk-image
      progress: what a person reads while it runs
      arguments: words of the command's own
      inputs: Files that these name

    Returns:
      struct(image, verdict) of Files
    """
    image = ctx.actions.declare_file(ctx.label.name)
    verdict = ctx.actions.declare_file(ctx.attr.verdict_name or ctx.label.name + ".verdict.json")
    boot = ctx.attr.boot_partition[CvmPartitionInfo]
    root = ctx.attr.root_partition[CvmPartitionInfo]
    if boot.kind != "boot":
        fail("%s: boot_partition must be a boot partition, is a %s partition" % (ctx.label, boot.kind))
    if root.kind != "root":
        fail("%s: root_partition must be a root partition, is a %s partition" % (ctx.label, root.kind))
    files = [boot.archive, root.archive] + inputs
    args = ctx.actions.args()
    args.add("--boot", boot.archive)
    args.add("--root", root.archive)
    network = ctx.attr.network
    if ctx.attr.proposal:
        proposal = ctx.attr.proposal[CvmProposalInfo]
        if proposal.network != network:
            fail("%s: the proposal is of network %s, the image of %s" % (ctx.label, proposal.network, network))
        if proposal.request:
            args.add("--request", proposal.request)
            files.append(proposal.request)
    args.add("--network", network)
    args.add_joined("--vcpus", [str(count) for count in ctx.attr.vcpus], join_with = ",")
    args.add_joined("--vcpu-types", ctx.attr.vcpu_types, join_with = ",")
    args.add_all(ctx.attr.chip_ids, before_each = "--chip-id")
    args.add("--verdict-output", verdict)
    args.add_all(arguments)
    args.add("--output", image)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = verb,
        progress = progress,
        inputs = files,
        outputs = [image, verdict],
        arguments = args,
    )
    return struct(image = image, verdict = verdict)
