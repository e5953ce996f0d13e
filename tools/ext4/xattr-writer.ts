import { compareBytes } from '../bytes/compare.ts';
import { writeU16, writeU32, writeU8 } from '../bytes/little-endian.ts';
import { showRaw, showText, utf8Bytes, type RawText } from '../bytes/text.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { aclToDisk } from './acl.ts';
import { xattrBlockChecksum } from './checksum.ts';
import {
  NAME_MAX_BYTES,
  XATTR_BLOCK,
  XATTR_BLOCK_HEADER_BYTES,
  XATTR_ENTRY,
  XATTR_ENTRY_BYTES,
  XATTR_INDEX_ACL_ACCESS,
  XATTR_INDEX_ACL_DEFAULT,
  XATTR_INDEX_SYSTEM,
  XATTR_MAGIC,
  XATTR_PREFIXES,
} from './layout.ts';
import { BLOCK_BYTES, SLOT_BYTES, SLOT_XATTR_OFFSET } from './profile.ts';

/** An attribute in disk form. */
interface DiskXattr {
  readonly index: number;
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** Where the attributes of one inode go. Both lists are sorted as the kernel's lookup in blocks demands. */
export interface XattrPlan {
  readonly inSlot: readonly DiskXattr[];
  readonly inBlock: readonly DiskXattr[];
}

const NONE: XattrPlan = { inSlot: [], inBlock: [] };
const LIST_END_BYTES = 4;
/** Behind the magic, without the list's end: 88 bytes. */
const SLOT_ROOM = SLOT_BYTES - SLOT_XATTR_OFFSET - 4 - LIST_END_BYTES;
const BLOCK_ROOM = BLOCK_BYTES - XATTR_BLOCK_HEADER_BYTES - LIST_END_BYTES;

/**
 * Sorts attributes by (index, name length, name) and fills the inode slot first, in that order, with all that fit;
 * the rest goes into one block. In any other order Linux would not find those in the block.
 *
 * @param path for errors
 * @param xattrs full names to values as getxattr returns them
 * @throws CvmError format EXT4_XATTR_NAME | EXT4_XATTR_SPACE | ACL_INVALID
 */
export function planXattrs(path: RawText, xattrs: ReadonlyMap<string, Uint8Array>): XattrPlan {
  if (xattrs.size === 0) return NONE;
  const sorted = Array.from(xattrs, ([name, value]) => toDisk(path, name, value)).sort(
    (a, b) => a.index - b.index || a.name.length - b.name.length || compareBytes(a.name, b.name),
  );
  const inSlot: DiskXattr[] = [];
  const inBlock: DiskXattr[] = [];
  let slotBytes = 0;
  let blockBytes = 0;
  for (const xattr of sorted) {
    const cost = costOf(xattr);
    if (slotBytes + cost <= SLOT_ROOM) {
      inSlot.push(xattr);
      slotBytes += cost;
    } else {
      inBlock.push(xattr);
      blockBytes += cost;
    }
  }
  if (blockBytes > BLOCK_ROOM) {
    throw xattrError('EXT4_XATTR_SPACE', 'the extended attributes are larger than ext4 can hold', path, [
      ['needed', `${blockBytes} bytes in a block, besides ${slotBytes} in the inode`],
      ['room', `${BLOCK_ROOM} bytes in a block, ${SLOT_ROOM} in the inode`],
    ]);
  }
  return { inSlot, inBlock };
}

function xattrError(code: string, message: string, path: RawText, facts: readonly Fact[]): CvmError {
  return formatError(code, message, { facts: [['path', `/${showRaw(path)}`], ...facts] });
}

function toDisk(path: RawText, name: string, value: Uint8Array): DiskXattr {
  for (const [index, prefix] of XATTR_PREFIXES) {
    // A prefix with a dot wants a name behind it; without one it is a whole name and comes before `system.`.
    const isWhole = !prefix.endsWith('.');
    if (isWhole ? name !== prefix : !name.startsWith(prefix) || WHOLE_NAMES.has(name)) continue;
    const rest = utf8Bytes(name.slice(prefix.length));
    const isInlineData = index === XATTR_INDEX_SYSTEM && name === 'system.data';
    const isNameable = isWhole || (rest.length > 0 && rest.length <= NAME_MAX_BYTES && !rest.includes(0));
    if (isInlineData || !isNameable || !name.isWellFormed()) break;
    const isAcl = index === XATTR_INDEX_ACL_ACCESS || index === XATTR_INDEX_ACL_DEFAULT;
    return { index, name: rest, value: isAcl ? aclToDisk(value) : value };
  }
  throw xattrError('EXT4_XATTR_NAME', 'ext4 cannot hold an extended attribute of this name', path, [
    ['name', showText(name.slice(0, 2 * NAME_MAX_BYTES))],
    ['namespaces', 'user. trusted. security. system. with 1 to 255 bytes behind the dot'],
  ]);
}

const WHOLE_NAMES: ReadonlySet<string> = new Set(
  [...XATTR_PREFIXES.values()].filter((prefix) => !prefix.endsWith('.')),
);

function padTo4(length: number): number {
  return Math.ceil(length / 4) * 4;
}

function costOf({ name, value }: DiskXattr): number {
  return XATTR_ENTRY_BYTES + padTo4(name.length) + padTo4(value.length);
}

/** Writes magic, entries and values into the end of an inode's slot; nothing when there are none. */
export function writeSlotXattrs(slot: Uint8Array, xattrs: readonly DiskXattr[]): void {
  if (xattrs.length === 0) return;
  writeU32(slot, SLOT_XATTR_OFFSET, XATTR_MAGIC);
  // Values are found from the first entry on. The kernel checks no hashes here and writes zero.
  writeEntries(slot.subarray(SLOT_XATTR_OFFSET + 4), 0, xattrs, () => 0);
}

/** The block of attributes, checksummed with its own number. */
export function makeXattrBlock(xattrs: readonly DiskXattr[], seed: number, blockNumber: number): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  writeU32(block, XATTR_BLOCK.magic, XATTR_MAGIC);
  writeU32(block, XATTR_BLOCK.refCount, 1);
  writeU32(block, XATTR_BLOCK.blocks, 1);
  let hash = 0;
  writeEntries(block, XATTR_BLOCK_HEADER_BYTES, xattrs, (xattr) => {
    const entryHash = xattrEntryHash(xattr.name, xattr.value);
    hash = (rotateLeft(hash, 16) ^ entryHash) >>> 0;
    return entryHash;
  });
  writeU32(block, XATTR_BLOCK.hash, hash);
  writeU32(block, XATTR_BLOCK.checksum, xattrBlockChecksum(seed, blockNumber, block));
  return block;
}

/** Entries from `start` upwards, values from the end downwards, offsets from the start of `bytes`. */
function writeEntries(
  bytes: Uint8Array,
  start: number,
  xattrs: readonly DiskXattr[],
  hashOf: (xattr: DiskXattr) => number,
): void {
  let at = start;
  let valueAt = bytes.length;
  for (const xattr of xattrs) {
    const { index, name, value } = xattr;
    valueAt -= padTo4(value.length);
    writeU8(bytes, at + XATTR_ENTRY.nameLength, name.length);
    writeU8(bytes, at + XATTR_ENTRY.nameIndex, index);
    writeU16(bytes, at + XATTR_ENTRY.valueOffset, value.length === 0 ? 0 : valueAt);
    writeU32(bytes, at + XATTR_ENTRY.valueSize, value.length);
    writeU32(bytes, at + XATTR_ENTRY.hash, hashOf(xattr));
    bytes.set(name, at + XATTR_ENTRY.name);
    bytes.set(value, valueAt);
    at += XATTR_ENTRY_BYTES + padTo4(name.length);
  }
}

function rotateLeft(value: number, bits: number): number {
  return ((value << bits) | (value >>> (32 - bits))) >>> 0;
}

/** The hash of one entry in a block: over the name's bytes, then the value's words, zero padded. */
export function xattrEntryHash(name: Uint8Array, value: Uint8Array): number {
  let hash = 0;
  for (const byte of name) hash = (rotateLeft(hash, 5) ^ byte) >>> 0;
  for (let at = 0; at < value.length; at += 4) {
    const word =
      (value[at] ?? 0) |
      ((value[at + 1] ?? 0) << 8) |
      ((value[at + 2] ?? 0) << 16) |
      ((value[at + 3] ?? 0) << 24);
    hash = (rotateLeft(hash, 16) ^ word) >>> 0;
  }
  return hash;
}
