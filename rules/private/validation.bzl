"""⑥ The decision, as a file."""

load("//rules:providers.bzl", "CvmMeasurementsInfo", "CvmPartitionInfo", "CvmProposalInfo")
load(":root_hash.bzl", "root_hash_of")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_validation_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    proposal = ctx.attr.proposal[CvmProposalInfo]
    measurements = ctx.attr.measurements[CvmMeasurementsInfo].measurements
    root_hash = root_hash_of(ctx)
    args = ctx.actions.args()
    args.add("--proposal", proposal.certificate)
    if proposal.request:
        args.add("--request", proposal.request)
    args.add("--network", proposal.network)
    args.add("--measurements", measurements)
    args.add("--root-hash", root_hash)
    args.add_all(ctx.attr.chip_ids, before_each = "--chip-id")
    inputs = [proposal.certificate, measurements, root_hash] + ([proposal.request] if proposal.request else [])
    if ctx.attr.boot_partition:
        boot = ctx.attr.boot_partition[CvmPartitionInfo].archive
        inputs.append(boot)
        args.add("--boot", boot)
        args.add_joined("--vcpus", [str(count) for count in ctx.attr.vcpus], join_with = ",")
        args.add_joined("--vcpu-types", ctx.attr.vcpu_types, join_with = ",")
    args.add("--record")
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "validate",
        progress = "Validating",
        inputs = inputs,
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_validation = rule(
    implementation = _cvm_validation_impl,
    attrs = dict(
        CVM_ATTRS,
        boot_partition = attr.label(
            providers = [CvmPartitionInfo],
            doc = "The partition that was measured: read to explain why none of its measurements is blessed.",
        ),
        chip_ids = attr.string_list(doc = "Chips that the proposal must name, 128 hex digits each."),
        measurements = attr.label(mandatory = True, providers = [CvmMeasurementsInfo], doc = "What was measured."),
        proposal = attr.label(mandatory = True, providers = [CvmProposalInfo], doc = "What was blessed."),
        root_partition = attr.label(mandatory = True, providers = [CvmPartitionInfo], doc = "The root partition that was built."),
        vcpu_types = attr.string_list(
            default = ["EPYC-v4", "EPYC-Genoa", "EPYC-Turin"],
            doc = "QEMU CPU models that were measured.",
        ),
        vcpus = attr.int_list(default = [64], doc = "vCPU counts that were measured."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Records whether what was built is what was blessed.

Makes a file called `<name>`: the verdict, check by check, or `"ok": false` with the reason and, when no launch measurement is
blessed, what else the partition's files were measured with to find out why. It is a record: building it never fails for a
mismatch, and nothing is made from it. Images are refused by `cvm_update_image` and `cvm_disk_image`, which decide by
themselves.""",
)
