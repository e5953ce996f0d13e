/**
 * An IGVM file as values. `readIgvm` (reader.ts) makes one from bytes, `writeIgvm` (writer.ts) makes bytes from one;
 * everything between, builders, measurement, diff and edit, works on this model.
 *
 *     const file: IgvmFile = {
 *       version: 1,                       // 2 when there is a native VP context; V1 is always x64
 *       architecture: 'x64',
 *       headers: [                        // file order: platforms, then initialization, then directives
 *         supportedPlatform('SEV_SNP', 0x1, { highestVtl: 2 }),
 *         { kind: 'guest-policy', policy: 0x30000n, mask: 0x1 },
 *         { kind: 'page-data', gpa: 0x801000, mask: 0x1, flags: 0, dataType: PAGE_DATA_TYPES.NORMAL, data: page },
 *         { kind: 'vp-context', gpa: 0xfffffffff000, mask: 0x1, vpIndex: 0, data: writeIgvmVmsa({ … }) },
 *       ],
 *     };
 *
 * File offsets do not occur: a header that points into the file data carries its bytes as `data`, and the writer places
 * and shares them. `data: undefined` is offset 0, "no data", which for a page is another thing than 4096 zeros.
 * Addresses and sizes are numbers (below 2^52, the widest physical address x86 has); masks of bits are numbers of
 * 32 bits; the policy is a bigint of 64.
 *
 * Source: the IGVM file format of microsoft/igvm, igvm_defs 0.4; little-endian throughout.
 */
import { nearestWord } from '../nearest.ts';

/** The page of the format: payloads of pages and VMSAs, alignment of addresses. */
export const IGVM_PAGE_BYTES = 4096;

export const LARGE_PAGE_BYTES = 2 * 1024 * 1024;

/** Addresses and sizes below this are numbers without loss, and no x86 processor has more bits of address. */
export const ADDRESS_LIMIT = 2 ** 52;

export const IGVM_ARCHITECTURES = ['x64', 'aarch64'] as const;
export type IgvmArchitecture = (typeof IGVM_ARCHITECTURES)[number];

/** platform_type of SUPPORTED_PLATFORM. */
export const PLATFORM_TYPES = {
  NATIVE: 0,
  VSM_ISOLATION: 1,
  SEV_SNP: 2,
  TDX: 3,
  SEV: 4,
  SEV_ES: 5,
  CCA: 6,
} as const;
export type PlatformName = keyof typeof PLATFORM_TYPES;

/** data_type of PAGE_DATA. */
export const PAGE_DATA_TYPES = { NORMAL: 0, SECRETS: 1, CPUID_DATA: 2, CPUID_XF: 3 } as const;
export type PageDataTypeName = keyof typeof PAGE_DATA_TYPES;

/** flags of PAGE_DATA. */
export const PAGE_FLAGS = { is2MbPage: 1, unmeasured: 2, shared: 4 } as const;

/** Bit of REQUIRED_MEMORY's flags. */
export const VTL2_PROTECTABLE = 1;

export interface SupportedPlatform {
  readonly kind: 'supported-platform';
  /** Exactly one bit: the platform's own in every other header's mask. */
  readonly mask: number;
  /** 0 or 2. */
  readonly highestVtl: number;
  /** {@link PLATFORM_TYPES}; at most one header of each. */
  readonly platformType: number;
  /** 1. */
  readonly platformVersion: number;
  readonly sharedGpaBoundary: number;
}

export interface GuestPolicy {
  readonly kind: 'guest-policy';
  readonly policy: bigint;
  readonly mask: number;
}

export interface RelocatableRegion {
  readonly kind: 'relocatable-region';
  readonly mask: number;
  readonly vpIndex: number;
  readonly vtl: number;
  readonly flags: number;
  readonly alignment: number;
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly minimumGpa: number;
  readonly maximumGpa: number;
}

export interface PageTableRelocation {
  readonly kind: 'page-table-relocation';
  readonly mask: number;
  readonly vpIndex: number;
  readonly vtl: number;
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly usedBytes: number;
}

export interface Corim {
  readonly kind: 'corim-document' | 'corim-signature';
  readonly mask: number;
  readonly data: Uint8Array;
}

/** Arm CCA: which attribute bits a realm must and must not have. */
export interface CcaPolicy {
  readonly kind: 'cca-policy';
  readonly mask: number;
  readonly requiredZeroes: bigint;
  readonly requiredOnes: bigint;
  readonly hashAlgorithm: number;
  readonly lfaPolicy: number;
}

/** Memory that the loader fills with parameters; its index lives until it is inserted. */
export interface ParameterArea {
  readonly kind: 'parameter-area';
  /** A multiple of {@link IGVM_PAGE_BYTES}. */
  readonly sizeBytes: number;
  readonly index: number;
  /** What it holds at first, zero-padded to sizeBytes; undefined: zeros. */
  readonly data: Uint8Array | undefined;
}

export interface PageData {
  readonly kind: 'page-data';
  readonly gpa: number;
  readonly mask: number;
  /** {@link PAGE_FLAGS} */
  readonly flags: number;
  /** {@link PAGE_DATA_TYPES} */
  readonly dataType: number;
  /** At most {@link IGVM_PAGE_BYTES}, zero-padded by the writer; undefined: an empty page. */
  readonly data: Uint8Array | undefined;
}

export interface ParameterInsert {
  readonly kind: 'parameter-insert';
  readonly gpa: number;
  readonly mask: number;
  readonly index: number;
}

/**
 * The start state of a processor. The payload's form follows the platform that owns `mask`, see vp-context.ts:
 * SEV_SNP and SEV_ES a VMSA page, NATIVE, SEV and CCA a context padded to a page, VSM_ISOLATION a list of registers.
 */
export interface VpContext {
  readonly kind: 'vp-context';
  /** Where the VMSA lies; 0 for the other forms. */
  readonly gpa: number;
  readonly mask: number;
  readonly vpIndex: number;
  readonly data: Uint8Array;
}

export interface RequiredMemory {
  readonly kind: 'required-memory';
  readonly gpa: number;
  readonly mask: number;
  readonly sizeBytes: number;
  /** {@link VTL2_PROTECTABLE} */
  readonly flags: number;
}

/** Header types that ask the loader for one parameter, and their numbers. */
export const PARAMETER_TYPES = {
  VP_COUNT: 0x307,
  SRAT: 0x308,
  MADT: 0x309,
  MMIO_RANGES: 0x30a,
  MEMORY_MAP: 0x30c,
  COMMAND_LINE: 0x30e,
  SLIT: 0x30f,
  PPTT: 0x310,
  DEVICE_TREE: 0x312,
  ENVIRONMENT_INFO: 0x313,
} as const;
export type ParameterName = keyof typeof PARAMETER_TYPES;

export interface Parameter {
  readonly kind: 'parameter';
  readonly parameter: ParameterName;
  /** Index of the parameter area. */
  readonly index: number;
  readonly byteOffset: number;
}

/** An ECDSA signature in AMD's form: r and s, 72 bytes each, little-endian. */
export interface IdBlockSignature {
  readonly r: Uint8Array;
  readonly s: Uint8Array;
}

/** A public key in AMD's form: coordinates of 72 bytes, little-endian. Curve 2 is P-384; 0: there is no key. */
export interface IdBlockPublicKey {
  readonly curve: number;
  readonly qx: Uint8Array;
  readonly qy: Uint8Array;
}

/** What AMD's ID_BLOCK and ID_AUTH say. */
export interface SnpIdBlock {
  readonly kind: 'snp-id-block';
  readonly mask: number;
  readonly authorKeyEnabled: number;
  /** 48 bytes: the launch digest that the guest must have. */
  readonly ld: Uint8Array;
  /** 16 bytes. */
  readonly familyId: Uint8Array;
  /** 16 bytes. */
  readonly imageId: Uint8Array;
  readonly version: number;
  readonly guestSvn: number;
  /** 1: ECDSA P-384 with SHA-384. */
  readonly idKeyAlgorithm: number;
  readonly authorKeyAlgorithm: number;
  readonly idKeySignature: IdBlockSignature;
  readonly idPublicKey: IdBlockPublicKey;
  readonly authorKeySignature: IdBlockSignature;
  readonly authorPublicKey: IdBlockPublicKey;
}

export interface VbsMeasurement {
  readonly kind: 'vbs-measurement';
  readonly mask: number;
  readonly version: number;
  readonly productId: number;
  readonly moduleId: number;
  readonly securityVersion: number;
  readonly policyFlags: number;
  readonly bootDigestAlgorithm: number;
  readonly signingAlgorithm: number;
  /** 64 bytes; a SHA-256 digest fills the first 32. */
  readonly digest: Uint8Array;
  /** 256 bytes. */
  readonly signature: Uint8Array;
  /** 512 bytes. */
  readonly publicKey: Uint8Array;
}

export interface ErrorRange {
  readonly kind: 'error-range';
  readonly gpa: number;
  readonly mask: number;
  readonly sizeBytes: number;
}

/** A header of a type that this module does not know: kept as it is, in its place. */
export interface UnknownHeader {
  readonly kind: 'unknown';
  /** With bit 31 loaders may ignore it. */
  readonly type: number;
  readonly content: Uint8Array;
}

export type IgvmHeader =
  | SupportedPlatform
  | GuestPolicy
  | RelocatableRegion
  | PageTableRelocation
  | Corim
  | CcaPolicy
  | ParameterArea
  | PageData
  | ParameterInsert
  | VpContext
  | RequiredMemory
  | Parameter
  | SnpIdBlock
  | VbsMeasurement
  | ErrorRange
  | UnknownHeader;

export interface IgvmFile {
  /** Format version: V1 has a fixed header of 24 bytes, V2 of 32. */
  readonly version: 1 | 2;
  /** V1 is always x64. */
  readonly architecture: IgvmArchitecture;
  /** In file order. Platforms come first, then initialization, then directives. */
  readonly headers: readonly IgvmHeader[];
}

/** A platform header with the usual values. */
export function supportedPlatform(
  platform: PlatformName,
  mask: number,
  more: Partial<Pick<SupportedPlatform, 'highestVtl' | 'sharedGpaBoundary'>> = {},
): SupportedPlatform {
  return {
    kind: 'supported-platform',
    mask,
    highestVtl: 0,
    platformType: PLATFORM_TYPES[platform],
    platformVersion: 1,
    sharedGpaBoundary: 0,
    ...more,
  };
}

/** The headers of one kind, in file order. */
export function headersOfKind<K extends IgvmHeader['kind']>(
  file: IgvmFile,
  kind: K,
): Extract<IgvmHeader, { kind: K }>[] {
  return file.headers.filter((header): header is Extract<IgvmHeader, { kind: K }> => header.kind === kind);
}

/** The header's mask of platforms; undefined for what concerns all of them. */
export function maskOf(header: IgvmHeader): number | undefined {
  return 'mask' in header ? header.mask : undefined;
}

/** `SEV_SNP`, or the number of a type that has no name here. */
export function platformTypeName(platformType: number): string {
  return nameOf(PLATFORM_TYPES, platformType) ?? `platform type ${platformType}`;
}

export function pageDataTypeName(dataType: number): string {
  return nameOf(PAGE_DATA_TYPES, dataType) ?? `data type ${dataType}`;
}

function nameOf(table: Readonly<Record<string, number>>, value: number): string | undefined {
  return Object.keys(table).find((name) => table[name] === value);
}

/** The platform name that was meant, for errors. */
export function nearestPlatform(name: string): string | undefined {
  return nearestWord(name.toUpperCase().replaceAll('-', '_'), Object.keys(PLATFORM_TYPES));
}
