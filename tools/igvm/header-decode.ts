import { formatError, type CvmError, type Fact } from '../errors.ts';
import { HEADER_TYPES, headerTypeName, type HeaderTypeName } from './header-types.ts';
import {
  ADDRESS_LIMIT,
  type IdBlockPublicKey,
  type IdBlockSignature,
  type IgvmHeader,
  type PageData,
  type ParameterName,
} from './model.ts';

/** u32 type, u32 length. */
export const HEAD_BYTES = 8;

/** How a header reaches the bytes it points to. */
export interface Payloads {
  /** `length` bytes at a file offset. @throws CvmError format IGVM_DATA_BOUNDS | IGVM_DATA_TOTAL */
  at(fileOffset: number, length: number, where: Place): Uint8Array;
  /** A page header with the page at a file offset. @throws CvmError format IGVM_DATA_BOUNDS */
  page(header: PageHeader, fileOffset: number, where: Place): PageData;
  /** The payload of a VP context, of which the length depends on the platform that owns the mask. */
  vpContext(fileOffset: number, mask: number, where: Place): Uint8Array;
}

/** What a header says of a page. */
export type PageHeader = Omit<PageData, 'kind' | 'data'>;

/** Where a header stands, for errors. */
export interface Place {
  readonly type: number;
  /** Counted from 0 over all headers. */
  readonly index: number;
  /** Byte offset in the file. */
  readonly offset: number;
}

export function placeFacts(place: Place): Fact[] {
  return [
    [
      'header',
      `${headerTypeName(place.type) ?? `type 0x${place.type.toString(16)}`} (number ${place.index})`,
    ],
    ['at', `byte 0x${place.offset.toString(16)}`],
  ];
}

/**
 * One header's content as a value. Types without a name come out as `unknown`.
 *
 * @param f the header's fields: see {@link Fields.open}
 * @throws CvmError format IGVM_HEADER_LENGTH | IGVM_RESERVED | IGVM_ADDRESS | IGVM_DATA_BOUNDS, and what payloads throw
 */
export function decodeHeader(f: Fields, payloads: Payloads): IgvmHeader {
  const name = headerTypeName(f.type);
  if (name === undefined) return { kind: 'unknown', type: f.type, content: f.bytes(0, f.length) };
  const expected = HEADER_TYPES[name].length;
  if (f.length !== expected) {
    throw formatError('IGVM_HEADER_LENGTH', 'an IGVM header has the wrong length for its type', {
      facts: [...placeFacts(f), ['expected', `${expected} bytes`], ['found', `${f.length} bytes`]],
      mend: 'the file is damaged, or made by a tool of another version of the format',
    });
  }
  return decodeKnown(name, f, payloads);
}

function decodeKnown(name: HeaderTypeName, f: Fields, payloads: Payloads): IgvmHeader {
  switch (name) {
    case 'SUPPORTED_PLATFORM':
      return {
        kind: 'supported-platform',
        mask: f.u32(0),
        highestVtl: f.u8(4),
        platformType: f.u8(5),
        platformVersion: f.u16(6),
        sharedGpaBoundary: f.address(8),
      };
    case 'GUEST_POLICY':
      f.zero(12, 4);
      return { kind: 'guest-policy', policy: f.u64(0), mask: f.u32(8) };
    case 'RELOCATABLE_REGION':
      return {
        kind: 'relocatable-region',
        mask: f.u32(0),
        vpIndex: f.u16(4),
        vtl: f.u8(6),
        flags: f.u8(7),
        alignment: f.address(8),
        gpa: f.address(16),
        sizeBytes: f.address(24),
        minimumGpa: f.address(32),
        maximumGpa: f.address(40),
      };
    case 'PAGE_TABLE_RELOCATION':
      f.zero(7, 1);
      return {
        kind: 'page-table-relocation',
        mask: f.u32(0),
        vpIndex: f.u16(4),
        vtl: f.u8(6),
        gpa: f.address(8),
        sizeBytes: f.address(16),
        usedBytes: f.address(24),
      };
    case 'CORIM_DOCUMENT':
    case 'CORIM_SIGNATURE':
      f.zero(12, 4);
      return {
        kind: name === 'CORIM_DOCUMENT' ? 'corim-document' : 'corim-signature',
        mask: f.u32(0),
        data: payloads.at(f.u32(4), f.u32(8), f),
      };
    case 'CCA_POLICY':
      f.zero(4, 4);
      f.zero(26, 6);
      return {
        kind: 'cca-policy',
        mask: f.u32(0),
        requiredZeroes: f.u64(8),
        requiredOnes: f.u64(16),
        hashAlgorithm: f.u8(24),
        lfaPolicy: f.u8(25),
      };
    case 'PARAMETER_AREA': {
      const sizeBytes = f.address(0);
      const offset = f.u32(12);
      return {
        kind: 'parameter-area',
        sizeBytes,
        index: f.u32(8),
        data: offset === 0 ? undefined : payloads.at(offset, sizeBytes, f),
      };
    }
    case 'PAGE_DATA': {
      f.zero(22, 2);
      const offset = f.u32(12);
      const header = { gpa: f.address(0), mask: f.u32(8), flags: f.u32(16), dataType: f.u16(20) };
      if (offset !== 0) return payloads.page(header, offset, f);
      return { kind: 'page-data', ...header, data: undefined };
    }
    case 'PARAMETER_INSERT':
      return { kind: 'parameter-insert', gpa: f.address(0), mask: f.u32(8), index: f.u32(12) };
    case 'VP_CONTEXT': {
      f.zero(18, 2);
      const mask = f.u32(8);
      return {
        kind: 'vp-context',
        gpa: f.address(0),
        mask,
        vpIndex: f.u16(16),
        data: payloads.vpContext(f.u32(12), mask, f),
      };
    }
    case 'REQUIRED_MEMORY':
      f.zero(20, 4);
      return {
        kind: 'required-memory',
        gpa: f.address(0),
        mask: f.u32(8),
        sizeBytes: f.u32(12),
        flags: f.u32(16),
      };
    case 'SNP_ID_BLOCK':
      return decodeIdBlock(f);
    case 'ERROR_RANGE':
      return { kind: 'error-range', gpa: f.address(0), mask: f.u32(8), sizeBytes: f.u32(12) };
    case 'VBS_MEASUREMENT':
      return {
        kind: 'vbs-measurement',
        mask: f.u32(0),
        version: f.u32(4),
        productId: f.u32(8),
        moduleId: f.u32(12),
        securityVersion: f.u32(16),
        policyFlags: f.u32(20),
        bootDigestAlgorithm: f.u32(24),
        signingAlgorithm: f.u32(28),
        digest: f.bytes(32, 64),
        signature: f.bytes(96, 256),
        publicKey: f.bytes(352, 512),
      };
    default:
      return {
        kind: 'parameter',
        parameter: name satisfies ParameterName,
        index: f.u32(0),
        byteOffset: f.u32(4),
      };
  }
}

/** See model.ts; every byte of the 696 is named or zero. */
function decodeIdBlock(f: Fields): IgvmHeader {
  f.zero(5, 3);
  const signature = (at: number): IdBlockSignature => ({ r: f.bytes(at, 72), s: f.bytes(at + 72, 72) });
  const publicKey = (at: number): IdBlockPublicKey => {
    f.zero(at + 4, 4);
    return { curve: f.u32(at), qx: f.bytes(at + 8, 72), qy: f.bytes(at + 80, 72) };
  };
  return {
    kind: 'snp-id-block',
    mask: f.u32(0),
    authorKeyEnabled: f.u8(4),
    ld: f.bytes(8, 48),
    familyId: f.bytes(56, 16),
    imageId: f.bytes(72, 16),
    version: f.u32(88),
    guestSvn: f.u32(92),
    idKeyAlgorithm: f.u32(96),
    authorKeyAlgorithm: f.u32(100),
    idKeySignature: signature(104),
    idPublicKey: publicKey(248),
    authorKeySignature: signature(400),
    authorPublicKey: publicKey(544),
  };
}

/** The little-endian fields of one header after the other: of up to a million, none costs an object. */
export class Fields implements Place {
  readonly #headers: Uint8Array;
  readonly #view: DataView;
  readonly #headersOffset: number;
  #start = 0;
  type = 0;
  length = 0;
  index = 0;

  /**
   * @param headers the variable headers
   * @param headersOffset their place in the file
   */
  constructor(headers: Uint8Array, headersOffset: number) {
    this.#headers = headers;
    this.#view = new DataView(headers.buffer, headers.byteOffset, headers.length);
    this.#headersOffset = headersOffset;
  }

  /**
   * Goes to a header: u32 type, u32 length, content. Fields are counted from the content's start.
   * @param at offset in the variable headers; what is missing of type and length there is zero
   * @returns where the content ends
   */
  open(at: number, index: number): number {
    const isWhole = at + HEAD_BYTES <= this.#headers.length;
    this.type = isWhole ? this.#view.getUint32(at, true) : 0;
    this.length = isWhole ? this.#view.getUint32(at + 4, true) : 0;
    this.index = index;
    this.#start = at + HEAD_BYTES;
    return this.#start + this.length;
  }

  get offset(): number {
    return this.#headersOffset + this.#start - HEAD_BYTES;
  }

  u8(at: number): number {
    return this.#view.getUint8(this.#start + at);
  }

  u16(at: number): number {
    return this.#view.getUint16(this.#start + at, true);
  }

  u32(at: number): number {
    return this.#view.getUint32(this.#start + at, true);
  }

  u64(at: number): bigint {
    return this.#view.getBigUint64(this.#start + at, true);
  }

  /** An address or size. */
  address(at: number): number {
    const value = this.u32(at + 4) * 2 ** 32 + this.u32(at);
    if (value < ADDRESS_LIMIT) return value;
    throw this.#error('IGVM_ADDRESS', 'an address or size of an IGVM header has more than 52 bits', [
      ['field', `content byte ${at}`],
      ['found', `0x${this.u64(at).toString(16)}`],
    ]);
  }

  /** A copy. */
  bytes(at: number, length: number): Uint8Array {
    return this.#headers.slice(this.#start + at, this.#start + at + length);
  }

  zero(at: number, length: number): void {
    let bits = 0;
    for (let i = this.#start + at; i < this.#start + at + length; i++) bits |= this.#headers[i] as number;
    if (bits === 0) return;
    throw this.#error('IGVM_RESERVED', 'a reserved field of an IGVM header is not zero', [
      ['field', `content bytes ${at} to ${at + length - 1}`],
    ]);
  }

  #error(code: string, message: string, facts: readonly Fact[]): CvmError {
    return formatError(code, message, {
      facts: [...placeFacts(this), ...facts],
      mend: 'the file is damaged, or made by a tool of a newer version of the format',
    });
  }
}
