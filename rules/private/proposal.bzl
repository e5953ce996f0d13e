"""③ Proposals: verified before anything is made from them."""

load("//rules:providers.bzl", "CvmMeasurementsInfo", "CvmPartitionInfo", "CvmProposalInfo", "cvm_proposal_info")
load(":root_hash.bzl", "root_hash_of")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_proposal_impl(ctx):
    requests = [file for file in ctx.files.files if file.basename.endswith(".request.cbor")]
    certificates = [file for file in ctx.files.files if file not in requests]
    if len(certificates) != 1 or len(requests) > 1:
        fail("%s: files must be <id>.cbor and <id>.request.cbor, found %s" % (
            ctx.label,
            [file.basename for file in ctx.files.files],
        ))

    # On mainnet the action refuses a bare certificate, with a mend. It has one file, too, that stands for a missing
    # proposal, and fails when it is built.
    request = requests[0] if requests else None
    facts = ctx.actions.declare_file(ctx.label.name + ".facts.json")
    args = ctx.actions.args()
    args.add(certificates[0])
    if request:
        args.add("--request", request)
    args.add("--network", ctx.attr.network)
    if ctx.attr.network == "mainnet":
        args.add("--require-request")
    if ctx.attr.proposal_id:
        args.add("--proposal-id", ctx.attr.proposal_id)
    if ctx.attr.sha256:
        args.add("--sha256", ctx.attr.sha256)
    if ctx.attr.request_sha256:
        args.add("--request-sha256", ctx.attr.request_sha256)
    if ctx.attr.certified_time_ns:
        args.add("--certified-time-ns", ctx.attr.certified_time_ns)
    args.add("--output", facts)
    run_cvm(
        ctx,
        noun = "proposal",
        verb = "verify",
        progress = "Verifying the proposal",
        inputs = ctx.files.files,
        outputs = [facts],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([facts])),
        cvm_proposal_info(
            certificate = certificates[0],
            request = request,
            facts = facts,
            network = ctx.attr.network,
        ),
    ]

cvm_proposal = rule(
    implementation = _cvm_proposal_impl,
    attrs = dict(
        CVM_ATTRS,
        certified_time_ns = attr.string(doc = "The time that the certificate must carry, when a lock says so."),
        files = attr.label(
            mandatory = True,
            allow_files = True,
            doc = "The certificate `<id>.cbor` and the request `<id>.request.cbor` it answers. Only on `dev` may the request be missing.",
        ),
        network = attr.string(
            default = "mainnet",
            values = ["mainnet", "dev"],
            doc = "Whose root key decides. No attribute takes a key.",
        ),
        proposal_id = attr.string(doc = "The id that the proposal must have, when a lock says so."),
        request_sha256 = attr.string(doc = "The request's sha256, when a lock says so."),
        sha256 = attr.string(doc = "The certificate's sha256, when a lock says so."),
    ),
    provides = [CvmProposalInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Verifies a certified BlessAlternativeGuestOsVersion proposal.

Makes `<name>.facts.json`: what the certificate proves. Refuses a certificate that the network's root key does not
vouch for, one that answers another request than `get_proposal_info` of this id at governance, and a proposal that
was not executed or is no blessing of a GuestOS version. On `mainnet` a certificate without its request is refused: alone
it does not say which question was answered.""",
)

def _cvm_proposal_payload_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    summary = ctx.actions.declare_file(ctx.label.name.removesuffix(".json") + ".txt")
    root_hash = root_hash_of(ctx)
    measurements = ctx.attr.measurements[CvmMeasurementsInfo].measurements
    args = ctx.actions.args()
    args.add("--root-hash-file", root_hash)
    args.add("--measurements", measurements)
    args.add_all(ctx.attr.chip_ids, before_each = "--chip-id")
    args.add("--output", out)
    args.add("--summary-output", summary)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "payload",
        progress = "Writing the proposal's payload",
        inputs = [root_hash, measurements],
        outputs = [out, summary],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([out, summary])),
        OutputGroupInfo(payload = depset([out]), summary = depset([summary])),
    ]

cvm_proposal_payload = rule(
    implementation = _cvm_proposal_payload_impl,
    attrs = dict(
        CVM_ATTRS,
        chip_ids = attr.string_list(doc = "The chips to name, 128 hex digits each."),
        measurements = attr.label(mandatory = True, providers = [CvmMeasurementsInfo], doc = "The base's launch measurements."),
        root_partition = attr.label(mandatory = True, providers = [CvmPartitionInfo], doc = "The root partition to bless."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Writes what a proposer submits: root hash and base measurements, in the shape that governance takes.

Makes `<name>` and, to be read before it is submitted, the same for people with `.txt` for `.json`; the output groups `payload` and
`summary` give one of them.""",
)
