"""VMGS files: the guest state that a paravisor finds when a VM starts for the first time."""

load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")
load(":runfiles.bzl", "runfiles_path")

# The fields of the marker, and the flags that set them.
_MARKER_FLAGS = {
    "akcert_attrs": "--akcert-attrs",
    "akcert_size": "--akcert-size",
    "provisioner": "--provisioner",
    "provisioner_version": "--provisioner-version",
    "reason": "--reason",
    "tpm_nvram_size": "--tpm-nvram-size",
    "tpm_version": "--tpm-version",
}

def _marker_args(ctx, args):
    """Adds the marker's flags; answers the files that they name."""
    for field, value in ctx.attr.marker.items():
        if field not in _MARKER_FLAGS:
            fail("%s: marker has no field %r; its fields are %s" %
                 (ctx.label, field, ", ".join(_MARKER_FLAGS.keys())))
        args.add(_MARKER_FLAGS[field], value)
    if ctx.attr.marker:
        args.add("--marker")
    version = ctx.file.provisioner_version_file
    if version == None:
        return []
    if not ctx.attr.marker or "provisioner_version" in ctx.attr.marker:
        fail("%s: provisioner_version_file is a field of a marker, and given once" % ctx.label)
    args.add("--provisioner-version-file", version)
    return [version]

def _vmgs_image_impl(ctx):
    if ctx.file.encryption_key and not ctx.file.seed:
        fail("%s: encryption_key needs seed: without one every build would draw other keys and make other bytes" % ctx.label)
    out = ctx.actions.declare_file(ctx.label.name)
    args = ctx.actions.args()
    args.add(out)
    args.add("--file-size", ctx.attr.store_bytes)
    inputs = _marker_args(ctx, args)
    for target, ids in ctx.attr.files.items():
        files = target[DefaultInfo].files.to_list()
        if len(files) != 1:
            fail("%s: files takes single files, %s has %d" % (ctx.label, target.label, len(files)))
        inputs = inputs + files
        for id in ids.split(","):
            args.add("--file", files[0], format = id.replace("%", "%%") + "=%s")
    if ctx.file.encryption_key:
        args.add("--key-path", ctx.file.encryption_key)
        args.add("--encryption-algorithm", "AES_GCM")
        inputs = inputs + [ctx.file.encryption_key]
    if ctx.file.seed:
        args.add("--seed-path", ctx.file.seed)
        inputs = inputs + [ctx.file.seed]
    if ctx.attr.vhd_id:
        args.add("--vhd-id", ctx.attr.vhd_id)
    if ctx.attr.raw:
        args.add("--raw")
    run_cvm(
        ctx,
        noun = "vmgs",
        verb = "create",
        progress = "Making the VMGS file",
        inputs = inputs,
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

_vmgs_image = rule(
    implementation = _vmgs_image_impl,
    attrs = dict(
        CVM_ATTRS,
        encryption_key = attr.label(
            allow_single_file = True,
            doc = "The datastore key, 32 raw bytes: `files` are then encrypted, all but 18, the marker. It becomes an action's input: what the build's cache may keep.",
        ),
        files = attr.label_keyed_string_dict(
            allow_files = True,
            doc = "What to put into the store: each file with its id, a number or a name; several ids separated by commas.",
        ),
        marker = attr.string_dict(
            doc = "Fields of the provisioning marker; those not given have the defaults of `cvm vmgs create`. No marker when empty.",
        ),
        provisioner_version_file = attr.label(
            allow_single_file = True,
            doc = "The marker's provisioner_version: a text file of one line.",
        ),
        raw = attr.bool(doc = "The store alone, without the VHD footer."),
        seed = attr.label(
            allow_single_file = True,
            doc = "What keys and nonces are derived from: a file of 32 bytes or more, as secret as the key.",
        ),
        store_bytes = attr.string(mandatory = True, doc = "Bytes of the store, without the VHD footer."),
        vhd_id = attr.string(doc = "The VHD's unique id; derived from the content when empty."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Makes a VMGS file: formatted, with its provisioning marker, files, and the VHD footer.

Makes a file called `<name>`. The same inputs make the same bytes. The marker is written first, as OpenHCL does, and
always plain; with `encryption_key` the files are encrypted, and `seed` is required.""",
)

def vmgs_image(name, size = 4194304, **kwargs):
    """Makes a VMGS file called `<name>`: formatted, with its provisioning marker, files, and the VHD footer.

    A macro because Bazel keeps the attribute name `size` for tests.

    Args:
      name: the file's name
      size: bytes of the store, without the VHD footer
      **kwargs: `files` (file to id or name), `marker` (fields), `provisioner_version_file`, `encryption_key`, `seed`,
        `vhd_id`, `raw`, and what every rule has
    """
    _vmgs_image(
        name = name,
        store_bytes = str(size),
        **kwargs
    )

_LAUNCHER = """\
#!/bin/sh
set -eu
exec "$TEST_SRCDIR/{node}" "$TEST_SRCDIR/{cvm}" vmgs verify "$TEST_SRCDIR/{image}" {flags}
"""

def _vmgs_verify_test_impl(ctx):
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    key = ctx.file.encryption_key
    flags = []
    if key:
        flags.append('--key-path "$TEST_SRCDIR/%s"' % runfiles_path(ctx, key))
    if ctx.attr.strict:
        flags.append("--strict")
    if ctx.attr.raw:
        flags.append("--raw")
    launcher = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(launcher, _LAUNCHER.format(
        cvm = runfiles_path(ctx, ctx.file._cvm),
        flags = " ".join(flags),
        image = runfiles_path(ctx, ctx.file.image),
        node = runfiles_path(ctx, node.binary),
    ), is_executable = True)
    return [DefaultInfo(
        executable = launcher,
        runfiles = ctx.runfiles([node.binary, ctx.file._cvm, ctx.file.image] + ([key] if key else [])),
    )]

vmgs_verify_test = rule(
    implementation = _vmgs_verify_test_impl,
    attrs = {
        "encryption_key": attr.label(allow_single_file = True, doc = "With it tables and encrypted files are checked, too."),
        "image": attr.label(mandatory = True, allow_single_file = True, doc = "The VMGS file."),
        "raw": attr.bool(doc = "The image is a store without the VHD footer."),
        "strict": attr.bool(default = True, doc = "Warnings count as errors."),
        "_cvm": attr.label(default = "//tools:cvm-build.mjs", allow_single_file = True),
    },
    test = True,
    toolchains = [NODE_TOOLCHAIN_TYPE],
    doc = "Passes when `cvm vmgs verify` finds nothing wrong with a VMGS file; its log tells what OpenHCL would do with it.",
)
