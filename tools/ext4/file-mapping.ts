import { joinU32, readU16, readU32 } from '../bytes/little-endian.ts';
import type { CvmError } from '../errors.ts';
import { isBlockRun, type BlockReader } from './block-reader.ts';
import { extentBlockChecksum, extentTailOffset, inodeSeed } from './checksum.ts';
import { hasFlag, inodeError, type Inode } from './inode.ts';
import {
  DIRECT_BLOCKS,
  EXTENT_ENTRY_BYTES,
  EXTENT_HEADER,
  EXTENT_HEADER_BYTES,
  EXTENT_INDEX,
  EXTENT_LEAF,
  EXTENT_MAGIC,
  EXTENT_MAX_BLOCKS,
  EXTENT_MAX_DEPTH,
  EXTENT_ROOT_ENTRIES,
  INODE_FLAG,
  RO_COMPAT,
} from './layout.ts';
import { checksumError, hasRoCompat, type Superblock } from './superblock.ts';

/** `count` adjacent blocks of a file, all of them data: file block `fileBlock` is disk block `diskBlock`. */
export interface BlockRun {
  readonly fileBlock: number;
  readonly diskBlock: number;
  readonly count: number;
}

/** What mapping needs of a file system. */
export interface MappedVolume {
  readonly superblock: Superblock;
  readonly blocks: BlockReader;
}

/** One question about a file's mapping, and how much of the image answering it has cost. */
interface Walk {
  readonly volume: MappedVolume;
  readonly inode: Inode;
  /** File blocks asked for: `from` included, `to` excluded. */
  readonly from: number;
  readonly to: number;
  treeBlocks: number;
  mappedBlocks: number;
}

/**
 * The data runs of a file that meet the file blocks `from` (included) to `to` (excluded), cut to that range, in
 * order. Blocks outside the runs are holes or unwritten and read as zero. Only the tree nodes on the way are read,
 * and each is checked when met; nothing is kept.
 *
 * @throws CvmError format EXT4_EXTENT_TREE | EXT4_EXTENT_CHECKSUM | EXT4_BLOCK_MAP | EXT4_BLOCKS_SHARED | EXT4_BLOCK_BOUNDS
 */
export function* blockRuns(
  volume: MappedVolume,
  inode: Inode,
  from: number,
  to: number,
): Generator<BlockRun> {
  if (from >= to) return;
  const walk: Walk = { volume, inode, from, to, treeBlocks: 0, mappedBlocks: 0 };
  const runs = hasFlag(inode, INODE_FLAG.extents) ? extentRuns(walk) : blockMapRuns(walk);
  for (const run of runs) {
    walk.mappedBlocks += run.count;
    checkCost(walk, walk.mappedBlocks);
    yield run;
  }
}

/** Blocks that a file owns, wherever they stand in it: data, unwritten runs and extent tree nodes. Of mapped files only. */
export function* ownedRuns(
  volume: MappedVolume,
  inode: Inode,
): Generator<{ readonly firstBlock: number; readonly count: number }> {
  const walk: Walk = { volume, inode, from: 0, to: FILE_BLOCKS_END, treeBlocks: 0, mappedBlocks: 0 };
  const depth = readU16(inode.blockArea, EXTENT_HEADER.depth);
  if (depth > EXTENT_MAX_DEPTH) throw treeError(inode, 'depth', depth, `at most ${EXTENT_MAX_DEPTH}`);
  const entries = checkHeader(inode, inode.blockArea, depth, EXTENT_ROOT_ENTRIES);
  yield* ownedBy(walk, { bytes: inode.blockArea, entries, depth, low: 0, high: FILE_BLOCKS_END });
}

function* ownedBy(
  walk: Walk,
  node: ExtentNode,
): Generator<{ readonly firstBlock: number; readonly count: number }> {
  if (node.depth === 0) {
    for (const { diskBlock, count } of readLeaves(walk, node)) yield { firstBlock: diskBlock, count };
    return;
  }
  for (const { low, high, block } of readIndex(walk, node)) {
    yield* ownedBy(walk, readChild(walk, node.depth - 1, low, high, block));
    yield { firstBlock: block, count: 1 };
  }
}

/** A block belongs to one place of one file: meeting more of them than exist can only be a trap. */
function checkCost(walk: Walk, blocks: number): void {
  const most = walk.volume.superblock.blocksCount;
  if (blocks > most) {
    throw inodeError(
      'EXT4_BLOCKS_SHARED',
      'an ext4 file maps more blocks than there are',
      walk.inode.number,
      ['blocks of the file system', most],
    );
  }
}

function readTreeBlock(walk: Walk, block: number, what: string): Uint8Array {
  walk.treeBlocks += 1;
  checkCost(walk, walk.treeBlocks);
  return walk.volume.blocks.block(block, `${what} of inode ${walk.inode.number}`);
}

/** One past the last file block number that an extent tree can hold. */
const FILE_BLOCKS_END = 2 ** 32;

interface ExtentNode {
  readonly bytes: Uint8Array;
  readonly entries: number;
  readonly depth: number;
  /** The node may only speak about file blocks of this range. */
  readonly low: number;
  readonly high: number;
}

function* extentRuns(walk: Walk): Generator<BlockRun> {
  const { inode } = walk;
  const depth = readU16(inode.blockArea, EXTENT_HEADER.depth);
  if (depth > EXTENT_MAX_DEPTH) throw treeError(inode, 'depth', depth, `at most ${EXTENT_MAX_DEPTH}`);
  const entries = checkHeader(inode, inode.blockArea, depth, EXTENT_ROOT_ENTRIES);
  yield* nodeRuns(walk, { bytes: inode.blockArea, entries, depth, low: 0, high: FILE_BLOCKS_END });
}

function treeError(inode: Inode, what: string, value: number, rule: string): CvmError {
  return inodeError(
    'EXT4_EXTENT_TREE',
    'the extent tree of an ext4 file is malformed',
    inode.number,
    [what, value],
    ['must be', rule],
  );
}

/** @returns the number of entries */
function checkHeader(inode: Inode, bytes: Uint8Array, depth: number, mostEntries: number): number {
  const magic = readU16(bytes, EXTENT_HEADER.magic);
  if (magic !== EXTENT_MAGIC) throw treeError(inode, 'magic', magic, `${EXTENT_MAGIC}`);
  const max = readU16(bytes, EXTENT_HEADER.max);
  if (max === 0 || max > mostEntries) throw treeError(inode, 'room for entries', max, `1 to ${mostEntries}`);
  const entries = readU16(bytes, EXTENT_HEADER.entries);
  if (entries > max) throw treeError(inode, 'entries', entries, `at most ${max}`);
  if (entries === 0 && depth > 0) throw treeError(inode, 'entries', entries, 'at least 1 above the leaves');
  const ownDepth = readU16(bytes, EXTENT_HEADER.depth);
  if (ownDepth !== depth) throw treeError(inode, 'depth', ownDepth, `${depth}, one less than above`);
  return entries;
}

function nodeRuns(walk: Walk, node: ExtentNode): Generator<BlockRun> {
  return node.depth === 0 ? leafRuns(walk, node) : indexRuns(walk, node);
}

function entryOffset(index: number): number {
  return EXTENT_HEADER_BYTES + index * EXTENT_ENTRY_BYTES;
}

function* indexRuns(walk: Walk, node: ExtentNode): Generator<BlockRun> {
  for (const { low, high, block } of readIndex(walk, node)) {
    if (high <= walk.from || low >= walk.to) continue;
    yield* nodeRuns(walk, readChild(walk, node.depth - 1, low, high, block));
  }
}

interface IndexEntry {
  /** The child may only speak about file blocks from `low` to `high` (excluded). */
  readonly low: number;
  readonly high: number;
  readonly block: number;
}

/** All entries of an index node: it is right as a whole or refused, whichever part of it is wanted. */
function readIndex(walk: Walk, node: ExtentNode): IndexEntry[] {
  const { bytes, entries } = node;
  const key = (i: number): number => readU32(bytes, entryOffset(i) + EXTENT_INDEX.fileBlock);
  const index: IndexEntry[] = [];
  let least = node.low;
  for (let i = 0; i < entries; i++) {
    const low = key(i);
    const high = i + 1 < entries ? key(i + 1) : node.high;
    if (low < least || high <= low) {
      const rule = `from ${least}, below ${high}`;
      throw treeError(walk.inode, 'first file block of an index entry', low, rule);
    }
    least = high;
    index.push({ low, high, block: childBlock(bytes, i) });
  }
  return index;
}

function childBlock(bytes: Uint8Array, index: number): number {
  const at = entryOffset(index);
  return joinU32(readU32(bytes, at + EXTENT_INDEX.childLow), readU16(bytes, at + EXTENT_INDEX.childHigh));
}

function readChild(walk: Walk, depth: number, low: number, high: number, block: number): ExtentNode {
  const { volume, inode } = walk;
  const { superblock } = volume;
  const bytes = readTreeBlock(walk, block, 'an extent tree block');
  const most = Math.floor((superblock.blockSize - EXTENT_HEADER_BYTES) / EXTENT_ENTRY_BYTES);
  const entries = checkHeader(inode, bytes, depth, most);
  if (hasRoCompat(superblock, RO_COMPAT.metadataChecksum)) {
    const max = readU16(bytes, EXTENT_HEADER.max);
    const stored = readU32(bytes, extentTailOffset(max));
    const owner = inodeSeed(superblock.seed, inode.number, inode.generation);
    const computed = extentBlockChecksum(owner, bytes, max);
    if (stored !== computed) {
      const what = `an extent tree block of inode ${inode.number}`;
      throw checksumError('EXT4_EXTENT_CHECKSUM', what, stored, computed, ['block', block]);
    }
  }
  return { bytes, entries, depth, low, high };
}

interface Leaf {
  readonly fileBlock: number;
  readonly diskBlock: number;
  readonly count: number;
  readonly unwritten: boolean;
}

function* leafRuns(walk: Walk, node: ExtentNode): Generator<BlockRun> {
  const { from, to } = walk;
  for (const { fileBlock, diskBlock, count, unwritten } of readLeaves(walk, node)) {
    const first = Math.max(fileBlock, from);
    const end = Math.min(fileBlock + count, to);
    if (unwritten || first >= end) continue;
    yield { fileBlock: first, diskBlock: diskBlock + (first - fileBlock), count: end - first };
  }
}

/** All extents of a leaf node: it is right as a whole or refused, whichever part of it is wanted. */
function readLeaves(walk: Walk, node: ExtentNode): Leaf[] {
  const { inode } = walk;
  const { bytes } = node;
  const leaves: Leaf[] = [];
  let end = node.low;
  for (let i = 0; i < node.entries; i++) {
    const at = entryOffset(i);
    const fileBlock = readU32(bytes, at + EXTENT_LEAF.fileBlock);
    const length = readU16(bytes, at + EXTENT_LEAF.length);
    const unwritten = length > EXTENT_MAX_BLOCKS;
    const count = unwritten ? length - EXTENT_MAX_BLOCKS : length;
    if (count === 0) throw treeError(inode, 'length of an extent', length, 'at least 1 block');
    if (fileBlock < end || fileBlock + count > node.high) {
      const rule = `from ${end}, ending by ${node.high}`;
      throw treeError(inode, 'first file block of an extent', fileBlock, rule);
    }
    end = fileBlock + count;
    const diskBlock = joinU32(
      readU32(bytes, at + EXTENT_LEAF.startLow),
      readU16(bytes, at + EXTENT_LEAF.startHigh),
    );
    if (!isBlockRun(walk.volume.superblock, diskBlock, count)) {
      const rule = `inside the file system, with ${count} blocks`;
      throw treeError(inode, 'first disk block of an extent', diskBlock, rule);
    }
    leaves.push({ fileBlock, diskBlock, count, unwritten });
  }
  return leaves;
}

/** 12 direct pointers, then a single, a double and a triple indirect one. */
const INODE_POINTERS = DIRECT_BLOCKS + 3;

/** One past the last file block that a block map can hold. */
export function blockMapEnd(superblock: Superblock): number {
  const perBlock = superblock.blockSize / 4;
  return DIRECT_BLOCKS + perBlock + perBlock ** 2 + perBlock ** 3;
}

function* blockMapRuns(walk: Walk): Generator<BlockRun> {
  const { superblock } = walk.volume;
  if (walk.to > blockMapEnd(superblock)) {
    throw mapError(walk, 'blocks asked for', walk.to, `at most ${blockMapEnd(superblock)}`);
  }
  const perBlock = superblock.blockSize / 4;
  let fileBlock = 0;
  let open: BlockRun | undefined;
  for (let i = 0; i < INODE_POINTERS && fileBlock < walk.to; i++) {
    const levels = Math.max(0, i - DIRECT_BLOCKS + 1);
    const pointer = readU32(walk.inode.blockArea, 4 * i);
    const span = perBlock ** levels;
    if (pointer !== 0 && fileBlock + span > walk.from) {
      for (const run of pointerRuns(walk, pointer, levels, fileBlock)) {
        if (open !== undefined && continues(open, run)) {
          open = { ...open, count: open.count + run.count };
        } else {
          if (open !== undefined) yield open;
          open = run;
        }
      }
    }
    fileBlock += span;
  }
  if (open !== undefined) yield open;
}

function mapError(walk: Walk, what: string, value: number, rule: string): CvmError {
  return inodeError(
    'EXT4_BLOCK_MAP',
    'the block map of an ext4 file is malformed',
    walk.inode.number,
    [what, value],
    ['must be', rule],
  );
}

function continues(open: BlockRun, next: BlockRun): boolean {
  return open.fileBlock + open.count === next.fileBlock && open.diskBlock + open.count === next.diskBlock;
}

/** What one pointer covers: a data block at level 0, else a block of pointers one level down. */
function* pointerRuns(walk: Walk, pointer: number, levels: number, fileBlock: number): Generator<BlockRun> {
  const { superblock } = walk.volume;
  if (levels === 0) {
    if (!isBlockRun(superblock, pointer, 1)) {
      throw mapError(walk, 'block', pointer, 'inside the file system');
    }
    yield { fileBlock, diskBlock: pointer, count: 1 };
    return;
  }
  const bytes = readTreeBlock(walk, pointer, 'an indirect block');
  const perBlock = superblock.blockSize / 4;
  const span = perBlock ** (levels - 1);
  const first = Math.max(0, Math.floor((walk.from - fileBlock) / span));
  for (let i = first; i < perBlock && fileBlock + i * span < walk.to; i++) {
    const child = readU32(bytes, 4 * i);
    if (child !== 0) yield* pointerRuns(walk, child, levels - 1, fileBlock + i * span);
  }
}
