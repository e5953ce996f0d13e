"""Intel TDX registers of dstack image bundles."""

load("//rules:providers.bzl", "DstackBundleInfo", "TdxMeasurementsInfo", "tdx_measurements_info")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _tdx_measurements_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".json")
    explain = ctx.actions.declare_file(ctx.label.name + ".explain.json")

    # The archive: in a sandbox, a folder is made of links that lead out of it, which a bundle may not have.
    bundle = ctx.attr.bundle[DstackBundleInfo].verifier_archive
    inputs = [bundle]
    args = ctx.actions.args()
    args.add("--bundle", bundle)
    if ctx.file.vm_config:
        if ctx.attr.cpus or ctx.attr.memory or ctx.attr.qemu_version:
            fail("%s: vm_config says what cpus, memory and qemu_version say" % ctx.label)
        inputs.append(ctx.file.vm_config)
        args.add("--vm-config", ctx.file.vm_config)
    else:
        if not ctx.attr.cpus or not ctx.attr.memory or not ctx.attr.qemu_version:
            fail("%s: give vm_config, or cpus, memory and qemu_version" % ctx.label)
        args.add("--cpus", str(ctx.attr.cpus))
        args.add("--memory", ctx.attr.memory)
        args.add("--qemu-version", ctx.attr.qemu_version)
    if ctx.file.acpi_tables:
        inputs.append(ctx.file.acpi_tables)
        args.add("--acpi-tables", ctx.file.acpi_tables)
    args.add("--output", out)
    args.add("--explain", explain)
    run_cvm(
        ctx,
        noun = "tdx",
        verb = "measure",
        progress = "Computing the TDX registers of",
        inputs = inputs,
        outputs = [out, explain],
        arguments = args,
    )
    return [
        DefaultInfo(files = depset([out])),
        OutputGroupInfo(explain = depset([explain])),
        tdx_measurements_info(registers = out, explain = explain),
    ]

tdx_measurements = rule(
    implementation = _tdx_measurements_impl,
    attrs = dict(
        CVM_ATTRS,
        acpi_tables = attr.label(
            allow_single_file = True,
            doc = "A captured etc/acpi/tables, for a VM whose tables cannot be generated.",
        ),
        bundle = attr.label(mandatory = True, providers = [DstackBundleInfo], doc = "What is measured."),
        cpus = attr.int(doc = "vCPUs."),
        memory = attr.string(doc = "Memory: 2G, 4096M."),
        qemu_version = attr.string(doc = "QEMU on the host, X.Y.Z: decides MRTD and RTMR0."),
        vm_config = attr.label(allow_single_file = [".json"], doc = "A VmConfig, instead of the three."),
    ),
    provides = [TdxMeasurementsInfo],
    toolchains = CVM_TOOLCHAINS,
    doc = """Computes MRTD and RTMR0 to RTMR2 of a bundle in a VM.

Makes `<name>.json`: {mrtd, rtmr0, rtmr1, rtmr2}, each 96 hex digits, or null where it cannot be predicted. In the output
group `explain`: every event, its digest and what went into it.""",
)

def _tdx_measurement_test_impl(ctx):
    registers = ctx.attr.measurements[TdxMeasurementsInfo].registers
    wanted = {name: getattr(ctx.attr, name) for name in ["mrtd", "rtmr0", "rtmr1", "rtmr2"] if getattr(ctx.attr, name)}
    if not wanted:
        fail("%s: give at least one register" % ctx.label)
    verdict = ctx.actions.declare_file(ctx.label.name + ".verdict.json")
    args = ctx.actions.args()
    args.add("--registers", registers)
    for name, value in wanted.items():
        args.add("--" + name, value)
    args.add("--output", verdict)

    # The action writes its verdict and does not fail: a test fails when it runs.
    run_cvm(
        ctx,
        noun = "tdx",
        verb = "check",
        progress = "Comparing the TDX registers of",
        inputs = [registers],
        outputs = [verdict],
        arguments = args,
    )
    script = ctx.actions.declare_file(ctx.label.name + ".sh")
    ctx.actions.write(
        script,
        """#!/bin/sh
# Nothing but the shell: a test needs no program of the machine.
code=1
while IFS= read -r line; do
  echo "$line"
  if [ "$line" = '  "ok": true,' ]; then code=0; fi
done < '{verdict}'
exit $code
""".format(verdict = verdict.short_path),
        is_executable = True,
    )
    return [DefaultInfo(executable = script, runfiles = ctx.runfiles([verdict]))]

tdx_measurement_test = rule(
    implementation = _tdx_measurement_test_impl,
    attrs = dict(
        CVM_ATTRS,
        measurements = attr.label(mandatory = True, providers = [TdxMeasurementsInfo], doc = "What was computed."),
        mrtd = attr.string(doc = "What MRTD must be, 96 hex digits."),
        rtmr0 = attr.string(doc = "What RTMR0 must be."),
        rtmr1 = attr.string(doc = "What RTMR1 must be."),
        rtmr2 = attr.string(doc = "What RTMR2 must be."),
    ),
    test = True,
    toolchains = CVM_TOOLCHAINS,
    doc = "Fails when a register is not what it must be: pins the registers of a release.",
)
