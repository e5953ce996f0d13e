import { usageError } from '../errors.ts';
import { DESCRIPTOR_64BIT_BYTES, FIRST_INODE } from './layout.ts';
import { BLOCKS_PER_GROUP, BLOCK_BYTES, SLOTS_PER_BLOCK } from './profile.ts';

/**
 * How the file system is cut into groups. Group `g` starts at block `g * 32768` and holds, in this order: superblock
 * copy and descriptor table (if it has them), block bitmap, inode bitmap, inode table, then data.
 */
export interface Geometry {
  readonly totalBlocks: number;
  readonly groupCount: number;
  readonly descriptorBlocks: number;
  readonly inodesPerGroup: number;
  readonly inodeTableBlocks: number;
}

/** Block numbers stay within 32 bits, their count may not: 16 TiB. */
const MAX_BLOCKS = 2 ** 32;
const MAX_INODES = 2 ** 32 - 1;
const BYTES_PER_INODE = 16_384;
/** Inodes left free beyond those in use, so that a mounted image can still get new files. */
const SPARE_INODES = 16;

/**
 * The number of inodes when the caller names none: one per 16 KiB as mke2fs has it, and always some to spare.
 * @param neededInodes including the eleven that every file system has
 */
export function defaultInodeCount(sizeBytes: number, neededInodes: number): number {
  return Math.max(Math.floor(sizeBytes / BYTES_PER_INODE), neededInodes + SPARE_INODES);
}

/**
 * @param sizeBytes of the image; what is left behind the last whole group or block stays zero
 * @param wantedInodes rounded up so that every group's inode table fills whole blocks
 * @throws CvmError usage EXT4_SIZE | EXT4_INODE_COUNT
 */
export function planGeometry(sizeBytes: number, wantedInodes: number): Geometry {
  let totalBlocks = Math.floor(sizeBytes / BLOCK_BYTES);
  if (!Number.isSafeInteger(sizeBytes) || totalBlocks < 1 || totalBlocks > MAX_BLOCKS) {
    throw usageError('EXT4_SIZE', 'an ext4 image cannot have this size', {
      facts: [
        ['size', `${sizeBytes} bytes`],
        ['range', `64 KiB to ${MAX_BLOCKS * BLOCK_BYTES} bytes`],
      ],
    });
  }
  if (!Number.isSafeInteger(wantedInodes) || wantedInodes < FIRST_INODE) {
    throw usageError('EXT4_INODE_COUNT', 'an ext4 file system cannot have this number of inodes', {
      facts: [['inodes', wantedInodes]],
      mend: `give at least ${FIRST_INODE}: ten are reserved, one is lost+found`,
    });
  }
  for (;;) {
    const groupCount = Math.ceil(totalBlocks / BLOCKS_PER_GROUP);
    const geometry = geometryOf(totalBlocks, groupCount, wantedInodes);
    const last = groupCount - 1;
    // One block of data at least, or the group is not worth its metadata; the first also holds two directories.
    if (groupBlocks(geometry, last) >= metadataBlocks(geometry, last) + (last === 0 ? 2 : 1)) return geometry;
    if (last === 0) {
      throw usageError('EXT4_SIZE', 'the image is too small for an ext4 file system of so many inodes', {
        facts: [
          ['size', `${sizeBytes} bytes, ${totalBlocks} blocks`],
          ['metadata', `${metadataBlocks(geometry, 0) + 2} blocks`],
          ['inodes', geometry.inodesPerGroup],
        ],
        mend: `give at least ${(metadataBlocks(geometry, 0) + 2) * BLOCK_BYTES} bytes, or fewer inodes`,
      });
    }
    totalBlocks = last * BLOCKS_PER_GROUP;
  }
}

function geometryOf(totalBlocks: number, groupCount: number, wantedInodes: number): Geometry {
  const share = Math.ceil(wantedInodes / groupCount);
  const inodesPerGroup = Math.ceil(share / SLOTS_PER_BLOCK) * SLOTS_PER_BLOCK;
  // A group's inode bitmap is one block, and inode numbers have 32 bits.
  if (inodesPerGroup > BLOCKS_PER_GROUP || inodesPerGroup * groupCount > MAX_INODES) {
    throw usageError('EXT4_INODE_COUNT', 'an ext4 file system of this size cannot have so many inodes', {
      facts: [
        ['inodes', wantedInodes],
        ['groups', groupCount],
        ['most', Math.min(groupCount * BLOCKS_PER_GROUP, MAX_INODES)],
      ],
      mend: 'give fewer inodes or a larger size',
    });
  }
  return {
    totalBlocks,
    groupCount,
    descriptorBlocks: Math.ceil((groupCount * DESCRIPTOR_64BIT_BYTES) / BLOCK_BYTES),
    inodesPerGroup,
    inodeTableBlocks: inodesPerGroup / SLOTS_PER_BLOCK,
  };
}

/** Whether a group holds a superblock and the descriptors: 0, 1 and the powers of 3, 5 and 7 (sparse_super). */
export function hasSuperblock(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

export function groupStart(group: number): number {
  return group * BLOCKS_PER_GROUP;
}

/** Blocks of the group: all but the last are full. */
export function groupBlocks(geometry: Geometry, group: number): number {
  return Math.min(BLOCKS_PER_GROUP, geometry.totalBlocks - groupStart(group));
}

/** The block of the group's block bitmap; the inode bitmap and the inode table follow it. */
export function blockBitmapBlock(geometry: Geometry, group: number): number {
  return groupStart(group) + (hasSuperblock(group) ? 1 + geometry.descriptorBlocks : 0);
}

/** Blocks at the start of the group that never hold data. */
export function metadataBlocks(geometry: Geometry, group: number): number {
  return blockBitmapBlock(geometry, group) - groupStart(group) + 2 + geometry.inodeTableBlocks;
}
