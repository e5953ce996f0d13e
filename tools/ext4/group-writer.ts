import { writeU16, writeU32, writeU8 } from '../bytes/little-endian.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { bitmapChecksum, descriptorChecksum, superblockChecksum } from './checksum.ts';
import { blockBitmapBlock, groupBlocks, type Geometry } from './geometry.ts';
import { makeExtentRoot } from './extent-tree.ts';
import type { InodePlan } from './inode-plan.ts';
import {
  BLOCK_AREA_BYTES,
  CHECKSUM_TYPE_CRC32C,
  COMPAT,
  DEFAULT_MOUNT_OPTIONS,
  DESCRIPTOR_64BIT_BYTES,
  EXT4_MAGIC,
  FIRST_INODE,
  GD,
  GROUP_INODE_ZEROED,
  HASH_HALF_MD4,
  SB,
  SB_FLAG_SIGNED_HASH,
  STATE_CLEAN,
  SUPERBLOCK_BYTES,
} from './layout.ts';
import {
  BLOCK_BYTES,
  BLOCKS_PER_GROUP,
  EXTRA_SIZE,
  FEATURE_COMPAT,
  FEATURE_INCOMPAT,
  FEATURE_RO_COMPAT,
  LOG_BLOCK_BYTES,
  SLOT_BYTES,
} from './profile.ts';

/** What a group holds. Used blocks and inodes are a prefix of the group, see block-allocator.ts. */
export interface GroupUse {
  readonly usedBlocks: number;
  readonly usedInodes: number;
  readonly directories: number;
}

const NEVER = 0xffff;
const CONTINUE_ON_ERROR = 1;
const DYNAMIC_REVISION = 1;
const JOURNAL_BACKUP_BLOCKS = 1;

/**
 * A bitmap block: the first `used` bits are set, and so is everything from `size` on, which stands for nothing.
 */
export function makeBitmap(used: number, size: number): Uint8Array {
  const bitmap = new Uint8Array(BLOCK_BYTES);
  setBits(bitmap, 0, used);
  setBits(bitmap, size, 8 * BLOCK_BYTES);
  return bitmap;
}

function setBits(bitmap: Uint8Array, from: number, to: number): void {
  if (from >= to) return;
  const firstByte = Math.floor(from / 8);
  const lastByte = Math.floor(to / 8);
  const above = (0xff << (from % 8)) & 0xff;
  const below = (1 << (to % 8)) - 1;
  if (firstByte === lastByte) {
    bitmap[firstByte] = (bitmap[firstByte] ?? 0) | (above & below);
    return;
  }
  bitmap[firstByte] = (bitmap[firstByte] ?? 0) | above;
  bitmap.fill(0xff, firstByte + 1, lastByte);
  if (below !== 0) bitmap[lastByte] = (bitmap[lastByte] ?? 0) | below;
}

/** Checksums of bitmaps by what they are made from: most groups of a large image are alike. */
function bitmapChecksums(seed: number, bytes: number): (used: number, size: number) => number {
  const known = new Map<string, number>();
  return (used, size) => {
    const key = `${used}/${size}`;
    const checksum = known.get(key) ?? bitmapChecksum(seed, makeBitmap(used, size).subarray(0, bytes));
    known.set(key, checksum);
    return checksum;
  };
}

/** The table of all descriptors, 64 bytes each. */
export function makeDescriptors(geometry: Geometry, groups: readonly GroupUse[], seed: number): Uint8Array {
  const table = new Uint8Array(geometry.groupCount * DESCRIPTOR_64BIT_BYTES);
  const blocksChecksum = bitmapChecksums(seed, BLOCKS_PER_GROUP / 8);
  const inodesChecksum = bitmapChecksums(seed, geometry.inodesPerGroup / 8);
  groups.forEach((use, group) => {
    const at = group * DESCRIPTOR_64BIT_BYTES;
    const descriptor = table.subarray(at, at + DESCRIPTOR_64BIT_BYTES);
    const bitmap = blockBitmapBlock(geometry, group);
    writeU32(descriptor, GD.blockBitmapLow, bitmap);
    writeU32(descriptor, GD.inodeBitmapLow, bitmap + 1);
    writeU32(descriptor, GD.inodeTableLow, bitmap + 2);
    writeU16(descriptor, GD.freeBlocksLow, groupBlocks(geometry, group) - use.usedBlocks);
    const freeInodes = geometry.inodesPerGroup - use.usedInodes;
    writeU16(descriptor, GD.freeInodesLow, freeInodes);
    writeU16(descriptor, GD.directoriesLow, use.directories);
    writeU16(descriptor, GD.flags, GROUP_INODE_ZEROED);
    writeU16(descriptor, GD.unusedInodesLow, freeInodes);
    const blocks = blocksChecksum(use.usedBlocks, groupBlocks(geometry, group));
    writeU16(descriptor, GD.blockBitmapChecksumLow, blocks);
    writeU16(descriptor, GD.blockBitmapChecksumHigh, blocks >>> 16);
    const inodes = inodesChecksum(use.usedInodes, geometry.inodesPerGroup);
    writeU16(descriptor, GD.inodeBitmapChecksumLow, inodes);
    writeU16(descriptor, GD.inodeBitmapChecksumHigh, inodes >>> 16);
    writeU16(descriptor, GD.checksum, descriptorChecksum(seed, group, descriptor));
  });
  return table;
}

/** The feature, the inode, and a copy of the inode's mapping and size for a repair of it. */
function writeJournalFields(bytes: Uint8Array, journal: InodePlan): void {
  const sizeBytes = journal.entry.type === 'file' ? journal.entry.content.sizeBytes : 0;
  writeU32(bytes, SB.featureCompat, FEATURE_COMPAT | COMPAT.hasJournal);
  writeU32(bytes, SB.journalInode, journal.number);
  writeU8(bytes, SB.journalBackupType, JOURNAL_BACKUP_BLOCKS);
  if (journal.extents !== undefined) bytes.set(makeExtentRoot(journal.extents), SB.journalBlocks);
  writeU32(bytes, SB.journalBlocks + BLOCK_AREA_BYTES, Math.floor(sizeBytes / 2 ** 32));
  writeU32(bytes, SB.journalBlocks + BLOCK_AREA_BYTES + 4, sizeBytes);
}

/** What the superblock says about the whole. */
export interface VolumeIdentity {
  readonly uuid: Uint8Array;
  readonly hashSeed: Uint8Array;
  readonly label: string;
  readonly epochSec: number;
}

/** The superblock of `group`: copies differ by that number and the checksum. */
export function makeSuperblock(
  geometry: Geometry,
  groups: readonly GroupUse[],
  identity: VolumeIdentity,
  group: number,
  journal?: InodePlan,
): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  const usedBlocks = groups.reduce((sum, use) => sum + use.usedBlocks, 0);
  const usedInodes = groups.reduce((sum, use) => sum + use.usedInodes, 0);
  const inodesCount = geometry.inodesPerGroup * geometry.groupCount;
  writeU32(bytes, SB.inodesCount, inodesCount);
  writeU32(bytes, SB.blocksCountLow, geometry.totalBlocks);
  writeU32(bytes, SB.blocksCountHigh, Math.floor(geometry.totalBlocks / 2 ** 32));
  writeU32(bytes, SB.freeBlocksLow, geometry.totalBlocks - usedBlocks);
  writeU32(bytes, SB.freeInodes, inodesCount - usedInodes);
  writeU32(bytes, SB.logBlockSize, LOG_BLOCK_BYTES);
  writeU32(bytes, SB.logClusterSize, LOG_BLOCK_BYTES);
  writeU32(bytes, SB.blocksPerGroup, BLOCKS_PER_GROUP);
  writeU32(bytes, SB.clustersPerGroup, BLOCKS_PER_GROUP);
  writeU32(bytes, SB.inodesPerGroup, geometry.inodesPerGroup);
  writeU32(bytes, SB.writeTime, identity.epochSec);
  writeU16(bytes, SB.maxMountCount, NEVER);
  writeU16(bytes, SB.magic, EXT4_MAGIC);
  writeU16(bytes, SB.state, STATE_CLEAN);
  writeU16(bytes, SB.onError, CONTINUE_ON_ERROR);
  writeU32(bytes, SB.lastCheck, identity.epochSec);
  writeU32(bytes, SB.revision, DYNAMIC_REVISION);
  writeU32(bytes, SB.firstInode, FIRST_INODE);
  writeU16(bytes, SB.inodeSize, SLOT_BYTES);
  writeU16(bytes, SB.groupNumber, group);
  writeU32(bytes, SB.featureCompat, FEATURE_COMPAT);
  writeU32(bytes, SB.featureIncompat, FEATURE_INCOMPAT);
  writeU32(bytes, SB.featureRoCompat, FEATURE_RO_COMPAT);
  bytes.set(identity.uuid, SB.uuid);
  bytes.set(utf8Bytes(identity.label), SB.label);
  bytes.set(identity.hashSeed, SB.hashSeed);
  writeU8(bytes, SB.defaultHashVersion, HASH_HALF_MD4);
  writeU16(bytes, SB.descriptorSize, DESCRIPTOR_64BIT_BYTES);
  writeU32(bytes, SB.defaultMountOptions, DEFAULT_MOUNT_OPTIONS);
  writeU32(bytes, SB.creationTime, identity.epochSec);
  writeU16(bytes, SB.minExtraInodeSize, EXTRA_SIZE);
  writeU16(bytes, SB.wantExtraInodeSize, EXTRA_SIZE);
  writeU32(bytes, SB.flags, SB_FLAG_SIGNED_HASH);
  writeU8(bytes, SB.checksumType, CHECKSUM_TYPE_CRC32C);
  if (journal !== undefined) writeJournalFields(bytes, journal);
  writeU32(bytes, SB.checksum, superblockChecksum(bytes));
  return bytes;
}
