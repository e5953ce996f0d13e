import type { RawText } from '../bytes/text.ts';
import type { HardlinkEntry, TreeEntry } from '../tree/entry.ts';
import type { DirectoryPlan } from './directory-leaf.ts';
import type { ExtentTree } from './extent-tree.ts';
import type { XattrPlan } from './xattr-writer.ts';

/** An entry with an inode of its own: everything but further names. */
export type InodeEntry = Exclude<TreeEntry, HardlinkEntry>;

/** A name in a directory. */
export interface Child {
  readonly name: RawText;
  readonly inode: InodePlan;
}

/**
 * One inode on its way to disk: made while the tree is checked, then numbered, then placed. Only `tree-plan.ts` and
 * `placement.ts` change it.
 */
export interface InodePlan {
  readonly entry: InodeEntry;
  /** 0 until numbered. */
  number: number;
  links: number;
  /** Names in byte order, of a directory. */
  readonly children: Child[];
  /** The directory above; the root is its own parent. Of other types, undefined. */
  parent: InodePlan | undefined;
  readonly xattrs: XattrPlan;
  /** The block of {@link XattrPlan.block}; 0 is none. */
  xattrBlock: number;
  /** Of a directory, how its names lie in blocks. */
  directory: DirectoryPlan | undefined;
  /** Of what has data in blocks or may get some. */
  extents: ExtentTree | undefined;
  /** Blocks that the inode owns: data, extent tree, attributes. */
  blocks: number;
}
