import { rawFromBytes, showRaw, type RawText } from '../bytes/text.ts';
import type { CvmError } from '../errors.ts';
import type { EntryCommon, HardlinkEntry, TreeEntry } from '../tree/entry.ts';
import type { DirectoryRecord } from './directory.ts';
import { fileContent } from './file-content.ts';
import type { MappedVolume } from './file-mapping.ts';
import { deviceNumbers, hasFlag, inodeError, readInode, type Inode, type InodeSlot } from './inode.ts';
import { BLOCK_AREA_BYTES, DIRENT_TYPE, INCOMPAT, INODE_FLAG, ROOT_INODE } from './layout.ts';
import { hasIncompat } from './superblock.ts';
import { readXattrs, type ValueInodeReader } from './xattr.ts';

/** A named thing that is not a further name of another. */
export type FirstEntry = Exclude<TreeEntry, HardlinkEntry>;

/** An inode that a directory names: one of those that may have names, and of the type the directory says. */
export function readNamedInode(volume: MappedVolume, number: number, record?: DirectoryRecord): InodeSlot {
  const { superblock, blocks } = volume;
  if (number < superblock.firstInode && number !== ROOT_INODE) {
    throw inodeError('EXT4_DIRECTORY_ENTRY', 'an ext4 directory names a reserved inode', number, [
      'first inode for files',
      superblock.firstInode,
    ]);
  }
  const found = readInode(superblock, blocks, number);
  const { inode } = found;
  if (record !== undefined && record.type !== 0 && record.type !== DIRENT_TYPE[inode.type]) {
    throw inodeError('EXT4_DIRECTORY_ENTRY', 'an ext4 directory names an inode of another type', number, [
      'name',
      showRaw(record.name),
    ]);
  }
  if (hasFlag(inode, INODE_FLAG.eaInode)) {
    throw inodeError(
      'EXT4_DIRECTORY_ENTRY',
      'an ext4 directory names the inode of an attribute value',
      number,
    );
  }
  return found;
}

/** The tree entry of a checked inode. */
export function readEntry(volume: MappedVolume, path: RawText, found: InodeSlot): FirstEntry {
  const { inode } = found;
  const { mode, uid, gid, mtimeSec, mtimeNsec } = inode;
  const shared: EntryCommon = {
    path,
    mode,
    uid,
    gid,
    mtimeSec,
    mtimeNsec,
    xattrs: readXattrs(volume, found, valueInodeReader(volume)),
  };
  switch (inode.type) {
    case 'file':
      return { ...shared, type: 'file', content: fileContent(volume, inode) };
    case 'symlink':
      return { ...shared, type: 'symlink', target: readTarget(volume, inode) };
    case 'char':
    case 'block':
      return { ...shared, type: inode.type, ...deviceNumbers(inode) };
    case 'dir':
      return { ...shared, type: 'dir' };
    case 'fifo':
    case 'socket':
      return { ...shared, type: inode.type };
  }
}

function valueInodeReader(volume: MappedVolume): ValueInodeReader {
  return (number, sizeBytes) => {
    const { inode } = readInode(volume.superblock, volume.blocks, number);
    if (inode.type !== 'file' || inode.sizeBytes !== sizeBytes) {
      throw inodeError('EXT4_XATTR', 'the inode of an attribute value does not hold that value', number, [
        'size',
        `${inode.sizeBytes} bytes, not ${sizeBytes}`,
      ]);
    }
    return { inode, value: fileContent(volume, inode).read(0, sizeBytes) };
  };
}

/** A target of up to 59 bytes stands in the block area, a longer one in one block or, as inline data, in the slot. */
export function readTarget(volume: MappedVolume, inode: Inode): RawText {
  const { sizeBytes } = inode;
  const fast = isFastSymlink(volume, inode);
  if (sizeBytes === 0 || sizeBytes >= (fast ? BLOCK_AREA_BYTES : volume.superblock.blockSize)) {
    throw symlinkError(inode, 'size', `${sizeBytes} bytes`);
  }
  const target = rawFromBytes(
    fast ? inode.blockArea.subarray(0, sizeBytes) : fileContent(volume, inode).read(0, sizeBytes),
  );
  if (target.includes('\0')) throw symlinkError(inode, 'target', 'holds a NUL byte');
  return target;
}

function symlinkError(inode: Inode, what: string, value: string): CvmError {
  return inodeError('EXT4_SYMLINK', 'an ext4 symbolic link is malformed', inode.number, [what, value]);
}

/**
 * A short link owns no data block. With the feature ea_inode the count of owned sectors also covers attribute
 * values elsewhere, so there the size decides.
 */
function isFastSymlink(volume: MappedVolume, inode: Inode): boolean {
  if (hasFlag(inode, INODE_FLAG.inlineData) || hasFlag(inode, INODE_FLAG.extents)) return false;
  const { superblock } = volume;
  if (hasIncompat(superblock, INCOMPAT.eaInode)) return inode.sizeBytes < BLOCK_AREA_BYTES;
  const clusterSectors = (superblock.clusterBlocks * superblock.blockSize) / 512;
  return inode.sectors - (inode.xattrBlock === 0 ? 0 : clusterSectors) === 0;
}
