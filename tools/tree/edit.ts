import { showRaw, type RawText } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { NO_XATTRS, parentPath, type DirectoryEntry, type FileEntry, type TreeEntry } from './entry.ts';

/*
 * Edits of a tree. Each takes a list and gives another; hard links stay true: when the name that holds an inode's
 * content goes, the next of its names takes its place.
 */

/** Entries for which `keep` says yes. A directory may only go with all that is below it. */
function keepEntries(entries: readonly TreeEntry[], keep: (path: RawText) => boolean): TreeEntry[] {
  const removed = new Map<RawText, TreeEntry>();
  /** Where the inode of a removed name stands now. */
  const moved = new Map<RawText, RawText>();
  const kept: TreeEntry[] = [];
  for (const entry of entries) {
    if (!keep(entry.path)) {
      removed.set(entry.path, entry);
      continue;
    }
    if (entry.type !== 'hardlink') {
      kept.push(entry);
      continue;
    }
    const original = removed.get(entry.linkPath);
    const place = moved.get(entry.linkPath);
    if (original === undefined) kept.push(entry);
    else if (place !== undefined) kept.push({ ...entry, linkPath: place });
    else {
      kept.push({ ...original, path: entry.path });
      moved.set(entry.linkPath, entry.path);
    }
  }
  return kept;
}

function isBelow(path: RawText, directory: RawText): boolean {
  return directory === '' ? path !== '' : path.startsWith(`${directory}/`);
}

/**
 * The tree below one directory, which becomes the root.
 * @throws CvmError usage TREE_NO_DIRECTORY
 */
export function subtree(entries: readonly TreeEntry[], directory: RawText): TreeEntry[] {
  if (directory === '') return [...entries];
  const found = entries.find(({ path }) => path === directory);
  if (found?.type !== 'dir') {
    throw usageError('TREE_NO_DIRECTORY', 'the tree has no directory of this path', {
      facts: [
        ['path', `/${showRaw(directory)}`],
        ['found', found?.type ?? 'nothing'],
      ],
      mend: 'list the archive and give a directory that is in it',
    });
  }
  const cut = (path: RawText): RawText => path.slice(directory.length + 1);
  return keepEntries(entries, (path) => path === directory || isBelow(path, directory)).map((entry) =>
    entry.type === 'hardlink'
      ? { ...entry, path: cut(entry.path), linkPath: cut(entry.linkPath) }
      : { ...entry, path: cut(entry.path) },
  );
}

/** Without what is below the named directories, and without the other named things; what is not there is left out. */
export function stripContents(entries: readonly TreeEntry[], paths: readonly RawText[]): TreeEntry[] {
  const directories = new Set(entries.filter(({ type }) => type === 'dir').map(({ path }) => path));
  return keepEntries(
    entries,
    (path) => !paths.some((strip) => isBelow(path, strip) || (path === strip && !directories.has(path))),
  );
}

/** A directory of root's: 0755, or what is asked for. */
export function plainDirectory(path: RawText, mtimeSec: number, mode = 0o755): DirectoryEntry {
  return { type: 'dir', path, mode, uid: 0, gid: 0, mtimeSec, mtimeNsec: 0, xattrs: NO_XATTRS };
}

/**
 * Puts a file in, in the place of one that may be there. Directories that it needs are made.
 * @throws CvmError usage TREE_ADD when a directory has that path, or something above it is no directory
 */
export function addFile(entries: readonly TreeEntry[], file: FileEntry): TreeEntry[] {
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  const refuse = (at: RawText, found: string): never => {
    throw usageError('TREE_ADD', 'a file cannot be put there', {
      facts: [
        ['file', `/${showRaw(file.path)}`],
        [`/${showRaw(at)}`, found],
      ],
      mend: 'add it under another path',
    });
  };
  if (byPath.get(file.path)?.type === 'dir') refuse(file.path, 'is a directory');
  const missing: TreeEntry[] = [];
  for (let above = parentPath(file.path); ; above = parentPath(above)) {
    const found = byPath.get(above);
    if (found === undefined) missing.push(plainDirectory(above, file.mtimeSec));
    else if (found.type !== 'dir') refuse(above, `is of type ${found.type}`);
    if (above === '' || found !== undefined) break;
  }
  return [...keepEntries(entries, (path) => path !== file.path), ...missing.reverse(), file];
}

/** The entry behind a path; a further name gives what it names. Symlinks are not followed. */
export function findEntry(entries: readonly TreeEntry[], path: RawText): TreeEntry | undefined {
  const found = entries.find((entry) => entry.path === path);
  if (found?.type !== 'hardlink') return found;
  return entries.find((entry) => entry.path === found.linkPath);
}

export function withTimes(entries: readonly TreeEntry[], mtimeSec: number): TreeEntry[] {
  return entries.map((entry) => ({ ...entry, mtimeSec, mtimeNsec: 0 }));
}
