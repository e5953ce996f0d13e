import { formatError, mismatchError, type CvmError } from '../errors.ts';
import { mayBeIgnored, typeOfHeader } from './header-types.ts';
import {
  headersOfKind,
  IGVM_PAGE_BYTES,
  LARGE_PAGE_BYTES,
  PAGE_FLAGS,
  platformTypeName,
  PLATFORM_TYPES,
  type IgvmFile,
  type IgvmHeader,
  type PageData,
  type PlatformName,
  type VpContext,
} from './model.ts';

/**
 * Which igvmmeasure is imitated, defects and all: `igvmmeasure` is coconut-svsm/svsm f4bc4bcd (2026-08),
 * `igvmmeasure-2025-05` is 76aede89, the last one for stage2.
 */
export const IGVMMEASURE_VERSIONS = ['igvmmeasure', 'igvmmeasure-2025-05'] as const;
export type IgvmmeasureVersion = (typeof IGVMMEASURE_VERSIONS)[number];

/**
 * The mask bit of a platform.
 * @throws CvmError mismatch IGVM_PLATFORM_MISSING
 */
export function platformMask(file: IgvmFile, platform: PlatformName): number {
  const platforms = headersOfKind(file, 'supported-platform');
  const found = platforms.find(({ platformType }) => platformType === PLATFORM_TYPES[platform]);
  if (found !== undefined) return found.mask;
  throw mismatchError('IGVM_PLATFORM_MISSING', 'the IGVM file does not support this platform', {
    facts: [
      ['asked for', platform],
      ['in the file', platforms.map(({ platformType }) => platformTypeName(platformType)).join(', ')],
    ],
    mend: 'name a platform of the file with --platform, or build the file for this one too',
  });
}

export function hasPlatform(file: IgvmFile, platform: PlatformName): boolean {
  return headersOfKind(file, 'supported-platform').some(
    ({ platformType }) => platformType === PLATFORM_TYPES[platform],
  );
}

/** The policy that applies to a platform, undefined when there is none. */
export function guestPolicy(file: IgvmFile, mask: number): bigint | undefined {
  return headersOfKind(file, 'guest-policy').find((header) => (header.mask & mask) !== 0)?.policy;
}

/** Which start states of a file are VMSA pages: those of SEV-SNP and SEV-ES. */
export function vmsaTest(file: IgvmFile): (header: IgvmHeader) => header is VpContext {
  const masks = new Set(
    headersOfKind(file, 'supported-platform')
      .filter(
        ({ platformType }) =>
          platformType === PLATFORM_TYPES.SEV_SNP || platformType === PLATFORM_TYPES.SEV_ES,
      )
      .map(({ mask }) => mask),
  );
  return (header): header is VpContext => header.kind === 'vp-context' && masks.has(header.mask);
}

/** Sizes of the parameter areas by index. */
export function parameterAreaSizes(file: IgvmFile): ReadonlyMap<number, number> {
  return new Map(headersOfKind(file, 'parameter-area').map(({ index, sizeBytes }) => [index, sizeBytes]));
}

/**
 * A header that nobody here knows may well be measured: no digest is claimed for a file that has one, unless the header
 * itself says that it may be ignored.
 * @throws CvmError format IGVM_UNKNOWN_HEADER
 */
export function requireKnownHeaders(file: IgvmFile): void {
  const at = file.headers.findIndex((header) => header.kind === 'unknown' && !mayBeIgnored(header.type));
  const header = file.headers[at];
  if (header === undefined) return;
  throw formatError('IGVM_UNKNOWN_HEADER', 'an IGVM file has a header of an unknown type', {
    facts: [['header', `${typeOfHeader(header).name} (number ${at})`]],
    mend: 'what it does to a launch is not known here, and loaders that do not know it refuse the file; see cvm igvm dump',
  });
}

/** How much memory a page takes. */
export function loadedBytes({ flags }: PageData): number {
  return (flags & PAGE_FLAGS.is2MbPage) === 0 ? IGVM_PAGE_BYTES : LARGE_PAGE_BYTES;
}

/** {@link loadedBytes}. @throws CvmError format IGVM_LARGE_PAGE for a page of 2 MiB with data */
export function pageSize(header: PageData, index: number): number {
  if ((header.flags & PAGE_FLAGS.is2MbPage) === 0) return IGVM_PAGE_BYTES;
  if (header.data !== undefined)
    throw largePage(header, index, 'it has data, of which readers see 4096 bytes');
  return loadedBytes(header);
}

export function largePage(header: IgvmHeader & { gpa: number }, index: number, why: string): CvmError {
  return formatError('IGVM_LARGE_PAGE', `a page of 2 MiB cannot be measured: ${why}`, {
    facts: [
      ['header', `${typeOfHeader(header).name} (number ${index})`],
      ['gpa', `0x${header.gpa.toString(16)}`],
    ],
    mend: 'use pages of 4 KiB',
  });
}
