/**
 * The header of a store: 168 bytes, twice. Which of the two counts is decided by their sequence numbers.
 * Source: openvmm, `vm/vmgs/vmgs_format` and `vmgs_impl.rs` (`validate_header`, `get_active_header`).
 *
 * | offset | size | field                                                              |
 * | ------ | ---- | ------------------------------------------------------------------ |
 * | 0      | 8    | signature `GUESTRTS`                                               |
 * | 8      | 4    | version, 0x00030000                                                |
 * | 12     | 4    | CRC-32 of the 168 bytes with this field zero                       |
 * | 16     | 4    | sequence, one more with every header written, wraps to 0           |
 * | 20     | 4    | header size, 168                                                   |
 * | 24     | 4    | block of the file table, at least 2                                |
 * | 28     | 4    | blocks of the file table, 1                                        |
 * | 32     | 2    | encryption algorithm: 0 none, 1 AES-256-GCM                        |
 * | 34     | 2    | markers: bit 0 reprovisioned                                       |
 * | 36     | 128  | two key slots of 64 bytes                                          |
 * | 164    | 4    | reserved                                                           |
 */
import { isZero } from '../bytes/compare.ts';
import { crc32 } from '../bytes/crc32.ts';
import { readU16, readU32, writeU16, writeU32 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';
import { rawFromBytes, rawToBytes } from '../bytes/text.ts';
import { formatError, type CvmError } from '../errors.ts';
import {
  checkStoreBytes,
  FIRST_FILE_BLOCK,
  HEADER_AREA_BYTES,
  type SectorBytes,
  type StoreGeometry,
} from './layout.ts';

export const HEADER_BYTES = 168;

const SIGNATURE = 'GUESTRTS';
const VERSION = 0x0003_0000;
const CHECKSUM_OFFSET = 12;
const SLOTS_OFFSET = 36;
const RESERVED_OFFSET = 164;

export const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
const SLOT_BYTES = 64;

/** Bit 0 of the markers: the store was formatted by request, and the next such request leaves it alone. */
export const REPROVISIONED = 1;

export const ALGORITHM_NONE = 0;
export const ALGORITHM_AES_GCM = 1;

/** Which of the two headers or key slots, counted from 0. */
export type Slot = 0 | 1;

export function otherSlot(slot: Slot): Slot {
  return slot === 0 ? 1 : 0;
}

/** A metadata key wrapped with a datastore key: nonce at 0, reserved at 12, tag at 16, ciphertext at 32. */
export interface KeySlot {
  readonly nonce: Uint8Array;
  readonly reserved: number;
  readonly tag: Uint8Array;
  readonly wrapped: Uint8Array;
}

export interface Header {
  readonly sequence: number;
  readonly fileTableBlock: number;
  readonly algorithm: number;
  readonly markers: number;
  readonly slots: readonly [KeySlot, KeySlot];
  readonly reserved: number;
}

export const EMPTY_KEY_SLOT: KeySlot = {
  nonce: new Uint8Array(NONCE_BYTES),
  reserved: 0,
  tag: new Uint8Array(TAG_BYTES),
  wrapped: new Uint8Array(KEY_BYTES),
};

/** A slot counts as used when its ciphertext is not all zero. */
export function isUsed(slot: KeySlot): boolean {
  return !isZero(slot.wrapped);
}

/** The 168 bytes of a header, its checksum made. */
export function encodeHeader(header: Header): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  bytes.set(rawToBytes(SIGNATURE));
  writeU32(bytes, 8, VERSION);
  writeU32(bytes, 16, header.sequence);
  writeU32(bytes, 20, HEADER_BYTES);
  writeU32(bytes, 24, header.fileTableBlock);
  writeU32(bytes, 28, 1);
  writeU16(bytes, 32, header.algorithm);
  writeU16(bytes, 34, header.markers);
  header.slots.forEach((slot, i) => {
    const at = SLOTS_OFFSET + i * SLOT_BYTES;
    bytes.set(slot.nonce, at);
    writeU32(bytes, at + 12, slot.reserved);
    bytes.set(slot.tag, at + 16);
    bytes.set(slot.wrapped, at + 32);
  });
  writeU32(bytes, RESERVED_OFFSET, header.reserved);
  writeU32(bytes, CHECKSUM_OFFSET, crc32(bytes));
  return bytes;
}

/** Why a header does not count, in the words and the order of openvmm. */
export type HeaderFault =
  | 'Invalid header signature'
  | 'Invalid header version'
  | 'Invalid header size'
  | 'Invalid file table offset'
  | 'Invalid file table size'
  | 'Invalid encryption algorithm'
  | 'Invalid header checksum';

/** One of the two headers as it was found. */
export interface HeaderSlot {
  /** The 168 bytes. */
  readonly bytes: Uint8Array;
  readonly isEmpty: boolean;
  /** Undefined when the header is valid. */
  readonly fault: HeaderFault | undefined;
  readonly version: number;
  readonly checksum: number;
  readonly expectedChecksum: number;
  readonly headerSize: number;
  readonly fileTableBlocks: number;
  /** The fields, whether they may be believed or not. */
  readonly header: Header;
}

/** Takes 168 bytes apart; never throws. */
export function decodeHeader(bytes: Uint8Array): HeaderSlot {
  const blank = bytes.slice();
  writeU32(blank, CHECKSUM_OFFSET, 0);
  const slot: Omit<HeaderSlot, 'fault'> = {
    bytes,
    isEmpty: isZero(bytes),
    version: readU32(bytes, 8),
    checksum: readU32(bytes, CHECKSUM_OFFSET),
    expectedChecksum: crc32(blank),
    headerSize: readU32(bytes, 20),
    fileTableBlocks: readU32(bytes, 28),
    header: {
      sequence: readU32(bytes, 16),
      fileTableBlock: readU32(bytes, 24),
      algorithm: readU16(bytes, 32),
      markers: readU16(bytes, 34),
      slots: [decodeKeySlot(bytes, 0), decodeKeySlot(bytes, 1)],
      reserved: readU32(bytes, RESERVED_OFFSET),
    },
  };
  return { ...slot, fault: faultOf(slot) };
}

function decodeKeySlot(bytes: Uint8Array, slot: Slot): KeySlot {
  const at = SLOTS_OFFSET + slot * SLOT_BYTES;
  return {
    nonce: bytes.slice(at, at + NONCE_BYTES),
    reserved: readU32(bytes, at + 12),
    tag: bytes.slice(at + 16, at + 32),
    wrapped: bytes.slice(at + 32, at + SLOT_BYTES),
  };
}

function faultOf(slot: Omit<HeaderSlot, 'fault'>): HeaderFault | undefined {
  const { header } = slot;
  if (rawFromBytes(slot.bytes.subarray(0, 8)) !== SIGNATURE) return 'Invalid header signature';
  if (slot.version !== VERSION) return 'Invalid header version';
  if (slot.headerSize !== HEADER_BYTES) return 'Invalid header size';
  if (header.fileTableBlock < FIRST_FILE_BLOCK) return 'Invalid file table offset';
  if (slot.fileTableBlocks !== 1) return 'Invalid file table size';
  if (header.algorithm > ALGORITHM_AES_GCM) return 'Invalid encryption algorithm';
  return slot.checksum === slot.expectedChecksum ? undefined : 'Invalid header checksum';
}

export type HeaderPair = readonly [HeaderSlot, HeaderSlot];

/** The two headers of a store and which of them counts. */
export interface Headers {
  readonly slots: HeaderPair;
  /** The slot that counts, or the error with which the store does not open. */
  readonly active: Slot | CvmError;
}

/** Where a header slot lies, in bytes. */
export function headerOffset(slot: Slot, { sectorBytes }: StoreGeometry): number {
  return slot * sectorBytes;
}

/**
 * Reads both headers: 8 KiB, nothing else.
 * @throws CvmError format VMGS_SIZE
 */
export function readHeaders(store: ByteSource, geometry: StoreGeometry): Headers {
  checkStoreBytes(geometry.storeBytes);
  const area = store.read(0, HEADER_AREA_BYTES);
  const second = headerOffset(1, geometry);
  const slots = [
    decodeHeader(area.slice(0, HEADER_BYTES)),
    decodeHeader(area.slice(second, second + HEADER_BYTES)),
  ] as const;
  return { slots, active: isVersion1(area) ? version1Error() : chooseHeader(slots) };
}

/**
 * The sector size of the device that a raw store was written on, as far as its second header tells: 4096 when one lies
 * there and none at 512. A store with one header may be of either; it counts as 512.
 */
export function foundSectorBytes(store: ByteSource): SectorBytes {
  if (store.sizeBytes < HEADER_AREA_BYTES) return 512;
  const area = store.read(0, HEADER_AREA_BYTES);
  const isAt = (offset: number): boolean =>
    decodeHeader(area.slice(offset, offset + HEADER_BYTES)).fault === undefined;
  return isAt(4096) && !isAt(512) ? 4096 : 512;
}

/** VMGS 1 was a GPT disk. */
function isVersion1(area: Uint8Array): boolean {
  return rawFromBytes(area.subarray(512, 520)) === 'EFI PART';
}

function version1Error(): CvmError {
  return formatError('VMGS_V1', 'this is a VMGS store of version 1, a GPT disk', {
    facts: [['at', 'byte 512: EFI PART']],
    mend: 'convert it with the host that made it; only version 3.0 is read',
  });
}

/** Which header counts. Sequences that are equal or further apart than one are corruption, not a choice. */
function chooseHeader([first, second]: HeaderPair): Slot | CvmError {
  if (first.isEmpty && second.isEmpty) {
    return formatError('VMGS_EMPTY', 'the store is empty: both headers are zero', {
      mend: 'make a store with cvm vmgs create',
    });
  }
  const sequences = [
    ['header 1', `sequence ${first.header.sequence}`],
    ['header 2', `sequence ${second.header.sequence}`],
  ] as const;
  if (first.fault === undefined && second.fault === undefined) {
    const next = ({ header }: HeaderSlot): number => (header.sequence + 1) >>> 0;
    if (first.header.sequence === next(second)) return 0;
    if (second.header.sequence === next(first)) return 1;
    return formatError(
      'VMGS_SEQUENCE',
      'both headers are valid, and their sequence numbers are not neighbours',
      {
        facts: sequences,
        mend: 'take the store from a backup: which header is the newer cannot be known',
      },
    );
  }
  if (first.fault === undefined) return 0;
  if (second.fault === undefined) return 1;
  return formatError('VMGS_HEADERS', 'neither header is valid', {
    facts: [
      ['header 1', first.fault],
      ['header 2', second.fault],
    ],
    mend: 'take the store from a backup, or make a new one with cvm vmgs create',
  });
}
