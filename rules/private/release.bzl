"""⑧ Releases: images that passed the gate, with proof of how they were built."""

load("//rules:providers.bzl", "CvmMeasurementsInfo", "CvmProposalInfo", "CvmUpdateImageInfo")
load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def cvm_release_impl(ctx, bundle = None):
    """Makes the folder of a release.

    Args:
      ctx: the rule context; the rule has CVM_RELEASE_ATTRS
      bundle: File, another bundle than the build tool's: for rehearsals, which say so in what they make
    Returns:
      list of providers
    """
    folder = ctx.actions.declare_directory(ctx.label.name)
    proposal = ctx.attr.proposal[CvmProposalInfo]
    image = ctx.attr.update_image[CvmUpdateImageInfo].image
    measurements = ctx.attr.measurements[CvmMeasurementsInfo].measurements
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node.binary
    args = ctx.actions.args()
    args.add("--update-image", image)
    args.add("--measurements", measurements)
    args.add("--proposal", proposal.certificate)
    args.add("--lock", ctx.file.lock)
    args.add("--base", ctx.file.base)

    # The one place in these rules that reads the revision of the source.
    args.add("--status-file", ctx.info_file)
    args.add("--package-lock", ctx.file._package_lock)
    args.add("--tool", ctx.file._cvm)
    args.add("--node", node)
    args.add("--target", str(ctx.label).replace("@@//", "//").replace("@//", "//"))
    args.add("--builder-id", ctx.attr.builder_id)
    args.add_joined("--vcpus", [str(count) for count in ctx.attr.vcpus], join_with = ",")
    args.add_joined("--vcpu-types", ctx.attr.vcpu_types, join_with = ",")
    args.add_all(ctx.attr.chip_ids, before_each = "--chip-id")
    args.add_all(ctx.files.documents, before_each = "--document")
    inputs = [image, measurements, proposal.certificate, ctx.file.lock, ctx.file.base, ctx.info_file, ctx.file._package_lock, ctx.file._cvm, node]
    if proposal.request:
        args.add("--request", proposal.request)
        inputs.append(proposal.request)
    if ctx.file.disk_image:
        args.add("--disk-image", ctx.file.disk_image)
        inputs.append(ctx.file.disk_image)
    if ctx.attr.time:
        args.add("--time", ctx.attr.time)
    args.add("--output", folder.path)
    run_cvm(
        ctx,
        bundle = bundle,
        noun = "release",
        verb = "create",
        progress = "Gating and releasing",
        inputs = inputs + ctx.files.documents,
        outputs = [folder],
        arguments = args,
    )
    return [DefaultInfo(files = depset([folder]), runfiles = ctx.runfiles(files = [folder]))]

CVM_RELEASE_ATTRS = dict(
    CVM_ATTRS,
    base = attr.label(mandatory = True, allow_single_file = True, doc = "The base release that the lock pins: the boot partition is held against it once more."),
    builder_id = attr.string(default = "urn:rules-cvm:bazel", doc = "A URI for who builds, as the provenance states it."),
    chip_ids = attr.string_list(doc = "Chips that the proposal must name, 128 hex digits each."),
    disk_image = attr.label(allow_single_file = True, doc = "The disk image of the same partitions."),
    documents = attr.label_list(allow_files = True, doc = "Further files, under their own names: a report, for example. The provenance names them; nothing else binds them."),
    lock = attr.label(mandatory = True, allow_single_file = True, doc = "pins.lock.json of the environment."),
    measurements = attr.label(mandatory = True, providers = [CvmMeasurementsInfo], doc = "The launch measurements of the boot partition."),
    proposal = attr.label(mandatory = True, providers = [CvmProposalInfo], doc = "The executed proposal, with its request."),
    time = attr.string(doc = "YYYY-MM-DDTHH:MM:SSZ, to state when it was built. Empty: no time is stated, and equal inputs give equal bytes."),
    update_image = attr.label(mandatory = True, providers = [CvmUpdateImageInfo], doc = "The update image."),
    vcpu_types = attr.string_list(
        default = ["EPYC-v4", "EPYC-Genoa", "EPYC-Turin"],
        doc = "QEMU CPU models that were measured.",
    ),
    vcpus = attr.int_list(default = [64], doc = "vCPU counts that were measured."),
    _package_lock = attr.label(default = "//:package-lock.json", allow_single_file = True),
)

cvm_release = rule(
    implementation = cvm_release_impl,
    attrs = CVM_RELEASE_ATTRS,
    toolchains = CVM_TOOLCHAINS,
    doc = """Puts a recovery image into a release that anybody can check with `cvm release verify`.

Makes a folder called `<name>`: the images, `SHA256SUMS`, `launch-measurements.json`, the proposal with its request, the lock,
`sbom.spdx.json` (SPDX 2.3 of the toolchain's packages), `provenance.intoto.json` (in-toto Statement v1, SLSA Provenance v1), and
`documents`. The gate refuses, with the mend: the dev network (`GATE_DEV_NETWORK`), a certificate without its request
(`GATE_REQUEST_UNBOUND`), an unknown or dirty source revision (`GATE_REVISION_UNKNOWN`, `GATE_REVISION_DIRTY`), and images that do
not pass all checks of `cvm release verify`, which the action takes on the finished folder (`GATE_IMAGE_UNVALIDATED`). No
attribute names a network or leaves a check out.

Reads `STABLE_GIT_REVISION` of the workspace status; no image depends on it. Without `--workspace_status_command` the revision is
unknown. Tag it `manual`: it fails by design where the lock pins `dev`.""",
)
