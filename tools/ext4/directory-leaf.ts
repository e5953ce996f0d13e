import { writeU16, writeU32, writeU8 } from '../bytes/little-endian.ts';
import { rawToBytes, type RawText } from '../bytes/text.ts';
import { directoryLeafChecksum } from './checksum.ts';
import type { Child, InodePlan } from './inode-plan.ts';
import { DIRENT, DIRENT_HEADER_BYTES, DIRENT_TAIL_BYTES, DIRENT_TAIL_TYPE, DIRENT_TYPE } from './layout.ts';
import { BLOCK_BYTES } from './profile.ts';

/** How a directory's names lie in blocks. Blocks are made when they are read. */
export interface DirectoryPlan {
  readonly blockCount: number;
  /** Whether the inode needs the htree flag. */
  readonly indexed: boolean;
  makeBlock(index: number): Uint8Array;
}

/** What a directory needs to know of its file system. */
export interface DirectoryContext {
  readonly checksumSeed: number;
  readonly hashSeed: Uint8Array;
}

/** Names of one block; the rest is the checksum's pseudo record. */
const LEAF_ROOM = BLOCK_BYTES - DIRENT_TAIL_BYTES;

/** The children of one leaf: `from` up to, without, `to`. */
export interface LeafRange {
  readonly from: number;
  readonly to: number;
}

/** At least one leaf; a new one begins when a record does not fit. `firstUsed` bytes of the first are taken. */
export function fillLeaves(children: readonly Child[], firstUsed: number): LeafRange[] {
  const leaves: LeafRange[] = [];
  let from = 0;
  let used = firstUsed;
  children.forEach(({ name }, i) => {
    const length = recordLength(name);
    if (used + length > LEAF_ROOM) {
      leaves.push({ from, to: i });
      from = i;
      used = 0;
    }
    used += length;
  });
  leaves.push({ from, to: children.length });
  return leaves;
}

function recordLength(name: RawText): number {
  return Math.ceil((DIRENT_HEADER_BYTES + name.length) / 4) * 4;
}

/** A record at its smallest length. */
function makeRecord(inode: InodePlan, name: RawText): Uint8Array {
  const record = new Uint8Array(recordLength(name));
  writeU32(record, DIRENT.inode, inode.number);
  writeU16(record, DIRENT.recordLength, record.length);
  writeU8(record, DIRENT.nameLength, name.length);
  writeU8(record, DIRENT.type, DIRENT_TYPE[inode.entry.type]);
  record.set(rawToBytes(name), DIRENT.name);
  return record;
}

export function childRecord({ name, inode }: Child): Uint8Array {
  return makeRecord(inode, name);
}

/** The names every directory has of itself and of the one above. */
export function dotRecords(directory: InodePlan): [self: Uint8Array, parent: Uint8Array] {
  return [makeRecord(directory, '.'), makeRecord(directory.parent ?? directory, '..')];
}

/**
 * A block of records: they tile all bytes before the checksum, the last one stretched.
 * @param owner see `inodeSeed`
 * @param records one at least, together no longer than 4084 bytes
 */
export function makeLeaf(owner: number, records: readonly Uint8Array[]): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  let at = 0;
  let last = 0;
  for (const record of records) {
    block.set(record, at);
    last = at;
    at += record.length;
  }
  writeU16(block, last + DIRENT.recordLength, LEAF_ROOM - last);
  writeU16(block, LEAF_ROOM + DIRENT.recordLength, DIRENT_TAIL_BYTES);
  writeU8(block, LEAF_ROOM + DIRENT.type, DIRENT_TAIL_TYPE);
  writeU32(block, BLOCK_BYTES - 4, directoryLeafChecksum(owner, block));
  return block;
}
