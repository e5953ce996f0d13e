/**
 * The file table and the extended file table: one block each, 64 entries of 64 bytes.
 * Source: openvmm, `vm/vmgs/vmgs_format` (`VmgsFileEntry`, `VmgsExtendedFileEntry`).
 */
import { isZero } from '../bytes/compare.ts';
import { joinU32, readU32, writeU32 } from '../bytes/little-endian.ts';
import { formatError } from '../errors.ts';
import { showFileId } from './file-ids.ts';
import { KEY_BYTES, NONCE_BYTES, TAG_BYTES } from './header.ts';
import { FILE_COUNT, FIRST_FILE_BLOCK, VMGS_BLOCK_BYTES } from './layout.ts';

const ENTRY_BYTES = 64;

/** Attributes of an encrypted file: bit 0 encrypted, bit 1 authenticated. Of a plain one: none. */
export const ENCRYPTED_ATTRIBUTES = 3;

/**
 * A file's entry.
 *
 * | offset | size | field                              |
 * | ------ | ---- | ---------------------------------- |
 * | 0      | 4    | first block                        |
 * | 4      | 4    | blocks; 0: no such file            |
 * | 8      | 8    | size in bytes                      |
 * | 16     | 12   | nonce                              |
 * | 28     | 16   | tag                                |
 * | 44     | 4    | attributes                         |
 * | 48     | 16   | reserved                           |
 */
export interface FileEntry {
  readonly firstBlock: number;
  readonly blocks: number;
  readonly sizeBytes: number;
  readonly nonce: Uint8Array;
  readonly tag: Uint8Array;
  readonly attributes: number;
  readonly reserved: Uint8Array;
}

/** Entries by id, undefined where no file is. */
export type FileTable = readonly (FileEntry | undefined)[];

/**
 * Which files an entry's own bytes call encrypted. Writers before 2026 left the attributes of the file table zero;
 * nonce and tag give those files away.
 */
export function looksEncrypted(entry: FileEntry): boolean {
  return (entry.attributes & 1) !== 0 || !isZero(entry.nonce) || !isZero(entry.tag);
}

/** A plain file's entry. */
export function plainEntry(firstBlock: number, blocks: number, sizeBytes: number): FileEntry {
  return {
    firstBlock,
    blocks,
    sizeBytes,
    nonce: new Uint8Array(NONCE_BYTES),
    tag: new Uint8Array(TAG_BYTES),
    attributes: 0,
    reserved: new Uint8Array(16),
  };
}

export function encodeFileTable(files: FileTable): Uint8Array {
  const bytes = new Uint8Array(VMGS_BLOCK_BYTES);
  files.forEach((entry, id) => {
    if (entry === undefined) return;
    const at = id * ENTRY_BYTES;
    writeU32(bytes, at, entry.firstBlock);
    writeU32(bytes, at + 4, entry.blocks);
    writeU32(bytes, at + 8, entry.sizeBytes % 2 ** 32);
    writeU32(bytes, at + 12, Math.floor(entry.sizeBytes / 2 ** 32));
    bytes.set(entry.nonce, at + 16);
    bytes.set(entry.tag, at + 28);
    writeU32(bytes, at + 44, entry.attributes);
    bytes.set(entry.reserved, at + 48);
  });
  return bytes;
}

/** Takes a block apart; checks nothing. */
export function decodeFileTable(bytes: Uint8Array): FileTable {
  return Array.from({ length: FILE_COUNT }, (_, id) => {
    const at = id * ENTRY_BYTES;
    const blocks = readU32(bytes, at + 4);
    if (blocks === 0) return undefined;
    return {
      firstBlock: readU32(bytes, at),
      blocks,
      sizeBytes: joinU32(readU32(bytes, at + 8), readU32(bytes, at + 12)),
      nonce: bytes.slice(at + 16, at + 28),
      tag: bytes.slice(at + 28, at + 44),
      attributes: readU32(bytes, at + 44),
      reserved: bytes.slice(at + 48, at + 64),
    };
  });
}

/** What is wrong with an entry's numbers, as openvmm tells it when it opens a store; undefined when nothing is. */
export function boundsFault(entry: FileEntry, capacity: number): string | undefined {
  if (entry.firstBlock < FIRST_FILE_BLOCK || entry.firstBlock >= capacity) return 'Invalid file offset';
  if (entry.firstBlock + entry.blocks > capacity) return 'Invalid file allocation end block';
  return entry.sizeBytes > entry.blocks * VMGS_BLOCK_BYTES ? 'Invalid data size' : undefined;
}

/** @throws CvmError format VMGS_FILE_BOUNDS for the first entry that reaches out of the store or out of its extent */
export function checkBounds(files: FileTable, capacity: number): void {
  files.forEach((entry, id) => {
    const fault = entry === undefined ? undefined : boundsFault(entry, capacity);
    if (entry === undefined || fault === undefined) return;
    throw formatError('VMGS_FILE_BOUNDS', 'an entry of the file table is impossible', {
      facts: [
        ['file id', showFileId(id)],
        ['fault', fault],
        ['first block', entry.firstBlock],
        ['blocks', entry.blocks],
        ['size', `${entry.sizeBytes} bytes`],
        ['blocks of the store', capacity],
      ],
      mend: 'take the store from a backup; cvm vmgs verify tells what else is wrong',
    });
  });
}

/** Each file that begins inside an extent before it, with the file that reaches furthest there, as ids. */
export function findOverlaps(files: FileTable): (readonly [number, number])[] {
  const placed = files
    .flatMap((entry, id) => (entry === undefined ? [] : [{ id, entry }]))
    .sort((a, b) => a.entry.firstBlock - b.entry.firstBlock);
  const found: (readonly [number, number])[] = [];
  let furthest: (typeof placed)[number] | undefined;
  for (const file of placed) {
    const end = furthest === undefined ? 0 : furthest.entry.firstBlock + furthest.entry.blocks;
    if (furthest !== undefined && end > file.entry.firstBlock) found.push([furthest.id, file.id]);
    if (file.entry.firstBlock + file.entry.blocks > end) furthest = file;
  }
  return found;
}

/**
 * What the extended file table, encrypted as a whole, says of a file: attributes at 0, its key at 4, 28 bytes
 * reserved.
 */
export interface ExtendedEntry {
  readonly attributes: number;
  readonly key: Uint8Array;
  readonly reserved: Uint8Array;
}

export type ExtendedTable = readonly ExtendedEntry[];

export const EMPTY_EXTENDED_ENTRY: ExtendedEntry = {
  attributes: 0,
  key: new Uint8Array(KEY_BYTES),
  reserved: new Uint8Array(28),
};

export function encodeExtendedTable(entries: ExtendedTable): Uint8Array {
  const bytes = new Uint8Array(VMGS_BLOCK_BYTES);
  entries.forEach((entry, id) => {
    const at = id * ENTRY_BYTES;
    writeU32(bytes, at, entry.attributes);
    bytes.set(entry.key, at + 4);
    bytes.set(entry.reserved, at + 36);
  });
  return bytes;
}

export function decodeExtendedTable(bytes: Uint8Array): ExtendedTable {
  return Array.from({ length: FILE_COUNT }, (_, id) => {
    const at = id * ENTRY_BYTES;
    return {
      attributes: readU32(bytes, at),
      key: bytes.slice(at + 4, at + 36),
      reserved: bytes.slice(at + 36, at + 64),
    };
  });
}
