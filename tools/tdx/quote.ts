import { isZero } from '../bytes/compare.ts';
import { readU16, readU32 } from '../bytes/little-endian.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { REGISTER_BYTES } from './register.ts';

/** The registers that a TDX quote states. Its signature is another matter. */
export interface TdxQuote {
  readonly version: 4 | 5;
  /** Of which TDX module the report is. */
  readonly report: TdReportKind;
  readonly mrtd: Uint8Array;
  readonly rtmr0: Uint8Array;
  readonly rtmr1: Uint8Array;
  readonly rtmr2: Uint8Array;
  readonly rtmr3: Uint8Array;
  readonly mrConfigId: Uint8Array;
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** Size of the signature data, which nothing here checks; 0 when the quote ends with its report. */
  readonly signatureBytes: number;
  /** Whether the host may look into the guest: then nothing it says is secret or certain. */
  readonly isDebug: boolean;
}

const HEADER_BYTES = 48;
const TEE_TDX = 0x81;

/** The descriptor of version 5 in front of the report: u16 type, u32 size. */
const DESCRIPTOR_BYTES = 6;

/** Sizes of the TD reports; each begins with the fields of those before it. */
const REPORT_BYTES = { 'TDX 1.0': 584, 'TDX 1.5': 648, 'TDX 1.5 extended': 885 } as const;
export type TdReportKind = keyof typeof REPORT_BYTES;

/** Body types of version 5. Type 1 is the report of an SGX enclave. */
const BODY_TYPES: Readonly<Record<number, TdReportKind>> = {
  2: 'TDX 1.0',
  3: 'TDX 1.5',
  4: 'TDX 1.5 extended',
};

/** Offsets in the report. */
const FIELD = { attributes: 120, mrtd: 136, mrConfigId: 184, rtmr0: 328, reportData: 520 } as const;

export const QUOTE_LIMIT_BYTES = 1 << 20;

/** The first bytes of a quote that is no text: u16 version. */
export function beginsLikeQuote(bytes: Uint8Array): boolean {
  return (bytes[0] === 4 || bytes[0] === 5) && bytes[1] === 0;
}

/**
 * Reads a TDX quote. Little-endian:
 *
 *   version 4   header 48, TD report of TDX 1.0 584, u32 length, signature data, zeros
 *   version 5   header 48, u16 body type, u32 size, TD report, u32 length, signature data, zeros
 *
 * The header begins with u16 version, u16 key type, u32 TEE type 0x81. Body types of version 5: 2 TDX 1.0 (584 bytes), 3
 * TDX 1.5 (648), 4 TDX 1.5 with its extension for service TDs (885). The signature is not checked here; what there is of it has to be
 * whole.
 *
 * Source: Intel TDX DCAP Quoting Library API, appendix 3, and the headers sgx_quote_4.h and sgx_quote_5.h of its library.
 * @throws CvmError format QUOTE_TRUNCATED | QUOTE_VERSION | QUOTE_TEE | QUOTE_BODY | QUOTE_TRAILING
 */
export function readQuote(bytes: Uint8Array): TdxQuote {
  requireBytes(bytes, HEADER_BYTES, 'header');
  const version = readU16(bytes, 0);
  if (version !== 4 && version !== 5) {
    throw quoteError('QUOTE_VERSION', 'the quote has a version that is not read', [
      ['found', version],
      ['known', '4, 5'],
    ]);
  }
  const tee = readU32(bytes, 4);
  if (tee !== TEE_TDX) {
    throw quoteError('QUOTE_TEE', 'the quote is not of a TDX guest', [
      ['TEE type', `0x${tee.toString(16)}`],
      ['expected', `0x${TEE_TDX.toString(16)}`],
    ]);
  }
  const report = version === 4 ? 'TDX 1.0' : readBodyType(bytes);
  const start = version === 4 ? HEADER_BYTES : HEADER_BYTES + DESCRIPTOR_BYTES;
  const end = start + REPORT_BYTES[report];
  requireBytes(bytes, end, 'TD report');
  const signatureBytes = readSignatureBytes(bytes, end);
  const field = (at: number, length = REGISTER_BYTES): Uint8Array =>
    bytes.slice(start + at, start + at + length);
  return {
    version,
    report,
    mrtd: field(FIELD.mrtd),
    rtmr0: field(FIELD.rtmr0),
    rtmr1: field(FIELD.rtmr0 + REGISTER_BYTES),
    rtmr2: field(FIELD.rtmr0 + 2 * REGISTER_BYTES),
    rtmr3: field(FIELD.rtmr0 + 3 * REGISTER_BYTES),
    mrConfigId: field(FIELD.mrConfigId),
    reportData: field(FIELD.reportData, 64),
    signatureBytes,
    isDebug: ((bytes[start + FIELD.attributes] as number) & 1) !== 0,
  };
}

function readBodyType(bytes: Uint8Array): TdReportKind {
  requireBytes(bytes, HEADER_BYTES + DESCRIPTOR_BYTES, 'body descriptor');
  const type = readU16(bytes, HEADER_BYTES);
  const size = readU32(bytes, HEADER_BYTES + 2);
  const report = BODY_TYPES[type];
  if (report !== undefined && size === REPORT_BYTES[report]) return report;
  const known = Object.entries(BODY_TYPES).map(
    ([number, kind]) => `${number} (${kind}, ${REPORT_BYTES[kind]} bytes)`,
  );
  throw quoteError(
    'QUOTE_BODY',
    report === undefined
      ? 'the quote holds no report of a TD that is known'
      : 'the report in the quote has another size than its type',
    [
      ['body type', type],
      ['size', `${size} bytes`],
      ['known', known.join(', ')],
    ],
  );
}

/** Buffers that quotes come in are often longer than the quote: zeros behind it mean nothing. */
function readSignatureBytes(bytes: Uint8Array, at: number): number {
  if (bytes.length === at) return 0;
  requireBytes(bytes, at + 4, 'length of the signature data');
  const length = readU32(bytes, at);
  const end = at + 4 + length;
  requireBytes(bytes, end, 'signature data');
  if (isZero(bytes.subarray(end))) return length;
  throw quoteError('QUOTE_TRAILING', 'something follows the quote', [
    ['quote ends at', end],
    ['size', `${bytes.length} bytes`],
  ]);
}

function requireBytes(bytes: Uint8Array, count: number, what: string): void {
  if (bytes.length >= count) return;
  throw quoteError('QUOTE_TRUNCATED', `the quote is too short: it ends in its ${what}`, [
    ['size', `${bytes.length} bytes`],
    ['least', `${count} bytes`],
  ]);
}

function quoteError(code: string, message: string, facts: readonly Fact[]): CvmError {
  return formatError(code, message, {
    facts,
    mend: 'give the quote of a TDX guest as its quoting service made it, whole: bytes, hex, or the JSON around it',
  });
}
