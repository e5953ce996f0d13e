import { writeU16, writeU32 } from '../bytes/little-endian.ts';
import { extentBlockChecksum, extentTailOffset, inodeSeed } from './checksum.ts';
import type { EditVolume } from './edit-volume.ts';
import type { FileExtent } from './extent-tree.ts';
import { ownedRuns } from './file-mapping.ts';
import type { Inode } from './inode.ts';
import {
  BLOCK_AREA_BYTES,
  EXTENT_ENTRY_BYTES,
  EXTENT_HEADER,
  EXTENT_HEADER_BYTES,
  EXTENT_INDEX,
  EXTENT_LEAF,
  EXTENT_MAGIC,
  EXTENT_ROOT_ENTRIES,
  RO_COMPAT,
} from './layout.ts';
import { hasRoCompat } from './superblock.ts';

/** A mapping that was written: what goes into the inode, and how many blocks the tree takes besides it. */
export interface WrittenMapping {
  readonly blockArea: Uint8Array;
  readonly treeBlocks: number;
}

/** Takes back all blocks of a file, of its extent tree too. */
export function freeMapping(volume: EditVolume, inode: Inode): void {
  // Gathered first: what is read must not change meanwhile.
  for (const { firstBlock, count } of [...ownedRuns(volume, inode)]) volume.freeBlocks(firstBlock, count);
}

/**
 * Writes an extent tree for runs that were given out, in blocks of any size.
 * @param extents ascending by file block, none longer than 32768
 */
export function writeMapping(
  volume: EditVolume,
  extents: readonly FileExtent[],
  owner: Pick<Inode, 'number' | 'generation'>,
  nearGroup: number,
): WrittenMapping {
  const { superblock } = volume;
  const most = Math.floor((superblock.blockSize - EXTENT_HEADER_BYTES) / EXTENT_ENTRY_BYTES);
  let level = extents;
  let depth = 0;
  let treeBlocks = 0;
  while (level.length > EXTENT_ROOT_ENTRIES) {
    const above: FileExtent[] = [];
    for (let at = 0; at < level.length; at += most) {
      const entries = level.slice(at, at + most);
      const block = volume.allocateBlock(nearGroup);
      const bytes = volume.fresh(block);
      writeNode(bytes, depth, entries, most);
      if (hasRoCompat(superblock, RO_COMPAT.metadataChecksum)) {
        const seed = inodeSeed(superblock.seed, owner.number, owner.generation);
        writeU32(bytes, extentTailOffset(most), extentBlockChecksum(seed, bytes, most));
      }
      treeBlocks++;
      above.push({ fileBlock: entries[0]?.fileBlock ?? 0, firstBlock: block, count: 0 });
    }
    level = above;
    depth++;
  }
  const blockArea = new Uint8Array(BLOCK_AREA_BYTES);
  writeNode(blockArea, depth, level, EXTENT_ROOT_ENTRIES);
  return { blockArea, treeBlocks };
}

function writeNode(bytes: Uint8Array, depth: number, entries: readonly FileExtent[], max: number): void {
  writeU16(bytes, EXTENT_HEADER.magic, EXTENT_MAGIC);
  writeU16(bytes, EXTENT_HEADER.entries, entries.length);
  writeU16(bytes, EXTENT_HEADER.max, max);
  writeU16(bytes, EXTENT_HEADER.depth, depth);
  entries.forEach(({ fileBlock, firstBlock, count }, i) => {
    const at = EXTENT_HEADER_BYTES + i * EXTENT_ENTRY_BYTES;
    const high = Math.floor(firstBlock / 2 ** 32);
    writeU32(bytes, at + EXTENT_LEAF.fileBlock, fileBlock);
    if (depth === 0) {
      writeU16(bytes, at + EXTENT_LEAF.length, count);
      writeU32(bytes, at + EXTENT_LEAF.startLow, firstBlock);
      writeU16(bytes, at + EXTENT_LEAF.startHigh, high);
    } else {
      writeU32(bytes, at + EXTENT_INDEX.childLow, firstBlock);
      writeU16(bytes, at + EXTENT_INDEX.childHigh, high);
    }
  });
}
