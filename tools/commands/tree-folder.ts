import {
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { rawFromUtf8, rawToBytes, showRaw, showText, type RawText } from '../bytes/text.ts';
import { CvmError, formatError, usageError } from '../errors.ts';
import {
  baseName,
  parentPath,
  type DirectoryEntry,
  type EntryCommon,
  type HardlinkEntry,
  type TreeEntry,
} from '../tree/entry.ts';
import { FileMaker, FileNotMade } from './file-maker.ts';
import { addPendingFile, settlePendingFile } from './pending-files.ts';

/** So many entries are made before signals get their turn. */
const ENTRIES_A_TURN = 64;

/** What a folder could not take of a tree. */
export interface NotKept {
  /** Devices, fifos and sockets, and further names of them. */
  readonly special: number;
  /** Entries with extended attributes. */
  readonly withXattrs: number;
  /** Whether owners other than who runs this, or setuid, setgid and sticky bits, were left out. */
  readonly owners: boolean;
}

/**
 * Writes a tree into a folder that does not exist yet or is empty. It is built beside the folder and renamed onto it
 * when complete, so the folder is never half full.
 *
 * Kept: names as bytes, contents with their holes, permission bits, hard links, link targets, modification times;
 * with `owners` also owner, group, setuid, setgid and sticky bits. Not kept: extended attributes, devices, fifos,
 * sockets.
 *
 * Nothing outside the folder can be reached: every file, link and folder is made anew and refused when its place is
 * taken, and children go only into folders that were made here, so no path leads through a symbolic link. That holds
 * on file systems that take two names for one, too.
 *
 * @param entries parents before children, as in any normalised tree
 * @throws CvmError usage OUTPUT_NOT_EMPTY | OUTPUT_WRITE, format TREE_ESCAPES, and what reading the contents throws
 */
export async function writeTreeToFolder(
  entries: Iterable<TreeEntry>,
  folder: string,
  owners: boolean,
): Promise<NotKept> {
  return await writeFolderWhole(folder, (partial) => fill(entries, partial, owners));
}

/**
 * Fills a folder that does not exist yet or is empty, whole or not at all: beside it, and renamed onto it when complete.
 * @param write fills the folder whose path it is given, which only its owner may enter
 * @throws CvmError usage OUTPUT_NOT_EMPTY | OUTPUT_WRITE, and what `write` throws
 */
export async function writeFolderWhole<T>(
  folder: string,
  write: (partial: string) => Promise<T>,
): Promise<T> {
  const target = checkEmpty(folder);
  const partial = attempt(folder, () => {
    mkdirSync(dirname(target), { recursive: true });
    return mkdtempSync(join(dirname(target), `.${basename(target)}.partial-`));
  });
  addPendingFile(partial);
  try {
    const result = await write(partial);
    attempt(folder, () => renameSync(partial, target));
    return result;
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw error;
  } finally {
    settlePendingFile(partial);
  }
}

/** @returns the path to rename onto: of a link to a folder, the folder */
function checkEmpty(folder: string): string {
  let names: readonly string[];
  try {
    names = readdirSync(folder);
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return folder;
    throw writeError(folder, cause);
  }
  if (names.length > 0) {
    throw usageError('OUTPUT_NOT_EMPTY', 'the output folder holds something already', {
      facts: [
        ['folder', showText(folder)],
        ['entries', names.length],
      ],
      mend: 'give a folder that does not exist yet, or an empty one',
    });
  }
  return realpathSync(folder);
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function writeError(what: string, cause: unknown): CvmError {
  return usageError('OUTPUT_WRITE', 'the output folder cannot be written', {
    facts: [
      ['at', showText(what)],
      ['system error', cause instanceof Error ? showText(cause.message) : 'unknown'],
    ],
    mend: 'check permissions, free space and name rules of the folder, or write an archive with --tar',
    cause,
  });
}

/** Runs one step on the file system; its errors are the caller's to mend, errors in the image stay what they are. */
function attempt<T>(what: string, step: () => T): T {
  try {
    return step();
  } catch (cause) {
    throw cause instanceof CvmError ? cause : writeError(what, cause);
  }
}

async function fill(entries: Iterable<TreeEntry>, root: string, owners: boolean): Promise<NotKept> {
  const rawRoot = rawFromUtf8(root);
  const maker = new FileMaker();
  try {
    return await fillWith(maker, entries, rawRoot, owners);
  } catch (error) {
    if (!(error instanceof FileNotMade)) throw error;
    throw writeError(`/${showRaw(error.path.slice(rawRoot.length + 1))}`, error);
  } finally {
    await maker.close();
  }
}

/** Between entries, and pieces of large ones, signals get their turn. */
async function fillWith(
  maker: FileMaker,
  entries: Iterable<TreeEntry>,
  root: RawText,
  owners: boolean,
): Promise<NotKept> {
  const rawPlace = (path: RawText): RawText => (path === '' ? root : `${root}/${path}`);
  const place = (path: RawText): Buffer => Buffer.from(rawPlace(path), 'latin1');
  const skipped = new Set<RawText>();
  const made = new Map<RawText, TreeEntry['type']>();
  const folders: DirectoryEntry[] = [];
  const links: HardlinkEntry[] = [];
  let withXattrs = 0;
  let hasOtherOwner = false;
  // What is made in the folder belongs to whom the folder belongs to.
  const own = statSync(place(''));
  let sinceTurn = 0;
  for (const entry of entries) {
    checkPlace(entry, made, skipped);
    if (entry.type !== 'hardlink' && entry.xattrs.size > 0) withXattrs++;
    hasOtherOwner ||= entry.uid !== own.uid || entry.gid !== own.gid || (entry.mode & ~0o777) !== 0;
    sinceTurn += 1;
    if (sinceTurn >= ENTRIES_A_TURN) {
      sinceTurn = 0;
      await setImmediate();
    }
    if (entry.type === 'file') {
      const { content, uid, gid } = entry;
      const owner = owners ? { uid, gid } : undefined;
      const mode = keptMode(entry, owners);
      await maker.add({ path: rawPlace(entry.path), content, mode, owner, mtime: mtimeOf(entry) });
      made.set(entry.path, entry.type);
      continue;
    }
    const done = attempt(`/${showRaw(entry.path)}`, () => {
      switch (entry.type) {
        case 'dir':
          if (entry.path !== '') mkdirSync(place(entry.path), 0o700);
          folders.push(entry);
          return true;
        case 'symlink':
          symlinkSync(Buffer.from(rawToBytes(entry.target)), place(entry.path));
          if (owners) lchownSync(place(entry.path), entry.uid, entry.gid);
          lutimesSync(place(entry.path), mtimeOf(entry), mtimeOf(entry));
          return true;
        case 'hardlink':
          if (skipped.has(entry.linkPath)) return false;
          links.push(entry);
          return true;
        case 'char':
        case 'block':
        case 'fifo':
        case 'socket':
          return false;
      }
    });
    if (done) made.set(entry.path, entry.type);
    else skipped.add(entry.path);
  }
  await maker.finish();
  // Now that what they are names of is there.
  for (const { path, linkPath } of links) {
    attempt(`/${showRaw(path)}`, () => {
      linkSync(place(linkPath), place(path));
    });
  }
  // Last and deepest first: a folder may forbid writing into it, and writing into it changes its time.
  for (const folder of folders.reverse()) {
    attempt(`/${showRaw(folder.path)}`, () => {
      const path = place(folder.path);
      if (owners) chownSync(path, folder.uid, folder.gid);
      chmodSync(path, keptMode(folder, owners));
      utimesSync(path, mtimeOf(folder), mtimeOf(folder));
    });
  }
  return {
    special: skipped.size,
    withXattrs,
    owners: !owners && hasOtherOwner,
  };
}

/**
 * Whatever a tree claims, it stays inside: a name is one component, its parent a folder made here (so no link), and a
 * further name is of something made here.
 */
function checkPlace(
  entry: TreeEntry,
  made: ReadonlyMap<RawText, TreeEntry['type']>,
  skipped: ReadonlySet<RawText>,
): void {
  const name = baseName(entry.path);
  const isRoot = entry.path === '' && entry.type === 'dir' && made.size === 0;
  const hasPlace =
    !['', '.', '..'].includes(name) && !name.includes('\0') && made.get(parentPath(entry.path)) === 'dir';
  const linked = entry.type === 'hardlink' ? made.get(entry.linkPath) : undefined;
  const isLinkable =
    entry.type !== 'hardlink' || skipped.has(entry.linkPath) || (linked !== undefined && linked !== 'dir');
  if (isRoot || (hasPlace && isLinkable)) return;
  throw formatError('TREE_ESCAPES', 'an entry of the tree has no place in the tree', {
    facts: [
      ['entry', `/${showRaw(entry.path)}`],
      ['type', entry.type],
      ...(entry.type === 'hardlink' ? ([['name of', `/${showRaw(entry.linkPath)}`]] as const) : []),
    ],
    mend: 'the archive or image is damaged or made to write elsewhere: do not use it',
  });
}

/** Without the owner, a setuid bit would lend the wrong identity. */
function keptMode(entry: EntryCommon, owners: boolean): number {
  return owners ? entry.mode : entry.mode & 0o777;
}

/** As text: of a negative number of seconds Node makes the current time. */
function mtimeOf(entry: EntryCommon): string {
  return `${entry.mtimeSec + entry.mtimeNsec / 1e9}`;
}
