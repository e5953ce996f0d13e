import { usageError } from '../errors.ts';
import type { PageAddOrder } from './mrtd.ts';

/** Generations of QEMU whose ACPI tables differ: 8 to 9.1, 9.2, 10, 11.0, from 11.1 on. */
export const ACPI_PROFILES = ['A', 'B', 'C', 'D', 'E'] as const;
export type AcpiProfile = (typeof ACPI_PROFILES)[number];

/** What of a guest depends on the version of QEMU alone. */
export interface QemuProfile {
  readonly version: string;
  readonly acpi: AcpiProfile;
  readonly pageAddOrder: PageAddOrder;
  /** Whether the guest has the old interrupt controllers. */
  readonly pic: boolean;
  /** Whether QEMU rewrites the kernel's setup header before the firmware sees it. */
  readonly patchesKernelHeader: boolean;
}

/** What dstack assumes of a VmConfig that does not say. */
export const DEFAULT_QEMU_VERSION = '9.1.0';

/**
 * What a QEMU version means.
 * @throws CvmError usage QEMU_VERSION | QEMU_UNSUPPORTED
 */
export function qemuProfile(text: string = DEFAULT_QEMU_VERSION): QemuProfile {
  const [, major = Number.NaN, minor = Number.NaN] =
    /^([0-9]{1,6})\.([0-9]{1,6})\.([0-9]{1,6})$/.exec(text)?.map(Number) ?? [];
  if (Number.isNaN(major)) {
    throw usageError('QEMU_VERSION', 'the QEMU version is not three numbers', {
      facts: [['found', text]],
      mend: 'write it as 8.2.2: what qemu-system-x86_64 --version prints on the host',
    });
  }
  if (major < 8) {
    throw usageError('QEMU_UNSUPPORTED', `Unsupported QEMU version: ${text}`, {
      facts: [['oldest', '8.0.0']],
      mend: 'TDX guests of dstack run under QEMU 8 and newer',
    });
  }
  const is = (least: readonly [number, number]): boolean =>
    major > least[0] || (major === least[0] && minor >= least[1]);
  const acpi = is([11, 1]) ? 'E' : is([11, 0]) ? 'D' : is([10, 0]) ? 'C' : is([9, 2]) ? 'B' : 'A';
  return {
    version: text,
    acpi,
    pageAddOrder: major === 8 ? 'two-pass' : 'single-pass',
    pic: major === 8,
    patchesKernelHeader: !is([10, 2]),
  };
}
