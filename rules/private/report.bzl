"""The report: what an image is, for people."""

load("//rules:providers.bzl", "CvmPartitionInfo", "CvmProposalInfo")
load(":packing.bzl", "DECISION_ATTRS")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_report_impl(ctx):
    if not ctx.label.name.endswith(".report.html"):
        fail("%s: the name of a report ends in .report.html: that of its image without .tar.zst comes before" % ctx.label)
    out = ctx.actions.declare_file(ctx.label.name)
    root = ctx.attr.root_partition[CvmPartitionInfo]
    if root.kind != "root":
        fail("%s: root_partition must be a root partition, is a %s partition" % (ctx.label, root.kind))
    if bool(ctx.attr.boot_partition) != bool(ctx.file.version_file):
        fail("%s: boot_partition and version_file go together; before the vote there is neither" % ctx.label)
    if not ctx.attr.boot_partition and not ctx.file.base:
        fail("%s: without a boot_partition a report is about the base, which is missing" % ctx.label)
    args = ctx.actions.args()
    args.add("--root", root.archive)
    inputs = [root.archive]
    if ctx.attr.boot_partition:
        boot = ctx.attr.boot_partition[CvmPartitionInfo]
        if boot.kind != "boot":
            fail("%s: boot_partition must be a boot partition, is a %s partition" % (ctx.label, boot.kind))
        args.add("--boot", boot.archive)
        args.add("--version-file", ctx.file.version_file)
        inputs += [boot.archive, ctx.file.version_file]
    if ctx.file.base:
        args.add("--base", ctx.file.base)
        inputs.append(ctx.file.base)
    if ctx.attr.proposal:
        proposal = ctx.attr.proposal[CvmProposalInfo]
        if proposal.network != ctx.attr.network:
            fail("%s: the proposal is of network %s, the image of %s" % (ctx.label, proposal.network, ctx.attr.network))
        if proposal.request:
            args.add("--request", proposal.request)
            inputs.append(proposal.request)
    if ctx.file.lock:
        args.add("--lock", ctx.file.lock)
        inputs.append(ctx.file.lock)
    args.add("--network", ctx.attr.network)
    args.add_joined("--vcpus", [str(count) for count in ctx.attr.vcpus], join_with = ",")
    args.add_joined("--vcpu-types", ctx.attr.vcpu_types, join_with = ",")
    args.add_all(ctx.attr.chip_ids, before_each = "--chip-id")
    args.add("--label", "//%s:%s.tar.zst" % (ctx.label.package, ctx.label.name.removesuffix(".report.html")))
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "report",
        progress = "Verifying and describing",
        inputs = inputs,
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_report = rule(
    implementation = _cvm_report_impl,
    attrs = dict(
        CVM_ATTRS,
        base = attr.label(
            allow_single_file = True,
            doc = "The base release of a recovery image (update-img.tar.zst), with whose boot partition the image's own is compared.",
        ),
        boot_partition = attr.label(
            providers = [CvmPartitionInfo],
            doc = "The boot partition; absent before the vote, when there is only the base's own.",
        ),
        lock = attr.label(
            allow_single_file = [".json"],
            doc = "The pins.lock.json: its values are compared with the bytes, and its text is shown.",
        ),
        version_file = attr.label(allow_single_file = True, doc = "The version of this build, one line; with boot_partition."),
        **DECISION_ATTRS
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Writes a page that says what an image is, and what was verified of it.

Makes a file called `<name>`, which ends in `.report.html` behind the image's own stem: one HTML file that loads nothing. Everything in it is computed from the bytes
of partitions, base and request, as when an image is packed: certificate, launch measurements, root hash, the image's sha256; no verdict is
taken over. It is a record: building it does not fail for a refusal, which the page explains. Images are refused by `cvm_update_image`
and `cvm_disk_image`.""",
)
