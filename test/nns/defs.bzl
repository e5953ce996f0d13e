"""The development NNS as a rule: proposals signed at build time with a key that everyone knows."""

load("//rules:providers.bzl", "CvmMeasurementsInfo", "CvmPartitionInfo")
load("//rules/private:release.bzl", "CVM_RELEASE_ATTRS", "cvm_release_impl")
load("//rules/private:run_cvm.bzl", "CVM_TOOLCHAINS", "run_cvm")

def _dev_nns_proposal_impl(ctx):
    certificate = ctx.actions.declare_file(ctx.label.name + "/%s.cbor" % ctx.attr.proposal_id)
    request = ctx.actions.declare_file(ctx.label.name + "/%s.request.cbor" % ctx.attr.proposal_id)
    root_hash = ctx.attr.root_partition[CvmPartitionInfo].root_hash
    measurements = ctx.attr.measurements[CvmMeasurementsInfo].measurements
    args = ctx.actions.args()
    args.add("--proposal-id", ctx.attr.proposal_id)
    args.add("--title", ctx.attr.title)
    args.add("--summary", ctx.attr.summary)
    args.add("--root-hash-file", root_hash)
    args.add("--measurements", measurements)
    args.add_all(ctx.attr.chip_ids, before_each = "--chip-id")
    args.add("--output", certificate)
    args.add("--request-output", request)
    run_cvm(
        ctx,
        bundle = ctx.file._cvm_dev,
        noun = "nns",
        verb = "sign-proposal",
        progress = "Signing with the development key",
        inputs = [root_hash, measurements],
        outputs = [certificate, request],
        arguments = args,
    )
    return [DefaultInfo(files = depset([certificate, request]))]

dev_nns_proposal = rule(
    implementation = _dev_nns_proposal_impl,
    attrs = {
        "chip_ids": attr.string_list(default = ["2a" * 64], doc = "Chips to bless, 128 hex digits each."),
        "measurements": attr.label(mandatory = True, providers = [CvmMeasurementsInfo], doc = "The base's launch measurements."),
        "proposal_id": attr.string(mandatory = True, doc = "A decimal id."),
        "root_partition": attr.label(mandatory = True, providers = [CvmPartitionInfo], doc = "The root partition to bless."),
        "summary": attr.string(default = "Signed at build time by the development NNS. Worth nothing outside this repository."),
        "title": attr.string(default = "Bless a recovery GuestOS of the dev network"),
        "_cvm_dev": attr.label(default = "//test/nns:cvm-dev.mjs", allow_single_file = True, cfg = "exec"),
    },
    toolchains = CVM_TOOLCHAINS,
    doc = """Makes an executed BlessAlternativeGuestOsVersion proposal of the dev network.

Makes `<name>/<id>.cbor` and `<name>/<id>.request.cbor`. Only the dev root key vouches for them.""",
)

def _dev_release_rehearsal_impl(ctx):
    return cvm_release_impl(ctx, bundle = ctx.file._cvm_dev)

dev_release_rehearsal = rule(
    implementation = _dev_release_rehearsal_impl,
    attrs = dict(
        CVM_RELEASE_ATTRS,
        _cvm_dev = attr.label(default = "//test/nns:cvm-dev.mjs", allow_single_file = True, cfg = "exec"),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Takes the steps of cvm_release, gate and all, with images of the dev network.

Makes a folder called `<name>` that says that it is NOT FOR PRODUCTION: in a file of that name, in its provenance and in its bill of
materials. `cvm release verify` takes it with `--network dev` alone; `cvm release publish` does not take it.""",
)
