"""⑦ Update images and disk images."""

load("//rules:providers.bzl", "CvmUpdateImageInfo", "cvm_update_image_info")
load(":packing.bzl", "PACKING_ATTRS", "pack_validated")
load(":run_cvm.bzl", "CVM_TOOLCHAINS")

def _cvm_update_image_impl(ctx):
    packed = pack_validated(
        ctx,
        verb = "update-image",
        progress = "Validating and packing",
        arguments = ["--version-file", ctx.file.version_file],
        inputs = [ctx.file.version_file],
    )
    return [
        DefaultInfo(files = depset([packed.image])),
        OutputGroupInfo(verdict = depset([packed.verdict])),
        cvm_update_image_info(image = packed.image, network = ctx.attr.network),
    ]

cvm_update_image = rule(
    implementation = _cvm_update_image_impl,
    attrs = dict(
        PACKING_ATTRS,
        version_file = attr.label(mandatory = True, allow_single_file = True, doc = "The version of this build, one line."),
    ),
    provides = [CvmUpdateImageInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Validates two partitions and packs them into an update image, in one process.

Makes a file called `<name>`; the output group `verdict` says what was checked. When the boot partition holds a
proposal: verifies its certificate, measures the partition's own firmware, kernel, initrd and command lines,
recomputes the root hash from the root partition's bytes, and refuses what the proposal does not bless. Otherwise
the command lines must name the recomputed root hash. There is no way around these checks.""",
)

def _cvm_disk_image_impl(ctx):
    arguments = []
    for image, name in ctx.attr.partitions.items():
        files = image.files.to_list()
        if len(files) != 1:
            fail("%s: %s must be one file, a raw partition image" % (ctx.label, image.label))
        arguments += ["--partition", "%s=%s" % (name, files[0].path)]
    packed = pack_validated(
        ctx,
        verb = "disk-image",
        progress = "Validating and writing the disk",
        arguments = arguments,
        inputs = ctx.files.partitions,
    )
    return [
        DefaultInfo(files = depset([packed.image])),
        OutputGroupInfo(verdict = depset([packed.verdict])),
    ]

cvm_disk_image = rule(
    implementation = _cvm_disk_image_impl,
    attrs = dict(
        PACKING_ATTRS,
        partitions = attr.label_keyed_string_dict(
            allow_files = True,
            doc = "Raw images of further partitions and their names: `esp`, `grub`, `config`. What is left out stays zero.",
        ),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Validates two partitions and puts them onto a GuestOS disk, in one process.

Makes a file called `<name>`: the zstd of a sparse tar with `disk.img`, 50 GiB with the nine partitions of GuestOS, slot A
filled. Refuses whatever `cvm_update_image` refuses, judged by what stands on the disk; the output group `verdict` says what
was checked.""",
)
