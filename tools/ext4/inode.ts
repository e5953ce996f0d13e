import { isZero } from '../bytes/compare.ts';
import { joinU32, readU16, readU32 } from '../bytes/little-endian.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import type { BlockReader } from './block-reader.ts';
import { hasHighInodeChecksum, inodeChecksum } from './checksum.ts';
import { readGroupDescriptor } from './group-descriptor.ts';
import {
  BLOCK_AREA_BYTES,
  INCOMPAT,
  INODE,
  INODE_BASE_BYTES,
  INODE_FLAG,
  INODE_TYPE,
  INODE_TYPE_MASK,
  RO_COMPAT,
  type InodeType,
} from './layout.ts';
import { checksumError, hasIncompat, hasRoCompat, type Superblock } from './superblock.ts';

/** A checked inode in use. */
export interface Inode {
  readonly number: number;
  readonly type: InodeType;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly sizeBytes: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  /** Low 32 bits of the access time: of an attribute's value inode, the checksum of the value. */
  readonly accessTimeLow: number;
  readonly flags: number;
  readonly generation: number;
  /** 512-byte units that the inode owns, in any block: data, tree and attribute blocks. */
  readonly sectors: number;
  /** The block of extended attributes; 0 is none. */
  readonly xattrBlock: number;
  /** 60 bytes: see {@link BLOCK_AREA_BYTES}. */
  readonly blockArea: Uint8Array;
}

/** A slot's bytes beside what they mean: extended attributes and inline data stand in it. */
export interface InodeSlot {
  readonly inode: Inode;
  /** A view into a cached block, which it keeps in memory. */
  readonly slot: Uint8Array;
}

export function hasFlag(inode: Inode, flag: number): boolean {
  return (inode.flags & flag) !== 0;
}

/** An error about one inode; `where` comes first among the facts. */
export function inodeError(
  code: string,
  message: string,
  inode: number,
  ...where: readonly Fact[]
): CvmError {
  return formatError(code, message, {
    facts: [['inode', inode], ...where],
    mend: 'the image is damaged: check it with e2fsck -fn, or fetch it again and compare its sha256',
  });
}

/**
 * Reads inode `number` (from 1): slot `(number - 1) % inodesPerGroup` of its group's table.
 *
 * @throws CvmError format EXT4_INODE_NUMBER | EXT4_INODE_CHECKSUM | EXT4_INODE_UNUSED | EXT4_INODE_TYPE | EXT4_INODE_EXTRA_SIZE |
 *   EXT4_INODE_TIME | EXT4_ENCRYPTED | EXT4_FILE_SIZE and those of {@link readGroupDescriptor}
 */
export function readInode(superblock: Superblock, blocks: BlockReader, number: number): InodeSlot {
  if (number < 1 || number > superblock.inodesCount) {
    throw inodeError('EXT4_INODE_NUMBER', 'an ext4 inode number is out of range', number, [
      'inodes',
      superblock.inodesCount,
    ]);
  }
  const slot = readSlot(superblock, blocks, number);
  checkInode(superblock, number, slot);
  return { inode: parseInode(superblock, number, slot), slot };
}

function readSlot(superblock: Superblock, blocks: BlockReader, number: number): Uint8Array {
  const { inodesPerGroup, inodeSize, blockSize } = superblock;
  const inodeTable = inodeTableOf(superblock, blocks, Math.floor((number - 1) / inodesPerGroup));
  const at = ((number - 1) % inodesPerGroup) * inodeSize;
  const block = blocks.block(inodeTable + Math.floor(at / blockSize), 'an inode table block');
  return block.subarray(at % blockSize, (at % blockSize) + inodeSize);
}

/** Where the table of the group stands that was asked for last: its descriptor is checked once for many inodes in a row. */
const lastTables = new WeakMap<BlockReader, { readonly group: number; readonly inodeTable: number }>();

function inodeTableOf(superblock: Superblock, blocks: BlockReader, group: number): number {
  const known = lastTables.get(blocks);
  if (known?.group === group) return known.inodeTable;
  const { inodeTable } = readGroupDescriptor(superblock, blocks, group);
  lastTables.set(blocks, { group, inodeTable });
  return inodeTable;
}

function checkInode(superblock: Superblock, number: number, slot: Uint8Array): void {
  if (isZero(slot)) {
    throw inodeError('EXT4_INODE_UNUSED', 'a name leads to an ext4 inode that is not in use', number);
  }
  if (hasRoCompat(superblock, RO_COMPAT.metadataChecksum)) {
    const high = hasHighInodeChecksum(slot);
    const stored =
      readU16(slot, INODE.checksumLow) + (high ? readU16(slot, INODE.checksumHigh) * 2 ** 16 : 0);
    const full = inodeChecksum(superblock.seed, number, slot);
    const computed = high ? full : full & 0xffff;
    if (stored !== computed) {
      throw checksumError('EXT4_INODE_CHECKSUM', `inode ${number}`, stored, computed);
    }
  }
  const extraSize = extraSizeOf(slot);
  if (extraSize % 4 !== 0 || INODE_BASE_BYTES + extraSize > slot.length) {
    throw inodeError('EXT4_INODE_EXTRA_SIZE', 'the extra size of an ext4 inode is impossible', number, [
      'extra size',
      extraSize,
    ]);
  }
}

/** Bytes in use beyond the first 128; 0 in a slot of 128. Extended attributes begin after them. */
export function extraSizeOf(slot: Uint8Array): number {
  return slot.length > INODE_BASE_BYTES ? readU16(slot, INODE.extraSize) : 0;
}

const TYPES: ReadonlyMap<number, InodeType> = new Map(
  (Object.keys(INODE_TYPE) as InodeType[]).map((type) => [INODE_TYPE[type], type]),
);

function parseInode(superblock: Superblock, number: number, slot: Uint8Array): Inode {
  const modeWord = readU16(slot, INODE.mode);
  const links = readU16(slot, INODE.linksCount);
  if (links === 0 || modeWord === 0) {
    throw inodeError('EXT4_INODE_UNUSED', 'a name leads to an ext4 inode that is not in use', number);
  }
  const type = TYPES.get(modeWord & INODE_TYPE_MASK);
  if (type === undefined) {
    throw inodeError('EXT4_INODE_TYPE', 'an ext4 inode has an unknown type', number, [
      'mode',
      `0o${modeWord.toString(8)}`,
    ]);
  }
  const flags = readU32(slot, INODE.flags);
  if ((flags & INODE_FLAG.encrypted) !== 0) {
    throw inodeError('EXT4_ENCRYPTED', 'an ext4 inode is encrypted', number);
  }
  const is64bit = hasIncompat(superblock, INCOMPAT.is64bit);
  return {
    number,
    type,
    mode: modeWord & 0o7777,
    uid: joinHalves(slot, INODE.uidLow, INODE.uidHigh),
    gid: joinHalves(slot, INODE.gidLow, INODE.gidHigh),
    links,
    sizeBytes: sizeOf(superblock, number, type, slot),
    ...modificationTime(number, slot),
    accessTimeLow: readU32(slot, INODE.accessTime),
    flags,
    generation: readU32(slot, INODE.generation),
    sectors: sectorsOf(superblock, flags, slot),
    xattrBlock: joinU32(
      readU32(slot, INODE.xattrBlockLow),
      is64bit ? readU16(slot, INODE.xattrBlockHigh) : 0,
    ),
    blockArea: slot.slice(INODE.blockArea, INODE.blockArea + BLOCK_AREA_BYTES),
  };
}

function joinHalves(slot: Uint8Array, low: number, high: number): number {
  return readU16(slot, low) + readU16(slot, high) * 2 ** 16;
}

function sizeOf(superblock: Superblock, number: number, type: InodeType, slot: Uint8Array): number {
  const wide = type === 'file' || (type === 'dir' && hasIncompat(superblock, INCOMPAT.largeDir));
  const size = joinU32(readU32(slot, INODE.sizeLow), wide ? readU32(slot, INODE.sizeHigh) : 0);
  // File blocks are numbered with 32 bits, in extents and in block maps alike.
  const most = 2 ** 32 * superblock.blockSize;
  if (size > most) {
    throw inodeError('EXT4_FILE_SIZE', 'an ext4 inode is larger than a file can be', number, [
      'size',
      `${size} bytes`,
    ]);
  }
  return size;
}

function sectorsOf(superblock: Superblock, flags: number, slot: Uint8Array): number {
  if (!hasRoCompat(superblock, RO_COMPAT.hugeFile)) return readU32(slot, INODE.blocksLow);
  const count = joinU32(readU32(slot, INODE.blocksLow), readU16(slot, INODE.blocksHigh));
  return (flags & INODE_FLAG.hugeFile) !== 0 ? count * (superblock.blockSize / 512) : count;
}

/** Signed 32 bits of seconds; two more bits above and 30 bits of nanoseconds where the slot has room for them. */
function modificationTime(number: number, slot: Uint8Array): Pick<Inode, 'mtimeSec' | 'mtimeNsec'> {
  const base = readU32(slot, INODE.modificationTime) | 0;
  const covered = INODE_BASE_BYTES + extraSizeOf(slot) >= INODE.modificationTimeExtra + 4;
  if (!covered) return { mtimeSec: base, mtimeNsec: 0 };
  const extra = readU32(slot, INODE.modificationTimeExtra);
  const mtimeNsec = extra >>> 2;
  if (mtimeNsec >= 1_000_000_000) {
    throw inodeError('EXT4_INODE_TIME', 'a time of an ext4 inode has too many nanoseconds', number, [
      'nanoseconds',
      mtimeNsec,
    ]);
  }
  return { mtimeSec: base + (extra & 3) * 2 ** 32, mtimeNsec };
}

/**
 * Major and minor number of a device. The first word holds the old form (8 bits each) unless it is zero; then the
 * second holds the new one (minor bits 0-7, major 8-19, minor bits 8-19 above).
 */
export function deviceNumbers(inode: Inode): { readonly major: number; readonly minor: number } {
  const old = readU32(inode.blockArea, 0);
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
  const word = readU32(inode.blockArea, 4);
  return { major: (word >>> 8) & 0xfff, minor: (word & 0xff) | ((word >>> 12) & 0xfff00) };
}
