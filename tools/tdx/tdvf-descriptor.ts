import { equalBytes } from '../bytes/compare.ts';
import { joinU32, readU32 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';

/** The entry of the firmware's GUIDed table that tells where the descriptor is. */
export const TDVF_GUID = 'e47a6535-984a-4798-865e-4685a7bf8ec2';

/** Section types of the TDVF descriptor, by number. */
export const TDVF_TYPES = [
  'BFV',
  'CFV',
  'TD_HOB',
  'TEMP_MEM',
  'PERM_MEM',
  'PAYLOAD',
  'PAYLOAD_PARAM',
] as const;
export type TdvfType = (typeof TDVF_TYPES)[number];

export const PAGE_BYTES = 4096;

const SIGNATURE = Uint8Array.from([0x54, 0x44, 0x56, 0x46]); // "TDVF"
const HEADER_BYTES = 16;
const ROW_BYTES = 32;
/** Real firmware has six. */
const ROWS_LIMIT = 64;
/** Guest physical addresses have at most 52 bits. */
const ADDRESS_LIMIT = 2 ** 52;

/** A section as the descriptor has it: a range of guest memory that a VMM fills before launch. */
export interface TdvfRow {
  /** Where its content lies in the image, bytes; nothing when `rawSizeBytes` is 0. */
  readonly dataOffset: number;
  readonly rawSizeBytes: number;
  readonly gpa: number;
  readonly memorySizeBytes: number;
  /** Index into {@link TDVF_TYPES}, or a number that is not known. */
  readonly type: number;
  /** Bit 0 MR.EXTEND: the content is measured; bit 1 PAGE.AUG: the pages are added when the guest runs. */
  readonly attributes: number;
}

/** What is wrong with a descriptor. */
export type DescriptorFault =
  | { readonly kind: 'place' | 'signature' }
  | { readonly kind: 'version'; readonly version: number }
  | {
      readonly kind: 'length' | 'count';
      readonly length: number;
      readonly count: number;
      readonly neededBytes: number;
    };

/**
 * The TDVF descriptor of a firmware image: "TDVF", u32 length (16 + 32 n), u32 version 1, u32 n, then n × { u32 data
 * offset, u32 raw size, u64 memory address, u64 memory size, u32 type, u32 attributes }. Little-endian. What the rows say
 * is not checked, see {@link tdvfRowFault}.
 *
 * Source: Intel TDX Virtual Firmware Design Guide, section 11.
 *
 * @param distance of the descriptor from the end of the image, from the entry {@link TDVF_GUID}
 * @param wrong makes the error, in the words of the caller
 */
export function readTdvfDescriptor(
  image: ByteSource,
  distance: number,
  wrong: (fault: DescriptorFault) => Error,
): TdvfRow[] {
  const at = image.sizeBytes - distance;
  if (at < 0 || distance < HEADER_BYTES) throw wrong({ kind: 'place' });
  const header = image.read(at, HEADER_BYTES);
  if (!equalBytes(header.subarray(0, 4), SIGNATURE)) throw wrong({ kind: 'signature' });
  const [length, version, count] = [readU32(header, 4), readU32(header, 8), readU32(header, 12)];
  if (version !== 1) throw wrong({ kind: 'version', version });
  const neededBytes = HEADER_BYTES + ROW_BYTES * count;
  if (length !== neededBytes || neededBytes > distance)
    throw wrong({ kind: 'length', length, count, neededBytes });
  if (count > ROWS_LIMIT) throw wrong({ kind: 'count', length, count, neededBytes });
  const table = image.read(at + HEADER_BYTES, ROW_BYTES * count);
  return Array.from({ length: count }, (_, i) => readRow(table, ROW_BYTES * i));
}

function readRow(table: Uint8Array, at: number): TdvfRow {
  const u64 = (offset: number): number =>
    joinU32(readU32(table, at + offset), readU32(table, at + offset + 4));
  return {
    dataOffset: readU32(table, at),
    rawSizeBytes: readU32(table, at + 4),
    gpa: u64(8),
    memorySizeBytes: u64(16),
    type: readU32(table, at + 24),
    attributes: readU32(table, at + 28),
  };
}

/** The first thing that is wrong with a section: address or size is no whole page, more content than memory, or a range outside. */
export type TdvfRowFault = 'address' | 'raw' | 'size' | 'content' | 'beyond';

/** @param imageBytes size of the image that the content lies in */
export function tdvfRowFault(row: TdvfRow, imageBytes: number): TdvfRowFault | undefined {
  if (row.gpa % PAGE_BYTES !== 0) return 'address';
  if (row.memorySizeBytes < row.rawSizeBytes) return 'raw';
  if (row.memorySizeBytes % PAGE_BYTES !== 0) return 'size';
  if (row.dataOffset + row.rawSizeBytes > imageBytes) return 'content';
  if (row.gpa + row.memorySizeBytes > ADDRESS_LIMIT) return 'beyond';
  return undefined;
}
