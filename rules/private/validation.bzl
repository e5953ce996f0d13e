"""⑥ The decision, as a file."""

load("//rules:providers.bzl", "CvmMeasurementsInfo", "CvmPartitionInfo", "CvmProposalInfo")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_validation_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    proposal = ctx.attr.proposal[CvmProposalInfo]
    measurements = ctx.attr.measurements[CvmMeasurementsInfo].measurements
    root_hash = ctx.attr.root_partition[CvmPartitionInfo].root_hash
    if root_hash == None:
        fail("%s: root_partition must be a root partition" % ctx.label)
    args = ctx.actions.args()
    args.add("--proposal", proposal.certificate)
    if proposal.request:
        args.add("--request", proposal.request)
    args.add("--network", proposal.network)
    args.add("--measurements", measurements)
    args.add("--root-hash", root_hash)
    args.add_all(ctx.attr.chip_ids, before_each = "--chip-id")
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "validate",
        progress = "Validating",
        inputs = [proposal.certificate, measurements, root_hash] + ([proposal.request] if proposal.request else []),
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_validation = rule(
    implementation = _cvm_validation_impl,
    attrs = dict(
        CVM_ATTRS,
        chip_ids = attr.string_list(doc = "Chips that the proposal must name, 128 hex digits each."),
        measurements = attr.label(mandatory = True, providers = [CvmMeasurementsInfo], doc = "What was measured."),
        proposal = attr.label(mandatory = True, providers = [CvmProposalInfo], doc = "What was blessed."),
        root_partition = attr.label(mandatory = True, providers = [CvmPartitionInfo], doc = "The root partition that was built."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Decides whether what was built is what was blessed.

Makes a file called `<name>`: the verdict, check by check. Fails when the launch measurements do not overlap the
blessed ones, when the root hash differs, or when a chip is not named. `cvm_update_image` decides once more by
itself; this is the record.""",
)
