import { usageError } from '../errors.ts';
import type { AcpiSource, TdxGuest } from '../tdx/image.ts';
import { qemuProfile } from '../tdx/qemu-profile.ts';
import type { OvmfVariant } from './ovmf-variant.ts';
import type { VmConfig } from './vm-config.ts';

const SHARE_MODES: readonly string[] = ['', '9p', 'vvfat', 'vhd'];

/**
 * The VM that a VmConfig describes, with the defaults of its QEMU version.
 *
 * @throws CvmError usage SWTPM | SHARE_MODE | QEMU_VERSION | QEMU_UNSUPPORTED
 */
export function tdxGuest(
  config: VmConfig,
  variant: OvmfVariant,
  kernelHeaderNormalized: boolean,
  acpi: AcpiSource = { kind: 'generate' },
): TdxGuest {
  if (config.swtpm) {
    throw usageError('SWTPM', 'swtpm measurement is not supported', {
      mend: 'start the VM without swtpm',
    });
  }
  if (!SHARE_MODES.includes(config.hostShareMode)) {
    throw usageError('SHARE_MODE', `Invalid shared disk mode: ${config.hostShareMode}`, {
      facts: [['known', '9p, vvfat, vhd']],
    });
  }
  const qemu = qemuProfile(config.qemuVersion);
  const twoPass = config.qemuSinglePassAddPages ?? qemu.pageAddOrder === 'two-pass';
  return {
    shape: {
      profile: qemu.acpi,
      pic: config.pic ?? qemu.pic,
      cpuCount: config.cpuCount,
      memoryBytes: config.memorySize,
      pciHole64Bytes: config.pciHole64Size,
      hugepages: config.hugepages,
      numGpus: config.numGpus,
      numNvswitches: config.numNvswitches,
      numNics: config.numNics,
      numVerityVolumes: config.numVerityVolumes,
      hotplugOff: config.hotplugOff,
    },
    pageAddOrder: twoPass ? 'two-pass' : 'single-pass',
    patchesKernelHeader: qemu.patchesKernelHeader && !kernelHeaderNormalized,
    layout: variant === 'stable202505' ? 17 : 13,
    acpi,
  };
}
