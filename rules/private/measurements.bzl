"""⑤ Launch measurements."""

load("//rules:providers.bzl", "CvmMeasurementsInfo", "cvm_measurements_info")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_launch_measurements_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    args = ctx.actions.args()
    args.add("--boot", ctx.file.boot)
    if ctx.attr.image_size_bytes:
        args.add("--image-size", ctx.attr.image_size_bytes)
    args.add_joined("--vcpus", [str(count) for count in ctx.attr.vcpus], join_with = ",")
    args.add_joined("--vcpu-types", ctx.attr.vcpu_types, join_with = ",")
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "measure",
        progress = "Measuring the launch of",
        inputs = [ctx.file.boot],
        outputs = [out],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([out])),
        cvm_measurements_info(measurements = out),
    ]

cvm_launch_measurements = rule(
    implementation = _cvm_launch_measurements_impl,
    attrs = dict(
        CVM_ATTRS,
        boot = attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "A boot partition (partition-boot.tzst) or an update image: what is measured is read from it.",
        ),
        image_size_bytes = attr.string(doc = "The size that `boot` must have, when a lock says so."),
        vcpu_types = attr.string_list(
            default = ["EPYC-v4", "EPYC-Genoa", "EPYC-Turin"],
            doc = "QEMU CPU models, in the order of the output.",
        ),
        vcpus = attr.int_list(default = [64], doc = "vCPU counts at launch."),
    ),
    provides = [CvmMeasurementsInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Computes the SEV-SNP launch measurements of a boot partition.

Makes a file called `<name>` in the form of launch-measurements.json: CPU types × vCPU counts × both TEE command
lines. Reads firmware, kernel, initrd and command lines from the partition that was built, never from what went in.""",
)
