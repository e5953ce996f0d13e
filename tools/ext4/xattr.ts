import { crc32c } from '../bytes/crc32c.ts';
import { readU16, readU32, readU8 } from '../bytes/little-endian.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import type { CvmError, Fact } from '../errors.ts';
import { aclFromDisk } from './acl.ts';
import { xattrBlockChecksum } from './checksum.ts';
import type { MappedVolume } from './file-mapping.ts';
import { extraSizeOf, hasFlag, inodeError, type Inode, type InodeSlot } from './inode.ts';
import {
  INCOMPAT,
  INODE_BASE_BYTES,
  INODE_FLAG,
  RO_COMPAT,
  XATTR_BLOCK,
  XATTR_BLOCK_HEADER_BYTES,
  XATTR_ENTRY,
  XATTR_ENTRY_BYTES,
  XATTR_INDEX_ACL_ACCESS,
  XATTR_INDEX_ACL_DEFAULT,
  XATTR_INDEX_SYSTEM,
  XATTR_MAGIC,
  XATTR_PREFIXES,
  XATTR_VALUE_MAX_BYTES,
} from './layout.ts';
import { checksumError, hasIncompat, hasRoCompat } from './superblock.ts';

/** Reads the whole value that stands in an inode of its own. */
export type ValueInodeReader = (number: number, sizeBytes: number) => { inode: Inode; value: Uint8Array };

interface XattrEntry {
  readonly index: number;
  readonly name: string;
  readonly valueOffset: number;
  readonly valueInode: number;
  readonly valueSize: number;
}

/** A list of attributes: `bytes` is what value offsets count from, `start` where the entries begin. */
interface XattrRegion {
  readonly bytes: Uint8Array;
  readonly start: number;
}

/** Name of the attribute, under `system.`, that holds the part of inline data behind the first 60 bytes. */
const INLINE_DATA_NAME = 'data';

/**
 * All extended attributes of an inode, as getxattr calls would return them: those in the slot, then those in the
 * attribute block. The attribute that holds inline data is not among them. Values are copies.
 *
 * @throws CvmError format EXT4_XATTR (one rule, named) | EXT4_XATTR_CHECKSUM | EXT4_BLOCK_BOUNDS | ACL_INVALID
 */
export function readXattrs(
  volume: MappedVolume,
  { inode, slot }: InodeSlot,
  readValueInode: ValueInodeReader,
): Map<string, Uint8Array> {
  const xattrs = new Map<string, Uint8Array>();
  for (const region of [slotRegion(slot), blockRegion(volume, inode)]) {
    if (region === undefined) continue;
    for (const entry of parseEntries(volume, inode, region)) {
      if (isInlineData(entry)) continue;
      const name = `${XATTR_PREFIXES.get(entry.index) ?? ''}${entry.name}`;
      if (xattrs.has(name)) throw xattrError(inode, ['name given twice', name]);
      const value = readValue(volume, inode, region, entry, readValueInode);
      const isAcl = entry.index === XATTR_INDEX_ACL_ACCESS || entry.index === XATTR_INDEX_ACL_DEFAULT;
      xattrs.set(name, isAcl ? aclFromDisk(value) : value.slice());
    }
  }
  return xattrs;
}

function isInlineData(entry: XattrEntry): boolean {
  return entry.index === XATTR_INDEX_SYSTEM && entry.name === INLINE_DATA_NAME;
}

/**
 * What an inode with inline data holds beyond the 60 bytes of its block area: the attribute `system.data`, which
 * is always there, if only empty. A copy.
 * @throws CvmError format EXT4_XATTR
 */
export function inlineRest(volume: MappedVolume, { inode, slot }: InodeSlot): Uint8Array {
  const region = slotRegion(slot);
  const entries = region === undefined ? [] : parseEntries(volume, inode, region);
  const entry = entries.find(isInlineData);
  if (region === undefined || entry === undefined || entry.valueInode !== 0) {
    throw xattrError(inode, ['inline data', 'the attribute system.data is missing']);
  }
  return region.bytes.slice(entry.valueOffset, entry.valueOffset + entry.valueSize);
}

function xattrError(inode: Inode, ...facts: readonly Fact[]): CvmError {
  return inodeError(
    'EXT4_XATTR',
    'the extended attributes of an ext4 inode are malformed',
    inode.number,
    ...facts,
  );
}

function slotRegion(slot: Uint8Array): XattrRegion | undefined {
  const at = INODE_BASE_BYTES + extraSizeOf(slot);
  if (slot.length === INODE_BASE_BYTES || at + 4 > slot.length || readU32(slot, at) !== XATTR_MAGIC) {
    return undefined;
  }
  return { bytes: slot.subarray(at + 4), start: 0 };
}

function blockRegion(volume: MappedVolume, inode: Inode): XattrRegion | undefined {
  if (inode.xattrBlock === 0) return undefined;
  const bytes = volume.blocks.block(inode.xattrBlock, `the attribute block of inode ${inode.number}`);
  const magic = readU32(bytes, XATTR_BLOCK.magic);
  if (magic !== XATTR_MAGIC) throw xattrError(inode, ['magic of the block', `0x${magic.toString(16)}`]);
  const blocks = readU32(bytes, XATTR_BLOCK.blocks);
  if (blocks !== 1) throw xattrError(inode, ['blocks', blocks]);
  const { superblock } = volume;
  if (hasRoCompat(superblock, RO_COMPAT.metadataChecksum)) {
    const stored = readU32(bytes, XATTR_BLOCK.checksum);
    const computed = xattrBlockChecksum(superblock.seed, inode.xattrBlock, bytes);
    if (stored !== computed) {
      const what = `the attribute block of inode ${inode.number}`;
      throw checksumError('EXT4_XATTR_CHECKSUM', what, stored, computed, ['block', inode.xattrBlock]);
    }
  }
  return { bytes, start: XATTR_BLOCK_HEADER_BYTES };
}

/** The list ends with four zero bytes; values stand behind it. */
function parseEntries(volume: MappedVolume, inode: Inode, { bytes, start }: XattrRegion): XattrEntry[] {
  const entries: XattrEntry[] = [];
  let at = start;
  for (;;) {
    if (at + 4 > bytes.length) throw xattrError(inode, ['list', 'has no end']);
    if (readU32(bytes, at) === 0) break;
    const nameLength = readU8(bytes, at + XATTR_ENTRY.nameLength);
    const end = at + XATTR_ENTRY_BYTES + nameLength;
    if (end > bytes.length) throw xattrError(inode, ['list', 'has no end']);
    const index = readU8(bytes, at + XATTR_ENTRY.nameIndex);
    entries.push({
      index,
      name: nameOf(inode, index, bytes.subarray(at + XATTR_ENTRY.name, end)),
      valueOffset: readU16(bytes, at + XATTR_ENTRY.valueOffset),
      valueInode: readU32(bytes, at + XATTR_ENTRY.valueInode),
      valueSize: readU32(bytes, at + XATTR_ENTRY.valueSize),
    });
    at = end + ((4 - (end % 4)) % 4);
  }
  for (const entry of entries) checkValue(volume, inode, entry, at + 4, bytes.length);
  return entries;
}

function nameOf(inode: Inode, index: number, bytes: Uint8Array): string {
  const prefix = XATTR_PREFIXES.get(index);
  if (prefix === undefined) throw xattrError(inode, ['name index', index]);
  // Where the index is a whole name, nothing may follow; a prefix alone is no name.
  if (prefix.endsWith('.') !== bytes.length > 0 || bytes.includes(0)) {
    throw xattrError(inode, ['name', `${bytes.length} bytes behind ${prefix}`]);
  }
  return utf8FromBytes(bytes, `the name of an extended attribute of inode ${inode.number}`);
}

function checkValue(
  volume: MappedVolume,
  inode: Inode,
  entry: XattrEntry,
  listEnd: number,
  regionEnd: number,
): void {
  const { valueOffset, valueSize, valueInode } = entry;
  if (valueSize > XATTR_VALUE_MAX_BYTES) throw xattrError(inode, ['value size', `${valueSize} bytes`]);
  if (valueInode !== 0) {
    if (hasIncompat(volume.superblock, INCOMPAT.eaInode)) return;
    throw xattrError(inode, ['value inode', `${valueInode}, without the feature ea_inode`]);
  }
  if (valueSize > 0 && (valueOffset < listEnd || valueOffset + valueSize > regionEnd)) {
    throw xattrError(inode, ['value', `${valueOffset}..${valueOffset + valueSize} of ${regionEnd} bytes`]);
  }
}

function readValue(
  volume: MappedVolume,
  inode: Inode,
  region: XattrRegion,
  entry: XattrEntry,
  readValueInode: ValueInodeReader,
): Uint8Array {
  if (entry.valueInode === 0) {
    return region.bytes.subarray(entry.valueOffset, entry.valueOffset + entry.valueSize);
  }
  const { inode: holder, value } = readValueInode(entry.valueInode, entry.valueSize);
  if (!hasFlag(holder, INODE_FLAG.eaInode)) {
    throw xattrError(inode, ['value inode', `${holder.number}, which is not one`]);
  }
  const computed = crc32c(volume.superblock.seed, value);
  if (holder.accessTimeLow !== computed) {
    const what = `an attribute value in inode ${holder.number}`;
    throw checksumError('EXT4_XATTR_CHECKSUM', what, holder.accessTimeLow, computed, ['inode', inode.number]);
  }
  return value;
}
