import { type ByteSource, chunks } from '../bytes/source.ts';
import { type RawText, rawToBytes } from '../bytes/text.ts';
import { bug, formatError, usageError } from '../errors.ts';
import type { TreeEntry } from '../tree/entry.ts';

/** Magic and thirteen fields of eight hex digits. */
const HEADER_BYTES = 6 + 13 * 8;
const FIELD_MAX = 0xffff_ffff;
const TRAILER = 'TRAILER!!!';
/** Linux reads archives in blocks of this; whoever concatenates archives relies on it. */
const ARCHIVE_BLOCK_BYTES = 512;

const FILE_TYPE: Readonly<Record<Exclude<TreeEntry['type'], 'hardlink'>, number>> = {
  fifo: 0x1000,
  char: 0x2000,
  dir: 0x4000,
  block: 0x6000,
  file: 0x8000,
  symlink: 0xa000,
  socket: 0xc000,
};

/**
 * Writes an initial RAM disk in cpio's newc format ("new ASCII"): per entry a header of 110 ASCII bytes, the name with
 * a NUL, then the content, each padded to 4 bytes; at the end `TRAILER!!!`, and zeros up to a multiple of 512.
 * Inode numbers count from 1 in the order of the entries; of a hard-linked file the first name carries the content
 * with the first header, as Linux accepts it. The root directory, which always exists, is left out.
 *
 * Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
 *
 * @throws CvmError usage CPIO_FIELD for a number that 32 bits do not hold, format CPIO_LINK for a link to nothing
 */
export function* writeCpio(entries: readonly TreeEntry[]): Generator<Uint8Array> {
  const inodes = numberInodes(entries);
  let written = 0;
  const count = (bytes: Uint8Array): Uint8Array => {
    written += bytes.length;
    return bytes;
  };
  for (const entry of entries) {
    if (entry.path === '') continue;
    const inode = inodes.get(entry.type === 'hardlink' ? entry.linkPath : entry.path);
    if (inode === undefined) throw bug('an entry without an inode');
    const content = contentOf(entry);
    yield count(header(entry, inode, content.sizeBytes));
    if (content.sizeBytes === 0) continue;
    for (const chunk of chunks(content)) yield count(chunk);
    yield count(new Uint8Array(-content.sizeBytes & 3));
  }
  yield count(trailer());
  yield new Uint8Array(-written & (ARCHIVE_BLOCK_BYTES - 1));
}

interface Inode {
  readonly number: number;
  /** File type bits, without permissions. */
  readonly type: number;
  links: number;
}

/** By first path. */
function numberInodes(entries: readonly TreeEntry[]): Map<RawText, Inode> {
  const inodes = new Map<RawText, Inode>();
  for (const entry of entries) {
    if (entry.type === 'hardlink') {
      const inode = inodes.get(entry.linkPath);
      if (inode === undefined) {
        throw formatError('CPIO_LINK', 'a hard link names nothing that stands before it', {
          facts: [['path', entry.path]],
        });
      }
      inode.links++;
    } else if (entry.path !== '') {
      const links = entry.type === 'dir' ? 2 : 1;
      inodes.set(entry.path, { number: inodes.size + 1, type: FILE_TYPE[entry.type], links });
    }
  }
  return inodes;
}

const EMPTY: ByteSource = { sizeBytes: 0, extents: [], read: () => new Uint8Array(0) };

function contentOf(entry: TreeEntry): ByteSource {
  if (entry.type === 'file') return entry.content;
  if (entry.type !== 'symlink') return EMPTY;
  const target = rawToBytes(entry.target);
  return {
    sizeBytes: target.length,
    extents: [{ offset: 0, length: target.length }],
    read: (offset, length) => target.subarray(offset, offset + length),
  };
}

function header(entry: TreeEntry, inode: Inode, sizeBytes: number): Uint8Array {
  const device = entry.type === 'char' || entry.type === 'block';
  return headerBytes(entry.path, [
    inode.number,
    inode.type | entry.mode,
    entry.uid,
    entry.gid,
    inode.links,
    entry.mtimeSec,
    sizeBytes,
    0,
    0,
    device ? entry.major : 0,
    device ? entry.minor : 0,
  ]);
}

function trailer(): Uint8Array {
  return headerBytes(TRAILER, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
}

/** @param fields ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor */
function headerBytes(name: RawText, fields: readonly number[]): Uint8Array {
  const nameBytes = name.length + 1;
  let text = '070701';
  // The check field is zero in newc.
  for (const field of [...fields, nameBytes, 0]) {
    if (!Number.isInteger(field) || field < 0 || field > FIELD_MAX) {
      throw usageError('CPIO_FIELD', 'a number does not fit the 32 bits of a cpio field', {
        facts: [
          ['path', name],
          ['value', field],
        ],
        mend: 'files of 4 GiB and more, and times before 1970 or after 2106, do not fit an initial RAM disk',
      });
    }
    text += field.toString(16).padStart(8, '0');
  }
  const used = HEADER_BYTES + nameBytes;
  const bytes = new Uint8Array(used + (-used & 3));
  bytes.set(rawToBytes(text + name));
  return bytes;
}
