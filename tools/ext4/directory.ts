import { readU16, readU32, readU8 } from '../bytes/little-endian.ts';
import { rawFromBytes, showRaw, type RawText } from '../bytes/text.ts';
import type { CvmError, Fact } from '../errors.ts';
import { directoryLeafChecksum, htreeChecksum, inodeSeed } from './checksum.ts';
import { fileContent } from './file-content.ts';
import { blockRuns, type MappedVolume } from './file-mapping.ts';
import { hasFlag, inodeError, type Inode } from './inode.ts';
import {
  BLOCK_AREA_BYTES,
  DIRENT,
  DIRENT_HEADER_BYTES,
  DIRENT_TAIL_BYTES,
  DIRENT_TAIL_TYPE,
  HTREE_ENTRY_BYTES,
  HTREE_NODE,
  HTREE_ROOT,
  HTREE_TAIL_BYTES,
  INCOMPAT,
  INODE_FLAG,
  RO_COMPAT,
} from './layout.ts';
import { checksumError, hasIncompat, hasRoCompat, type Superblock } from './superblock.ts';

/** A name in a directory: never `.` or `..`, never empty, without `/` and NUL. */
export interface DirectoryRecord {
  readonly name: RawText;
  readonly inode: number;
  /** The type byte (see `DIRENT_TYPE`); 0 when the file system does not say. */
  readonly type: number;
}

/** A record as it stands, unused ones included. */
interface RawRecord extends DirectoryRecord {
  readonly offset: number;
  readonly length: number;
}

/**
 * The names of a directory in disk order. Blocks are read one after the other, which is right for hashed
 * directories too: an index block looks like unused records.
 *
 * @param parent the inode that `..` must lead to
 * @throws CvmError format EXT4_DIRECTORY (one rule, named) | EXT4_DIRECTORY_CHECKSUM and those of the mapping
 */
export function* readDirectory(
  volume: MappedVolume,
  directory: Inode,
  parent: number,
): Generator<DirectoryRecord> {
  if (hasFlag(directory, INODE_FLAG.inlineData)) {
    yield* inlineRecords(volume, directory, parent);
    return;
  }
  let index = 0;
  for (const block of directoryBlocks(volume, directory)) {
    const raw = [...parseRecords(volume.superblock, directory, block.bytes)];
    checkBlockChecksum(volume.superblock, directory, block, raw);
    for (const record of raw) {
      const dots = index === 0 ? '.' : index === 1 ? '..' : undefined;
      index += 1;
      if (dots !== undefined) checkDots(directory, record, dots, dots === '.' ? directory.number : parent);
      else if (record.inode !== 0) yield checkName(directory, record);
    }
  }
}

/** Blocks that a directory takes up; directories have no holes. 0 when its names stand in the inode. */
export function directoryBlockCount(volume: MappedVolume, directory: Inode): number {
  if (hasFlag(directory, INODE_FLAG.inlineData)) return 0;
  const { blockSize, blocksCount } = volume.superblock;
  const count = directory.sizeBytes / blockSize;
  if (!Number.isInteger(count) || count === 0 || count > blocksCount) {
    throw directoryError(directory, [
      'size',
      `${directory.sizeBytes} bytes, not whole blocks of ${blockSize}`,
    ]);
  }
  return count;
}

function directoryError(directory: Inode, ...facts: readonly Fact[]): CvmError {
  return inodeError('EXT4_DIRECTORY', 'an ext4 directory is malformed', directory.number, ...facts);
}

interface DirectoryBlock {
  readonly fileBlock: number;
  readonly bytes: Uint8Array;
}

function* directoryBlocks(volume: MappedVolume, directory: Inode): Generator<DirectoryBlock> {
  const count = directoryBlockCount(volume, directory);
  let next = 0;
  for (const run of blockRuns(volume, directory, 0, count)) {
    if (run.fileBlock !== next) break;
    next += run.count;
    for (let i = 0; i < run.count; i++) {
      const bytes = volume.blocks.block(run.diskBlock + i, `a block of directory inode ${directory.number}`);
      yield { fileBlock: run.fileBlock + i, bytes };
    }
  }
  if (next !== count) throw directoryError(directory, ['hole at block', next]);
}

/** Records tile the bytes exactly: each length is checked against what is left, and none is zero. */
function* parseRecords(superblock: Superblock, directory: Inode, bytes: Uint8Array): Generator<RawRecord> {
  const typed = hasIncompat(superblock, INCOMPAT.filetype);
  for (let at = 0; at < bytes.length;) {
    const left = bytes.length - at;
    const length = left < DIRENT_HEADER_BYTES ? 0 : recordLength(superblock, bytes, at);
    if (length < DIRENT_HEADER_BYTES || length % 4 !== 0 || length > left) {
      throw directoryError(directory, ['record at', at], ['length', length], ['bytes left', left]);
    }
    // One byte also without types: names have 255 bytes at most, and a checksum's record keeps its mark in the other.
    const nameLength = readU8(bytes, at + DIRENT.nameLength);
    if (DIRENT_HEADER_BYTES + nameLength > length) {
      throw directoryError(directory, ['record at', at], ['length', length], ['name length', nameLength]);
    }
    const nameAt = at + DIRENT.name;
    yield {
      offset: at,
      length,
      inode: readU32(bytes, at + DIRENT.inode),
      type: typed ? readU8(bytes, at + DIRENT.type) : 0,
      name: rawFromBytes(bytes.subarray(nameAt, nameAt + nameLength)),
    };
    at += length;
  }
}

/** 16 bits cannot hold 65536: in 64 KiB blocks both 65535 and 0 stand for it. */
function recordLength(superblock: Superblock, bytes: Uint8Array, at: number): number {
  const length = readU16(bytes, at + DIRENT.recordLength);
  return superblock.blockSize === 65536 && (length === 0 || length === 65535) ? 65536 : length;
}

function checkDots(directory: Inode, record: RawRecord, dots: string, inode: number): void {
  if (record.name !== dots || record.inode !== inode) {
    throw directoryError(
      directory,
      ['record', `"${showRaw(record.name)}" to inode ${record.inode}`],
      ['must be', `"${dots}" to inode ${inode}`],
    );
  }
}

function checkName(directory: Inode, record: RawRecord): DirectoryRecord {
  const { name, inode, type } = record;
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) {
    throw directoryError(directory, ['name that cannot be', `"${showRaw(name)}"`]);
  }
  return { name, inode, type };
}

/** Inline: u32 parent inode, then two separate lists, one to the end of the block area and one in `system.data`. */
function* inlineRecords(volume: MappedVolume, directory: Inode, parent: number): Generator<DirectoryRecord> {
  if (directory.sizeBytes < BLOCK_AREA_BYTES) {
    throw directoryError(directory, ['size of an inline directory', `${directory.sizeBytes} bytes`]);
  }
  const content = fileContent(volume, directory);
  const bytes = content.read(0, content.sizeBytes);
  const above = readU32(bytes, 0);
  if (above !== parent) throw directoryError(directory, ['parent', above], ['must be', parent]);
  for (const list of [bytes.subarray(4, BLOCK_AREA_BYTES), bytes.subarray(BLOCK_AREA_BYTES)]) {
    for (const record of parseRecords(volume.superblock, directory, list)) {
      if (record.inode !== 0) yield checkName(directory, record);
    }
  }
}

function checkBlockChecksum(
  superblock: Superblock,
  directory: Inode,
  block: DirectoryBlock,
  records: readonly RawRecord[],
): void {
  if (!hasRoCompat(superblock, RO_COMPAT.metadataChecksum)) return;
  const owner = inodeSeed(superblock.seed, directory.number, directory.generation);
  const found = isLeaf(block.bytes, records)
    ? leafChecksum(owner, block.bytes)
    : indexChecksum(owner, directory, block, records);
  if (found === undefined) {
    throw directoryError(directory, ['block', block.fileBlock], ['checksum', 'there is no place for one']);
  }
  if (found.stored !== found.computed) {
    const what = `a block of directory inode ${directory.number}`;
    throw checksumError('EXT4_DIRECTORY_CHECKSUM', what, found.stored, found.computed, [
      'block of the directory',
      block.fileBlock,
    ]);
  }
}

interface Checksums {
  readonly stored: number;
  readonly computed: number;
}

/** Only a leaf has a record boundary before its last 12 bytes; an index block may end in 0xDE by chance. */
function isLeaf(bytes: Uint8Array, records: readonly RawRecord[]): boolean {
  const last = records.at(-1);
  return (
    last !== undefined &&
    last.offset === bytes.length - DIRENT_TAIL_BYTES &&
    last.inode === 0 &&
    readU8(bytes, last.offset + DIRENT.nameLength) === 0 &&
    readU8(bytes, last.offset + DIRENT.type) === DIRENT_TAIL_TYPE
  );
}

function leafChecksum(owner: number, bytes: Uint8Array): Checksums {
  return { stored: readU32(bytes, bytes.length - 4), computed: directoryLeafChecksum(owner, bytes) };
}

/** An index block: in the root limit and count stand behind `.`, `..` and 8 bytes, in others behind 8 bytes. */
function indexChecksum(
  owner: number,
  directory: Inode,
  { fileBlock, bytes }: DirectoryBlock,
  records: readonly RawRecord[],
): Checksums | undefined {
  if (!hasFlag(directory, INODE_FLAG.htree)) return undefined;
  const isRoot = fileBlock === 0 && records.length === 2;
  const isNode = fileBlock > 0 && records.length === 1 && records[0]?.inode === 0;
  if (!isRoot && !isNode) return undefined;
  const entriesOffset = isRoot ? HTREE_ROOT.limit : HTREE_NODE.limit;
  const limit = readU16(bytes, entriesOffset);
  const count = readU16(bytes, entriesOffset + 2);
  const tail = entriesOffset + HTREE_ENTRY_BYTES * limit;
  if (count > limit || tail + HTREE_TAIL_BYTES > bytes.length) return undefined;
  return {
    stored: readU32(bytes, tail + 4),
    computed: htreeChecksum(owner, bytes, entriesOffset, count, tail),
  };
}
