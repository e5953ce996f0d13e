import type { ByteSource } from '../bytes/source.ts';
import type { RawText } from '../bytes/text.ts';
import type { TreeEntry } from '../tree/entry.ts';
import { blockReader } from './block-reader.ts';
import { featureNames } from './features.ts';
import type { MappedVolume } from './file-mapping.ts';
import { checkBitmaps, readGroupDescriptor } from './group-descriptor.ts';
import type { FirstEntry } from './inode-entry.ts';
import { inodeError, readInode } from './inode.ts';
import { ROOT_INODE } from './layout.ts';
import { lookup } from './lookup.ts';
import { readSuperblock } from './superblock.ts';
import { walkTree, type Ext4Node } from './tree-walk.ts';

/** What the superblock says about the file system as a whole. */
export interface Ext4Info {
  /** Of the file system; the image may be longer. */
  readonly sizeBytes: number;
  readonly blockSize: number;
  readonly inodeSize: number;
  readonly inodesCount: number;
  readonly label: RawText;
  readonly uuid: Uint8Array;
  readonly hashSeed: Uint8Array;
  readonly creationTimeSec: number;
  /** As mke2fs names them. */
  readonly features: readonly string[];
  /** Cleanly unmounted. */
  readonly clean: boolean;
}

/** An opened image. File contents are looked up in the image when they are read. */
export interface Ext4Image {
  readonly info: Ext4Info;
  /**
   * Every name, depth first: a directory, then its children in byte order of their names. The root is first, with
   * the empty path; `lost+found` is included.
   * @throws CvmError format EXT4_TREE_TOO_LARGE | EXT4_DIRECTORY_LOOP | EXT4_DIRECTORY_ENTRY and those of every structure met
   */
  nodes(): Generator<Ext4Node>;
  entries(): TreeEntry[];
  /**
   * The entry at a path (with or without leading `/`), following symbolic links in every component; the entry's
   * own path is where they led. Undefined when there is none.
   * @throws CvmError format EXT4_SYMLINK_LOOP and those of every structure met
   */
  lookup(path: RawText): FirstEntry | undefined;
  /** Reads all bitmaps. @throws CvmError format EXT4_BLOCK_BITMAP_CHECKSUM | EXT4_INODE_BITMAP_CHECKSUM */
  verifyBitmaps(): void;
}

/**
 * Opens an ext2, ext3 or ext4 image read-only. The superblock, all group descriptors and the root inode are checked
 * now, everything else when it is met; nothing is taken from an image whose checksums do not match.
 *
 * @throws CvmError format: see {@link readSuperblock}, {@link readGroupDescriptor} and {@link readInode}
 */
export function openExt4(source: ByteSource): Ext4Image {
  const superblock = readSuperblock(source);
  const volume: MappedVolume = { superblock, blocks: blockReader(source, superblock) };
  for (let group = 0; group < superblock.groupCount; group++) {
    readGroupDescriptor(superblock, volume.blocks, group);
  }
  const root = readInode(superblock, volume.blocks, ROOT_INODE).inode;
  if (root.type !== 'dir') {
    throw inodeError('EXT4_ROOT', 'the root of the ext4 file system is not a directory', ROOT_INODE, [
      'type',
      root.type,
    ]);
  }
  return {
    info: {
      sizeBytes: superblock.blocksCount * superblock.blockSize,
      blockSize: superblock.blockSize,
      inodeSize: superblock.inodeSize,
      inodesCount: superblock.inodesCount,
      label: superblock.label,
      uuid: superblock.uuid,
      hashSeed: superblock.hashSeed,
      creationTimeSec: superblock.creationTimeSec,
      features: featureNames(superblock.features),
      clean: superblock.clean,
    },
    nodes: () => walkTree(volume),
    entries: () => Array.from(walkTree(volume), (node) => node.entry),
    lookup: (path) => lookup(volume, path),
    verifyBitmaps() {
      for (let group = 0; group < superblock.groupCount; group++) {
        checkBitmaps(superblock, volume.blocks, readGroupDescriptor(superblock, volume.blocks, group));
      }
    },
  };
}
