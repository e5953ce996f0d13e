"""⑦ Update images."""

load("//rules:providers.bzl", "CvmPartitionInfo", "CvmProposalInfo", "CvmUpdateImageInfo", "cvm_update_image_info")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_update_image_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    verdict = ctx.actions.declare_file(ctx.attr.verdict_name or ctx.label.name + ".verdict.json")
    boot = ctx.attr.boot_partition[CvmPartitionInfo]
    root = ctx.attr.root_partition[CvmPartitionInfo]
    if boot.kind != "boot":
        fail("%s: boot_partition must be a boot partition, is a %s partition" % (ctx.label, boot.kind))
    if root.kind != "root":
        fail("%s: root_partition must be a root partition, is a %s partition" % (ctx.label, root.kind))
    inputs = [boot.archive, root.archive, ctx.file.version_file]
    args = ctx.actions.args()
    args.add("--boot", boot.archive)
    args.add("--root", root.archive)
    args.add("--version-file", ctx.file.version_file)
    network = ctx.attr.network
    if ctx.attr.proposal:
        proposal = ctx.attr.proposal[CvmProposalInfo]
        if proposal.network != network:
            fail("%s: the proposal is of network %s, the image of %s" % (ctx.label, proposal.network, network))
        if proposal.request:
            args.add("--request", proposal.request)
            inputs.append(proposal.request)
    args.add("--network", network)
    args.add_joined("--vcpus", [str(count) for count in ctx.attr.vcpus], join_with = ",")
    args.add_joined("--vcpu-types", ctx.attr.vcpu_types, join_with = ",")
    args.add_all(ctx.attr.chip_ids, before_each = "--chip-id")
    args.add("--verdict-output", verdict)
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "update-image",
        progress = "Validating and packing",
        inputs = inputs,
        outputs = [out, verdict],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([out])),
        OutputGroupInfo(verdict = depset([verdict])),
        cvm_update_image_info(image = out, network = network),
    ]

cvm_update_image = rule(
    implementation = _cvm_update_image_impl,
    attrs = dict(
        CVM_ATTRS,
        boot_partition = attr.label(mandatory = True, providers = [CvmPartitionInfo], doc = "The boot partition."),
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
        verdict_name = attr.string(doc = "Name of the file that says what was checked; `<name>.verdict.json` when empty."),
        version_file = attr.label(mandatory = True, allow_single_file = True, doc = "The version of this build, one line."),
    ),
    provides = [CvmUpdateImageInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Validates two partitions and packs them into an update image, in one process.

Makes a file called `<name>`; the output group `verdict` says what was checked. When the boot partition holds a
proposal: verifies its certificate, measures the partition's own firmware, kernel, initrd and command lines,
recomputes the root hash from the root partition's bytes, and refuses what the proposal does not bless. Otherwise
the command lines must name the recomputed root hash. There is no way around these checks.""",
)
