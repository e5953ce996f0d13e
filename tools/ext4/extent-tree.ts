import { writeU16, writeU32 } from '../bytes/little-endian.ts';
import { extentBlockChecksum, extentTailOffset, inodeSeed } from './checksum.ts';
import {
  BLOCK_AREA_BYTES,
  EXTENT_ENTRY_BYTES,
  EXTENT_HEADER,
  EXTENT_HEADER_BYTES,
  EXTENT_INDEX,
  EXTENT_LEAF,
  EXTENT_MAGIC,
  EXTENT_ROOT_ENTRIES,
} from './layout.ts';
import { BLOCK_BYTES } from './profile.ts';

/** A run of a file's blocks and where it lies: at most 32768 blocks. */
export interface FileExtent {
  readonly fileBlock: number;
  readonly firstBlock: number;
  readonly count: number;
}

/** A node outside the inode. */
export interface ExtentNode {
  readonly block: number;
  /** 0 is a leaf. */
  readonly depth: number;
  /** Of an index node `firstBlock` is the child, and `count` means nothing. */
  readonly entries: readonly FileExtent[];
}

export interface ExtentTree {
  /** Depth of the root, which is in the inode. */
  readonly depth: number;
  readonly root: readonly FileExtent[];
  readonly nodes: readonly ExtentNode[];
}

/** Entries of a node that fills a block: 340, and the checksum takes what is left. */
export const NODE_ENTRIES = Math.floor((BLOCK_BYTES - EXTENT_HEADER_BYTES) / EXTENT_ENTRY_BYTES);

/**
 * Packs extents into a tree: up to 4 stay in the inode; else full nodes, level upon level, until 4 are left.
 * @param extents ascending by file block
 * @param allocate gives the block of the next node
 */
export function planExtentTree(extents: readonly FileExtent[], allocate: () => number): ExtentTree {
  const nodes: ExtentNode[] = [];
  let level = extents;
  let depth = 0;
  while (level.length > EXTENT_ROOT_ENTRIES) {
    const above: FileExtent[] = [];
    for (let at = 0; at < level.length; at += NODE_ENTRIES) {
      const entries = level.slice(at, at + NODE_ENTRIES);
      const block = allocate();
      nodes.push({ block, depth, entries });
      above.push({ fileBlock: entries[0]?.fileBlock ?? 0, firstBlock: block, count: 0 });
    }
    level = above;
    depth++;
  }
  return { depth, root: level, nodes };
}

/** The 60 bytes of the inode's block area. */
export function makeExtentRoot({ depth, root }: ExtentTree): Uint8Array {
  const bytes = new Uint8Array(BLOCK_AREA_BYTES);
  writeNode(bytes, depth, root, EXTENT_ROOT_ENTRIES);
  return bytes;
}

export function makeExtentBlock(node: ExtentNode, checksumSeed: number, inode: number): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  writeNode(block, node.depth, node.entries, NODE_ENTRIES);
  const owner = inodeSeed(checksumSeed, inode, 0);
  writeU32(block, extentTailOffset(NODE_ENTRIES), extentBlockChecksum(owner, block, NODE_ENTRIES));
  return block;
}

function writeNode(bytes: Uint8Array, depth: number, entries: readonly FileExtent[], max: number): void {
  writeU16(bytes, EXTENT_HEADER.magic, EXTENT_MAGIC);
  writeU16(bytes, EXTENT_HEADER.entries, entries.length);
  writeU16(bytes, EXTENT_HEADER.max, max);
  writeU16(bytes, EXTENT_HEADER.depth, depth);
  entries.forEach(({ fileBlock, firstBlock, count }, i) => {
    const at = EXTENT_HEADER_BYTES + i * EXTENT_ENTRY_BYTES;
    // Block numbers stay below 2^32 (see geometry.ts), so the high halves are zero.
    writeU32(bytes, at + EXTENT_LEAF.fileBlock, fileBlock);
    if (depth === 0) {
      writeU16(bytes, at + EXTENT_LEAF.length, count);
      writeU32(bytes, at + EXTENT_LEAF.startLow, firstBlock);
    } else {
      writeU32(bytes, at + EXTENT_INDEX.childLow, firstBlock);
    }
  });
}
