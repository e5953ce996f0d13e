/**
 * The fixed VHD that a VMGS file is wrapped in: the store, then 512 bytes of footer; no copy of it in front.
 * Integers of the footer are big-endian. Source: "Virtual Hard Disk Image Format Specification" 1.0, "Hard Disk Footer
 * Format"; what is checked, and in which order: openvmm, `vm/devices/storage/disk_vhd1`.
 *
 * | offset | size | field               | written                                    |
 * | ------ | ---- | ------------------- | ------------------------------------------ |
 * | 0      | 8    | cookie              | `conectix`                                 |
 * | 8      | 4    | features            | 2                                          |
 * | 12     | 4    | format version      | 0x00010000                                 |
 * | 16     | 8    | data offset         | all ones: fixed                            |
 * | 24     | 4    | time stamp          | 0                                          |
 * | 28     | 4    | creator application | 0                                          |
 * | 32     | 4    | creator version     | 0x000A0000                                 |
 * | 36     | 4    | creator host        | 0                                          |
 * | 40     | 8    | original size       | store bytes                                |
 * | 48     | 8    | current size        | store bytes                                |
 * | 56     | 4    | geometry            | 0                                          |
 * | 60     | 4    | disk type           | 2: fixed                                   |
 * | 64     | 4    | checksum            | inverted sum of all bytes but these four   |
 * | 68     | 16   | unique id           | a GUID, its first three fields little-endian |
 * | 84     | 1    | saved state         | 0                                          |
 * | 85     | 427  | reserved            | 0                                          |
 */
import { sparseSource, sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { guidFromBytes } from '../bytes/guid.ts';
import { rawFromBytes, rawToBytes } from '../bytes/text.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';

export const VHD_FOOTER_BYTES = 512;

/** The unit of a VHD's sizes. */
export const VHD_SECTOR_BYTES = 512;

const COOKIE = 'conectix';
const VERSION = 0x0001_0000;
const FIXED_DISK = 2;
const CHECKSUM_OFFSET = 64;
const ID_OFFSET = 68;
const CURRENT_SIZE_OFFSET = 48;

/** @param id 16 bytes, as they stand in the file */
export function encodeVhdFooter(storeBytes: number, id: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(VHD_FOOTER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(rawToBytes(COOKIE));
  view.setUint32(8, 2);
  view.setUint32(12, VERSION);
  view.setBigUint64(16, 0xffff_ffff_ffff_ffffn);
  view.setUint32(32, 0x000a_0000);
  view.setBigUint64(40, BigInt(storeBytes));
  view.setBigUint64(CURRENT_SIZE_OFFSET, BigInt(storeBytes));
  view.setUint32(60, FIXED_DISK);
  bytes.set(id, ID_OFFSET);
  view.setUint32(CHECKSUM_OFFSET, checksum(bytes));
  return bytes;
}

function checksum(footer: Uint8Array): number {
  let sum = 0;
  footer.forEach((byte, at) => {
    if (at < CHECKSUM_OFFSET || at >= CHECKSUM_OFFSET + 4) sum += byte;
  });
  return ~sum >>> 0;
}

export interface VhdFooter {
  /** Bytes of the disk, at the start of the file. */
  readonly currentBytes: number;
  readonly originalBytes: bigint;
  /** The unique id as text. */
  readonly id: string;
  /** Its 16 bytes as they stand in the file. */
  readonly idBytes: Uint8Array;
}

/**
 * Reads the footer at a file's end.
 * @throws CvmError format VMGS_EMPTY | VHD_LENGTH | VHD_COOKIE | VHD_CHECKSUM | VHD_VERSION | VHD_TYPE | VHD_SIZE
 */
export function readVhdFooter(file: ByteSource): VhdFooter {
  const { sizeBytes } = file;
  if (sizeBytes === 0) {
    throw formatError('VMGS_EMPTY', 'the file is empty', { mend: 'make a store with cvm vmgs create' });
  }
  if (sizeBytes < VHD_FOOTER_BYTES || sizeBytes % VHD_SECTOR_BYTES !== 0) {
    throw bad('VHD_LENGTH', 'a VHD is whole sectors of 512 bytes', [['file', `${sizeBytes} bytes`]]);
  }
  const footer = file.read(sizeBytes - VHD_FOOTER_BYTES, VHD_FOOTER_BYTES).slice();
  const view = new DataView(footer.buffer);
  const cookie = rawFromBytes(footer.subarray(0, 8));
  if (cookie !== COOKIE) {
    const isStore = rawFromBytes(file.read(0, 8)) === 'GUESTRTS';
    throw bad('VHD_COOKIE', 'the file does not end in a VHD footer', [
      ['file', `${sizeBytes} bytes`],
      [
        'at its start',
        isStore ? 'a VMGS header: the end was cut off, or the store is raw (--raw)' : 'no VMGS header',
      ],
    ]);
  }
  const stored = view.getUint32(CHECKSUM_OFFSET);
  if (stored !== checksum(footer)) {
    throw bad('VHD_CHECKSUM', "the VHD footer's checksum does not fit", [
      ['found', hex(stored)],
      ['computed', hex(checksum(footer))],
    ]);
  }
  if (view.getUint32(12) !== VERSION) {
    throw bad('VHD_VERSION', 'the VHD has an unknown version', [['found', hex(view.getUint32(12))]]);
  }
  if (view.getUint32(60) !== FIXED_DISK) {
    throw bad('VHD_TYPE', 'only fixed VHDs hold a VMGS store', [['disk type', view.getUint32(60)]]);
  }
  const current = view.getBigUint64(CURRENT_SIZE_OFFSET);
  if (current > BigInt(sizeBytes - VHD_FOOTER_BYTES) || current % BigInt(VHD_SECTOR_BYTES) !== 0n) {
    throw bad('VHD_SIZE', 'the VHD footer names more than the file has, or no whole sectors', [
      ['footer', `${current} bytes`],
      ['file', `${sizeBytes} bytes`],
    ]);
  }
  const idBytes = footer.slice(ID_OFFSET, ID_OFFSET + 16);
  return {
    currentBytes: Number(current),
    originalBytes: view.getBigUint64(40),
    id: guidFromBytes(idBytes),
    idBytes,
  };
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}

function bad(code: string, message: string, facts: readonly Fact[]): CvmError {
  return formatError(code, message, {
    facts,
    mend: 'take the file from a backup; a store without a footer is read with --raw',
  });
}

/** A store with its footer. */
export function wrapVhd(store: ByteSource, id: Uint8Array): ByteSource {
  return sparseSource(store.sizeBytes + VHD_FOOTER_BYTES, [
    { offset: 0, source: store },
    { offset: store.sizeBytes, source: sourceFromBytes(encodeVhdFooter(store.sizeBytes, id)) },
  ]);
}
