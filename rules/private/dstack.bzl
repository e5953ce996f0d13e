"""dstack image bundles."""

load("//rules:providers.bzl", "DstackBundleInfo", "dstack_bundle_info")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _dstack_image_bundle_impl(ctx):
    name = ctx.label.name
    folder = ctx.actions.declare_directory(name)
    tarball = ctx.actions.declare_file(name + ".tar.gz")
    verifier_archive = ctx.actions.declare_file(name + ".mr.tar.gz")
    verifier_folder = ctx.actions.declare_directory(name + ".mr")
    digest = ctx.actions.declare_file(name + ".digest.txt")

    inputs = [ctx.file.ovmf, ctx.file.kernel, ctx.file.initrd, ctx.file.rootfs]
    args = ctx.actions.args()
    args.add("--ovmf", ctx.file.ovmf)
    args.add("--kernel", ctx.file.kernel)
    args.add("--initrd", ctx.file.initrd)
    args.add("--rootfs", ctx.file.rootfs)
    if ctx.file.ovmf_sev:
        inputs.append(ctx.file.ovmf_sev)
        args.add("--ovmf-sev", ctx.file.ovmf_sev)
    if bool(ctx.attr.rootfs_hash) == bool(ctx.file.rootfs_hash_file):
        fail("%s: give either rootfs_hash or rootfs_hash_file" % ctx.label)
    if ctx.file.rootfs_hash_file:
        inputs.append(ctx.file.rootfs_hash_file)
        args.add("--rootfs-hash-file", ctx.file.rootfs_hash_file)
    else:
        args.add("--rootfs-hash", ctx.attr.rootfs_hash)
    args.add("--rootfs-size", ctx.attr.rootfs_size_bytes)
    if ctx.attr.cmdline:
        args.add("--cmdline", ctx.attr.cmdline)
    args.add("--image-version", ctx.attr.version)
    args.add("--ovmf-variant", ctx.attr.ovmf_variant)
    if ctx.attr.git_revision:
        args.add("--git-revision", ctx.attr.git_revision)
    if ctx.attr.is_dev:
        args.add("--dev")
    if not ctx.attr.shared_ro:
        args.add("--shared-rw")
    args.add("--manifest", ctx.attr.manifest)
    if ctx.attr.bundle_name:
        args.add("--name", ctx.attr.bundle_name)
    args.add("--folder", folder.path)
    args.add("--tarball", tarball)
    args.add("--mr-tarball", verifier_archive)
    args.add("--mr-folder", verifier_folder.path)
    args.add("--digest", digest)
    run_cvm(
        ctx,
        noun = "bundle",
        verb = "create",
        progress = "Bundling the dstack image",
        inputs = inputs,
        outputs = [folder, tarball, verifier_archive, verifier_folder, digest],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([folder])),
        OutputGroupInfo(
            digest = depset([digest]),
            folder = depset([folder]),
            tarball = depset([tarball]),
            verifier_archive = depset([verifier_folder]),
        ),
        dstack_bundle_info(
            folder = folder,
            tarball = tarball,
            verifier_archive = verifier_archive,
            digest = digest,
        ),
    ]

dstack_image_bundle = rule(
    implementation = _dstack_image_bundle_impl,
    attrs = dict(
        CVM_ATTRS,
        bundle_name = attr.string(doc = "The folder in the archive; dstack-<version> or dstack-dev-<version> when empty."),
        cmdline = attr.string(doc = "The kernel command line before the rootfs tokens; dstack's own when empty."),
        git_revision = attr.string(doc = "The commit that the image is built from, 40 hex digits; <unknown> when empty."),
        initrd = attr.label(mandatory = True, allow_single_file = True, doc = "Becomes initramfs.cpio.gz."),
        is_dev = attr.bool(doc = "A development image."),
        kernel = attr.label(mandatory = True, allow_single_file = True, doc = "Becomes bzImage."),
        manifest = attr.string(
            default = "cbor",
            values = ["cbor", "four"],
            doc = "cbor: sha256sum.txt lists the measurement documents; four: the four files of releases up to 0.5.x.",
        ),
        ovmf = attr.label(mandatory = True, allow_single_file = True, doc = "The TDX firmware. Becomes ovmf.fd."),
        ovmf_sev = attr.label(
            allow_single_file = True,
            doc = "The SEV firmware. Becomes ovmf-sev.fd; without it metadata.json has no bios-sev.",
        ),
        ovmf_variant = attr.string(
            mandatory = True,
            values = ["pre202505", "stable202505"],
            doc = "The event layout of the TDX firmware: pre202505 up to edk2-stable202502, stable202505 after it.",
        ),
        rootfs = attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "A disk image with the dm-verity root file system. Becomes rootfs.img.parted.verity.",
        ),
        rootfs_hash = attr.string(doc = "Its dm-verity root hash, 64 hex digits. Or else rootfs_hash_file."),
        rootfs_hash_file = attr.label(allow_single_file = True, doc = "A file with the root hash, as a rule made it."),
        rootfs_size_bytes = attr.string(mandatory = True, doc = "Where the data ends and the hash tree begins."),
        shared_ro = attr.bool(default = True, doc = "Whether the VMM shares its folder read-only."),
        version = attr.string(mandatory = True, doc = "X.Y.Z or X.Y.Z.suffix."),
    ),
    provides = [DstackBundleInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Makes a dstack image bundle, for Intel TDX and, with `ovmf_sev`, for AMD SEV-SNP.

Makes the folder `<name>` with metadata.json, sha256sum.txt and digest.txt as dstack's own build writes them. In output
groups: `tarball` (`<name>.tar.gz` for hosts), `verifier_archive` (a folder with mr_<digest>.tar.gz), `digest`
(`<name>.digest.txt`: os_image_hash). Promises equal bytes for equal inputs.""",
)

def _dstack_launch_measurement_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    explain = ctx.actions.declare_file(ctx.label.name + ".explain.json")
    bundle = ctx.attr.bundle[DstackBundleInfo].verifier_archive
    args = ctx.actions.args()
    args.add(bundle)
    args.add("--platform", "sev-snp")
    args.add("--vcpus", str(ctx.attr.vcpus))
    args.add("--vcpu-type", ctx.attr.vcpu_type)
    args.add("--guest-features", ctx.attr.guest_features)
    args.add("--output", out)
    args.add("--explain", explain)
    run_cvm(
        ctx,
        noun = "bundle",
        verb = "measure",
        progress = "Measuring the SEV-SNP launch of",
        inputs = [bundle],
        outputs = [out, explain],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([out])),
        OutputGroupInfo(explain = depset([explain])),
    ]

dstack_launch_measurement = rule(
    implementation = _dstack_launch_measurement_impl,
    attrs = dict(
        CVM_ATTRS,
        bundle = attr.label(mandatory = True, providers = [DstackBundleInfo], doc = "What is measured."),
        guest_features = attr.string(default = "1", doc = "SEV_FEATURES; dstack starts guests with 1."),
        vcpu_type = attr.string(default = "EPYC-v4", doc = "QEMU's CPU model."),
        vcpus = attr.int(mandatory = True, doc = "vCPUs at launch."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Computes the SEV-SNP launch digest of a bundle.

Makes a file called `<name>`: 96 hex digits and a line feed. In the output group `explain`: every step as JSON.""",
)
