import { joinU32, readU16, readU32 } from '../bytes/little-endian.ts';
import { checkBlockRun, type BlockReader } from './block-reader.ts';
import { bitmapChecksum, descriptorChecksum, oldDescriptorChecksum } from './checksum.ts';
import {
  COMPAT,
  DESCRIPTOR_64BIT_BYTES,
  GD,
  GROUP_BLOCK_UNINIT,
  GROUP_INODE_UNINIT,
  INCOMPAT,
  RO_COMPAT,
} from './layout.ts';
import { checksumError, hasIncompat, hasRoCompat, type Superblock } from './superblock.ts';

/** What a reader needs of a group. Checksums are 32 bits, or the low 16 in a 32-byte descriptor. */
export interface GroupDescriptor {
  readonly group: number;
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
  /** The bitmaps of an uninitialised group hold anything at all. */
  readonly blockBitmapUninit: boolean;
  readonly inodeBitmapUninit: boolean;
  readonly blockBitmapChecksum: number;
  readonly inodeBitmapChecksum: number;
  readonly checksumMask: number;
}

/** Whether group `group` starts with a copy of superblock and descriptor table (group 0: the originals). */
export function hasSuperblockCopy(superblock: Superblock, group: number): boolean {
  if (group === 0) return true;
  if ((superblock.features.compat & COMPAT.sparseSuper2) !== 0) {
    return superblock.backupGroups.includes(group);
  }
  if (group === 1 || !hasRoCompat(superblock, RO_COMPAT.sparseSuper)) return true;
  return [3, 5, 7].some((base) => isPowerOf(base, group));
}

function isPowerOf(base: number, value: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}

/**
 * The block that holds descriptor block `index` of the table. The table follows the superblock's block; with
 * meta_bg, from a given index on, each table block stands in the first of the groups that it describes.
 * Source: Linux Documentation/filesystems/ext4/blockgroup.rst; 1 KiB blocks with bigalloc by experiment.
 */
export function descriptorTableBlock(superblock: Superblock, index: number): number {
  const tableStart = superblock.blockSize === 1024 ? 2 : 1;
  if (!hasIncompat(superblock, INCOMPAT.metaBg) || index < superblock.firstMetaBlockGroup) {
    return tableStart + index;
  }
  const group = index * (superblock.blockSize / superblock.descriptorSize);
  let skip = hasSuperblockCopy(superblock, group) ? 1 : 0;
  if (superblock.blockSize === 1024 && index === 0 && superblock.firstDataBlock === 0) skip += 1;
  return superblock.firstDataBlock + group * superblock.blocksPerGroup + skip;
}

/** @throws CvmError format EXT4_DESCRIPTOR_CHECKSUM | EXT4_BLOCK_BOUNDS */
export function readGroupDescriptor(
  superblock: Superblock,
  blocks: BlockReader,
  group: number,
): GroupDescriptor {
  const perBlock = superblock.blockSize / superblock.descriptorSize;
  const tableBlock = descriptorTableBlock(superblock, Math.floor(group / perBlock));
  const at = (group % perBlock) * superblock.descriptorSize;
  const bytes = blocks
    .block(tableBlock, 'the group descriptor table')
    .subarray(at, at + superblock.descriptorSize);
  checkDescriptor(superblock, group, bytes);

  const wide = superblock.descriptorSize >= DESCRIPTOR_64BIT_BYTES;
  const number = (low: number, high: number): number =>
    joinU32(readU32(bytes, low), wide ? readU32(bytes, high) : 0);
  const checksum = (low: number, high: number): number =>
    readU16(bytes, low) + (wide ? readU16(bytes, high) * 2 ** 16 : 0);
  const flags = hasDescriptorChecksums(superblock) ? readU16(bytes, GD.flags) : 0;
  const descriptor: GroupDescriptor = {
    group,
    blockBitmap: number(GD.blockBitmapLow, GD.blockBitmapHigh),
    inodeBitmap: number(GD.inodeBitmapLow, GD.inodeBitmapHigh),
    inodeTable: number(GD.inodeTableLow, GD.inodeTableHigh),
    blockBitmapUninit: (flags & GROUP_BLOCK_UNINIT) !== 0,
    inodeBitmapUninit: (flags & GROUP_INODE_UNINIT) !== 0,
    blockBitmapChecksum: checksum(GD.blockBitmapChecksumLow, GD.blockBitmapChecksumHigh),
    inodeBitmapChecksum: checksum(GD.inodeBitmapChecksumLow, GD.inodeBitmapChecksumHigh),
    checksumMask: wide ? 0xffffffff : 0xffff,
  };
  const tableBlocks = Math.ceil((superblock.inodesPerGroup * superblock.inodeSize) / superblock.blockSize);
  checkBlockRun(superblock, descriptor.inodeTable, tableBlocks, `the inode table of group ${group}`);
  checkBlockRun(superblock, descriptor.blockBitmap, 1, `the block bitmap of group ${group}`);
  checkBlockRun(superblock, descriptor.inodeBitmap, 1, `the inode bitmap of group ${group}`);
  return descriptor;
}

function hasDescriptorChecksums(superblock: Superblock): boolean {
  return (
    hasRoCompat(superblock, RO_COMPAT.metadataChecksum) || hasRoCompat(superblock, RO_COMPAT.gdtChecksum)
  );
}

function checkDescriptor(superblock: Superblock, group: number, bytes: Uint8Array): void {
  if (!hasDescriptorChecksums(superblock)) return;
  const stored = readU16(bytes, GD.checksum);
  const computed = hasRoCompat(superblock, RO_COMPAT.metadataChecksum)
    ? descriptorChecksum(superblock.seed, group, bytes)
    : oldDescriptorChecksum(superblock.uuid, group, bytes);
  if (stored !== computed) {
    throw checksumError('EXT4_DESCRIPTOR_CHECKSUM', `the descriptor of group ${group}`, stored, computed);
  }
}

/**
 * Checks the checksums of a group's two bitmaps. Reading files needs no bitmap; this is for those who want to know
 * that the image is whole.
 * @throws CvmError format EXT4_BLOCK_BITMAP_CHECKSUM | EXT4_INODE_BITMAP_CHECKSUM
 */
export function checkBitmaps(superblock: Superblock, blocks: BlockReader, descriptor: GroupDescriptor): void {
  if (!hasRoCompat(superblock, RO_COMPAT.metadataChecksum)) return;
  const { group, checksumMask } = descriptor;
  const check = (code: string, what: string, block: number, objects: number, stored: number): void => {
    const bytes = blocks.block(block, what).subarray(0, Math.floor(objects / 8));
    const computed = (bitmapChecksum(superblock.seed, bytes) & checksumMask) >>> 0;
    if (stored !== computed) throw checksumError(code, what, stored, computed);
  };
  if (!descriptor.blockBitmapUninit) {
    const what = `the block bitmap of group ${group}`;
    const clusters = superblock.blocksPerGroup / superblock.clusterBlocks;
    check(
      'EXT4_BLOCK_BITMAP_CHECKSUM',
      what,
      descriptor.blockBitmap,
      clusters,
      descriptor.blockBitmapChecksum,
    );
  }
  if (!descriptor.inodeBitmapUninit) {
    const what = `the inode bitmap of group ${group}`;
    const inodes = superblock.inodesPerGroup;
    check('EXT4_INODE_BITMAP_CHECKSUM', what, descriptor.inodeBitmap, inodes, descriptor.inodeBitmapChecksum);
  }
}
