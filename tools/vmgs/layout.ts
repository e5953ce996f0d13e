/**
 * VMGS, the guest state store of Hyper-V and OpenVMM, format 3.0: sizes and places. Source: openvmm,
 * `vm/vmgs/vmgs_format`. All integers of a store are little-endian.
 *
 * | block | what                                                                     |
 * | ----- | ------------------------------------------------------------------------ |
 * | 0-1   | two header slots, one sector each, at byte 0 and at one sector           |
 * | 2…    | files, one contiguous extent each; the file tables are files, too        |
 */
import { formatError } from '../errors.ts';

export const VMGS_BLOCK_BYTES = 4096;

/** Blocks before the first that a file may have. */
export const FIRST_FILE_BLOCK = 2;

export const HEADER_AREA_BYTES = FIRST_FILE_BLOCK * VMGS_BLOCK_BYTES;

/** Ids run from 0 to 63. */
export const FILE_COUNT = 64;

/** A store must hold both header blocks and both tables. */
export const STORE_MIN_BYTES = 16_384;

/** 2^32 - 1 blocks: one more, and the block count of 32 bits is zero. */
export const STORE_MAX_BYTES = 0xffff_ffff * VMGS_BLOCK_BYTES;

export const STORE_DEFAULT_BYTES = 4 * 1024 * 1024;

export const SECTOR_BYTES = [512, 4096] as const;
export type SectorBytes = (typeof SECTOR_BYTES)[number];

/** Where a store lies and how its device is written. */
export interface StoreGeometry {
  /** Bytes of the store, without a VHD footer. */
  readonly storeBytes: number;
  /** The unit of writes; the second header slot is one sector behind the first. */
  readonly sectorBytes: SectorBytes;
}

/** Whole blocks of a store; a partial one at its end is of no use. */
export function capacityBlocks({ storeBytes }: StoreGeometry): number {
  return Math.floor(storeBytes / VMGS_BLOCK_BYTES);
}

/** Blocks of a file's extent: an empty file has one, too. */
export function blocksFor(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / VMGS_BLOCK_BYTES));
}

/** @throws CvmError format VMGS_SIZE when a store of this size cannot be */
export function checkStoreBytes(storeBytes: number): void {
  if (storeBytes >= STORE_MIN_BYTES && storeBytes <= STORE_MAX_BYTES) return;
  throw formatError('VMGS_SIZE', 'a VMGS store cannot have this size', {
    facts: [
      ['found', `${storeBytes} bytes`],
      ['smallest', `${STORE_MIN_BYTES} bytes`],
      ['largest', `${STORE_MAX_BYTES} bytes`],
    ],
  });
}
