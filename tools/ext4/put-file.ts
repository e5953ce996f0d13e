import { readU16, readU32, writeU16, writeU32 } from '../bytes/little-endian.ts';
import { sliceSource, type ByteSource } from '../bytes/source.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import { showRaw, type RawText } from '../bytes/text.ts';
import { usageError, type CvmError } from '../errors.ts';
import { baseName, parentPath } from '../tree/entry.ts';
import { hasHighInodeChecksum, inodeChecksum } from './checksum.ts';
import { addName } from './edit-directory.ts';
import { freeMapping, writeMapping } from './edit-mapping.ts';
import { EditVolume, type ChangedImage } from './edit-volume.ts';
import type { FileExtent } from './extent-tree.ts';
import { readDirectory } from './directory.ts';
import { readEntry, readNamedInode } from './inode-entry.ts';
import { extraSizeOf, hasFlag, readInode, type Inode } from './inode.ts';
import {
  INODE,
  INODE_BASE_BYTES,
  INODE_FLAG,
  INODE_TYPE,
  INODE_TYPE_MASK,
  NAME_MAX_BYTES,
  RO_COMPAT,
  ROOT_INODE,
} from './layout.ts';
import { hasRoCompat } from './superblock.ts';

export interface PutFile {
  /** Without a leading slash. */
  readonly path: RawText;
  readonly content: ByteSource;
  readonly mode: number;
  /** Of a new file; one that is there keeps its owner when they are absent. */
  readonly uid?: number;
  readonly gid?: number;
  readonly mtimeSec: number;
}

const ACCESS_LIST = 'system.posix_acl_access';

/** Bytes of a new slot in use beyond the first 128. */
const EXTRA_SIZE = 32;

/**
 * Puts a regular file into a file system: a new one, or new content for one that is there, under all its names. Nothing
 * else changes but what follows from it: bitmaps, counts, checksums, the directory's block. Other names, blocks and free
 * space stay as they are. Attributes of a file that is there stay.
 *
 * @returns the changed image, which reads the old one and the content
 * @throws CvmError usage EXT4_PUT_PATH | EXT4_PUT_ACL | EXT4_EDIT_UNSUPPORTED | EXT4_EDIT_DIRECTORY | EXT4_FULL | EXT4_NOT_CLEAN; format,
 *   those of every structure met
 */
export function putFile(source: ByteSource, file: PutFile): ChangedImage {
  const volume = new EditVolume(source);
  const name = baseName(file.path);
  if (name === '' || name === '.' || name === '..' || name.length > NAME_MAX_BYTES) {
    throw pathError(file.path, `a name has 1 to ${NAME_MAX_BYTES} bytes`);
  }
  const parents = parentPath(file.path);
  let directory = readNamedInode(volume, ROOT_INODE).inode;
  let above = ROOT_INODE;
  for (const component of parents === '' ? [] : parents.split('/')) {
    const found = findName(volume, directory, above, component);
    if (found === undefined) throw pathError(file.path, `there is no directory /${showRaw(parents)}`);
    above = directory.number;
    directory = found;
    if (directory.type !== 'dir') throw pathError(file.path, `${showRaw(component)} is a ${directory.type}`);
  }
  const existing = findName(volume, directory, above, name);
  if (existing === undefined) addFile(volume, directory, name, file);
  else replaceFile(volume, existing, file);
  return volume.finish();
}

function pathError(path: RawText, why: string): CvmError {
  return usageError('EXT4_PUT_PATH', 'a file cannot be put there', {
    facts: [
      ['path', `/${showRaw(path)}`],
      ['because', why],
    ],
    mend: 'give the path of a regular file, or of none, in a directory that is there; links are not followed',
  });
}

function findName(volume: EditVolume, directory: Inode, above: number, name: RawText): Inode | undefined {
  for (const record of readDirectory(volume, directory, above)) {
    if (record.name === name) return readNamedInode(volume, record.inode, record).inode;
  }
  return undefined;
}

function replaceFile(volume: EditVolume, inode: Inode, file: PutFile): void {
  if (inode.type !== 'file') throw pathError(file.path, `a ${inode.type} has that path`);
  for (const [flag, what] of [
    [INODE_FLAG.verity, 'fs-verity protects its content'],
    [INODE_FLAG.inlineData, 'its content stands in its inode'],
  ] as const) {
    if (hasFlag(inode, flag)) throw pathError(file.path, what);
  }
  if (!hasFlag(inode, INODE_FLAG.extents)) throw pathError(file.path, 'its content has no extents');
  requireModeOfList(volume, inode, file);
  const slot = slotOf(volume, inode.number);
  freeMapping(volume, inode);
  const owned = inode.xattrBlock === 0 ? 0 : 1;
  const mapping = placeContent(volume, file.content, inode);
  writeSlot(volume, slot, inode.number, file, mapping.blockArea, owned + mapping.blocks);
}

/**
 * With an access control list, three of its entries are what chmod would change: a mode alone would leave rights to those
 * whom the list names, or take them from them.
 */
function requireModeOfList(volume: EditVolume, inode: Inode, file: PutFile): void {
  if ((inode.mode & 0o777) === (file.mode & 0o777)) return;
  const { xattrs } = readEntry(volume, file.path, readNamedInode(volume, inode.number));
  if (!xattrs.has(ACCESS_LIST)) return;
  throw usageError('EXT4_PUT_ACL', 'a file with an access control list keeps its mode', {
    facts: [
      ['path', `/${showRaw(file.path)}`],
      ['mode', `0${(inode.mode & 0o7777).toString(8)}`],
      ['asked for', `0${file.mode.toString(8)}`],
    ],
    mend: 'give the mode that it has, or build the image anew from a tree with the list that you want',
  });
}

function addFile(volume: EditVolume, directory: Inode, name: RawText, file: PutFile): void {
  const { group } = volume.inodePlace(directory.number);
  const number = volume.allocateInode(group);
  const slot = slotOf(volume, number);
  const generation = 0;
  slot.fill(0);
  writeU16(slot, INODE.linksCount, 1);
  writeU32(slot, INODE.flags, INODE_FLAG.extents);
  if (slot.length > INODE_BASE_BYTES) writeU16(slot, INODE.extraSize, EXTRA_SIZE);
  const mapping = placeContent(volume, file.content, { number, generation });
  writeSlot(volume, slot, number, { uid: 0, gid: 0, ...file }, mapping.blockArea, mapping.blocks);
  const grown = addName(volume, directory, { name, inode: number });
  if (grown === undefined) return;
  const place = slotOf(volume, directory.number);
  place.set(grown.blockArea, INODE.blockArea);
  writeSize(place, grown.sizeBytes);
  addSectors(volume, place, grown.blocks);
  seal(volume, place, directory.number);
}

function slotOf(volume: EditVolume, number: number): Uint8Array {
  const { block, offset } = volume.inodePlace(number);
  const { inodeSize } = volume.superblock;
  return volume.change(block, 'an inode table block').subarray(offset, offset + inodeSize);
}

/** Gives content its blocks, none where it is zero. */
function placeContent(
  volume: EditVolume,
  content: ByteSource,
  owner: Pick<Inode, 'number' | 'generation'>,
): { readonly blockArea: Uint8Array; readonly blocks: number } {
  const { blockSize } = volume.superblock;
  const { group } = volume.inodePlace(owner.number);
  const extents: FileExtent[] = [];
  let blocks = 0;
  for (const { offset, length } of dataRuns(content, blockSize)) {
    let fileBlock = offset / blockSize;
    for (const run of volume.allocateBlocks(Math.ceil(length / blockSize), group)) {
      const from = fileBlock * blockSize;
      const bytes = Math.min(run.count * blockSize, content.sizeBytes - from);
      volume.putContent(run.firstBlock, sliceSource(content, from, bytes));
      extents.push({ fileBlock, ...run });
      fileBlock += run.count;
      blocks += run.count;
    }
  }
  const { blockArea, treeBlocks } = writeMapping(volume, extents, owner, group);
  return { blockArea, blocks: blocks + treeBlocks };
}

function writeSlot(
  volume: EditVolume,
  slot: Uint8Array,
  number: number,
  file: PutFile,
  blockArea: Uint8Array,
  blocks: number,
): void {
  const type = readU16(slot, INODE.mode) & INODE_TYPE_MASK;
  writeU16(slot, INODE.mode, (type === 0 ? INODE_TYPE.file : type) | file.mode);
  if (file.uid !== undefined) writeHalves(slot, INODE.uidLow, INODE.uidHigh, file.uid);
  if (file.gid !== undefined) writeHalves(slot, INODE.gidLow, INODE.gidHigh, file.gid);
  slot.set(blockArea, INODE.blockArea);
  writeSize(slot, file.content.sizeBytes);
  writeU32(slot, INODE.blocksLow, 0);
  writeU16(slot, INODE.blocksHigh, 0);
  addSectors(volume, slot, blocks);
  for (const [base, high] of [
    [INODE.changeTime, INODE.changeTimeExtra],
    [INODE.modificationTime, INODE.modificationTimeExtra],
    [INODE.accessTime, INODE.accessTimeExtra],
  ] as const) {
    writeU32(slot, base, hasExtraTimes(slot) ? file.mtimeSec : Math.min(file.mtimeSec, 2 ** 31 - 1));
    // The low 32 bits are read as signed; two bits above say how often 2^32 is added to that.
    const epoch = (file.mtimeSec - (file.mtimeSec | 0)) / 2 ** 32;
    if (hasExtraTimes(slot)) writeU32(slot, high, epoch & 3);
  }
  seal(volume, slot, number);
}

function hasExtraTimes(slot: Uint8Array): boolean {
  return INODE_BASE_BYTES + extraSizeOf(slot) >= INODE.accessTimeExtra + 4;
}

function writeHalves(slot: Uint8Array, low: number, high: number, value: number): void {
  writeU16(slot, low, value);
  writeU16(slot, high, Math.floor(value / 2 ** 16));
}

function writeSize(slot: Uint8Array, sizeBytes: number): void {
  writeU32(slot, INODE.sizeLow, sizeBytes);
  writeU32(slot, INODE.sizeHigh, Math.floor(sizeBytes / 2 ** 32));
}

function addSectors(volume: EditVolume, slot: Uint8Array, blocks: number): void {
  const isInBlocks = (readU32(slot, INODE.flags) & INODE_FLAG.hugeFile) !== 0;
  const unit = isInBlocks ? 1 : volume.superblock.blockSize / 512;
  const sum = readU32(slot, INODE.blocksLow) + readU16(slot, INODE.blocksHigh) * 2 ** 32 + blocks * unit;
  writeU32(slot, INODE.blocksLow, sum);
  writeU16(slot, INODE.blocksHigh, Math.floor(sum / 2 ** 32));
}

function seal(volume: EditVolume, slot: Uint8Array, number: number): void {
  if (!hasRoCompat(volume.superblock, RO_COMPAT.metadataChecksum)) return;
  const checksum = inodeChecksum(volume.superblock.seed, number, slot);
  writeU16(slot, INODE.checksumLow, checksum);
  if (hasHighInodeChecksum(slot)) writeU16(slot, INODE.checksumHigh, checksum >>> 16);
  readInode(volume.superblock, volume.blocks, number);
}
