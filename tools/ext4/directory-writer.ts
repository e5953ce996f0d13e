import { inodeSeed } from './checksum.ts';
import {
  childRecord,
  dotRecords,
  fillLeaves,
  makeLeaf,
  type DirectoryContext,
  type DirectoryPlan,
} from './directory-leaf.ts';
import { planHtree } from './htree-writer.ts';
import type { InodePlan } from './inode-plan.ts';

/** From this many blocks on a repairing e2fsck would rewrite a directory without an index. */
const INDEXED_FROM_BLOCKS = 3;

/** A directory whose children are numbered. `.` and `..` come first, then names in byte order, or an index. */
export function planDirectory(directory: InodePlan, context: DirectoryContext): DirectoryPlan {
  const dots = dotRecords(directory);
  const leaves = fillLeaves(directory.children, dots[0].length + dots[1].length);
  if (leaves.length >= INDEXED_FROM_BLOCKS) return planHtree(directory, context);
  const owner = inodeSeed(context.checksumSeed, directory.number, 0);
  return {
    blockCount: leaves.length,
    indexed: false,
    makeBlock(index) {
      const { from, to } = leaves[index] ?? { from: 0, to: 0 };
      const children = directory.children.slice(from, to);
      return makeLeaf(owner, [...(index === 0 ? dots : []), ...children.map(childRecord)]);
    },
  };
}
