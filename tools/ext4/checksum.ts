import { crc32c } from '../bytes/crc32c.ts';
import { readU32, writeU16, writeU32 } from '../bytes/little-endian.ts';
import {
  DIRENT_TAIL_BYTES,
  EXTENT_ENTRY_BYTES,
  EXTENT_HEADER_BYTES,
  GD,
  HTREE_TAIL_BYTES,
  INODE,
  INODE_BASE_BYTES,
  SB,
  XATTR_BLOCK,
} from './layout.ts';

/*
 * What ext4 checksums cover. With metadata_csum everything is CRC-32C without final inversion, started from the
 * file system's seed (the superblock alone starts from all ones). With the older uninit_bg feature only group
 * descriptors have one, a CRC-16. Source: Linux Documentation/filesystems/ext4/checksums.rst.
 */

/*
 * Copies are made with `new Uint8Array(view)`: on a Buffer, which is a Uint8Array too, `slice` is a view, and zeroing a
 * field in it would change the image.
 */
const ALL_ONES = 0xffffffff;

function le32(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  values.forEach((value, i) => writeU32(bytes, 4 * i, value));
  return bytes;
}

/** The seed of a file system that has no seed of its own in the superblock. */
export function checksumSeed(uuid: Uint8Array): number {
  return crc32c(ALL_ONES, uuid);
}

/** @param bytes the 1024 bytes of a superblock */
export function superblockChecksum(bytes: Uint8Array): number {
  return crc32c(ALL_ONES, bytes.subarray(0, SB.checksum));
}

/** 16 bits over group number and descriptor, its checksum field as zero. */
export function descriptorChecksum(seed: number, group: number, descriptor: Uint8Array): number {
  const bytes = new Uint8Array(descriptor);
  writeU16(bytes, GD.checksum, 0);
  return crc32c(crc32c(seed, le32(group)), bytes) & 0xffff;
}

/** The CRC-16 of uninit_bg over UUID, group number and descriptor, its checksum field left out. */
export function oldDescriptorChecksum(uuid: Uint8Array, group: number, descriptor: Uint8Array): number {
  let crc = crc16(0xffff, uuid);
  crc = crc16(crc, le32(group));
  crc = crc16(crc, descriptor.subarray(0, GD.checksum));
  return crc16(crc, descriptor.subarray(GD.checksum + 2));
}

/** CRC-16, reflected polynomial 0xA001, without final inversion. */
function crc16(seed: number, bytes: Uint8Array): number {
  let crc = seed;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0xa001 : crc >>> 1;
  }
  return crc;
}

/** @param bytes the part of the bitmap block that stands for clusters or inodes of the group */
export function bitmapChecksum(seed: number, bytes: Uint8Array): number {
  return crc32c(seed, bytes);
}

/** The start of every checksum of what belongs to an inode: its number and generation. */
export function inodeSeed(seed: number, inode: number, generation: number): number {
  return crc32c(seed, le32(inode, generation));
}

/**
 * Over the whole slot with both checksum fields as zero. A slot without room for the high half holds the low 16
 * bits only: see {@link hasHighInodeChecksum}.
 */
export function inodeChecksum(seed: number, inode: number, slot: Uint8Array): number {
  const bytes = new Uint8Array(slot);
  writeU16(bytes, INODE.checksumLow, 0);
  if (hasHighInodeChecksum(slot)) writeU16(bytes, INODE.checksumHigh, 0);
  return crc32c(inodeSeed(seed, inode, readU32(slot, INODE.generation)), bytes);
}

/** Whether the slot's extra size covers the high half of the checksum. */
export function hasHighInodeChecksum(slot: Uint8Array): boolean {
  if (slot.length <= INODE_BASE_BYTES) return false;
  const extraSize = (slot[INODE.extraSize] ?? 0) | ((slot[INODE.extraSize + 1] ?? 0) << 8);
  return INODE_BASE_BYTES + extraSize >= INODE.checksumHigh + 2;
}

/** Where the checksum of an extent block stands: after its last slot. */
export function extentTailOffset(maxEntries: number): number {
  return EXTENT_HEADER_BYTES + EXTENT_ENTRY_BYTES * maxEntries;
}

/** @param owner see {@link inodeSeed} */
export function extentBlockChecksum(owner: number, block: Uint8Array, maxEntries: number): number {
  return crc32c(owner, block.subarray(0, extentTailOffset(maxEntries)));
}

/** @param owner see {@link inodeSeed} */
export function directoryLeafChecksum(owner: number, block: Uint8Array): number {
  return crc32c(owner, block.subarray(0, block.length - DIRENT_TAIL_BYTES));
}

/**
 * Over everything up to the last used entry, the reserved half of the tail, and zeros for the checksum.
 * @param owner see {@link inodeSeed}
 * @param entriesOffset where the slots begin: the slot of limit and count is the first
 */
export function htreeChecksum(
  owner: number,
  block: Uint8Array,
  entriesOffset: number,
  count: number,
  tailOffset: number,
): number {
  const used = crc32c(owner, block.subarray(0, entriesOffset + 8 * count));
  return crc32c(
    crc32c(used, block.subarray(tailOffset, tailOffset + HTREE_TAIL_BYTES - 4)),
    new Uint8Array(4),
  );
}

/** Over the block's own number (64 bits) and the whole block with its checksum field as zero. */
export function xattrBlockChecksum(seed: number, blockNumber: number, block: Uint8Array): number {
  const bytes = new Uint8Array(block);
  writeU32(bytes, XATTR_BLOCK.checksum, 0);
  const number = le32(blockNumber % 2 ** 32, Math.floor(blockNumber / 2 ** 32));
  return crc32c(crc32c(seed, number), bytes);
}
