import type { ByteSource } from '../bytes/source.ts';
import { showRaw, type RawText } from '../bytes/text.ts';
import { NO_XATTRS, parentPath, type EntryCommon, type TreeEntry } from '../tree/entry.ts';
import { inTreeOrder } from '../tree/order.ts';
import { tarError } from './header.ts';
import { readTar, type TarMember } from './reader.ts';

export { treeToTar, type TarOptions } from './writer.ts';

/** What GNU tar makes of nothing. */
const EMPTY_ARCHIVE_BYTES = 10_240;

/** Folders that the archive leaves out. */
const MISSING_FOLDER = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, xattrs: NO_XATTRS } as const;

/** An inode: all names of it share one of these. */
interface Node {
  readonly member: TarMember | undefined;
  readonly isFolder: boolean;
}

/**
 * What extracting an archive into an empty folder leaves: names normalised, later members in the place of earlier ones,
 * hard links resolved, missing folders made (0755, root, epoch). Depth first, names in byte order, root first.
 *
 * Refuses what would lead out of the tree or means different trees to different readers: `..`, members below a link
 * or a file, a folder with content replaced by something else, a hard link to a folder or to nothing.
 *
 * @throws CvmError format TAR_PATH | TAR_PARENT | TAR_REPLACED | TAR_HARDLINK | TAR_EMPTY, and those of `readTar`
 */
export function treeFromTar(source: ByteSource): TreeEntry[] {
  const nodes = new Map<RawText, Node>([['', { member: undefined, isFolder: true }]]);
  /** Entries directly in each folder. */
  const children = new Map<RawText, number>();
  for (const member of readTar(withoutHoles(source))) {
    const at = member.headerOffset;
    const path = normalisePath(member.name, at);
    const isFolder = member.type === 'dir';
    if (path === '') {
      if (!isFolder) throw tarError('TAR_PATH', 'the root is given as something other than a folder', at);
      nodes.set('', { member, isFolder: true });
      continue;
    }
    makeParents(nodes, children, path, at);
    const earlier = nodes.get(path);
    if (earlier?.isFolder === true && !isFolder && (children.get(path) ?? 0) > 0) {
      throw tarError('TAR_REPLACED', 'a folder that has content is replaced by something else', at, [
        ['path', showRaw(path)],
      ]);
    }
    if (earlier === undefined) children.set(parentPath(path), (children.get(parentPath(path)) ?? 0) + 1);
    nodes.set(path, member.type === 'hardlink' ? linkedNode(nodes, member, path) : { member, isFolder });
  }
  if (nodes.size === 1 && nodes.get('')?.member === undefined && source.sizeBytes > EMPTY_ARCHIVE_BYTES) {
    throw tarError(
      'TAR_EMPTY',
      'the archive ends where it begins, and its file goes on',
      0,
      [['size', `${source.sizeBytes} bytes`]],
      'an image of a file system begins with zeros, which end an archive: give it as an image, where the command takes one',
    );
  }
  return entriesOf(nodes);
}

/** Holes are those that the archive records: where the file that it is kept in has some, stored zeros are stored all the same. */
function withoutHoles(source: ByteSource): ByteSource {
  const { sizeBytes } = source;
  return { ...source, extents: sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }] };
}

/**
 * A member name as a path of the tree: without leading slashes, `.` components, doubled and trailing slashes.
 * @throws CvmError format TAR_PATH on `..`
 */
export function normalisePath(name: RawText, at: number): RawText {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (!parts.includes('..')) return parts.join('/');
  throw tarError('TAR_PATH', 'a path goes up with `..`', at, [['path', showRaw(name)]]);
}

function makeParents(
  nodes: Map<RawText, Node>,
  children: Map<RawText, number>,
  path: RawText,
  at: number,
): void {
  const missing: RawText[] = [];
  for (let folder = parentPath(path); ; folder = parentPath(folder)) {
    const node = nodes.get(folder);
    if (node?.isFolder === true) break;
    if (node !== undefined) {
      throw tarError('TAR_PARENT', 'a member stands below something that is no folder', at, [
        ['path', showRaw(path)],
        ['not a folder', showRaw(folder)],
      ]);
    }
    missing.push(folder);
  }
  for (const folder of missing) {
    nodes.set(folder, { member: undefined, isFolder: true });
    children.set(parentPath(folder), (children.get(parentPath(folder)) ?? 0) + 1);
  }
}

function linkedNode(nodes: ReadonlyMap<RawText, Node>, member: TarMember, path: RawText): Node {
  const target = normalisePath(member.linkName, member.headerOffset);
  const node = nodes.get(target);
  if (node?.member !== undefined && !node.isFolder) return node;
  throw tarError(
    'TAR_HARDLINK',
    'a hard link names no earlier member that can have two names',
    member.headerOffset,
    [
      ['path', showRaw(path)],
      ['target', showRaw(member.linkName)],
    ],
  );
}

function entriesOf(nodes: ReadonlyMap<RawText, Node>): TreeEntry[] {
  const firstNames = new Map<Node, RawText>();
  const named = [...nodes].map(([path, node]) => ({ path, node }));
  return inTreeOrder(named).map(({ path, node }) => {
    const { member } = node;
    if (member === undefined) return { ...MISSING_FOLDER, path, type: 'dir' };
    const common = commonFields(path, member);
    const first = firstNames.get(node);
    if (first !== undefined) return { ...common, type: 'hardlink', linkPath: first };
    firstNames.set(node, path);
    return entryOf(common, member);
  });
}

function commonFields(path: RawText, member: TarMember): EntryCommon {
  const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs } = member;
  return { path, mode, uid, gid, mtimeSec, mtimeNsec, xattrs };
}

function entryOf(common: EntryCommon, member: TarMember): TreeEntry {
  switch (member.type) {
    case 'file':
      return { ...common, type: 'file', content: member.content };
    case 'symlink':
      return { ...common, type: 'symlink', target: member.linkName };
    case 'char':
    case 'block':
      return { ...common, type: member.type, major: member.major, minor: member.minor };
    case 'dir':
    case 'fifo':
      return { ...common, type: member.type };
    case 'hardlink':
      throw tarError('TAR_HARDLINK', 'a hard link was not resolved', member.headerOffset);
  }
}
