import { readInto, sliceSource, type ByteSource } from '../bytes/source.ts';
import { rawFromBytes, showRaw, type RawText } from '../bytes/text.ts';
import {
  BLOCK_BYTES,
  isEndBlock,
  paddingAfter,
  readHeader,
  tarError,
  unsigned32,
  type TarHeader,
} from './header.ts';
import { paxInteger, paxTime, readPaxRecords, type PaxRecord } from './pax.ts';
import { paxSparse, readOldGnuMap, sparseContent } from './sparse-map.ts';
import { readXattrs } from './xattr-records.ts';

/** What one extended header or long name may hold: far above the largest honest one, a sparse map. */
const EXTENSION_LIMIT_BYTES = 32 << 20;
/** What global headers may pile up. */
const GLOBAL_LIMIT_BYTES = 1 << 20;
const GLOBAL_LIMIT = 64;
const ATTRIBUTES_LIMIT_BYTES = 256 << 20;
/** More members than any image has files. */
const MEMBERS_LIMIT = 1 << 22;
/** Linux takes no longer path. */
const PATH_LIMIT_BYTES = 4096;

export type TarMemberType = 'file' | 'hardlink' | 'symlink' | 'char' | 'block' | 'dir' | 'fifo';

/** One member as the archive has it, extended headers applied; its name not normalised. */
export interface TarMember {
  readonly name: RawText;
  readonly type: TarMemberType;
  /** Of links, else empty: a symbolic link's target, or the name of the earlier member. */
  readonly linkName: RawText;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  /** In getxattr form. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  readonly major: number;
  readonly minor: number;
  /** Of files, sparse ones filled with zeros; empty for all else. */
  readonly content: ByteSource;
  /** Where the member's own header stands, in bytes from the start of the archive. */
  readonly headerOffset: number;
}

const TYPES: Readonly<Record<string, TarMemberType>> = {
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
};

/** Everything that extended headers say about the next member. */
interface Pending {
  readonly records: readonly PaxRecord[] | undefined;
  readonly longName: RawText | undefined;
  readonly longLink: RawText | undefined;
}

const NOTHING_PENDING: Pending = { records: undefined, longName: undefined, longLink: undefined };

/**
 * The members of a tar archive in order: v7, POSIX ustar and pax, GNU with long names and its old sparse files, and the
 * three pax notations of sparse files.
 *
 * Stricter than most readers where two of them would see different trees: checksums, lengths and maps have to hold,
 * only files carry content, an extended header belongs to exactly one member, and an archive ends with two zero
 * blocks. What follows those is not looked at. Contents are windows of `source` and read when asked for.
 *
 * @throws CvmError format TAR_CHECKSUM | TAR_NUMBER | TAR_RANGE | TAR_TYPE | TAR_NAME | TAR_SIZE | TAR_TRUNCATED |
 *   TAR_END | TAR_EXTENSION | TAR_PAX_RECORD | TAR_PAX_VALUE | TAR_SPARSE_MAP | TAR_SPARSE_SIZE | TAR_SPARSE_VERSION |
 *   TAR_XATTR | TAR_ACL | TAR_MEMBERS
 */
export function* readTar(source: ByteSource): Generator<TarMember> {
  const headers = headersOf(source);
  const globals = new Map<RawText, PaxRecord>();
  let pending = NOTHING_PENDING;
  let members = 0;
  let attributeBytes = 0;
  for (let at = 0; ;) {
    const block = readBlocks(headers, at, BLOCK_BYTES, 'a header');
    if (isEndBlock(block)) {
      checkEnd(headers, at, pending);
      return;
    }
    const header = readHeader(block, at);
    if (members++ >= MEMBERS_LIMIT) {
      throw tarError('TAR_MEMBERS', 'the archive has more members than are read', at);
    }
    const dataAt = at + BLOCK_BYTES;
    switch (header.typeFlag) {
      case 'x':
        if (pending.records !== undefined) throw extensionTwice(at);
        pending = { ...pending, records: readPaxRecords(extension(headers, header, dataAt), dataAt) };
        break;
      case 'g':
        addGlobals(globals, readPaxRecords(extension(headers, header, dataAt), dataAt), at);
        break;
      case 'L':
        if (pending.longName !== undefined) throw extensionTwice(at);
        pending = { ...pending, longName: longText(headers, header, dataAt) };
        break;
      case 'K':
        if (pending.longLink !== undefined) throw extensionTwice(at);
        pending = { ...pending, longLink: longText(headers, header, dataAt) };
        break;
      default: {
        const { member, endAt } = readMember(source, block, header, at, pending, globals);
        pending = NOTHING_PENDING;
        // Whoever makes a tree of the members keeps all of this.
        for (const [name, value] of member.xattrs) attributeBytes += name.length + value.length;
        if (attributeBytes > ATTRIBUTES_LIMIT_BYTES) {
          throw tarError('TAR_XATTR', 'the members carry more extended attributes than are kept', at, [
            ['limit', `${ATTRIBUTES_LIMIT_BYTES} bytes`],
          ]);
        }
        yield member;
        at = endAt;
        continue;
      }
    }
    at = dataAt + header.sizeBytes + paddingAfter(header.sizeBytes);
  }
}

function checkEnd(source: Headers, at: number, pending: Pending): void {
  const next = readBlocks(source, at + BLOCK_BYTES, BLOCK_BYTES, 'the second block of the end mark');
  if (!isEndBlock(next)) {
    throw tarError('TAR_END', 'one block of zeros stands alone: an archive ends with two', at);
  }
  if (pending !== NOTHING_PENDING) {
    throw tarError(
      'TAR_EXTENSION',
      'an extended header stands before the end, with no member to apply to',
      at,
    );
  }
}

function readMember(
  source: ByteSource,
  block: Uint8Array,
  header: TarHeader,
  at: number,
  pending: Pending,
  globals: ReadonlyMap<RawText, PaxRecord>,
): { readonly member: TarMember; readonly endAt: number } {
  const { typeFlag } = header;
  const records = mergedRecords(pending.records ?? [], globals);
  const text = (key: RawText): RawText | undefined => {
    const value = records.get(key)?.value;
    return value === undefined ? undefined : rawFromBytes(value);
  };
  const integer = (key: RawText, max?: number): number | undefined => {
    const value = text(key);
    return value === undefined ? undefined : paxInteger(value, key, at, max);
  };
  const sparse = paxSparse(pending.records ?? [], at);
  const name = checkName(sparse?.name ?? text('path') ?? pending.longName ?? header.name, at);
  const type = memberType(header, name, at);
  const sizeBytes = integer('size') ?? header.sizeBytes;
  const isFile = type === 'file';
  if (!isFile && sizeBytes !== 0) {
    throw tarError('TAR_SIZE', `a ${type} has content, which readers treat differently`, at, [
      ['name', showRaw(name)],
      ['size', `${sizeBytes} bytes`],
    ]);
  }
  if (sparse !== undefined && (!isFile || typeFlag === 'S')) {
    throw tarError('TAR_SPARSE_MAP', 'a member that is no plain file has a pax sparse map', at);
  }
  const oldMap = typeFlag === 'S' ? readOldGnuMap(source, block, at) : undefined;
  const dataAt = at + BLOCK_BYTES + (oldMap?.mapBytes ?? 0);
  const stored = window(source, dataAt, sizeBytes, name);
  const map = oldMap ?? sparse?.map(stored);
  const skipped = sparse === undefined ? 0 : (map?.mapBytes ?? 0);
  const mtime = text('mtime');
  const { sec, nsec } = mtime === undefined ? { sec: header.mtimeSec, nsec: 0 } : paxTime(mtime, 'mtime', at);
  const isLink = type === 'symlink' || type === 'hardlink';
  const member: TarMember = {
    name,
    type,
    linkName: isLink ? checkLink(text('linkpath') ?? pending.longLink ?? header.linkName, at) : '',
    mode: header.mode & 0o7777,
    uid: unsigned32(integer('uid') ?? header.uid, at, 'uid'),
    gid: unsigned32(integer('gid') ?? header.gid, at, 'gid'),
    mtimeSec: sec,
    mtimeNsec: nsec,
    xattrs: readXattrs(records.values(), at),
    major: header.major,
    minor: header.minor,
    content:
      map === undefined ? stored : sparseContent(map, window(stored, skipped, sizeBytes - skipped, name), at),
    headerOffset: at,
  };
  return { member, endAt: dataAt + sizeBytes + paddingAfter(sizeBytes) };
}

/** The member's own records over the global ones; an empty value withdraws a key. */
function mergedRecords(
  own: readonly PaxRecord[],
  globals: ReadonlyMap<RawText, PaxRecord>,
): Map<RawText, PaxRecord> {
  const merged = new Map(globals);
  for (const record of own) {
    // An xattr's value may be empty and present all the same.
    if (record.value.length === 0 && !record.key.startsWith('SCHILY.xattr.')) merged.delete(record.key);
    else merged.set(record.key, record);
  }
  return merged;
}

function addGlobals(globals: Map<RawText, PaxRecord>, records: readonly PaxRecord[], at: number): void {
  for (const record of records) {
    if (/^(path|linkpath|size|(GNU\.sparse|SCHILY|LIBARCHIVE|RHT)\..*)$/s.test(record.key)) {
      throw tarError('TAR_EXTENSION', 'a global header sets what only a single member can have', at, [
        ['key', showRaw(record.key)],
      ]);
    }
    if (record.value.length === 0) globals.delete(record.key);
    else globals.set(record.key, record);
  }
  let total = 0;
  for (const { key, value } of globals.values()) total += key.length + value.length;
  // Each member is read with all of them.
  if (total > GLOBAL_LIMIT_BYTES || globals.size > GLOBAL_LIMIT) {
    throw tarError('TAR_EXTENSION', 'global headers hold more than is kept', at, [
      ['limit', `${GLOBAL_LIMIT} records, ${GLOBAL_LIMIT_BYTES} bytes`],
    ]);
  }
}

function memberType(header: TarHeader, name: RawText, at: number): TarMemberType {
  const { typeFlag, dialect } = header;
  // Archives older than type 5 mark folders by the slash alone, and readers of today still follow them.
  if ((typeFlag === '0' || typeFlag === '7') && name.endsWith('/')) return 'dir';
  const type = Object.hasOwn(TYPES, typeFlag) ? TYPES[typeFlag] : undefined;
  if (type !== undefined && (typeFlag !== 'S' || dialect === 'gnu')) return type;
  throw tarError('TAR_TYPE', 'a member is of an unknown or unsupported type', at, [
    ['type', showRaw(typeFlag)],
    ['name', showRaw(name)],
  ]);
}

function checkName(name: RawText, at: number): RawText {
  if (name !== '' && name.length <= PATH_LIMIT_BYTES && !name.includes('\0')) return name;
  throw tarError('TAR_NAME', 'a member name is empty, too long or holds a NUL byte', at, [
    ['name', showRaw(name.slice(0, 100))],
    ['length', `${name.length} bytes`],
  ]);
}

function checkLink(target: RawText, at: number): RawText {
  if (target !== '' && target.length <= PATH_LIMIT_BYTES && !target.includes('\0')) return target;
  throw tarError('TAR_NAME', 'a link target is empty, too long or holds a NUL byte', at, [
    ['target', showRaw(target.slice(0, 100))],
    ['length', `${target.length} bytes`],
  ]);
}

function extensionTwice(at: number): Error {
  return tarError('TAR_EXTENSION', 'two extended headers of one kind stand before the same member', at);
}

function extension(source: Headers, header: TarHeader, dataAt: number): Uint8Array {
  if (header.sizeBytes > EXTENSION_LIMIT_BYTES) {
    throw tarError('TAR_EXTENSION', 'an extended header is larger than is read', dataAt, [
      ['size', `${header.sizeBytes} bytes`],
      ['limit', `${EXTENSION_LIMIT_BYTES} bytes`],
    ]);
  }
  const ahead = paddingAfter(header.sizeBytes) + BLOCK_BYTES;
  return readBlocks(source, dataAt, header.sizeBytes, 'an extended header', ahead);
}

/** The content of an `L` or `K` member: text up to a NUL, which ends it. */
function longText(source: Headers, header: TarHeader, dataAt: number): RawText {
  const text = rawFromBytes(extension(source, header, dataAt));
  const end = text.indexOf('\0');
  if (end >= 0 && /[^\0]/.test(text.slice(end))) {
    throw tarError('TAR_NAME', 'a long name goes on after the NUL that ends it', dataAt);
  }
  return end < 0 ? text : text.slice(0, end);
}

interface Headers {
  readonly sizeBytes: number;
  /**
   * What is read is gone with the next read.
   * @param ahead bytes behind that will be read next
   */
  read(at: number, length: number, ahead?: number): Uint8Array;
}

/** As much is read in one go, where the next thing to be read is known. */
const HEADERS_BYTES = 4096;

/** The source for whoever reads headers: no byte is read twice, and an extended header together with the header behind it. */
function headersOf(source: ByteSource): Headers {
  const buffer = new Uint8Array(HEADERS_BYTES);
  let start = 0;
  let held = 0;
  return {
    sizeBytes: source.sizeBytes,
    read(at, length, ahead = 0) {
      if (at < start || at + length > start + held) {
        const wanted = Math.min(length + ahead, source.sizeBytes - at);
        if (wanted > HEADERS_BYTES) return source.read(at, length);
        start = at;
        held = wanted;
        readInto(source, at, buffer.subarray(0, held));
      }
      return buffer.subarray(at - start, at - start + length);
    },
  };
}

/** @throws CvmError format TAR_TRUNCATED */
function readBlocks(source: Headers, at: number, length: number, what: string, ahead = 0): Uint8Array {
  if (at + length > source.sizeBytes) throw truncated(source, at, length, what);
  return source.read(at, length, ahead);
}

function window(source: ByteSource, at: number, length: number, name: RawText): ByteSource {
  if (length < 0 || at + length > source.sizeBytes) {
    throw truncated(source, at, length, `the content of ${showRaw(name)}`);
  }
  return sliceSource(source, at, length);
}

function truncated(source: Headers, at: number, length: number, what: string): Error {
  return tarError('TAR_TRUNCATED', 'the archive ends before it should', at, [
    ['missing', what],
    ['needed', `${length} bytes`],
    ['size', `${source.sizeBytes} bytes`],
  ]);
}
