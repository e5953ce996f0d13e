import { COMPAT, INCOMPAT, INODE_BASE_BYTES, RO_COMPAT } from './layout.ts';

/*
 * What our writer makes, always: 4 KiB blocks, 256-byte inodes, 64-byte descriptors, sparse_super with true backups,
 * metadata_csum, every group's bitmaps and inode table inside the group, nothing uninitialised; a journal when it is asked for. The
 * smallest set that e2fsck accepts, Linux mounts read-write and that keeps full 32-bit checksums.
 */

export const BLOCK_BYTES = 4096;
export const LOG_BLOCK_BYTES = 2; // in units of 1024 bytes
export const BLOCKS_PER_GROUP = 8 * BLOCK_BYTES;
export const SLOT_BYTES = 256;
/** Bytes of the slot in use beyond the first 128: times with nanoseconds, creation time, checksum. */
export const EXTRA_SIZE = 32;
export const SLOTS_PER_BLOCK = BLOCK_BYTES / SLOT_BYTES;
/** In a slot behind the fixed fields: magic, entries, values. */
export const SLOT_XATTR_OFFSET = INODE_BASE_BYTES + EXTRA_SIZE;

export const FEATURE_COMPAT = COMPAT.extAttr | COMPAT.dirIndex;
export const FEATURE_INCOMPAT = INCOMPAT.filetype | INCOMPAT.extents | INCOMPAT.is64bit;
export const FEATURE_RO_COMPAT =
  RO_COMPAT.sparseSuper |
  RO_COMPAT.largeFile |
  RO_COMPAT.hugeFile |
  RO_COMPAT.dirNlink |
  RO_COMPAT.extraIsize |
  RO_COMPAT.metadataChecksum;

/** What Linux allows one inode to have. */
export const MAX_FILE_LINKS = 65_000;
/** A directory has two links of its own; with more subdirectories the count would have to lie. */
export const MAX_SUBDIRECTORIES = MAX_FILE_LINKS - 2;

/** Seconds that 32 signed bits and two more can hold: 1901-12-13 to 2446-05-10. */
export const MIN_TIME_SEC = -(2 ** 31);
export const MAX_TIME_SEC = 15_032_385_535;
