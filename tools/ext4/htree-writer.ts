import { writeU16, writeU32, writeU8 } from '../bytes/little-endian.ts';
import { showRaw } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { htreeChecksum, inodeSeed } from './checksum.ts';
import { hashName } from './directory-hash.ts';
import {
  childRecord,
  dotRecords,
  fillLeaves,
  makeLeaf,
  type DirectoryContext,
  type DirectoryPlan,
} from './directory-leaf.ts';
import type { InodePlan } from './inode-plan.ts';
import {
  DIRENT,
  DIRENT_HEADER_BYTES,
  HASH_HALF_MD4,
  HTREE_ENTRY_BYTES,
  HTREE_NODE,
  HTREE_ROOT,
  HTREE_TAIL_BYTES,
} from './layout.ts';
import { BLOCK_BYTES } from './profile.ts';

const ROOT_INFO_BYTES = 8;
const DOT_RECORD_BYTES = 12;
/** Slots of (hash, block); the first slot's hash place holds limit and count: 507 and 510. */
const ROOT_LIMIT = (BLOCK_BYTES - HTREE_ROOT.limit - HTREE_TAIL_BYTES) / HTREE_ENTRY_BYTES;
const NODE_LIMIT = (BLOCK_BYTES - HTREE_NODE.limit - HTREE_TAIL_BYTES) / HTREE_ENTRY_BYTES;

/** An index entry: the smallest hash below, and the block inside the directory that leads there. */
interface IndexEntry {
  readonly hash: number;
  readonly block: number;
}

/**
 * A directory with a hash index: root (block 0), interior blocks if one level is not enough, leaves in hash order.
 * To a reader without index support it is a plain directory: index blocks look like unused records.
 * Source: Linux Documentation/filesystems/ext4/directory.rst; limit and count of interior blocks at 8 and 10.
 *
 * @throws CvmError format EXT4_DIRECTORY_SIZE when two levels are not enough
 */
export function planHtree(directory: InodePlan, { checksumSeed, hashSeed }: DirectoryContext): DirectoryPlan {
  const hashed = directory.children
    .map((child) => ({ child, hash: hashName(child.name, hashSeed) }))
    .sort(
      (a, b) =>
        a.hash.major - b.hash.major || a.hash.minor - b.hash.minor || (a.child.name < b.child.name ? -1 : 1),
    );
  const children = hashed.map(({ child }) => child);
  const leaves = fillLeaves(children, 0);
  const nodeCount = leaves.length <= ROOT_LIMIT ? 0 : Math.ceil(leaves.length / NODE_LIMIT);
  if (nodeCount > ROOT_LIMIT) {
    throw formatError('EXT4_DIRECTORY_SIZE', 'a directory has more names than ext4 can index', {
      facts: [
        ['path', `/${showRaw(directory.entry.path)}`],
        ['names', children.length],
        ['blocks', leaves.length],
        ['most', ROOT_LIMIT * NODE_LIMIT],
      ],
      mend: 'spread the files over several directories',
    });
  }
  const leafEntries = leaves.map(({ from }, i): IndexEntry => {
    const first = hashed[from]?.hash.major ?? 0;
    // Equal hashes may go on from the leaf before: bit 0 tells a lookup to go on reading.
    const continued = i > 0 && hashed[from - 1]?.hash.major === first;
    return { hash: first + (continued ? 1 : 0), block: 1 + nodeCount + i };
  });
  const nodes = Array.from({ length: nodeCount }, (_, i) =>
    leafEntries.slice(i * NODE_LIMIT, (i + 1) * NODE_LIMIT),
  );
  const rootEntries =
    nodeCount === 0 ? leafEntries : nodes.map((node, i) => ({ hash: node[0]?.hash ?? 0, block: 1 + i }));
  const owner = inodeSeed(checksumSeed, directory.number, 0);
  return {
    blockCount: 1 + nodeCount + leaves.length,
    indexed: true,
    makeBlock(index) {
      if (index === 0) return makeRoot(directory, owner, rootEntries, nodeCount === 0 ? 0 : 1);
      const node = nodes[index - 1];
      if (node !== undefined) return makeNode(owner, node);
      const { from, to } = leaves[index - 1 - nodeCount] ?? { from: 0, to: 0 };
      return makeLeaf(owner, children.slice(from, to).map(childRecord));
    },
  };
}

function makeRoot(
  directory: InodePlan,
  owner: number,
  entries: readonly IndexEntry[],
  levels: number,
): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const [self, parent] = dotRecords(directory);
  block.set(self, 0);
  block.set(parent, DOT_RECORD_BYTES);
  writeU16(block, DOT_RECORD_BYTES + DIRENT.recordLength, BLOCK_BYTES - DOT_RECORD_BYTES);
  writeU8(block, HTREE_ROOT.hashVersion, HASH_HALF_MD4);
  writeU8(block, HTREE_ROOT.infoLength, ROOT_INFO_BYTES);
  writeU8(block, HTREE_ROOT.levels, levels);
  return withIndex(block, owner, HTREE_ROOT.limit, ROOT_LIMIT, entries);
}

function makeNode(owner: number, entries: readonly IndexEntry[]): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  // One unused record over the whole block.
  writeU16(block, DIRENT_HEADER_BYTES - 4, BLOCK_BYTES);
  return withIndex(block, owner, HTREE_NODE.limit, NODE_LIMIT, entries);
}

/** Slots from `at`: limit and count, the first block, then pairs of hash and block; the checksum after the last slot. */
function withIndex(
  block: Uint8Array,
  owner: number,
  at: number,
  limit: number,
  entries: readonly IndexEntry[],
): Uint8Array {
  entries.forEach(({ hash, block: child }, i) => {
    writeU32(block, at + i * HTREE_ENTRY_BYTES, hash);
    writeU32(block, at + i * HTREE_ENTRY_BYTES + 4, child);
  });
  writeU16(block, at, limit);
  writeU16(block, at + 2, entries.length);
  const tail = at + limit * HTREE_ENTRY_BYTES;
  writeU32(block, tail + 4, htreeChecksum(owner, block, at, entries.length, tail));
  return block;
}
