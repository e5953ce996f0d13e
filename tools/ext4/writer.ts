import { concatBytes, isZero } from '../bytes/compare.ts';
import { sourceFromBytes, sparseSource, type ByteSource, type Piece } from '../bytes/source.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { unitSource } from '../bytes/unit-source.ts';
import { usageError } from '../errors.ts';
import type { TreeEntry } from '../tree/entry.ts';
import { BlockAllocator } from './block-allocator.ts';
import { checksumSeed } from './checksum.ts';
import {
  blockBitmapBlock,
  defaultInodeCount,
  groupBlocks,
  groupStart,
  hasSuperblock,
  planGeometry,
  type Geometry,
} from './geometry.ts';
import { makeBitmap, makeDescriptors, makeSuperblock, type GroupUse } from './group-writer.ts';
import type { InodePlan } from './inode-plan.ts';
import { makeSlot } from './inode-writer.ts';
import { journalBlocks, journalContent, journalInode } from './journal.ts';
import { FIRST_INODE, LABEL_BYTES, SUPERBLOCK_OFFSET, UUID_BYTES } from './layout.ts';
import { placeInode, placeJournal } from './placement.ts';
import { BLOCK_BYTES, SLOT_BYTES, SLOTS_PER_BLOCK } from './profile.ts';
import { planTree, type TreePlan } from './tree-plan.ts';

const HASH_SEED_BYTES = 16;

export interface Ext4Options {
  /** Of the image. What is left behind the last whole block or group is zero. */
  readonly sizeBytes: number;
  /**
   * 16 bytes in printed order. All zero is none (what `mkfs.ext4 -U clear` makes); a repairing e2fsck would then
   * replace it by a random one.
   */
  readonly uuid: Uint8Array;
  /** 16 bytes, not all zero: what names in indexed directories are hashed with. */
  readonly hashSeed: Uint8Array;
  /** At most 16 bytes of UTF-8. */
  readonly label: string;
  /** Superblock times, and those of a root or lost+found that the tree does not give. Unsigned 32 bits. */
  readonly epochSec: number;
  /** At least so many inodes; without it one per 16 KiB, or what the tree needs and some to spare. */
  readonly inodeCount?: number;
  /** An empty journal, in size as mke2fs would choose; none when absent. */
  readonly journal?: boolean;
}

/**
 * An ext4 file system as a function of entries and options alone: the order of the list, the clock and the machine
 * have no part in it. Nothing is copied: file contents are read from their entries when the image is read, metadata
 * is made on the way, free space and empty inode tables are holes.
 *
 * Holes of a content, on the grid of blocks, become holes of the file; zeros that its source stores are stored. So the
 * layout is known before any content is read, and whoever writes the image reads each of them once, in the image's order.
 * Access, change and creation times are the modification time; a time outside 1901
 * to 2446 becomes the nearest one inside. (Times after 2310 make e2fsck suspect an old kernel bug.)
 *
 * Source: the profile of profile.ts; Linux Documentation/filesystems/ext4.
 *
 * @param entries in any order; a directory's entry must be among them for every path but the root and lost+found
 * @throws CvmError usage EXT4_OPTION | EXT4_SIZE | EXT4_INODE_COUNT | EXT4_FULL, and those of {@link planTree}
 */
export function writeExt4(entries: readonly TreeEntry[], options: Ext4Options): ByteSource {
  checkOptions(options);
  const tree = planTree(entries, options.epochSec);
  const geometry = planGeometry(
    options.sizeBytes,
    options.inodeCount ?? defaultInodeCount(options.sizeBytes, tree.lastInode),
  );
  checkInodes(geometry, tree, options);

  const seed = checksumSeed(options.uuid);
  const allocator = new BlockAllocator(geometry);
  const context = { checksumSeed: seed, hashSeed: options.hashSeed };
  const pieces: Piece[] = [];
  let journal: InodePlan | undefined;
  if (options.journal === true) {
    const content = journalContent(journalBlocks(geometry.totalBlocks), options.uuid);
    journal = journalInode(content, options.epochSec);
    pieces.push(...placeJournal(journal, content, allocator, seed));
  }
  for (const inode of tree.inodes) {
    for (const piece of placeInode(inode, allocator, context)) pieces.push(piece);
  }
  checkRoom(allocator, options);
  for (const piece of groupPieces(geometry, tree, allocator, options, seed, journal)) pieces.push(piece);
  pieces.sort((a, b) => a.offset - b.offset);
  return sparseSource(options.sizeBytes, pieces);
}

function checkOptions({ uuid, hashSeed, label, epochSec }: Ext4Options): void {
  if (uuid.length !== UUID_BYTES) {
    throw usageError('EXT4_OPTION', 'the UUID of an ext4 file system has 16 bytes', {
      facts: [['found', `${uuid.length} bytes`]],
    });
  }
  if (hashSeed.length !== HASH_SEED_BYTES || isZero(hashSeed)) {
    throw usageError('EXT4_OPTION', 'the hash seed of an ext4 file system has 16 bytes, not all zero', {
      facts: [['found', `${hashSeed.length} bytes`]],
    });
  }
  const labelBytes = utf8Bytes(label);
  if (labelBytes.length > LABEL_BYTES || labelBytes.includes(0) || !label.isWellFormed()) {
    throw usageError('EXT4_OPTION', 'an ext4 label has at most 16 bytes of UTF-8 and no NUL', {
      facts: [
        ['label', label],
        ['length', `${labelBytes.length} bytes`],
      ],
    });
  }
  if (!Number.isInteger(epochSec) || epochSec < 0 || epochSec >= 2 ** 32) {
    throw usageError('EXT4_OPTION', 'the times of an ext4 superblock are seconds of 32 bits', {
      facts: [['epoch', epochSec]],
    });
  }
}

function checkInodes(geometry: Geometry, tree: TreePlan, { inodeCount }: Ext4Options): void {
  const available = geometry.inodesPerGroup * geometry.groupCount;
  if (tree.lastInode <= available) return;
  throw usageError('EXT4_FULL', 'the tree does not fit: there are too few inodes', {
    facts: [
      ['needed', `${tree.lastInode} inodes, eleven of them the file system's own`],
      ['there are', available],
      ['missing', `${tree.lastInode - available} inodes`],
    ],
    mend: `ask for at least ${tree.lastInode} inodes instead of ${inodeCount ?? available}, or for none: the default fits`,
  });
}

function checkRoom(allocator: BlockAllocator, { sizeBytes }: Ext4Options): void {
  const missing = allocator.missingBlocks;
  if (missing === 0) return;
  throw usageError('EXT4_FULL', 'the tree does not fit: there are too few blocks', {
    facts: [
      ['needed', `${allocator.allocatedBlocks + missing} blocks of 4096 bytes, besides the tables`],
      ['there are', allocator.allocatedBlocks],
      ['missing', `${missing} blocks`],
      ['size', `${sizeBytes} bytes`],
    ],
    mend: `give a size of at least ${sizeBytes + missing * BLOCK_BYTES} bytes (more if that adds a group with its tables), or a smaller tree`,
  });
}

/** Superblocks, descriptors, bitmaps and the used part of inode tables. */
function groupPieces(
  geometry: Geometry,
  tree: TreePlan,
  allocator: BlockAllocator,
  options: Ext4Options,
  seed: number,
  journal: InodePlan | undefined,
): Piece[] {
  const byNumber: (InodePlan | undefined)[] = new Array<undefined>(tree.lastInode + 1).fill(undefined);
  for (const inode of tree.inodes) byNumber[inode.number] = inode;
  if (journal !== undefined) byNumber[journal.number] = journal;
  const groups = groupUses(geometry, tree, allocator);
  const descriptors = sourceFromBytes(makeDescriptors(geometry, groups, seed));

  const bitmapsOf = bitmapSources(geometry.inodesPerGroup);
  const pieces: Piece[] = [];
  groups.forEach((use, group) => {
    const start = groupStart(group) * BLOCK_BYTES;
    if (hasSuperblock(group)) {
      const superblock = makeSuperblock(geometry, groups, options, group, journal);
      // Only the first block leaves room for a boot sector before the superblock.
      pieces.push({
        offset: group === 0 ? SUPERBLOCK_OFFSET : start,
        source: sourceFromBytes(superblock),
      });
      pieces.push({ offset: start + BLOCK_BYTES, source: descriptors });
    }
    const bitmaps = blockBitmapBlock(geometry, group) * BLOCK_BYTES;
    pieces.push({ offset: bitmaps, source: bitmapsOf(use, groupBlocks(geometry, group)) });
    if (use.usedInodes === 0) return;
    const firstInode = group * geometry.inodesPerGroup + 1;
    pieces.push({
      offset: bitmaps + 2 * BLOCK_BYTES,
      source: unitSource(BLOCK_BYTES, Math.ceil(use.usedInodes / SLOTS_PER_BLOCK), (index) =>
        makeTableBlock(byNumber, firstInode + index * SLOTS_PER_BLOCK, seed),
      ),
    });
  });
  return pieces;
}

/** Both bitmaps of a group. Most groups of a large image are alike: of 131,072, all but a few share their source. */
function bitmapSources(inodesPerGroup: number): (use: GroupUse, blocks: number) => ByteSource {
  const known = new Map<string, ByteSource>();
  return ({ usedBlocks, usedInodes }, blocks) => {
    const key = `${usedBlocks} ${blocks} ${usedInodes}`;
    let source = known.get(key);
    if (source === undefined) {
      source = sourceFromBytes(
        concatBytes(makeBitmap(usedBlocks, blocks), makeBitmap(usedInodes, inodesPerGroup)),
      );
      known.set(key, source);
    }
    return source;
  };
}

function groupUses(geometry: Geometry, tree: TreePlan, allocator: BlockAllocator): GroupUse[] {
  const { inodesPerGroup, groupCount } = geometry;
  const directories = new Array<number>(groupCount).fill(0);
  for (const { number, entry } of tree.inodes) {
    const group = Math.floor((number - 1) / inodesPerGroup);
    if (entry.type === 'dir') directories[group] = (directories[group] ?? 0) + 1;
  }
  const used = Math.max(tree.lastInode, FIRST_INODE);
  return directories.map((count, group) => ({
    usedBlocks: allocator.usedBlocks(group),
    usedInodes: Math.min(Math.max(used - group * inodesPerGroup, 0), inodesPerGroup),
    directories: count,
  }));
}

function makeTableBlock(
  inodes: readonly (InodePlan | undefined)[],
  firstInode: number,
  seed: number,
): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  for (let slot = 0; slot < SLOTS_PER_BLOCK; slot++) {
    const inode = inodes[firstInode + slot];
    if (inode !== undefined) block.set(makeSlot(inode, seed), slot * SLOT_BYTES);
  }
  return block;
}
