import { writeU16, writeU32 } from '../bytes/little-endian.ts';
import { rawToBytes } from '../bytes/text.ts';
import { inodeChecksum } from './checksum.ts';
import { makeExtentRoot } from './extent-tree.ts';
import type { InodeEntry, InodePlan } from './inode-plan.ts';
import { BLOCK_AREA_BYTES, INODE, INODE_FLAG, INODE_TYPE } from './layout.ts';
import { BLOCK_BYTES, EXTRA_SIZE, MAX_TIME_SEC, MIN_TIME_SEC, SLOT_BYTES } from './profile.ts';
import { writeSlotXattrs } from './xattr-writer.ts';

const SECTORS_PER_BLOCK = BLOCK_BYTES / 512;
const NEW_DEVICE_OFFSET = 4;

/** The slot of one placed inode. All four times are the modification time. */
export function makeSlot(inode: InodePlan, checksumSeed: number): Uint8Array {
  const slot = new Uint8Array(SLOT_BYTES);
  const { entry } = inode;
  writeU16(slot, INODE.mode, INODE_TYPE[entry.type] | entry.mode);
  writeU16(slot, INODE.uidLow, entry.uid);
  writeU16(slot, INODE.uidHigh, Math.floor(entry.uid / 2 ** 16));
  writeU16(slot, INODE.gidLow, entry.gid);
  writeU16(slot, INODE.gidHigh, Math.floor(entry.gid / 2 ** 16));
  writeU16(slot, INODE.linksCount, inode.links);
  const size = sizeOf(inode);
  writeU32(slot, INODE.sizeLow, size % 2 ** 32);
  writeU32(slot, INODE.sizeHigh, Math.floor(size / 2 ** 32));
  const sectors = inode.blocks * SECTORS_PER_BLOCK;
  writeU32(slot, INODE.blocksLow, sectors % 2 ** 32);
  writeU16(slot, INODE.blocksHigh, Math.floor(sectors / 2 ** 32));
  const flags =
    (inode.extents === undefined ? 0 : INODE_FLAG.extents) |
    (inode.directory?.indexed === true ? INODE_FLAG.htree : 0);
  writeU32(slot, INODE.flags, flags);
  slot.set(blockArea(inode), INODE.blockArea);
  writeU32(slot, INODE.xattrBlockLow, inode.xattrBlock);
  writeU16(slot, INODE.extraSize, EXTRA_SIZE);
  writeTimes(slot, entry);
  writeSlotXattrs(slot, inode.xattrs.inSlot);
  const checksum = inodeChecksum(checksumSeed, inode.number, slot);
  writeU16(slot, INODE.checksumLow, checksum & 0xffff);
  writeU16(slot, INODE.checksumHigh, checksum >>> 16);
  return slot;
}

function sizeOf({ entry, directory }: InodePlan): number {
  if (entry.type === 'file') return entry.content.sizeBytes;
  if (entry.type === 'symlink') return entry.target.length;
  return (directory?.blockCount ?? 0) * BLOCK_BYTES;
}

/** The extent root, or what stands in its place: a short symlink target, or a device number. */
function blockArea({ entry, extents }: InodePlan): Uint8Array {
  if (extents !== undefined) return makeExtentRoot(extents);
  const area = new Uint8Array(BLOCK_AREA_BYTES);
  if (entry.type === 'symlink') {
    area.set(rawToBytes(entry.target));
  } else if (entry.type === 'char' || entry.type === 'block') {
    const { major, minor } = entry;
    if (major < 256 && minor < 256) writeU32(area, 0, (major << 8) | minor);
    else writeU32(area, NEW_DEVICE_OFFSET, (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12));
  }
  return area;
}

function writeTimes(slot: Uint8Array, { mtimeSec, mtimeNsec }: InodeEntry): void {
  const seconds = Math.min(Math.max(mtimeSec, MIN_TIME_SEC), MAX_TIME_SEC);
  const nanoseconds = seconds === mtimeSec ? mtimeNsec : 0;
  // The low 32 bits are read as signed, so what the two high bits add is a multiple of 2^32 from there.
  const epoch = (seconds - (seconds | 0)) / 2 ** 32;
  const extra = (epoch & 3) | (nanoseconds << 2);
  for (const [base, high] of [
    [INODE.accessTime, INODE.accessTimeExtra],
    [INODE.changeTime, INODE.changeTimeExtra],
    [INODE.modificationTime, INODE.modificationTimeExtra],
    [INODE.creationTime, INODE.creationTimeExtra],
  ] as const) {
    writeU32(slot, base, seconds);
    writeU32(slot, high, extra);
  }
}
