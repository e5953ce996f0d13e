"""IGVM files: measured, checked and signed."""

load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")
load(":runfiles.bzl", "runfiles_path")

_MEASURE_ATTRS = {
    "compat": attr.string(
        default = "",
        values = ["", "igvmmeasure", "igvmmeasure-2025-05"],
        doc = "Reproduce the defects of igvmmeasure: of a parameter area it measures the first page alone.",
    ),
    "igvm": attr.label(mandatory = True, allow_single_file = True, doc = "The IGVM file."),
    "native_zero": attr.bool(doc = "Measure empty pages as pages of type zero, as Vanadium loads them."),
}

_PLATFORM_ATTRS = {
    "platform": attr.string(
        default = "sev-snp",
        values = ["sev", "sev-es", "sev-snp", "tdx", "vbs"],
        doc = "The platform of the file that is measured.",
    ),
}

def _measure_words(ctx):
    words = []
    if hasattr(ctx.attr, "platform"):
        words += ["--platform", ctx.attr.platform]
    if ctx.attr.native_zero:
        words.append("--native-zero")
    if ctx.attr.compat:
        words += ["--compat", ctx.attr.compat]
    return words

def _igvm_measurement_impl(ctx):
    digest = ctx.actions.declare_file(ctx.label.name + ".digest")
    json = ctx.actions.declare_file(ctx.label.name + ".digest.json")
    explanation = ctx.actions.declare_file(ctx.label.name + ".explain")
    args = ctx.actions.args()
    args.add_all(_measure_words(ctx))
    if ctx.attr.check_kvm:
        args.add("--check-kvm")
    if ctx.attr.ignore_id_block:
        args.add("--ignore-idblock")
    args.add("--quiet")
    args.add("--digest-output", digest)
    args.add("--json-output", json)
    args.add("--explain-output", explanation)
    args.add(ctx.file.igvm)
    run_cvm(
        ctx,
        noun = "igvm",
        verb = "measure",
        progress = "Measuring",
        inputs = [ctx.file.igvm],
        outputs = [digest, json, explanation],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([digest, json, explanation])),
        OutputGroupInfo(digest = depset([digest]), json = depset([json]), explain = depset([explanation])),
    ]

igvm_measurement = rule(
    implementation = _igvm_measurement_impl,
    attrs = CVM_ATTRS | _MEASURE_ATTRS | _PLATFORM_ATTRS | {
        "check_kvm": attr.bool(doc = "Fail for a file that QEMU with KVM measures in another way."),
        "ignore_id_block": attr.bool(doc = "Do not compare with the digest in an ID block of the file."),
    },
    toolchains = CVM_TOOLCHAINS,
    doc = """Measures an IGVM file.

Makes `<name>.digest` (hex digits in upper case and a newline), `<name>.digest.json` and `<name>.explain`, which say what
is measured, run by run. Output groups: `digest`, `json`, `explain`.""",
)

_LAUNCHER = """\
#!/bin/sh
set -eu
exec "$TEST_SRCDIR/{node}" "$TEST_SRCDIR/{bundle}" igvm measure --bare {words} "$TEST_SRCDIR/{igvm}"
"""

_TEST_ATTRS = {
    "_bundle": attr.label(default = "//tools:cvm-build.mjs", allow_single_file = True),
}

def _measure_test(ctx, words, data = []):
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    launcher = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(launcher, _LAUNCHER.format(
        bundle = runfiles_path(ctx, ctx.file._bundle),
        igvm = runfiles_path(ctx, ctx.file.igvm),
        node = runfiles_path(ctx, node.binary),
        words = " ".join(_measure_words(ctx) + words),
    ), is_executable = True)
    runfiles = ctx.runfiles(files = [node.binary, ctx.file._bundle, ctx.file.igvm] + data)
    return [DefaultInfo(executable = launcher, runfiles = runfiles)]

def _igvm_kvm_check_test_impl(ctx):
    return _measure_test(ctx, ["--check-kvm"])

igvm_kvm_check_test = rule(
    implementation = _igvm_kvm_check_test_impl,
    attrs = _MEASURE_ATTRS | _TEST_ATTRS,
    test = True,
    toolchains = CVM_TOOLCHAINS,
    doc = """Checks that QEMU with KVM measures an IGVM file as it stands.

One VMSA, the last of all pages, at KVM's address and with KVM's CR0; and an ID block, where there is one, with the
file's digest.""",
)

def _igvm_digest_test_impl(ctx):
    if bool(ctx.attr.expected) == bool(ctx.file.expected_file):
        fail("%s: give either expected or expected_file" % ctx.label)
    if ctx.attr.expected:
        digits = ctx.attr.expected.lower()
        if len(digits) not in [64, 96] or [c for c in digits.elems() if c not in "0123456789abcdef"]:
            fail("%s: expected must be 64 or 96 hex digits, found %r" % (ctx.label, ctx.attr.expected))
        return _measure_test(ctx, ["--expect", digits])
    place = '"$TEST_SRCDIR/%s"' % runfiles_path(ctx, ctx.file.expected_file)
    return _measure_test(ctx, ["--expect-file", place], data = [ctx.file.expected_file])

igvm_digest_test = rule(
    implementation = _igvm_digest_test_impl,
    attrs = _MEASURE_ATTRS | _PLATFORM_ATTRS | _TEST_ATTRS | {
        "expected": attr.string(doc = "The digest as hex digits."),
        "expected_file": attr.label(allow_single_file = True, doc = "A file with the hex digits instead."),
    },
    test = True,
    toolchains = CVM_TOOLCHAINS,
    doc = """Checks that an IGVM file has a certain launch digest.

A failure says which other way of measuring would have matched. `cvm igvm diff` compares with a file of that digest.""",
)

def _igvm_sign_impl(ctx):
    block = ctx.actions.declare_file(ctx.label.name + ".id-block")
    outputs = [block]
    groups = {"id_block": depset([block])}
    inputs = [ctx.file.igvm]
    args = ctx.actions.args()
    args.add_all(_measure_words(ctx))
    args.add("--quiet")
    args.add("--id-block-output", block)
    for flag in ["id_key", "id_signature", "id_public_key", "author_key", "author_signature", "author_public_key"]:
        file = getattr(ctx.file, flag)
        if file:
            args.add("--" + flag.replace("_", "-"), file)
            inputs.append(file)
    if ctx.file.id_key or ctx.file.id_public_key:
        id_key = ctx.actions.declare_file(ctx.label.name + ".id-key")
        args.add("--id-key-output", id_key)
        outputs.append(id_key)
    if ctx.file.id_key or ctx.file.id_signature:
        signed = ctx.actions.declare_file(ctx.label.name + ".igvm")
        args.add("--output", signed)
        outputs.append(signed)
        groups["igvm"] = depset([signed])
    elif ctx.file.author_key or ctx.file.author_signature:
        fail("%s: an author signs the ID key: give id_key, or id_signature and id_public_key" % ctx.label)
    for flag in ["family_id", "image_id"]:
        if getattr(ctx.attr, flag):
            args.add("--" + flag.replace("_", "-"), getattr(ctx.attr, flag))
    args.add("--guest-svn", str(ctx.attr.guest_svn))
    if ctx.attr.check_kvm:
        args.add("--check-kvm")
    if ctx.attr.replace:
        args.add("--replace")
    args.add(ctx.file.igvm)
    run_cvm(
        ctx,
        noun = "igvm",
        verb = "sign",
        progress = "Signing",
        inputs = inputs,
        outputs = outputs,
        arguments = args,
        bundle = ctx.file._signer,
    )
    return [DefaultInfo(files = depset(outputs)), OutputGroupInfo(**groups)]

def _file(doc):
    return attr.label(allow_single_file = True, doc = doc)

igvm_sign = rule(
    implementation = _igvm_sign_impl,
    attrs = CVM_ATTRS | _MEASURE_ATTRS | {
        "author_key": _file("Private P-384 key in PEM that signs the ID key."),
        "author_public_key": _file("The key of `author_signature`."),
        "author_signature": _file("Instead of `author_key`: a signature of `<name>.id-key`."),
        "check_kvm": attr.bool(doc = "Fail for a file that QEMU with KVM measures in another way."),
        "family_id": attr.string(doc = "32 hex digits; zeros when absent."),
        "guest_svn": attr.int(doc = "The guest's security version."),
        "id_key": _file("Private P-384 key in PEM that signs the ID block. Bazel may cache and upload it: for tests."),
        "id_public_key": _file("The key of `id_signature`."),
        "id_signature": _file("Instead of `id_key`: a signature of `<name>.id-block`, 96 bytes or DER."),
        "image_id": attr.string(doc = "32 hex digits; zeros when absent."),
        "replace": attr.bool(doc = "Take the ID blocks out that the file has."),
        "_signer": attr.label(default = "//tools:cvm-sign.mjs", allow_single_file = True, cfg = "exec"),
    },
    toolchains = CVM_TOOLCHAINS,
    doc = """Puts a signed SEV-SNP ID block into an IGVM file.

Makes `<name>.id-block`, the 96 bytes that the ID key signs; with an ID key or its public half `<name>.id-key`, the 1028
bytes that an author signs; with a key or a signature `<name>.igvm` (output group `igvm`). A key that matters stays out of the build: build
without keys, sign `<name>.id-block` elsewhere with SHA-384, and give signature and public key. Signatures by `id_key` are
deterministic (RFC 6979).""",
)
