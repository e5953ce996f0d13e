import { concatBytes } from '../bytes/compare.ts';
import { checkRange, type ByteSource, type Extent } from '../bytes/source.ts';
import { blockMapEnd, blockRuns, type MappedVolume } from './file-mapping.ts';
import { hasFlag, inodeError, readInode, type Inode } from './inode.ts';
import { INODE_FLAG } from './layout.ts';
import { inlineRest } from './xattr.ts';

/** More separate data runs than an 8 GiB file has whose every other 4 KiB block is a hole. */
const MAX_EXTENTS = 1 << 20;

/**
 * The content of a file, a directory or a long symbolic link. Nothing but the inode is kept: the mapping is looked
 * up, and its tree checked, whenever it is needed. Data blocks are extents; holes and unwritten runs are not.
 *
 * @throws CvmError format EXT4_FILE_SIZE when the size is more than the mapping can hold; reads and extents also
 *   those of {@link blockRuns}, and EXT4_FILE_FRAGMENTED
 */
export function fileContent(volume: MappedVolume, inode: Inode): ByteSource {
  const { superblock } = volume;
  const { blockSize } = superblock;
  const { sizeBytes } = inode;
  if (hasFlag(inode, INODE_FLAG.inlineData)) return inlineContent(volume, inode);
  if (!hasFlag(inode, INODE_FLAG.extents) && sizeBytes > blockMapEnd(superblock) * blockSize) {
    throw inodeError('EXT4_FILE_SIZE', 'an ext4 file is larger than its block map can hold', inode.number, [
      'size',
      `${sizeBytes} bytes`,
    ]);
  }
  return new MappedContent(volume, inode);
}

/** A class, where other sources are closures: a tree has one for every file. */
class MappedContent implements ByteSource {
  readonly #volume: MappedVolume;
  readonly #inode: Inode;

  constructor(volume: MappedVolume, inode: Inode) {
    this.#volume = volume;
    this.#inode = inode;
  }

  get sizeBytes(): number {
    return this.#inode.sizeBytes;
  }

  get extents(): readonly Extent[] {
    return dataExtents(this.#volume, this.#inode);
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this.sizeBytes, offset, length);
    return readMapped(this.#volume, this.#inode, offset, length);
  }

  readInto(offset: number, target: Uint8Array): void {
    checkRange(this.sizeBytes, offset, target.length);
    fillMapped(this.#volume, this.#inode, offset, target);
  }
}

function dataExtents(volume: MappedVolume, inode: Inode): Extent[] {
  const { blockSize } = volume.superblock;
  const extents: Extent[] = [];
  for (const run of blockRuns(volume, inode, 0, Math.ceil(inode.sizeBytes / blockSize))) {
    const offset = run.fileBlock * blockSize;
    const end = Math.min(offset + run.count * blockSize, inode.sizeBytes);
    const last = extents.at(-1);
    if (last !== undefined && last.offset + last.length === offset) {
      extents[extents.length - 1] = { offset: last.offset, length: end - last.offset };
      continue;
    }
    if (extents.length === MAX_EXTENTS) {
      throw inodeError('EXT4_FILE_FRAGMENTED', 'an ext4 file has too many separate data runs', inode.number, [
        'limit',
        MAX_EXTENTS,
      ]);
    }
    extents.push({ offset, length: end - offset });
  }
  return extents;
}

function readMapped(volume: MappedVolume, inode: Inode, offset: number, length: number): Uint8Array {
  const { blockSize } = volume.superblock;
  const what = `data of inode ${inode.number}`;
  const end = offset + length;
  let assembled: Uint8Array | undefined;
  for (const run of blockRuns(volume, inode, Math.floor(offset / blockSize), Math.ceil(end / blockSize))) {
    const runStart = run.fileBlock * blockSize;
    const from = Math.max(offset, runStart);
    const to = Math.min(end, runStart + run.count * blockSize);
    const bytes = volume.blocks.bytes(run.diskBlock, from - runStart, to - from, what);
    if (bytes.length === length) return bytes;
    assembled ??= new Uint8Array(length);
    assembled.set(bytes, from - offset);
  }
  return assembled ?? new Uint8Array(length);
}

function fillMapped(volume: MappedVolume, inode: Inode, offset: number, target: Uint8Array): void {
  const { blockSize } = volume.superblock;
  const what = `data of inode ${inode.number}`;
  const end = offset + target.length;
  let done = offset;
  for (const run of blockRuns(volume, inode, Math.floor(offset / blockSize), Math.ceil(end / blockSize))) {
    const runStart = run.fileBlock * blockSize;
    const from = Math.max(offset, runStart);
    const to = Math.min(end, runStart + run.count * blockSize);
    target.fill(0, done - offset, from - offset);
    volume.blocks.bytesInto(
      run.diskBlock,
      from - runStart,
      target.subarray(from - offset, to - offset),
      what,
    );
    done = to;
  }
  target.fill(0, done - offset);
}

/** Data in the inode itself: the first 60 bytes in the block area, the rest in an attribute of the slot. */
function inlineContent(volume: MappedVolume, inode: Inode): ByteSource {
  const { sizeBytes } = inode;
  return {
    sizeBytes,
    extents: sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }],
    read(offset, length) {
      checkRange(sizeBytes, offset, length);
      const slot = readInode(volume.superblock, volume.blocks, inode.number);
      const bytes = concatBytes(inode.blockArea, inlineRest(volume, slot));
      if (sizeBytes > bytes.length) {
        throw inodeError('EXT4_FILE_SIZE', 'an ext4 file is larger than its inline data', inode.number, [
          'size',
          `${sizeBytes} bytes`,
        ]);
      }
      return bytes.subarray(offset, offset + length);
    },
  };
}
