import { concatBytes } from '../bytes/compare.ts';
import { chunks, sliceSource, type ByteSource, type Extent } from '../bytes/source.ts';
import { rawToBytes, showRaw, utf8Bytes, type RawText } from '../bytes/text.ts';
import { bug, usageError } from '../errors.ts';
import { baseName, parentPath, type TreeEntry } from '../tree/entry.ts';
import { inTreeOrder } from '../tree/order.ts';
import {
  BLOCK_BYTES,
  END_OF_ARCHIVE_BYTES,
  NAME_BYTES,
  OCTAL_11_LIMIT,
  OCTAL_7_LIMIT,
  paddingAfter,
  sealHeader,
  writeHeader,
} from './header.ts';
import { paxTimeText, writePaxRecords } from './pax.ts';
import { xattrKey } from './xattr-records.ts';

export interface TarOptions {
  /** One time for all entries, whole seconds; each entry's own, rounded down, when absent. */
  readonly epochSec?: number;
  /** `given` keeps the order of the entries, folders before what is in them; by default depth first, in byte order. */
  readonly order?: 'tree' | 'given';
  /** Files with known holes are stored without them (GNU sparse format 1.0). */
  readonly sparse?: boolean;
  /** Times that have a fraction of a second are kept with it, in a record of their own; rounded down when absent. */
  readonly fractions?: boolean;
}

const TYPE_FLAGS = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  dir: '5',
  fifo: '6',
} as const;

/**
 * Writes a tree as a pax archive whose bytes depend on the tree alone: depth first with names in byte order, whatever
 * the order of `entries`; owners by number; extended headers only where a field cannot hold its value, named
 * `FOLDER/PaxHeaders/NAME`, records in byte order of their keys; two zero blocks at the end.
 *
 * GNU tar 1.34 writes the same bytes, but for the order of records where a member has several, when called with the
 * top-level names and `--sort=name --numeric-owner --format=pax --xattrs --blocking-factor=1
 * --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime`.
 *
 * Names have no `./` before them; the root folder is `./`. Holes of files are written as zeros, unless `sparse` is asked
 * for.
 *
 * @throws CvmError usage TAR_SOCKET: no tar format has sockets
 */
export function* treeToTar(entries: readonly TreeEntry[], options: TarOptions = {}): Generator<Uint8Array> {
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  /** Each inode's first name in the archive, which carries the content. */
  const firstNames = new Map<InodeEntry, RawText>();
  for (const { path } of options.order === 'given' ? entries : inTreeOrder(entries)) {
    const inode = inodeAt(byPath, path);
    const first = firstNames.get(inode);
    const mtimeNsec = options.fractions === true && options.epochSec === undefined ? inode.mtimeNsec : 0;
    const plain = { inode, path, mtimeSec: options.epochSec ?? inode.mtimeSec, mtimeNsec };
    if (first === undefined) {
      firstNames.set(inode, path);
      const pieces =
        options.sparse === true && inode.type === 'file' ? sparsePieces(inode.content) : undefined;
      const member = pieces === undefined ? plain : { ...plain, pieces };
      yield* writeMember(member, memberType(inode), linkTarget(inode));
      if (inode.type !== 'file') continue;
      yield* pieces === undefined ? paddedContent(inode.content) : sparseContent(inode.content, pieces);
    } else {
      const member = plain;
      yield* writeMember(member, 'hardlink', first);
    }
  }
  yield new Uint8Array(END_OF_ARCHIVE_BYTES);
}

type InodeEntry = Exclude<TreeEntry, { type: 'hardlink' }>;

interface Member {
  readonly inode: InodeEntry;
  readonly path: RawText;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  /** Of a file that is stored without its holes. */
  readonly pieces?: readonly Extent[];
}

/** What is stored of a file with holes, on the grid of tar's blocks; undefined when nothing would be saved. */
function sparsePieces(content: ByteSource): Extent[] | undefined {
  const pieces: Extent[] = [];
  let stored = 0;
  for (const { offset, length } of content.extents) {
    const last = pieces.at(-1);
    const lastEnd = last === undefined ? 0 : last.offset + last.length;
    const from = Math.max(lastEnd, offset - (offset % BLOCK_BYTES));
    const to = Math.min(content.sizeBytes, Math.ceil((offset + length) / BLOCK_BYTES) * BLOCK_BYTES);
    if (to <= from) continue;
    stored += to - from;
    if (last !== undefined && lastEnd === from) {
      pieces[pieces.length - 1] = { offset: last.offset, length: to - last.offset };
    } else {
      pieces.push({ offset: from, length: to - from });
    }
  }
  const end = pieces.at(-1);
  // A last piece of no length says where the file ends.
  if (end === undefined || end.offset + end.length < content.sizeBytes) {
    pieces.push({ offset: content.sizeBytes, length: 0 });
  }
  return stored + sparseMap(pieces).length < content.sizeBytes ? pieces : undefined;
}

/** Count, then offset and length of every piece, a line each, padded to a block. */
function sparseMap(pieces: readonly Extent[]): Uint8Array {
  const lines = [pieces.length, ...pieces.flatMap(({ offset, length }) => [offset, length])];
  const text = utf8Bytes(`${lines.join('\n')}\n`);
  return concatBytes(text, new Uint8Array(paddingAfter(text.length)));
}

function* sparseContent(content: ByteSource, pieces: readonly Extent[]): Generator<Uint8Array> {
  yield sparseMap(pieces);
  let stored = 0;
  for (const { offset, length } of pieces) {
    yield* chunks(sliceSource(content, offset, length));
    stored += length;
  }
  if (paddingAfter(stored) > 0) yield new Uint8Array(paddingAfter(stored));
}

function inodeAt(byPath: ReadonlyMap<RawText, TreeEntry>, path: RawText): InodeEntry {
  const entry = byPath.get(path);
  const target = entry?.type === 'hardlink' ? byPath.get(entry.linkPath) : entry;
  if (target !== undefined && target.type !== 'hardlink') return target;
  throw bug('a hard link in a tree names no entry with content', { facts: [['path', showRaw(path)]] });
}

function memberType(inode: InodeEntry): keyof typeof TYPE_FLAGS {
  if (inode.type !== 'socket') return inode.type;
  throw usageError('TAR_SOCKET', 'a socket has no form in a tar archive', {
    facts: [['path', showRaw(inode.path)]],
    mend: 'take the socket out of the tree: programs make theirs anew',
  });
}

function linkTarget(inode: InodeEntry): RawText {
  return inode.type === 'symlink' ? inode.target : '';
}

function* writeMember(
  member: Member,
  type: keyof typeof TYPE_FLAGS,
  linkName: RawText,
): Generator<Uint8Array> {
  const { inode, path, mtimeSec, mtimeNsec } = member;
  const name = path === '' ? './' : type === 'dir' ? `${path}/` : path;
  const realBytes = type === 'file' && inode.type === 'file' ? inode.content.sizeBytes : 0;
  const { pieces } = member;
  const sizeBytes =
    pieces === undefined
      ? realBytes
      : pieces.reduce((sum, { length }) => sum + length, sparseMap(pieces).length);
  const records = new Map<RawText, Uint8Array>();
  /** The header's value, and a record beside it when the header cannot hold the value. */
  const held = (key: RawText, value: number, limit: number): number => {
    if (value >= 0 && value < limit) return value;
    records.set(key, utf8Bytes(`${value}`));
    return 0;
  };
  if (pieces !== undefined) {
    records.set('GNU.sparse.major', utf8Bytes('1'));
    records.set('GNU.sparse.minor', utf8Bytes('0'));
    records.set('GNU.sparse.name', rawToBytes(name));
    records.set('GNU.sparse.realsize', utf8Bytes(`${realBytes}`));
  } else if (needsRecord(name)) records.set('path', rawToBytes(name));
  if (needsRecord(linkName)) records.set('linkpath', rawToBytes(linkName));
  // A further name repeats its inode's attributes nowhere else, and neither does GNU tar.
  for (const [xattr, value] of type === 'hardlink' ? [] : inode.xattrs) records.set(xattrKey(xattr), value);
  const block = writeHeader({
    dialect: 'posix',
    typeFlag: TYPE_FLAGS[type],
    // Readers without sparse files must not take the stored bytes for the file.
    name: pieces === undefined ? name : besides(path, 'GNUSparseFile.0'),
    linkName,
    mode: inode.mode & 0o7777,
    uid: held('uid', inode.uid, OCTAL_7_LIMIT),
    gid: held('gid', inode.gid, OCTAL_7_LIMIT),
    sizeBytes: held('size', sizeBytes, OCTAL_11_LIMIT),
    mtimeSec: held('mtime', mtimeSec, OCTAL_11_LIMIT),
    device:
      (type === 'char' || type === 'block') && 'major' in inode
        ? { major: inode.major, minor: inode.minor }
        : { major: 0, minor: 0 },
  });
  if (mtimeNsec > 0) records.set('mtime', utf8Bytes(paxTimeText(mtimeSec, mtimeNsec)));
  if (records.size > 0) yield* paxHeader(path, mtimeSec, writePaxRecords(records));
  yield sealHeader(block);
}

/** Longer than the field, or not ASCII: what readers make of other bytes in a header depends on their locale. */
function needsRecord(text: RawText): boolean {
  return text.length > NAME_BYTES || /[\x80-\xff]/.test(text);
}

/** `FOLDER/NAME` with another folder between. */
function besides(path: RawText, between: string): RawText {
  const folder = parentPath(path);
  return `${folder === '' ? '.' : folder}/${between}/${baseName(path)}`;
}

function* paxHeader(path: RawText, mtimeSec: number, body: Uint8Array): Generator<Uint8Array> {
  const name = besides(path, 'PaxHeaders');
  yield sealHeader(
    writeHeader({
      dialect: 'posix',
      typeFlag: 'x',
      name,
      mode: 0o644,
      uid: 0,
      gid: 0,
      sizeBytes: body.length,
      mtimeSec: mtimeSec >= 0 && mtimeSec < OCTAL_11_LIMIT ? mtimeSec : 0,
    }),
  );
  yield* padded(body);
}

function* padded(body: Uint8Array): Generator<Uint8Array> {
  yield body;
  if (paddingAfter(body.length) > 0) yield new Uint8Array(paddingAfter(body.length));
}

function* paddedContent(content: ByteSource): Generator<Uint8Array> {
  yield* chunks(content);
  if (paddingAfter(content.sizeBytes) > 0) yield new Uint8Array(paddingAfter(content.sizeBytes));
}
