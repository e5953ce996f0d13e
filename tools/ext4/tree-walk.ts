import { showRaw, type RawText } from '../bytes/text.ts';
import { formatError, type CvmError } from '../errors.ts';
import type { EntryCommon, TreeEntry } from '../tree/entry.ts';
import { directoryBlockCount, readDirectory, type DirectoryRecord } from './directory.ts';
import type { MappedVolume } from './file-mapping.ts';
import { readEntry, readNamedInode, type FirstEntry } from './inode-entry.ts';
import { inodeError, type Inode } from './inode.ts';
import { ROOT_INODE } from './layout.ts';

/** Names in a tree; hard links count each. */
export const MAX_TREE_ENTRIES = 1 << 20;
/** Bytes of paths, link targets and extended attributes of a tree, which are held in memory. */
export const MAX_TREE_BYTES = 256 << 20;
/** Longer paths cannot be opened by name on Linux. */
export const MAX_PATH_BYTES = 4096;
/** What an extended attribute or an entry costs in memory beside its bytes, roughly. */
const OBJECT_BYTES = 64;

/** An entry with what a file system knows beyond a tree. */
export interface Ext4Node {
  readonly entry: TreeEntry;
  /** The entry itself, or of a hard link the entry that it is a further name of. */
  readonly first: FirstEntry;
  readonly inode: number;
  readonly links: number;
  readonly sizeBytes: number;
}

/** What a walk has used of its limits. */
interface Budget {
  entries: number;
  bytes: number;
  directoryBlocks: number;
}

export function treeTooLarge(what: string, limit: number): CvmError {
  return formatError('EXT4_TREE_TOO_LARGE', 'the tree of the ext4 image is larger than is read at once', {
    facts: [[what, `more than ${limit}`]],
    mend: 'look up single paths, or split the tree over several images',
  });
}

interface Frame {
  readonly path: RawText;
  readonly inode: Inode;
  readonly records: readonly DirectoryRecord[];
  next: number;
}

/**
 * Every name, depth first: a directory, then its children in byte order of their names; the root first. Memory is
 * bounded by {@link MAX_TREE_ENTRIES} and {@link MAX_TREE_BYTES}, work by the size of the file system.
 */
export function* walkTree(volume: MappedVolume): Generator<Ext4Node> {
  const budget: Budget = { entries: 0, bytes: 0, directoryBlocks: 0 };
  const seen = new Map<number, FirstEntry>();
  const frames: Frame[] = [];
  const visit = (path: RawText, parent: number, inodeNumber: number, record?: DirectoryRecord): Ext4Node => {
    const found = readNamedInode(volume, inodeNumber, record);
    const { inode } = found;
    const known = seen.get(inodeNumber);
    charge(budget, path.length);
    if (known !== undefined) {
      if (known.type === 'dir') {
        throw inodeError('EXT4_DIRECTORY_LOOP', 'an ext4 directory has two names', inodeNumber, [
          'paths',
          `/${showRaw(known.path)} and /${showRaw(path)}`,
        ]);
      }
      return node({ ...common(known), path, type: 'hardlink', linkPath: known.path }, known, inode);
    }
    const first = readEntry(volume, path, found);
    chargeEntry(budget, first);
    seen.set(inodeNumber, first);
    if (first.type === 'dir') frames.push(openFrame(volume, budget, path, inode, parent));
    return node(first, first, inode);
  };

  yield visit('', ROOT_INODE, ROOT_INODE);
  for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
    const record = frame.records[frame.next];
    frame.next += 1;
    if (record === undefined) {
      frames.pop();
      continue;
    }
    const path = frame.path === '' ? record.name : `${frame.path}/${record.name}`;
    if (path.length > MAX_PATH_BYTES) throw treeTooLarge('bytes in a path', MAX_PATH_BYTES);
    yield visit(path, frame.inode.number, record.inode, record);
  }
}

function node(entry: TreeEntry, first: FirstEntry, inode: Inode): Ext4Node {
  return { entry, first, inode: inode.number, links: inode.links, sizeBytes: inode.sizeBytes };
}

function common(entry: EntryCommon): EntryCommon {
  const { path, mode, uid, gid, mtimeSec, mtimeNsec, xattrs } = entry;
  return { path, mode, uid, gid, mtimeSec, mtimeNsec, xattrs };
}

function charge(budget: Budget, bytes: number): void {
  budget.entries += 1;
  if (budget.entries > MAX_TREE_ENTRIES) throw treeTooLarge('entries', MAX_TREE_ENTRIES);
  chargeBytes(budget, OBJECT_BYTES + bytes);
}

function chargeBytes(budget: Budget, bytes: number): void {
  budget.bytes += bytes;
  if (budget.bytes > MAX_TREE_BYTES) throw treeTooLarge('bytes of names and attributes', MAX_TREE_BYTES);
}

function chargeEntry(budget: Budget, entry: FirstEntry): void {
  let bytes = entry.type === 'symlink' ? entry.target.length : 0;
  if (entry.xattrs.size > 0) {
    for (const [name, value] of entry.xattrs) bytes += OBJECT_BYTES + name.length + value.length;
  }
  if (bytes > 0) chargeBytes(budget, bytes);
}

/** The names of a directory, all of them, sorted. The walk as a whole reads no more blocks than there are. */
function openFrame(
  volume: MappedVolume,
  budget: Budget,
  path: RawText,
  directory: Inode,
  parent: number,
): Frame {
  budget.directoryBlocks += directoryBlockCount(volume, directory);
  if (budget.directoryBlocks > volume.superblock.blocksCount) {
    throw inodeError(
      'EXT4_BLOCKS_SHARED',
      'ext4 directories take up more blocks than there are',
      directory.number,
      ['blocks of the file system', volume.superblock.blocksCount],
    );
  }
  const records: DirectoryRecord[] = [];
  for (const record of readDirectory(volume, directory, parent)) {
    if (budget.entries + records.length >= MAX_TREE_ENTRIES) throw treeTooLarge('entries', MAX_TREE_ENTRIES);
    records.push(record);
  }
  records.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  records.forEach((record, i) => {
    if (record.name !== records[i + 1]?.name) return;
    throw inodeError('EXT4_DIRECTORY_ENTRY', 'an ext4 directory holds one name twice', directory.number, [
      'path',
      `/${showRaw(path)}/${showRaw(record.name)}`,
    ]);
  });
  return { path, inode: directory, records, next: 0 };
}
