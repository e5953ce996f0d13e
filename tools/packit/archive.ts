import { sliceSource, sourceFromBytes, sparseSource, type ByteSource, type Piece } from '../bytes/source.ts';
import { readU16, readU32, writeU16, writeU32, joinU32 } from '../bytes/little-endian.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { formatError, type CvmError } from '../errors.ts';
import { requireArchiveName } from './name.ts';

/*
 * A packit archive (coconut-svsm/packit e2508f6): the file-system image of COCONUT-SVSM. Little-endian, no padding, no
 * trailer:
 *
 *   header  "PKIT", u32 header size = 8 (a reader skips as much as it says)
 *   entry   u16 type = 1, u16 name length (not 0), u64 file size, name (UTF-8), contents
 *
 * Directories, modes, owners and times are not stored.
 */

const MAGIC = 0x5449_4b50; // "PKIT"
const HEADER_BYTES = 8;
const ENTRY_HEADER_BYTES = 12;
const TYPE_FILE = 1;

export interface PackitFile {
  /** Any text of 1 to 65535 bytes without NUL; what it means as a path is the reader's business. */
  readonly name: string;
  readonly content: ByteSource;
}

export interface PackitEntry extends PackitFile {
  /** Byte offset of the entry. */
  readonly at: number;
}

/**
 * An archive of these files in this order.
 * @throws CvmError format PACKIT_NAME
 */
export function writePackit(files: readonly PackitFile[]): ByteSource {
  const header = new Uint8Array(HEADER_BYTES);
  writeU32(header, 0, MAGIC);
  writeU32(header, 4, HEADER_BYTES);
  const pieces: Piece[] = [{ offset: 0, source: sourceFromBytes(header) }];
  let end = HEADER_BYTES;
  for (const { name, content } of files) {
    const nameBytes = requireArchiveName(name);
    const head = new Uint8Array(ENTRY_HEADER_BYTES + nameBytes.length);
    writeU16(head, 0, TYPE_FILE);
    writeU16(head, 2, nameBytes.length);
    writeU32(head, 4, content.sizeBytes);
    writeU32(head, 8, Math.floor(content.sizeBytes / 2 ** 32));
    head.set(nameBytes, ENTRY_HEADER_BYTES);
    pieces.push({ offset: end, source: sourceFromBytes(head) });
    pieces.push({ offset: end + head.length, source: content });
    end += head.length + content.sizeBytes;
  }
  return sparseSource(end, pieces);
}

/**
 * The files of an archive, in its order, as they are met: contents are read when asked for.
 * @throws CvmError format PACKIT_MAGIC | PACKIT_HEADER | PACKIT_TRUNCATED | PACKIT_TYPE | PACKIT_NAME
 */
export function* readPackit(archive: ByteSource): Generator<PackitEntry> {
  let at = headerBytes(archive);
  while (at < archive.sizeBytes) {
    requireRoom(archive, at, ENTRY_HEADER_BYTES, at, 'the head of an entry');
    const head = archive.read(at, ENTRY_HEADER_BYTES);
    const type = readU16(head, 0);
    if (type !== TYPE_FILE) {
      throw packitError('PACKIT_TYPE', 'an archive has an entry of unknown type', at, [
        ['expected', TYPE_FILE],
        ['found', type],
      ]);
    }
    const nameBytes = readU16(head, 2);
    const size = joinU32(readU32(head, 4), readU32(head, 8));
    requireRoom(archive, at + ENTRY_HEADER_BYTES, nameBytes, at, 'the name of an entry');
    const contentAt = at + ENTRY_HEADER_BYTES + nameBytes;
    requireRoom(archive, contentAt, size, at, 'the contents of an entry');
    const name = readName(archive, at, nameBytes);
    yield { at, name, content: sliceSource(archive, contentAt, size) };
    at = contentAt + size;
  }
}

function headerBytes(archive: ByteSource): number {
  requireRoom(archive, 0, HEADER_BYTES, 0, 'the header');
  const header = archive.read(0, HEADER_BYTES);
  if (readU32(header, 0) !== MAGIC) {
    throw packitError('PACKIT_MAGIC', 'a file is no packit archive: it does not start with PKIT', 0, []);
  }
  const size = readU32(header, 4);
  if (size < HEADER_BYTES || size > archive.sizeBytes) {
    throw packitError('PACKIT_HEADER', 'the header of an archive has an impossible size', 4, [
      ['header', `${size} bytes`],
      ['archive', `${archive.sizeBytes} bytes`],
    ]);
  }
  return size;
}

function readName(archive: ByteSource, at: number, length: number): string {
  let name: string | undefined;
  try {
    name = utf8FromBytes(archive.read(at + ENTRY_HEADER_BYTES, length));
  } catch (cause) {
    throw packitError('PACKIT_NAME', 'an entry has a name that is not UTF-8', at, [], cause);
  }
  if (name !== '' && !name.includes('\0')) return name;
  throw packitError('PACKIT_NAME', 'an entry has an empty name, or one with NUL', at, [
    ['length', `${length} bytes`],
  ]);
}

function requireRoom(archive: ByteSource, from: number, length: number, at: number, what: string): void {
  if (length <= archive.sizeBytes - from) return;
  throw packitError('PACKIT_TRUNCATED', `an archive ends inside ${what}`, at, [
    ['needed', `${length} bytes from ${from}`],
    ['archive', `${archive.sizeBytes} bytes`],
  ]);
}

function packitError(
  code: string,
  message: string,
  at: number,
  facts: readonly (readonly [string, string | number])[],
  cause?: unknown,
): CvmError {
  return formatError(code, message, {
    facts: [['at', at], ...facts],
    mend: 'give an archive that packit pack or cvm packit pack made, whole',
    ...(cause === undefined ? {} : { cause }),
  });
}
