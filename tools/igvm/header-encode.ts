import { bug } from '../errors.ts';
import { HEADER_TYPES, typeOfHeader, type HeaderTypeName } from './header-types.ts';
import {
  IGVM_PAGE_BYTES,
  type IdBlockPublicKey,
  type IdBlockSignature,
  type IgvmHeader,
  type SnpIdBlock,
} from './model.ts';

/** Places a payload in the file data and answers its file offset. */
export type PlacePayload = (data: Uint8Array) => number;

/** Every header starts at a multiple of this. */
const HEADER_ALIGNMENT = 8;

/** Bytes that a header takes: u32 type, u32 length, content, padding. */
export function encodedLength(header: IgvmHeader): number {
  const length = header.kind === 'unknown' ? header.content.length : HEADER_TYPES[nameOf(header)].length;
  return 8 + Math.ceil(length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
}

function nameOf(header: IgvmHeader): HeaderTypeName {
  return typeOfHeader(header).name as HeaderTypeName;
}

/**
 * Writes one header with type, length and padding.
 *
 * @param into zeros, as many as {@link encodedLength} says
 */
export function encodeHeader(header: IgvmHeader, into: Uint8Array, place: PlacePayload): void {
  const w = new Writer(into);
  w.u32(-8, typeOfHeader(header).type);
  if (header.kind === 'unknown') {
    w.u32(-4, header.content.length);
    w.bytes(0, header.content, header.content.length);
    return;
  }
  w.u32(-4, HEADER_TYPES[nameOf(header)].length);
  switch (header.kind) {
    case 'supported-platform':
      w.u32(0, header.mask);
      w.u8(4, header.highestVtl);
      w.u8(5, header.platformType);
      w.u16(6, header.platformVersion);
      w.u64(8, header.sharedGpaBoundary);
      return;
    case 'guest-policy':
      w.u64(0, header.policy);
      w.u32(8, header.mask);
      return;
    case 'relocatable-region':
      w.u32(0, header.mask);
      w.u16(4, header.vpIndex);
      w.u8(6, header.vtl);
      w.u8(7, header.flags);
      w.u64(8, header.alignment);
      w.u64(16, header.gpa);
      w.u64(24, header.sizeBytes);
      w.u64(32, header.minimumGpa);
      w.u64(40, header.maximumGpa);
      return;
    case 'page-table-relocation':
      w.u32(0, header.mask);
      w.u16(4, header.vpIndex);
      w.u8(6, header.vtl);
      w.u64(8, header.gpa);
      w.u64(16, header.sizeBytes);
      w.u64(24, header.usedBytes);
      return;
    case 'corim-document':
    case 'corim-signature':
      w.u32(0, header.mask);
      w.u32(4, place(header.data));
      w.u32(8, header.data.length);
      return;
    case 'cca-policy':
      w.u32(0, header.mask);
      w.u64(8, header.requiredZeroes);
      w.u64(16, header.requiredOnes);
      w.u8(24, header.hashAlgorithm);
      w.u8(25, header.lfaPolicy);
      return;
    case 'parameter-area':
      w.u64(0, header.sizeBytes);
      w.u32(8, header.index);
      w.u32(12, header.data === undefined ? 0 : place(padded(header.data, header.sizeBytes)));
      return;
    case 'page-data':
      w.u64(0, header.gpa);
      w.u32(8, header.mask);
      w.u32(12, header.data === undefined ? 0 : place(padded(header.data, IGVM_PAGE_BYTES)));
      w.u32(16, header.flags);
      w.u16(20, header.dataType);
      return;
    case 'parameter-insert':
      w.u64(0, header.gpa);
      w.u32(8, header.mask);
      w.u32(12, header.index);
      return;
    case 'vp-context':
      w.u64(0, header.gpa);
      w.u32(8, header.mask);
      w.u32(12, place(header.data));
      w.u16(16, header.vpIndex);
      return;
    case 'required-memory':
      w.u64(0, header.gpa);
      w.u32(8, header.mask);
      w.u32(12, header.sizeBytes);
      w.u32(16, header.flags);
      return;
    case 'parameter':
      w.u32(0, header.index);
      w.u32(4, header.byteOffset);
      return;
    case 'snp-id-block':
      encodeIdBlock(header, w);
      return;
    case 'error-range':
      w.u64(0, header.gpa);
      w.u32(8, header.mask);
      w.u32(12, header.sizeBytes);
      return;
    case 'vbs-measurement':
      w.u32(0, header.mask);
      w.u32(4, header.version);
      w.u32(8, header.productId);
      w.u32(12, header.moduleId);
      w.u32(16, header.securityVersion);
      w.u32(20, header.policyFlags);
      w.u32(24, header.bootDigestAlgorithm);
      w.u32(28, header.signingAlgorithm);
      w.bytes(32, header.digest, 64);
      w.bytes(96, header.signature, 256);
      w.bytes(352, header.publicKey, 512);
      return;
  }
}

function encodeIdBlock(header: SnpIdBlock, w: Writer): void {
  const signature = (at: number, { r, s }: IdBlockSignature): void => {
    w.bytes(at, r, 72);
    w.bytes(at + 72, s, 72);
  };
  const publicKey = (at: number, { curve, qx, qy }: IdBlockPublicKey): void => {
    w.u32(at, curve);
    w.bytes(at + 8, qx, 72);
    w.bytes(at + 80, qy, 72);
  };
  w.u32(0, header.mask);
  w.u8(4, header.authorKeyEnabled);
  w.bytes(8, header.ld, 48);
  w.bytes(56, header.familyId, 16);
  w.bytes(72, header.imageId, 16);
  w.u32(88, header.version);
  w.u32(92, header.guestSvn);
  w.u32(96, header.idKeyAlgorithm);
  w.u32(100, header.authorKeyAlgorithm);
  signature(104, header.idKeySignature);
  publicKey(248, header.idPublicKey);
  signature(400, header.authorKeySignature);
  publicKey(544, header.authorPublicKey);
}

function padded(data: Uint8Array, length: number): Uint8Array {
  if (data.length === length) return data;
  if (data.length > length) throw bug(`a payload of ${data.length} bytes where ${length} fit`);
  const page = new Uint8Array(length);
  page.set(data);
  return page;
}

/** Fields of a header's content; offsets count from the content's start, values have been checked by structure.ts. */
class Writer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(header: Uint8Array) {
    this.#bytes = header;
    this.#view = new DataView(header.buffer, header.byteOffset, header.length);
  }

  u8(at: number, value: number): void {
    this.#whole(value, 8);
    this.#view.setUint8(8 + at, value);
  }

  u16(at: number, value: number): void {
    this.#whole(value, 16);
    this.#view.setUint16(8 + at, value, true);
  }

  u32(at: number, value: number): void {
    this.#whole(value, 32);
    this.#view.setUint32(8 + at, value, true);
  }

  u64(at: number, value: number | bigint): void {
    this.#whole(value, typeof value === 'bigint' ? 64 : 53);
    this.#view.setBigUint64(8 + at, BigInt(value), true);
  }

  bytes(at: number, value: Uint8Array, length: number): void {
    if (value.length !== length) throw bug(`a field of ${length} bytes was given ${value.length}`);
    this.#bytes.set(value, 8 + at);
  }

  #whole(value: number | bigint, bits: number): void {
    const fits =
      typeof value === 'bigint'
        ? value >= 0n && value < 1n << BigInt(bits)
        : Number.isInteger(value) && value >= 0 && value < 2 ** bits;
    if (!fits) throw bug(`${value} is no unsigned integer of ${bits} bits`);
  }
}
