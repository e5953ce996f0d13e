import type { ByteSource } from '../bytes/source.ts';
import type { Layout } from './layouts.ts';
import type { Comport, Hypervisor, Platform } from './recipe.ts';

/** The files that an image is made of, already through objcopy. */
export interface ImageParts {
  /** `svsm`: the ELF file of the SVSM kernel. */
  readonly kernel: ByteSource;
  /** `stage2` or `bldr`: a flat binary. Layouts of generation bldr may do without. */
  readonly loader: ByteSource | undefined;
  /** `tdx-stage1`: a flat binary that ends at 4 GiB. */
  readonly stage1: ByteSource | undefined;
  /** A packit archive. */
  readonly fs: ByteSource | undefined;
  /** OVMF for qemu and vanadium, an IGVM file for hyper-v. */
  readonly firmware: ByteSource | undefined;
}

export interface ImageOptions {
  readonly layout: Layout;
  readonly hypervisor: Hypervisor;
  readonly platforms: readonly Platform[];
  /** GUEST_POLICY of SEV-SNP. */
  readonly policy: bigint;
  /** The SVSM's console. */
  readonly comport: Comport;
  /** Whether the VMSA stays without a vTOM. */
  readonly noVtom: boolean;
}

/** Bits of the compatibility mask. */
export const MASKS: Readonly<Record<Platform, number>> = { snp: 0x1, native: 0x2, tdp: 0x4, vsm: 0x10 };

/** The bits of all chosen platforms. */
export function maskOfPlatforms(platforms: readonly Platform[]): number {
  return platforms.reduce((mask, platform) => mask | MASKS[platform], 0);
}

/** I/O addresses of a PC's serial ports. */
export const SERIAL_PORTS: Readonly<Record<Comport, number>> = {
  '1': 0x3f8,
  '2': 0x2f8,
  '3': 0x3e8,
  '4': 0x2e8,
};

/** Below the lowest place that an SNP C-bit can have. */
export const HYPERV_VTOM = 2 ** 46;

export const FOUR_GIB = 2 ** 32;
