import type { ByteSource, Extent, Piece } from '../bytes/source.ts';
import { readInto, sourceFromBytes } from '../bytes/source.ts';
import { rawToBytes } from '../bytes/text.ts';
import { unitSource } from '../bytes/unit-source.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import type { BlockAllocator } from './block-allocator.ts';
import type { DirectoryContext } from './directory-leaf.ts';
import { planDirectory } from './directory-writer.ts';
import { makeExtentBlock, planExtentTree, type ExtentTree, type FileExtent } from './extent-tree.ts';
import type { InodePlan } from './inode-plan.ts';
import { BLOCK_AREA_BYTES } from './layout.ts';
import { BLOCK_BYTES } from './profile.ts';
import { makeXattrBlock } from './xattr-writer.ts';

/** What stands somewhere in the image: a file's content, by reference, or metadata that is made when it is read. */
export interface PlacedPiece extends Piece {
  /** The file that the piece is a window of, and the window's start in it; absent for metadata. */
  readonly content?: { readonly file: ByteSource; readonly from: number };
}

/** The runs of whole blocks of a content that hold anything but zeros, as `dataRuns` finds them. */
export type RunsOf = (content: ByteSource) => Iterable<Extent>;

export const readRuns: RunsOf = (content) => dataRuns(content, BLOCK_BYTES);

/** Blocks of a file that are not holes. */
interface DataRun {
  readonly fileBlock: number;
  readonly count: number;
}

/**
 * Gives one inode its blocks, in this order: attributes, data, extent tree. What goes into them is returned as
 * pieces at ascending offsets: content is referenced, metadata is made when it is read.
 */
export function placeInode(
  inode: InodePlan,
  allocator: BlockAllocator,
  context: DirectoryContext,
  runsOf: RunsOf,
): PlacedPiece[] {
  const before = allocator.allocatedBlocks;
  const pieces: PlacedPiece[] = [];
  const addBlock = (block: number, make: () => Uint8Array): void => {
    pieces.push({ offset: block * BLOCK_BYTES, source: unitSource(BLOCK_BYTES, 1, make) });
  };

  if (inode.xattrs.inBlock.length > 0) {
    const block = allocator.allocateOne();
    inode.xattrBlock = block;
    addBlock(block, () => makeXattrBlock(inode.xattrs.inBlock, context.checksumSeed, block));
  }
  const { runs, data } = dataOf(inode, context, runsOf);
  if (data !== undefined) {
    const tree = placeData(runs, data, allocator, pieces, inode.entry.type === 'file');
    inode.extents = tree;
    for (const node of tree.nodes) {
      addBlock(node.block, () => makeExtentBlock(node, context.checksumSeed, inode.number));
    }
  }
  inode.blocks = allocator.allocatedBlocks - before;
  return pieces;
}

/** Data in blocks, and which blocks of it exist. Devices, pipes and short symlinks have none at all. */
function dataOf(
  inode: InodePlan,
  context: DirectoryContext,
  runsOf: RunsOf,
): { readonly runs: readonly DataRun[]; readonly data: ByteSource | undefined } {
  const { entry } = inode;
  switch (entry.type) {
    case 'file':
      return { runs: contentRuns(entry.content, runsOf), data: entry.content };
    case 'dir': {
      const directory = planDirectory(inode, context);
      inode.directory = directory;
      const data = unitSource(BLOCK_BYTES, directory.blockCount, (index) => directory.makeBlock(index));
      return { runs: wholeRun(data), data };
    }
    case 'symlink': {
      if (isFastSymlink(entry.target)) return { runs: [], data: undefined };
      const data = sourceFromBytes(rawToBytes(entry.target));
      return { runs: wholeRun(data), data };
    }
    case 'char':
    case 'block':
    case 'fifo':
    case 'socket':
      return { runs: [], data: undefined };
  }
}

/** A target that stands in the inode itself, with a NUL behind it. */
export function isFastSymlink(target: string): boolean {
  return target.length < BLOCK_AREA_BYTES;
}

/** The blocks of content that are not all zero: known holes are not even read. */
function contentRuns(content: ByteSource, runsOf: RunsOf): DataRun[] {
  return Array.from(runsOf(content), ({ offset, length }) => ({
    fileBlock: offset / BLOCK_BYTES,
    count: Math.ceil(length / BLOCK_BYTES),
  }));
}

/** Gives the journal all its blocks, zeros too: the kernel writes there without asking for space. */
export function placeJournal(
  journal: InodePlan,
  content: ByteSource,
  allocator: BlockAllocator,
  checksumSeed: number,
): PlacedPiece[] {
  const before = allocator.allocatedBlocks;
  const extents: FileExtent[] = [];
  let fileBlock = 0;
  for (const { firstBlock, count } of allocator.allocate(content.sizeBytes / BLOCK_BYTES)) {
    extents.push({ fileBlock, firstBlock, count });
    fileBlock += count;
  }
  const tree = planExtentTree(extents, () => allocator.allocateOne());
  journal.extents = tree;
  journal.blocks = allocator.allocatedBlocks - before;
  return [
    ...extents.slice(0, 1).map(({ firstBlock }) => ({
      offset: firstBlock * BLOCK_BYTES,
      source: sourceFromBytes(content.read(0, BLOCK_BYTES)),
    })),
    ...tree.nodes.map((node) => ({
      offset: node.block * BLOCK_BYTES,
      source: unitSource(BLOCK_BYTES, 1, () => makeExtentBlock(node, checksumSeed, journal.number)),
    })),
  ];
}

function wholeRun(data: ByteSource): DataRun[] {
  return [{ fileBlock: 0, count: Math.ceil(data.sizeBytes / BLOCK_BYTES) }];
}

function placeData(
  runs: readonly DataRun[],
  data: ByteSource,
  allocator: BlockAllocator,
  pieces: PlacedPiece[],
  isContent: boolean,
): ExtentTree {
  const extents: FileExtent[] = [];
  for (const run of runs) {
    let { fileBlock } = run;
    // A group's free blocks are fewer than 32768, so no run is longer than an extent may be.
    for (const { firstBlock, count } of allocator.allocate(run.count)) {
      extents.push({ fileBlock, firstBlock, count });
      const from = fileBlock * BLOCK_BYTES;
      const length = Math.min(count * BLOCK_BYTES, data.sizeBytes - from);
      pieces.push({
        offset: firstBlock * BLOCK_BYTES,
        source: window(data, from, length),
        ...(isContent ? { content: { file: data, from } } : {}),
      });
      fileBlock += count;
    }
  }
  return planExtentTree(extents, () => allocator.allocateOne());
}

/** A part of a file as one extent: its holes have become those of the file system already. */
function window(data: ByteSource, from: number, length: number): ByteSource {
  return {
    sizeBytes: length,
    extents: [{ offset: 0, length }],
    read: (offset, count) => data.read(from + offset, count),
    readInto: (offset, target) => readInto(data, from + offset, target),
  };
}
