import {
  guestPolicy,
  platformMask,
  requireKnownHeaders,
  vmsaTest,
  type IgvmmeasureVersion,
} from './measured-file.ts';
import type { MeasuredRun } from './measured-runs.ts';
import { measureSev, measureSnp, type DigestWithRuns, type SnpOptions } from './measure-snp.ts';
import { measureTdx } from './measure-tdx.ts';
import { measureVbs } from './measure-vbs.ts';
import { headersOfKind, type IgvmFile, type PlatformName } from './model.ts';

/** Platforms with a launch digest, as the command line names them. */
export const MEASURED_PLATFORMS = {
  sev: 'SEV',
  'sev-es': 'SEV_ES',
  'sev-snp': 'SEV_SNP',
  tdx: 'TDX',
  vbs: 'VSM_ISOLATION',
} as const satisfies Readonly<Record<string, PlatformName>>;
export type MeasuredPlatform = keyof typeof MEASURED_PLATFORMS;

/** Lengths of the digests: SHA-384, or SHA-256. */
export const DIGEST_BYTES = {
  sev: 32,
  'sev-es': 32,
  'sev-snp': 48,
  tdx: 48,
  vbs: 32,
} as const satisfies Readonly<Record<MeasuredPlatform, number>>;

export interface MeasureOptions {
  readonly platform: MeasuredPlatform;
  /** SEV-SNP only: see {@link measureSnp}. */
  readonly nativeZero?: boolean;
  readonly compat?: IgvmmeasureVersion | undefined;
  /** SEV-SNP only: see {@link SnpOptions}. */
  readonly pageSha384?: SnpOptions['pageSha384'];
}

export interface IgvmMeasurement {
  readonly platform: MeasuredPlatform;
  readonly algorithm: 'SHA-384' | 'SHA-256';
  /** MEASUREMENT of an SNP report, MRTD of a TD, boot digest of a VBS guest: 48 bytes, or 32 of SHA-256. */
  readonly digest: Uint8Array;
  readonly runs: readonly MeasuredRun[];
  /** Of SEV-SNP: what the guest owner's policy must be. */
  readonly policy: bigint | undefined;
  readonly vmsaCount: number;
  /** Digests that the file itself claims: ID blocks of SEV-SNP, the VBS measurement. */
  readonly claimed: readonly Uint8Array[];
}

/**
 * Measures a file for one platform.
 * @throws CvmError mismatch IGVM_PLATFORM_MISSING; format IGVM_UNKNOWN_HEADER | IGVM_LARGE_PAGE |
 *   IGVM_TOO_MANY_PAGES | IGVM_VBS_DATA_TYPE
 */
export function measureIgvm(file: IgvmFile, options: MeasureOptions): IgvmMeasurement {
  const { platform } = options;
  const mask = platformMask(file, MEASURED_PLATFORMS[platform]);
  requireKnownHeaders(file);
  const isVmsa = vmsaTest(file);
  const { digest, runs } = measureFor(file, mask, options);
  return {
    platform,
    algorithm: digest.length === 48 ? 'SHA-384' : 'SHA-256',
    digest,
    runs,
    policy: guestPolicy(file, mask),
    vmsaCount: file.headers.filter((header) => isVmsa(header) && (header.mask & mask) !== 0).length,
    claimed: claimedDigests(file, mask, options),
  };
}

function measureFor(file: IgvmFile, mask: number, options: MeasureOptions): DigestWithRuns {
  switch (options.platform) {
    case 'sev':
    case 'sev-es':
      return measureSev(file, mask, options);
    case 'sev-snp':
      return measureSnp(file, mask, options);
    case 'tdx':
      return measureTdx(file, mask);
    case 'vbs':
      return measureVbs(file, mask);
  }
}

/** boot_digest_algo of a VBS measurement that is SHA-256. */
const VBS_SHA256 = 1;

function claimedDigests(file: IgvmFile, mask: number, { platform, compat }: MeasureOptions): Uint8Array[] {
  if (platform === 'sev-snp') {
    const blocks = headersOfKind(file, 'snp-id-block').filter((block) => (block.mask & mask) !== 0);
    // igvmmeasure keeps the last one it meets.
    return (compat === undefined ? blocks : blocks.slice(-1)).map(({ ld }) => ld);
  }
  if (platform !== 'vbs') return [];
  return headersOfKind(file, 'vbs-measurement')
    .filter((header) => (header.mask & mask) !== 0 && header.bootDigestAlgorithm === VBS_SHA256)
    .map(({ digest }) => digest.slice(0, 32));
}
