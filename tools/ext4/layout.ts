/**
 * The on-disk numbers of ext4, shared by reader and writer. Everything is little-endian; offsets are bytes from
 * the structure's start. Source: Linux Documentation/filesystems/ext4 (super, group_descr, inodes, ifork,
 * directory, attributes, checksums) and e2fsprogs lib/ext2fs/ext2_fs.h.
 */

/** The superblock: 1024 bytes at byte 1024 of the image; a backup lies at the start of its group. */
export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_BYTES = 1024;
export const EXT4_MAGIC = 0xef53;

export const SB = {
  inodesCount: 0x00,
  blocksCountLow: 0x04,
  reservedBlocksLow: 0x08,
  freeBlocksLow: 0x0c,
  freeInodes: 0x10,
  firstDataBlock: 0x14,
  logBlockSize: 0x18,
  logClusterSize: 0x1c,
  blocksPerGroup: 0x20,
  clustersPerGroup: 0x24,
  inodesPerGroup: 0x28,
  mountTime: 0x2c,
  writeTime: 0x30,
  mountCount: 0x34,
  maxMountCount: 0x36,
  magic: 0x38,
  state: 0x3a,
  onError: 0x3c,
  lastCheck: 0x40,
  checkInterval: 0x44,
  creatorOs: 0x48,
  revision: 0x4c,
  firstInode: 0x54,
  inodeSize: 0x58,
  groupNumber: 0x5a,
  featureCompat: 0x5c,
  featureIncompat: 0x60,
  featureRoCompat: 0x64,
  uuid: 0x68,
  label: 0x78,
  lastMountPath: 0x88,
  reservedGdtBlocks: 0xce,
  journalInode: 0xe0,
  orphanHead: 0xe8,
  hashSeed: 0xec,
  defaultHashVersion: 0xfc,
  journalBackupType: 0xfd,
  descriptorSize: 0xfe,
  defaultMountOptions: 0x100,
  firstMetaBlockGroup: 0x104,
  creationTime: 0x108,
  journalBlocks: 0x10c,
  blocksCountHigh: 0x150,
  reservedBlocksHigh: 0x154,
  freeBlocksHigh: 0x158,
  minExtraInodeSize: 0x15c,
  wantExtraInodeSize: 0x15e,
  flags: 0x160,
  logGroupsPerFlex: 0x174,
  checksumType: 0x175,
  backupGroups: 0x24c,
  lostAndFoundInode: 0x268,
  checksumSeed: 0x270,
  checksum: 0x3fc,
} as const;

export const LABEL_BYTES = 16;
export const UUID_BYTES = 16;
export const STATE_CLEAN = 1;
export const CHECKSUM_TYPE_CRC32C = 1;
export const SB_FLAG_SIGNED_HASH = 1;
export const SB_FLAG_UNSIGNED_HASH = 2;
export const HASH_HALF_MD4 = 1;
/** user_xattr and acl, what mke2fs sets. */
export const DEFAULT_MOUNT_OPTIONS = 0x0c;

/** Feature bits a reader may meet without harm: unknown ones are ignored too. */
export const COMPAT = {
  dirPrealloc: 0x1,
  imagicInodes: 0x2,
  hasJournal: 0x4,
  extAttr: 0x8,
  resizeInode: 0x10,
  dirIndex: 0x20,
  sparseSuper2: 0x200,
  fastCommit: 0x400,
  stableInodes: 0x800,
  orphanFile: 0x1000,
} as const;

/** Feature bits that change how data is found: an unknown one stops every reader. */
export const INCOMPAT = {
  compression: 0x1,
  filetype: 0x2,
  recover: 0x4,
  journalDevice: 0x8,
  metaBg: 0x10,
  extents: 0x40,
  is64bit: 0x80,
  mmp: 0x100,
  flexBg: 0x200,
  eaInode: 0x400,
  dirData: 0x1000,
  checksumSeed: 0x2000,
  largeDir: 0x4000,
  inlineData: 0x8000,
  encrypt: 0x10000,
  casefold: 0x20000,
} as const;

/** Feature bits that stop a writer which does not know them, but not a reader. */
export const RO_COMPAT = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  btreeDir: 0x4,
  hugeFile: 0x8,
  gdtChecksum: 0x10,
  dirNlink: 0x20,
  extraIsize: 0x40,
  quota: 0x100,
  bigalloc: 0x200,
  metadataChecksum: 0x400,
  readOnly: 0x1000,
  project: 0x2000,
  sharedBlocks: 0x4000,
  verity: 0x8000,
  orphanPresent: 0x10000,
} as const;

/** A group descriptor: 32 bytes, or 64 and more with the 64bit feature. */
export const DESCRIPTOR_BYTES = 32;
export const DESCRIPTOR_64BIT_BYTES = 64;

export const GD = {
  blockBitmapLow: 0x00,
  inodeBitmapLow: 0x04,
  inodeTableLow: 0x08,
  freeBlocksLow: 0x0c,
  freeInodesLow: 0x0e,
  directoriesLow: 0x10,
  flags: 0x12,
  excludeBitmapLow: 0x14,
  blockBitmapChecksumLow: 0x18,
  inodeBitmapChecksumLow: 0x1a,
  unusedInodesLow: 0x1c,
  checksum: 0x1e,
  blockBitmapHigh: 0x20,
  inodeBitmapHigh: 0x24,
  inodeTableHigh: 0x28,
  freeBlocksHigh: 0x2c,
  freeInodesHigh: 0x2e,
  directoriesHigh: 0x30,
  unusedInodesHigh: 0x32,
  excludeBitmapHigh: 0x34,
  blockBitmapChecksumHigh: 0x38,
  inodeBitmapChecksumHigh: 0x3a,
} as const;

export const GROUP_INODE_UNINIT = 1;
export const GROUP_BLOCK_UNINIT = 2;
export const GROUP_INODE_ZEROED = 4;

/** An inode slot: 128 bytes of fixed fields, then `extraSize` bytes more, then extended attributes. */
export const INODE_BASE_BYTES = 128;

export const INODE = {
  mode: 0x00,
  uidLow: 0x02,
  sizeLow: 0x04,
  accessTime: 0x08,
  changeTime: 0x0c,
  modificationTime: 0x10,
  deletionTime: 0x14,
  gidLow: 0x18,
  linksCount: 0x1a,
  blocksLow: 0x1c,
  flags: 0x20,
  blockArea: 0x28,
  generation: 0x64,
  xattrBlockLow: 0x68,
  sizeHigh: 0x6c,
  blocksHigh: 0x74,
  xattrBlockHigh: 0x76,
  uidHigh: 0x78,
  gidHigh: 0x7a,
  checksumLow: 0x7c,
  extraSize: 0x80,
  checksumHigh: 0x82,
  changeTimeExtra: 0x84,
  modificationTimeExtra: 0x88,
  accessTimeExtra: 0x8c,
  creationTime: 0x90,
  creationTimeExtra: 0x94,
  versionHigh: 0x98,
  projectId: 0x9c,
} as const;

/** The area for block pointers, an extent root, a short symlink target or inline data. */
export const BLOCK_AREA_BYTES = 60;

export const INODE_TYPE_MASK = 0xf000;
export const INODE_TYPE = {
  fifo: 0x1000,
  char: 0x2000,
  dir: 0x4000,
  block: 0x6000,
  file: 0x8000,
  symlink: 0xa000,
  socket: 0xc000,
} as const;

export type InodeType = keyof typeof INODE_TYPE;

export const INODE_FLAG = {
  encrypted: 0x800,
  htree: 0x1000,
  hugeFile: 0x40000,
  extents: 0x80000,
  verity: 0x100000,
  eaInode: 0x200000,
  inlineData: 0x10000000,
  casefold: 0x40000000,
} as const;

export const ROOT_INODE = 2;
export const JOURNAL_INODE = 8;
/** lost+found in every file system that mke2fs or our writer makes. */
export const FIRST_INODE = 11;

/** An extent tree node: a header, then entries of the same size, then (outside the inode) a u32 checksum. */
export const EXTENT_MAGIC = 0xf30a;
export const EXTENT_HEADER_BYTES = 12;
export const EXTENT_ENTRY_BYTES = 12;
export const EXTENT_ROOT_ENTRIES = 4;
export const EXTENT_MAX_DEPTH = 5;
/** The longest initialised run; a longer length field means an unwritten run of `length - 32768` blocks. */
export const EXTENT_MAX_BLOCKS = 32768;

export const EXTENT_HEADER = { magic: 0, entries: 2, max: 4, depth: 6, generation: 8 } as const;
export const EXTENT_LEAF = { fileBlock: 0, length: 4, startHigh: 6, startLow: 8 } as const;
export const EXTENT_INDEX = { fileBlock: 0, childLow: 4, childHigh: 8 } as const;

/** Pointers in an inode without extents: 12 direct, then single, double and triple indirect. */
export const DIRECT_BLOCKS = 12;

/** A directory record: header, name, zero padding to a multiple of 4. */
export const DIRENT_HEADER_BYTES = 8;
export const DIRENT = { inode: 0, recordLength: 4, nameLength: 6, type: 7, name: 8 } as const;
/** The type byte of a record with the filetype feature; 0 is unknown. */
export const DIRENT_TYPE: Readonly<Record<InodeType, number>> = {
  file: 1,
  dir: 2,
  char: 3,
  block: 4,
  fifo: 5,
  socket: 6,
  symlink: 7,
};
export const NAME_MAX_BYTES = 255;

/** The pseudo record that ends a directory leaf with metadata_csum: u32 0, u16 12, u8 0, u8 0xDE, u32 checksum. */
export const DIRENT_TAIL_BYTES = 12;
export const DIRENT_TAIL_TYPE = 0xde;

/** Places in an htree root (block 0) and in an interior block, which looks like one unused record. */
export const HTREE_ROOT = {
  hashVersion: 0x1c,
  infoLength: 0x1d,
  levels: 0x1e,
  limit: 0x20,
  count: 0x22,
} as const;
export const HTREE_NODE = { limit: 0x08, count: 0x0a } as const;
export const HTREE_ENTRY_BYTES = 8;
/** u32 reserved, u32 checksum after the last slot. */
export const HTREE_TAIL_BYTES = 8;

export const XATTR_MAGIC = 0xea020000;
export const XATTR_BLOCK_HEADER_BYTES = 32;
export const XATTR_BLOCK = { magic: 0, refCount: 4, blocks: 8, hash: 12, checksum: 16 } as const;
export const XATTR_ENTRY_BYTES = 16;
export const XATTR_ENTRY = {
  nameLength: 0,
  nameIndex: 1,
  valueOffset: 2,
  valueInode: 4,
  valueSize: 8,
  hash: 12,
  name: 16,
} as const;

/** Name index to prefix; 2 and 3 are whole names. */
export const XATTR_PREFIXES: ReadonlyMap<number, string> = new Map([
  [1, 'user.'],
  [2, 'system.posix_acl_access'],
  [3, 'system.posix_acl_default'],
  [4, 'trusted.'],
  [6, 'security.'],
  [7, 'system.'],
  [8, 'system.richacl'],
]);
export const XATTR_INDEX_ACL_ACCESS = 2;
export const XATTR_INDEX_ACL_DEFAULT = 3;
export const XATTR_INDEX_SYSTEM = 7;
/** The most a Linux getxattr call returns. */
export const XATTR_VALUE_MAX_BYTES = 65536;
