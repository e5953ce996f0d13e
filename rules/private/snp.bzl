"""SEV-SNP launch measurements of firmware, kernel, initrd and command lines; ID blocks; tests of measurements."""

load("//rules:providers.bzl", "CvmMeasurementsInfo", "cvm_measurements_info")
load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")
load(":runfiles.bzl", "runfiles_path")

def _guest_args(ctx):
    """The flags that every guest of the matrix shares, and the files behind them."""
    args = ["--mode", "snp", "--ovmf", ctx.file.firmware.path]
    inputs = [ctx.file.firmware]
    for flag, file in [("--kernel", ctx.file.kernel), ("--initrd", ctx.file.initrd)]:
        if file:
            args.extend([flag, file.path])
            inputs.append(file)
    args.extend(["--vmm-type", ctx.attr.vmm_type, "--guest-features", ctx.attr.guest_features])
    return args, inputs

def _explain(ctx, vcpu_type, count, number, cmdline, guest, inputs):
    out = ctx.actions.declare_file("%s.explain/%s-%d-%d.json" % (ctx.label.name, vcpu_type, count, number))
    args = ctx.actions.args()
    args.add_all(guest)
    args.add("--vcpus", count)
    args.add("--vcpu-type", vcpu_type)
    if cmdline:
        args.add("--append=" + cmdline)
    args.add("--out-file", out)
    args.add("--json")
    run_cvm(
        ctx,
        noun = "snp",
        verb = "explain",
        progress = "Explaining the launch of",
        inputs = inputs,
        outputs = [out],
        arguments = args,
    )
    return out

def _snp_launch_measurements_impl(ctx):
    if not ctx.file.kernel and (ctx.file.initrd or ctx.attr.cmdlines):
        fail("%s: initrd and cmdlines need a kernel: firmware gets the hashes of all three or of none" % ctx.label)
    out = ctx.actions.declare_file(ctx.label.name)
    guest, inputs = _guest_args(ctx)
    args = ctx.actions.args()
    args.add_all(guest)
    args.add_joined("--vcpus", [str(count) for count in ctx.attr.vcpus], join_with = ",")
    args.add_joined("--vcpu-type", ctx.attr.vcpu_types, join_with = ",")
    args.add_all(["--append=" + cmdline for cmdline in ctx.attr.cmdlines])
    args.add("--output-format", "measurements")
    args.add("--out-file", out)
    run_cvm(
        ctx,
        noun = "snp",
        verb = "measure",
        progress = "Measuring the launch of",
        inputs = inputs,
        outputs = [out],
        arguments = args,
    )
    explanations = [
        _explain(ctx, vcpu_type, count, number, cmdline, guest, inputs)
        for vcpu_type in ctx.attr.vcpu_types
        for count in ctx.attr.vcpus
        for number, cmdline in enumerate(ctx.attr.cmdlines or [""])
    ]
    return [
        DefaultInfo(files = depset([out])),
        OutputGroupInfo(explain = depset(explanations)),
        cvm_measurements_info(measurements = out),
    ]

snp_launch_measurements = rule(
    implementation = _snp_launch_measurements_impl,
    attrs = dict(
        CVM_ATTRS,
        cmdlines = attr.string_list(doc = "Kernel command lines, exact texts; needs `kernel`."),
        firmware = attr.label(mandatory = True, allow_single_file = True, doc = "OVMF image; with a kernel the AmdSev build."),
        guest_features = attr.string(default = "0x1", doc = "SEV_FEATURES, 64 bits."),
        initrd = attr.label(allow_single_file = True, doc = "Initial RAM disk; needs `kernel`."),
        kernel = attr.label(allow_single_file = True, doc = "Kernel that the VMM loads."),
        vcpu_types = attr.string_list(
            default = ["EPYC-v4", "EPYC-Genoa", "EPYC-Turin"],
            allow_empty = False,
            doc = "QEMU CPU models, in the order of the output.",
        ),
        vcpus = attr.int_list(mandatory = True, allow_empty = False, doc = "vCPU counts at launch."),
        vmm_type = attr.string(default = "QEMU", values = ["QEMU", "ec2", "gce", "krun"], doc = "Who builds the initial registers."),
    ),
    provides = [CvmMeasurementsInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Measures the SEV-SNP launch of a firmware with a kernel.

Makes a file called `<name>` in the form of launch-measurements.json: CPU types × vCPU counts × command lines. Output group
`explain`: one JSON file a guest with the digest after every step, for `cvm snp explain --against`.""",
)

def _snp_id_block_impl(ctx):
    if (ctx.attr.measurement == "") == (ctx.attr.measurements == None):
        fail("%s: give one of measurement and measurements" % ctx.label)
    signatures = [ctx.file.id_block_signature, ctx.file.id_key_signature, ctx.file.author_key]
    if any(signatures) and not all(signatures):
        fail("%s: id_block_signature, id_key_signature and author_key belong together" % ctx.label)
    block = ctx.actions.declare_file(ctx.label.name + ".id-block.bin")
    key = ctx.actions.declare_file(ctx.label.name + ".id-key.bin")
    digest = ctx.actions.declare_file(ctx.label.name + ".id-key-digest.txt")
    args = ctx.actions.args()
    inputs = [ctx.file.id_key]
    if ctx.attr.measurements:
        measurements = ctx.attr.measurements[CvmMeasurementsInfo].measurements
        inputs.append(measurements)
        args.add("--measurements", measurements)
    else:
        args.add("--measurement", ctx.attr.measurement)
    for flag, value in [("--family-id", ctx.attr.family_id), ("--image-id", ctx.attr.image_id)]:
        if value:
            args.add(flag, value)
    args.add("--guest-svn", ctx.attr.guest_svn)
    args.add("--policy", ctx.attr.policy)
    args.add("--idkey-public", ctx.file.id_key)
    args.add("--id-block-file", block)
    args.add("--idkey-file", key)
    args.add("--out-file", digest)
    run_cvm(
        ctx,
        noun = "snp",
        verb = "id-block prepare",
        progress = "Preparing the ID block",
        inputs = inputs,
        outputs = [block, key, digest],
        arguments = args,
    )
    if not all(signatures):
        return [
            DefaultInfo(files = depset([block, key, digest])),
            OutputGroupInfo(explain = _explanations(ctx), unsigned = depset([block, key])),
        ]
    auth = ctx.actions.declare_file(ctx.label.name + ".id-auth.bin")
    text = ctx.actions.declare_file(ctx.label.name + ".txt")
    parts = ctx.actions.args()
    parts.add("--id-block", block)
    parts.add("--idkey-public", ctx.file.id_key)
    parts.add("--authorkey-public", ctx.file.author_key)
    parts.add("--id-block-signature", ctx.file.id_block_signature)
    parts.add("--idkey-signature", ctx.file.id_key_signature)
    parts.add("--id-auth-file", auth)
    parts.add("--out-file", text)
    run_cvm(
        ctx,
        noun = "snp",
        verb = "id-block assemble",
        progress = "Assembling the ID block",
        inputs = [block, ctx.file.id_key] + signatures,
        outputs = [auth, text],
        arguments = parts,
    )
    shown = ctx.actions.declare_file(ctx.label.name + ".id-block.json")
    look = ctx.actions.args()
    look.add("--id-block", block)
    look.add("--id-auth", auth)
    look.add("--json")
    look.add("--out-file", shown)
    run_cvm(
        ctx,
        noun = "snp",
        verb = "id-block verify",
        progress = "Verifying the ID block",
        inputs = [block, auth],
        outputs = [shown],
        arguments = look,
    )
    return [
        DefaultInfo(files = depset([block, auth, text, digest])),
        OutputGroupInfo(
            explain = depset([shown], transitive = [_explanations(ctx)]),
            unsigned = depset([block, key]),
        ),
    ]

def _explanations(ctx):
    """The explanations of what was measured, where the measurement is a target."""
    target = ctx.attr.measurements
    if target and OutputGroupInfo in target and hasattr(target[OutputGroupInfo], "explain"):
        return target[OutputGroupInfo].explain
    return depset()

snp_id_block = rule(
    implementation = _snp_id_block_impl,
    attrs = dict(
        CVM_ATTRS,
        author_key = attr.label(allow_single_file = True, doc = "Public author key: P-384, PEM."),
        family_id = attr.string(doc = "16 bytes in hex; zeros when left out."),
        guest_svn = attr.string(default = "0", doc = "Security version of the guest."),
        id_block_signature = attr.label(allow_single_file = True, doc = "The ID key's signature over the ID block, DER."),
        id_key = attr.label(mandatory = True, allow_single_file = True, doc = "Public ID key: P-384, PEM."),
        id_key_signature = attr.label(allow_single_file = True, doc = "The author key's signature over the ID key in SNP form, DER."),
        image_id = attr.string(doc = "16 bytes in hex; zeros when left out."),
        measurement = attr.string(doc = "Launch digest, hex or base64; instead of `measurements`."),
        measurements = attr.label(providers = [CvmMeasurementsInfo], doc = "A target with one launch measurement."),
        policy = attr.string(default = "0x30000", doc = "Guest policy: the one of launch."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Makes an SEV-SNP ID block. No private key enters a build: signatures are made elsewhere, over files that this rule writes.

Makes `<name>.id-block.bin` (96 bytes, what the ID key signs) and, without signatures, `<name>.id-key.bin` (1028 bytes, what the author
key signs); with them, checks them and makes `<name>.id-auth.bin` (4096 bytes) and `<name>.txt`, both in base64 as QEMU takes them.
`<name>.id-key-digest.txt` is ID_KEY_DIGEST of the guest's reports. Output groups: `unsigned`, what is to be signed;
`explain`, what a signed block says and the explanations of the measurement.""",
)

_LAUNCHER = """\
#!/bin/sh
set -eu
exec "$TEST_SRCDIR/{node}" "$TEST_SRCDIR/{bundle}" snp expect --measurements "$TEST_SRCDIR/{measurements}" {expected}
"""

def _measurement_test_impl(ctx):
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    measurements = ctx.attr.measurements[CvmMeasurementsInfo].measurements
    for digest in ctx.attr.expected:
        if digest.strip("0123456789abcdef") or len(digest) != 96:
            fail("%s: expected launch digests are 96 lower-case hex digits, found %r" % (ctx.label, digest))
    launcher = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(launcher, _LAUNCHER.format(
        bundle = runfiles_path(ctx, ctx.file._cvm),
        expected = " ".join(["--expected " + digest for digest in ctx.attr.expected]),
        measurements = runfiles_path(ctx, measurements),
        node = runfiles_path(ctx, node.binary),
    ), is_executable = True)
    return [
        DefaultInfo(
            executable = launcher,
            runfiles = ctx.runfiles(files = [node.binary, ctx.file._cvm, measurements]),
        ),
        OutputGroupInfo(explain = _explanations(ctx)),
    ]

measurement_test = rule(
    implementation = _measurement_test_impl,
    attrs = dict(
        CVM_ATTRS,
        expected = attr.string_list(mandatory = True, allow_empty = False, doc = "Launch digests, 96 hex digits each, in any order."),
        measurements = attr.label(mandatory = True, providers = [CvmMeasurementsInfo], doc = "What was measured."),
    ),
    test = True,
    toolchains = [NODE_TOOLCHAIN_TYPE],
    doc = """Holds launch measurements to those that were published: all of them and no others.

Output group `explain`: the explanations of what was measured, to find the step that changed.""",
)
