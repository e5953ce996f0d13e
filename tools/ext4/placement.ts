import type { ByteSource, Extent, Piece } from '../bytes/source.ts';
import { readInto, sourceFromBytes } from '../bytes/source.ts';
import { rawToBytes } from '../bytes/text.ts';
import { unitSource } from '../bytes/unit-source.ts';
import type { BlockAllocator } from './block-allocator.ts';
import type { DirectoryContext } from './directory-leaf.ts';
import { planDirectory } from './directory-writer.ts';
import { makeExtentBlock, planExtentTree, type ExtentTree, type FileExtent } from './extent-tree.ts';
import type { InodePlan } from './inode-plan.ts';
import { BLOCK_AREA_BYTES } from './layout.ts';
import { BLOCK_BYTES } from './profile.ts';
import { makeXattrBlock } from './xattr-writer.ts';

/** Blocks of a file that are not holes. */
interface DataRun {
  readonly fileBlock: number;
  readonly count: number;
}

/**
 * Gives one inode its blocks, in this order: attributes, data, extent tree. What goes into them is returned as
 * pieces at ascending offsets: content is referenced, metadata is made when it is read.
 */
export function placeInode(inode: InodePlan, allocator: BlockAllocator, context: DirectoryContext): Piece[] {
  const before = allocator.allocatedBlocks;
  const pieces: Piece[] = [];
  const addBlock = (block: number, make: () => Uint8Array): void => {
    pieces.push({ offset: block * BLOCK_BYTES, source: unitSource(BLOCK_BYTES, 1, make) });
  };

  if (inode.xattrs.inBlock.length > 0) {
    const block = allocator.allocateOne();
    inode.xattrBlock = block;
    addBlock(block, () => makeXattrBlock(inode.xattrs.inBlock, context.checksumSeed, block));
  }
  const { runs, data } = dataOf(inode, context);
  if (data !== undefined) {
    const tree = placeData(runs, data, allocator, pieces);
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
): { readonly runs: readonly DataRun[]; readonly data: ByteSource | undefined } {
  const { entry } = inode;
  switch (entry.type) {
    case 'file':
      return { runs: contentRuns(entry.content), data: entry.content };
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

/** The blocks that the extents of a content lie in, merged where they meet: its holes are known without a look at it. */
function contentRuns({ extents }: ByteSource): DataRun[] {
  const runs: DataRun[] = [];
  let start = 0;
  let end = 0;
  const add = (): void => {
    if (end > start) runs.push({ fileBlock: start, count: end - start });
  };
  for (const { offset, length } of extents) {
    const first = Math.floor(offset / BLOCK_BYTES);
    if (first > end) {
      add();
      start = first;
    }
    end = Math.ceil((offset + length) / BLOCK_BYTES);
  }
  add();
  return runs;
}

/** Gives the journal all its blocks, zeros too: the kernel writes there without asking for space. */
export function placeJournal(
  journal: InodePlan,
  content: ByteSource,
  allocator: BlockAllocator,
  checksumSeed: number,
): Piece[] {
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
  pieces: Piece[],
): ExtentTree {
  const extents: FileExtent[] = [];
  for (const run of runs) {
    let { fileBlock } = run;
    // A group's free blocks are fewer than 32768, so no run is longer than an extent may be.
    for (const { firstBlock, count } of allocator.allocate(run.count)) {
      extents.push({ fileBlock, firstBlock, count });
      const from = fileBlock * BLOCK_BYTES;
      const length = Math.min(count * BLOCK_BYTES, data.sizeBytes - from);
      pieces.push({ offset: firstBlock * BLOCK_BYTES, source: new Window(data, from, length) });
      fileBlock += count;
    }
  }
  return planExtentTree(extents, () => allocator.allocateOne());
}

/** A part of a file as one extent: its holes have become those of the file system already. */
class Window implements ByteSource {
  readonly sizeBytes: number;
  readonly #data: ByteSource;
  readonly #from: number;

  constructor(data: ByteSource, from: number, length: number) {
    this.#data = data;
    this.#from = from;
    this.sizeBytes = length;
  }

  get extents(): readonly Extent[] {
    return [{ offset: 0, length: this.sizeBytes }];
  }

  read(offset: number, count: number): Uint8Array {
    return this.#data.read(this.#from + offset, count);
  }

  readInto(offset: number, target: Uint8Array): void {
    readInto(this.#data, this.#from + offset, target);
  }
}
