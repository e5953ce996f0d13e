import { showRaw, type RawText } from '../bytes/text.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { baseName, NO_XATTRS, parentPath, type DirectoryEntry, type TreeEntry } from '../tree/entry.ts';
import type { Child, InodeEntry, InodePlan } from './inode-plan.ts';
import { FIRST_INODE, NAME_MAX_BYTES, ROOT_INODE } from './layout.ts';
import { BLOCK_BYTES, MAX_FILE_LINKS, MAX_SUBDIRECTORIES } from './profile.ts';
import { planXattrs } from './xattr-writer.ts';

/** The folder that e2fsck moves recovered files to. */
export const LOST_AND_FOUND = 'lost+found';

const MAX_ID = 2 ** 32 - 1;
/** File blocks are numbered with 32 bits. */
const MAX_FILE_BYTES = (2 ** 32 - 1) * BLOCK_BYTES;
const MAX_DEVICE_MAJOR = 0xfff;
const MAX_DEVICE_MINOR = 0xfffff;

export interface TreePlan {
  /**
   * All inodes in the order in which they get their blocks: a directory, then its children that are not directories
   * in name order (lost+found among them), then its subdirectories, each followed by all below it.
   */
  readonly inodes: readonly InodePlan[];
  readonly lastInode: number;
}

/**
 * Checks a list of entries and turns it into numbered inodes. The order of the list does not matter: names are
 * sorted by bytes, and of an inode with many names the first in the walk counts. Root is inode 2, lost+found 11; the
 * rest is numbered from 12, all children of a directory before those of its subdirectories.
 *
 * A root or lost+found that the list lacks is made: 0755 or 0700, owner 0:0, time `epochSec`.
 *
 * @throws CvmError format EXT4_TREE_PATH | EXT4_TREE_NAME | EXT4_TREE_DUPLICATE | EXT4_TREE_PARENT | EXT4_TREE_HARDLINK |
 *   EXT4_TREE_LINKS | EXT4_TREE_VALUE | EXT4_TREE_ROOT, and those of {@link planXattrs}
 */
export function planTree(entries: readonly TreeEntry[], epochSec: number): TreePlan {
  const byPath = indexByPath(entries, epochSec);
  const inodes = new Map<RawText, InodePlan>();
  for (const [path, entry] of byPath) {
    if (entry.type !== 'hardlink') inodes.set(path, newInode(entry));
  }
  for (const [path, entry] of byPath) {
    if (entry.type === 'hardlink') inodes.set(path, resolveHardlink(byPath, inodes, path));
  }
  for (const [path, inode] of inodes) addToParent(inodes, path, inode);
  for (const inode of inodes.values()) {
    inode.children.sort((a, b) => (a.name < b.name ? -1 : 1));
    checkLinks(inode);
  }
  return numberInodes(inodes.get('') as InodePlan);
}

function treeError(code: string, message: string, path: RawText, ...facts: readonly Fact[]): CvmError {
  return formatError(code, message, { facts: [['path', `/${showRaw(path)}`], ...facts] });
}

function indexByPath(entries: readonly TreeEntry[], epochSec: number): Map<RawText, TreeEntry> {
  const byPath = new Map<RawText, TreeEntry>();
  for (const entry of entries) {
    if (byPath.has(entry.path)) {
      throw treeError('EXT4_TREE_DUPLICATE', 'a path is given twice', entry.path);
    }
    if (entry.path !== '') checkName(entry.path);
    checkValues(entry);
    byPath.set(entry.path, entry);
  }
  for (const [path, mode] of [
    ['', 0o755],
    [LOST_AND_FOUND, 0o700],
  ] as const) {
    const given = byPath.get(path);
    if (given !== undefined && given.type !== 'dir') {
      throw treeError('EXT4_TREE_ROOT', 'this path has to be a directory', path, ['type', given.type]);
    }
    if (given === undefined) byPath.set(path, plainDirectory(path, mode, epochSec));
  }
  return byPath;
}

function plainDirectory(path: RawText, mode: number, mtimeSec: number): DirectoryEntry {
  return { type: 'dir', path, mode, uid: 0, gid: 0, mtimeSec, mtimeNsec: 0, xattrs: NO_XATTRS };
}

/** Only the last component: the ones before it are entries of their own. */
function checkName(path: RawText): void {
  const name = baseName(path);
  const parent = parentPath(path);
  if (name === '' || name === '.' || name === '..' || (parent === '' ? name : `${parent}/${name}`) !== path) {
    throw treeError('EXT4_TREE_PATH', 'a path has an empty, "." or ".." component', path);
  }
  if (name.length > NAME_MAX_BYTES) {
    throw treeError(
      'EXT4_TREE_NAME',
      'a name is longer than ext4 can hold',
      path,
      ['name', `${name.length} bytes`],
      ['most', `${NAME_MAX_BYTES} bytes`],
    );
  }
  if (/[\u0000\u0100-\uffff]/.test(name)) {
    throw treeError('EXT4_TREE_NAME', 'a name holds a NUL or is not a byte string', path);
  }
}

function checkValues(entry: TreeEntry): void {
  const { path } = entry;
  const check = (what: string, value: number, most: number): void => {
    if (Number.isInteger(value) && value >= 0 && value <= most) return;
    throw treeError('EXT4_TREE_VALUE', `ext4 cannot hold this ${what}`, path, [what, value], ['most', most]);
  };
  check('mode', entry.mode, 0o7777);
  check('uid', entry.uid, MAX_ID);
  check('gid', entry.gid, MAX_ID);
  check('nanoseconds', entry.mtimeNsec, 999_999_999);
  if (!Number.isSafeInteger(entry.mtimeSec)) {
    throw treeError('EXT4_TREE_VALUE', 'a modification time is not whole seconds', path, [
      'seconds',
      entry.mtimeSec,
    ]);
  }
  if (entry.type === 'file') check('file size', entry.content.sizeBytes, MAX_FILE_BYTES);
  if (entry.type === 'char' || entry.type === 'block') {
    check('device major', entry.major, MAX_DEVICE_MAJOR);
    check('device minor', entry.minor, MAX_DEVICE_MINOR);
  }
  if (entry.type === 'symlink') {
    check('symlink target length', entry.target.length, BLOCK_BYTES - 1);
    if (entry.target === '' || /[\u0000\u0100-\uffff]/.test(entry.target)) {
      throw treeError('EXT4_TREE_VALUE', 'a symlink target is empty, holds a NUL or is no byte string', path);
    }
  }
}

function newInode(entry: InodeEntry): InodePlan {
  return {
    entry,
    number: 0,
    links: 0,
    children: [],
    parent: undefined,
    xattrs: planXattrs(entry.path, entry.xattrs),
    xattrBlock: 0,
    directory: undefined,
    extents: undefined,
    blocks: 0,
  };
}

/** Follows names of names; remembers every step's result, so that a long chain is walked once. */
function resolveHardlink(
  byPath: ReadonlyMap<RawText, TreeEntry>,
  inodes: Map<RawText, InodePlan>,
  path: RawText,
): InodePlan {
  const chain = new Set<RawText>();
  let at = path;
  for (;;) {
    const known = inodes.get(at);
    if (known !== undefined) {
      if (known.entry.type === 'dir') {
        throw treeError('EXT4_TREE_HARDLINK', 'a directory cannot have a second name', path, [
          'links to',
          `/${showRaw(at)}`,
        ]);
      }
      for (const step of chain) inodes.set(step, known);
      return known;
    }
    const entry = byPath.get(at);
    if (entry?.type !== 'hardlink' || chain.has(at)) {
      const why = entry === undefined ? 'is not in the tree' : 'is a name of itself';
      throw treeError('EXT4_TREE_HARDLINK', `what a hard link names ${why}`, path, [
        'links to',
        `/${showRaw(at)}`,
      ]);
    }
    chain.add(at);
    at = entry.linkPath;
  }
}

function addToParent(inodes: ReadonlyMap<RawText, InodePlan>, path: RawText, inode: InodePlan): void {
  inode.links++;
  if (path === '') {
    inode.parent = inode;
    inode.links++;
    return;
  }
  const parent = inodes.get(parentPath(path));
  if (parent?.entry.type !== 'dir') {
    const why = parent === undefined ? 'has no entry' : `is of type ${parent.entry.type}`;
    throw treeError('EXT4_TREE_PARENT', `the directory of a path ${why}`, path, [
      'directory',
      `/${showRaw(parentPath(path))}`,
    ]);
  }
  parent.children.push({ name: baseName(path), inode });
  if (inode.entry.type === 'dir') {
    inode.parent = parent;
    inode.links++;
    parent.links++;
  }
}

function checkLinks({ entry, links }: InodePlan): void {
  if (links <= MAX_FILE_LINKS) return;
  const isDirectory = entry.type === 'dir';
  throw treeError(
    'EXT4_TREE_LINKS',
    isDirectory ? 'a directory has too many subdirectories' : 'a file has too many names',
    entry.path,
    ['found', isDirectory ? links - 2 : links],
    ['most', isDirectory ? MAX_SUBDIRECTORIES : MAX_FILE_LINKS],
  );
}

/** Walks with a stack of its own: a path may have more components than the engine's stack has frames. */
function numberInodes(root: InodePlan): TreePlan {
  const order: InodePlan[] = [];
  const stack: InodePlan[] = [root];
  root.number = ROOT_INODE;
  let last = FIRST_INODE;
  const isLostAndFound = (directory: InodePlan, child: Child): boolean =>
    directory === root && child.name === LOST_AND_FOUND;

  for (let directory = stack.pop(); directory !== undefined; directory = stack.pop()) {
    // lost+found has had its turn among the files of the root.
    if (directory.number !== FIRST_INODE) order.push(directory);
    const subdirectories: InodePlan[] = [];
    for (const child of directory.children) {
      const { inode } = child;
      const isFirstName = inode.number === 0;
      if (isLostAndFound(directory, child)) inode.number = FIRST_INODE;
      else if (isFirstName) inode.number = ++last;
      if (inode.entry.type === 'dir') subdirectories.push(inode);
      if (isFirstName && (inode.entry.type !== 'dir' || inode.number === FIRST_INODE)) order.push(inode);
    }
    for (const subdirectory of subdirectories.reverse()) stack.push(subdirectory);
  }
  return { inodes: order, lastInode: last };
}
