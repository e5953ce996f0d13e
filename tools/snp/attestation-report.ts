import { readU32, readU8 } from '../bytes/little-endian.ts';
import { formatError } from '../errors.ts';
import { SNP_SIGNATURE_BYTES } from './p384.ts';

export const REPORT_BYTES = 0x4a0;
/** What the signature covers. */
export const REPORT_SIGNED_BYTES = REPORT_BYTES - SNP_SIGNATURE_BYTES;

/** Guest policy bits with a name; below them ABI_MINOR and ABI_MAJOR, a byte each. */
const POLICY_BITS: readonly (readonly [bit: number, name: string])[] = [
  [16, 'SMT'],
  [18, 'MIGRATE_MA'],
  [19, 'DEBUG'],
  [20, 'SINGLE_SOCKET'],
  [21, 'CXL_ALLOW'],
  [22, 'MEM_AES_256_XTS'],
  [23, 'RAPL_DIS'],
  [24, 'CIPHERTEXT_HIDING_DRAM'],
  [25, 'PAGE_SWAP_DISABLE'],
];
const POLICY_DEBUG = 1n << 19n;

const PLATFORM_BITS = [
  'SMT_EN',
  'TSME_EN',
  'ECC_EN',
  'RAPL_DIS',
  'CIPHERTEXT_HIDING_DRAM_EN',
  'ALIAS_CHECK_COMPLETE',
];

export type SigningKeyName = 'VCEK' | 'VLEK' | 'none' | 'reserved';

/** Security versions of a TCB's parts; `fmc` is of family 1Ah (Turin) alone. */
export interface Tcb {
  readonly fmc: number | undefined;
  readonly bootLoader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

/** An attestation report, byte fields as they stand in it. */
export interface AttestationReport {
  readonly version: number;
  readonly guestSvn: number;
  readonly policy: bigint;
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly vmpl: number;
  readonly signatureAlgorithm: number;
  readonly platformInfo: bigint;
  readonly hasAuthorKey: boolean;
  readonly isChipKeyMasked: boolean;
  readonly signingKey: SigningKeyName;
  readonly reportData: Uint8Array;
  readonly measurement: Uint8Array;
  readonly hostData: Uint8Array;
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array;
  readonly reportId: Uint8Array;
  readonly reportIdMa: Uint8Array;
  readonly chipId: Uint8Array;
  readonly currentTcb: Tcb;
  readonly reportedTcb: Tcb;
  readonly committedTcb: Tcb;
  readonly launchTcb: Tcb;
  /** Family, model and stepping of the processor, from version 3 on. */
  readonly cpuid: { readonly family: number; readonly model: number; readonly stepping: number } | undefined;
  /** major.minor.build of the SNP firmware. */
  readonly currentFirmware: string;
  readonly committedFirmware: string;
  /** Mitigation vectors, from version 5 on. */
  readonly launchMitigations: bigint | undefined;
  readonly currentMitigations: bigint | undefined;
  /** 512 bytes. */
  readonly signature: Uint8Array;
}

/**
 * ATTESTATION_REPORT, 1184 bytes, little-endian, offsets hex:
 *
 *   000 version u32      004 guest SVN u32     008 policy u64        010 family id 16      020 image id 16
 *   030 VMPL u32         034 algorithm u32     038 current TCB u64   040 platform info u64
 *   048 u32: bit 0 author key, bit 1 chip key masked, bits 2..4 signing key (0 VCEK, 1 VLEK, 7 none)
 *   050 report data 64   090 measurement 48    0c0 host data 32      0e0 ID key digest 48  110 author key digest 48
 *   140 report id 32     160 report id MA 32   180 reported TCB u64  188 CPUID family, model, stepping (version 3)
 *   1a0 chip id 64       1e0 committed TCB u64 1e8 current build, minor, major   1ec committed build, minor, major
 *   1f0 launch TCB u64   1f8 launch, 200 current mitigation vector u64 (version 5)        2a0 signature 512
 *
 * Source: AMD 56860, MSG_REPORT_REQ, "ATTESTATION_REPORT Structure"; version 2 of revision 1.52 to version 5 of 1.58.
 *
 * @throws CvmError format REPORT_LENGTH | REPORT_VERSION
 */
export function readReport(bytes: Uint8Array): AttestationReport {
  if (bytes.length !== REPORT_BYTES) {
    throw formatError('REPORT_LENGTH', 'the attestation report has the wrong length', {
      facts: [
        ['expected', `${REPORT_BYTES} bytes`],
        ['found', `${bytes.length} bytes`],
      ],
      mend: 'give the report alone: snpguest report writes it, and configfs-tsm answers it as outblob',
    });
  }
  const version = readU32(bytes, 0);
  if (version < 2 || version > 5) {
    throw formatError('REPORT_VERSION', 'the attestation report has a version that is not known', {
      facts: [
        ['found', version],
        ['known', '2 to 5'],
      ],
    });
  }
  const part = (at: number, length: number): Uint8Array => bytes.slice(at, at + length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const wide = (at: number): bigint => view.getBigUint64(at, true);
  const cpuid =
    version >= 3
      ? { family: readU8(bytes, 0x188), model: readU8(bytes, 0x189), stepping: readU8(bytes, 0x18a) }
      : undefined;
  const isTurin = cpuid !== undefined && cpuid.family >= 0x1a;
  const tcb = (at: number): Tcb => readTcb(part(at, 8), isTurin);
  const firmware = (at: number): string => [2, 1, 0].map((byte) => readU8(bytes, at + byte)).join('.');
  const keyInfo = readU32(bytes, 0x48);
  const signingKeys: Readonly<Record<number, SigningKeyName>> = { 0: 'VCEK', 1: 'VLEK', 7: 'none' };
  return {
    version,
    guestSvn: readU32(bytes, 4),
    policy: wide(8),
    familyId: part(0x10, 16),
    imageId: part(0x20, 16),
    vmpl: readU32(bytes, 0x30),
    signatureAlgorithm: readU32(bytes, 0x34),
    platformInfo: wide(0x40),
    hasAuthorKey: (keyInfo & 1) !== 0,
    isChipKeyMasked: (keyInfo & 2) !== 0,
    signingKey: signingKeys[(keyInfo >>> 2) & 7] ?? 'reserved',
    reportData: part(0x50, 64),
    measurement: part(0x90, 48),
    hostData: part(0xc0, 32),
    idKeyDigest: part(0xe0, 48),
    authorKeyDigest: part(0x110, 48),
    reportId: part(0x140, 32),
    reportIdMa: part(0x160, 32),
    chipId: part(0x1a0, 64),
    currentTcb: tcb(0x38),
    reportedTcb: tcb(0x180),
    committedTcb: tcb(0x1e0),
    launchTcb: tcb(0x1f0),
    cpuid,
    currentFirmware: firmware(0x1e8),
    committedFirmware: firmware(0x1ec),
    launchMitigations: version >= 5 ? wide(0x1f8) : undefined,
    currentMitigations: version >= 5 ? wide(0x200) : undefined,
    signature: part(REPORT_SIGNED_BYTES, SNP_SIGNATURE_BYTES),
  };
}

/** TCB_VERSION: boot loader, TEE, …, SNP, microcode; family 1Ah puts FMC first. */
function readTcb(bytes: Uint8Array, isTurin: boolean): Tcb {
  const at = (index: number): number => readU8(bytes, index);
  return isTurin
    ? { fmc: at(0), bootLoader: at(1), tee: at(2), snp: at(3), microcode: at(7) }
    : { fmc: undefined, bootLoader: at(0), tee: at(1), snp: at(6), microcode: at(7) };
}

export function isDebugAllowed({ policy }: AttestationReport): boolean {
  return (policy & POLICY_DEBUG) !== 0n;
}

/** What a policy allows or demands, and the least firmware ABI. */
export function policyNames(policy: bigint): string[] {
  const named = POLICY_BITS.filter(([bit]) => ((policy >> BigInt(bit)) & 1n) === 1n).map(([, name]) => name);
  return [`ABI ${(policy >> 8n) & 0xffn}.${policy & 0xffn}`, ...named];
}

export function platformNames(info: bigint): string[] {
  return PLATFORM_BITS.filter((_, bit) => ((info >> BigInt(bit)) & 1n) === 1n);
}

export function tcbText({ fmc, bootLoader, tee, snp, microcode }: Tcb): string {
  const first = fmc === undefined ? '' : `FMC ${fmc}, `;
  return `${first}boot loader ${bootLoader}, TEE ${tee}, SNP ${snp}, microcode ${microcode}`;
}
