import { readU16, readU32, writeU16, writeU32 } from '../bytes/little-endian.ts';
import type { ByteSource, Piece } from '../bytes/source.ts';
import { checkRange, readInto } from '../bytes/source.ts';
import { usageError } from '../errors.ts';
import { blockReader, type BlockReader } from './block-reader.ts';
import { bitmapChecksum, descriptorChecksum, oldDescriptorChecksum, superblockChecksum } from './checksum.ts';
import {
  checkBitmaps,
  descriptorTableBlock,
  hasSuperblockCopy,
  readGroupDescriptor,
} from './group-descriptor.ts';
import {
  GD,
  GROUP_BLOCK_UNINIT,
  GROUP_INODE_UNINIT,
  INCOMPAT,
  RO_COMPAT,
  SB,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET,
} from './layout.ts';
import { hasIncompat, hasRoCompat, readSuperblock, type Superblock } from './superblock.ts';

/** What an edit cannot keep true, by the feature that demands it. */
const NOT_EDITED = [
  [RO_COMPAT.bigalloc, 'bigalloc'],
  [RO_COMPAT.quota, 'quota'],
  [RO_COMPAT.project, 'project'],
  [RO_COMPAT.readOnly, 'read-only'],
  [RO_COMPAT.sharedBlocks, 'shared_blocks'],
  [RO_COMPAT.orphanPresent, 'orphan_present'],
] as const;

const KNOWN_RO_COMPAT = Object.values(RO_COMPAT).reduce((sum, bit) => sum | bit, 0);

/** An image that was changed, and where: outside the changes it is the one before. */
export interface ChangedImage extends ByteSource {
  /** At ascending offsets. */
  readonly changes: readonly Piece[];
}

/**
 * A file system under change. Changed blocks are held in memory, contents that are put in are referenced; the image
 * itself is never written. Bitmaps, counts and checksums of what is given out or taken back are kept true.
 */
export class EditVolume {
  readonly superblock: Superblock;
  readonly blocks: BlockReader;
  readonly #source: ByteSource;
  readonly #changed = new Map<number, Uint8Array>();
  readonly #contents: Piece[] = [];
  readonly #touched = new Set<number>();
  #freeBlocksDelta = 0;
  #freeInodesDelta = 0;

  /**
   * @throws CvmError format of the superblock, descriptors and bitmaps; usage EXT4_EDIT_UNSUPPORTED | EXT4_NOT_CLEAN
   */
  constructor(source: ByteSource) {
    this.#source = source;
    this.superblock = readSuperblock(source);
    const base = blockReader(source, this.superblock);
    this.blocks = {
      block: (number, what) => this.#changed.get(number) ?? base.block(number, what),
      bytes: (first, offset, length, what) => base.bytes(first, offset, length, what),
      bytesInto: (first, offset, target, what) => {
        base.bytesInto(first, offset, target, what);
      },
    };
    this.#checkEditable();
    for (let group = 0; group < this.superblock.groupCount; group++) {
      checkBitmaps(this.superblock, this.blocks, readGroupDescriptor(this.superblock, this.blocks, group));
    }
  }

  #checkEditable(): void {
    const { features, clean } = this.superblock;
    const found: string[] = NOT_EDITED.filter(([bit]) => (features.roCompat & bit) !== 0).map(
      ([, name]) => name,
    );
    const unknown = (features.roCompat & ~KNOWN_RO_COMPAT) >>> 0;
    if (unknown !== 0) found.push(`ro_compat 0x${unknown.toString(16)}`);
    if (!hasIncompat(this.superblock, INCOMPAT.extents)) found.push('no extents');
    if (found.length > 0) {
      throw usageError('EXT4_EDIT_UNSUPPORTED', 'the ext4 file system cannot be changed in place', {
        facts: [['because of', found.join(', ')]],
        mend: 'make it anew with what is to be added: cvm ext4 build --image IMG --add SRC:DST:MODE',
      });
    }
    if (!clean) {
      throw usageError('EXT4_NOT_CLEAN', 'the ext4 file system was not cleanly unmounted', {
        mend: 'run e2fsck -fy on it first',
      });
    }
  }

  /** A block to be changed: what is written into it is part of the result. */
  change(block: number, what: string): Uint8Array {
    const known = this.#changed.get(block);
    if (known !== undefined) return known;
    const bytes = new Uint8Array(this.blocks.block(block, what));
    this.#changed.set(block, bytes);
    return bytes;
  }

  /** A block that was given out here, all zero. */
  fresh(block: number): Uint8Array {
    const bytes = new Uint8Array(this.superblock.blockSize);
    this.#changed.set(block, bytes);
    return bytes;
  }

  /** Puts content at a block that was given out here; the rest of its last block becomes zero. */
  putContent(firstBlock: number, source: ByteSource): void {
    const { blockSize } = this.superblock;
    const whole = Math.ceil(source.sizeBytes / blockSize) * blockSize;
    const offset = firstBlock * blockSize;
    this.#contents.push({ offset, source });
    const rest = whole - source.sizeBytes;
    if (rest > 0) {
      this.#contents.push({ offset: offset + source.sizeBytes, source: zeros(rest) });
    }
  }

  /** Free blocks, lowest first from the group on, in runs. @throws CvmError usage EXT4_FULL */
  allocateBlocks(count: number, nearGroup: number): { firstBlock: number; count: number }[] {
    const { superblock } = this;
    const runs: { firstBlock: number; count: number }[] = [];
    let left = count;
    for (let step = 0; step < superblock.groupCount && left > 0; step++) {
      const group = (nearGroup + step) % superblock.groupCount;
      if (this.#field(group, GD.freeBlocksLow, GD.freeBlocksHigh) === 0) continue;
      const start = superblock.firstDataBlock + group * superblock.blocksPerGroup;
      const size = Math.min(superblock.blocksPerGroup, superblock.blocksCount - start);
      const bitmap = this.#blockBitmap(group);
      let taken = 0;
      for (let bit = 0; bit < size && left > 0; bit++) {
        if (getBit(bitmap, bit)) continue;
        setBit(bitmap, bit, true);
        const last = runs.at(-1);
        if (last !== undefined && last.firstBlock + last.count === start + bit && last.count < 32_768)
          last.count++;
        else runs.push({ firstBlock: start + bit, count: 1 });
        taken++;
        left--;
      }
      this.#countBlocks(group, -taken);
    }
    if (left === 0) return runs;
    throw usageError('EXT4_FULL', 'the ext4 file system has too little free space', {
      facts: [
        ['needed', `${count} blocks of ${superblock.blockSize} bytes`],
        ['missing', `${left} blocks`],
      ],
      mend: 'make it anew with a larger size',
    });
  }

  allocateBlock(nearGroup: number): number {
    return this.allocateBlocks(1, nearGroup)[0]?.firstBlock ?? 0;
  }

  /** Takes back blocks that are in use. */
  freeBlocks(firstBlock: number, count: number): void {
    const { firstDataBlock, blocksPerGroup } = this.superblock;
    for (let block = firstBlock; block < firstBlock + count;) {
      const group = Math.floor((block - firstDataBlock) / blocksPerGroup);
      const end = Math.min(firstBlock + count, firstDataBlock + (group + 1) * blocksPerGroup);
      const bitmap = this.#blockBitmap(group);
      let freed = 0;
      for (; block < end; block++) {
        const bit = (block - firstDataBlock) % blocksPerGroup;
        if (!getBit(bitmap, bit)) continue;
        setBit(bitmap, bit, false);
        freed++;
      }
      this.#countBlocks(group, freed);
    }
  }

  /** A free inode, in the group or behind it. @throws CvmError usage EXT4_FULL */
  allocateInode(nearGroup: number): number {
    const { superblock } = this;
    for (let step = 0; step < superblock.groupCount; step++) {
      const group = (nearGroup + step) % superblock.groupCount;
      if (this.#field(group, GD.freeInodesLow, GD.freeInodesHigh) === 0) continue;
      const bitmap = this.#inodeBitmap(group);
      for (let bit = 0; bit < superblock.inodesPerGroup; bit++) {
        const number = group * superblock.inodesPerGroup + bit + 1;
        if (number < superblock.firstInode || getBit(bitmap, bit)) continue;
        setBit(bitmap, bit, true);
        this.#add(group, GD.freeInodesLow, GD.freeInodesHigh, -1);
        if (this.#hasDescriptorChecksums()) {
          const unused = this.#field(group, GD.unusedInodesLow, GD.unusedInodesHigh);
          const most = superblock.inodesPerGroup - bit - 1;
          if (unused > most) this.#add(group, GD.unusedInodesLow, GD.unusedInodesHigh, most - unused);
        }
        this.#freeInodesDelta--;
        this.#touched.add(group);
        return number;
      }
    }
    throw usageError('EXT4_FULL', 'the ext4 file system has no free inode', {
      mend: 'make it anew with more inodes',
    });
  }

  /** The place of an inode: the block of the table, and the slot in it. */
  inodePlace(number: number): { readonly block: number; readonly offset: number; readonly group: number } {
    const { inodesPerGroup, inodeSize, blockSize } = this.superblock;
    const group = Math.floor((number - 1) / inodesPerGroup);
    const at = ((number - 1) % inodesPerGroup) * inodeSize;
    const { inodeTable } = readGroupDescriptor(this.superblock, this.blocks, group);
    return { block: inodeTable + Math.floor(at / blockSize), offset: at % blockSize, group };
  }

  /** The changed image. */
  finish(): ChangedImage {
    for (const group of this.#touched) this.#sealGroup(group);
    const sb = new Uint8Array(this.#source.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES));
    const is64bit = hasIncompat(this.superblock, INCOMPAT.is64bit);
    const free = readU32(sb, SB.freeBlocksLow) + (is64bit ? readU32(sb, SB.freeBlocksHigh) * 2 ** 32 : 0);
    const blocks = free + this.#freeBlocksDelta;
    writeU32(sb, SB.freeBlocksLow, blocks);
    if (is64bit) writeU32(sb, SB.freeBlocksHigh, Math.floor(blocks / 2 ** 32));
    writeU32(sb, SB.freeInodes, readU32(sb, SB.freeInodes) + this.#freeInodesDelta);
    if (hasRoCompat(this.superblock, RO_COMPAT.metadataChecksum)) {
      writeU32(sb, SB.checksum, superblockChecksum(sb));
    }
    const { blockSize } = this.superblock;
    const pieces: Piece[] = [
      { offset: SUPERBLOCK_OFFSET, source: memory(sb) },
      ...[...this.#changed].map(([block, bytes]) => ({ offset: block * blockSize, source: memory(bytes) })),
      ...this.#contents,
    ];
    return patchedSource(
      this.#source,
      pieces.sort((a, b) => a.offset - b.offset),
    );
  }

  #descriptor(group: number): Uint8Array {
    const { superblock } = this;
    const perBlock = superblock.blockSize / superblock.descriptorSize;
    const block = descriptorTableBlock(superblock, Math.floor(group / perBlock));
    const at = (group % perBlock) * superblock.descriptorSize;
    return this.change(block, 'the group descriptor table').subarray(at, at + superblock.descriptorSize);
  }

  #isWide(): boolean {
    return this.superblock.descriptorSize >= 64;
  }

  #field(group: number, low: number, high: number): number {
    const descriptor = this.#descriptor(group);
    return readU16(descriptor, low) + (this.#isWide() ? readU16(descriptor, high) * 2 ** 16 : 0);
  }

  #add(group: number, low: number, high: number, delta: number): void {
    const value = this.#field(group, low, high) + delta;
    const descriptor = this.#descriptor(group);
    writeU16(descriptor, low, value);
    if (this.#isWide()) writeU16(descriptor, high, Math.floor(value / 2 ** 16));
    this.#sealDescriptor(group);
  }

  #countBlocks(group: number, delta: number): void {
    this.#add(group, GD.freeBlocksLow, GD.freeBlocksHigh, delta);
    this.#freeBlocksDelta += delta;
    this.#touched.add(group);
  }

  #hasDescriptorChecksums(): boolean {
    return (
      hasRoCompat(this.superblock, RO_COMPAT.metadataChecksum) ||
      hasRoCompat(this.superblock, RO_COMPAT.gdtChecksum)
    );
  }

  #blockBitmap(group: number): Uint8Array {
    const { blockBitmap, blockBitmapUninit } = readGroupDescriptor(this.superblock, this.blocks, group);
    const bitmap = this.change(blockBitmap, `the block bitmap of group ${group}`);
    if (blockBitmapUninit) this.#initBlockBitmap(group, bitmap);
    return bitmap;
  }

  /** Marks what metadata stands in a group whose bitmap nobody wrote: copies, and tables of this and other groups. */
  #initBlockBitmap(group: number, bitmap: Uint8Array): void {
    const { superblock } = this;
    bitmap.fill(0);
    const start = superblock.firstDataBlock + group * superblock.blocksPerGroup;
    const size = Math.min(superblock.blocksPerGroup, superblock.blocksCount - start);
    const mark = (block: number): void => {
      if (block >= start && block < start + size) setBit(bitmap, block - start, true);
    };
    const { blockSize, inodeSize, inodesPerGroup, groupCount, descriptorSize } = superblock;
    const tableBlocks = Math.ceil((inodesPerGroup * inodeSize) / blockSize);
    const descriptorBlocks = Math.ceil((groupCount * descriptorSize) / blockSize);
    const metaBg = hasIncompat(superblock, INCOMPAT.metaBg);
    if (hasSuperblockCopy(superblock, group)) {
      mark(start);
      const inTable = metaBg ? Math.min(superblock.firstMetaBlockGroup, descriptorBlocks) : descriptorBlocks;
      const reserved = readU16(this.#source.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES), SB.reservedGdtBlocks);
      for (let i = 0; i < inTable + reserved; i++) mark(start + 1 + i);
    }
    if (metaBg) {
      const perBlock = blockSize / descriptorSize;
      for (let i = superblock.firstMetaBlockGroup; i < descriptorBlocks; i++) {
        const first = i * perBlock;
        for (const holder of [first, first + 1, first + perBlock - 1]) {
          if (holder !== group) continue;
          mark(start + (hasSuperblockCopy(superblock, group) ? 1 : 0));
        }
      }
    }
    for (let other = 0; other < groupCount; other++) {
      const { blockBitmap, inodeBitmap, inodeTable } = readGroupDescriptor(superblock, this.blocks, other);
      mark(blockBitmap);
      mark(inodeBitmap);
      for (let i = 0; i < tableBlocks; i++) mark(inodeTable + i);
    }
    for (let bit = size; bit < 8 * blockSize; bit++) setBit(bitmap, bit, true);
    this.#clearFlag(group, GROUP_BLOCK_UNINIT);
  }

  #inodeBitmap(group: number): Uint8Array {
    const { inodeBitmap, inodeBitmapUninit } = readGroupDescriptor(this.superblock, this.blocks, group);
    const bitmap = this.change(inodeBitmap, `the inode bitmap of group ${group}`);
    if (inodeBitmapUninit) {
      bitmap.fill(0);
      const { inodesPerGroup, blockSize } = this.superblock;
      for (let bit = inodesPerGroup; bit < 8 * blockSize; bit++) setBit(bitmap, bit, true);
      this.#clearFlag(group, GROUP_INODE_UNINIT);
      // Without inodes nothing else may be missing from the block bitmap either.
      this.#blockBitmap(group);
    }
    return bitmap;
  }

  #clearFlag(group: number, flag: number): void {
    const descriptor = this.#descriptor(group);
    writeU16(descriptor, GD.flags, readU16(descriptor, GD.flags) & ~flag);
    this.#touched.add(group);
    this.#sealDescriptor(group);
  }

  /** Every look at a descriptor checks it, so it is true after every change. */
  #sealDescriptor(group: number): void {
    const { superblock } = this;
    const descriptor = this.#descriptor(group);
    if (hasRoCompat(superblock, RO_COMPAT.metadataChecksum)) {
      writeU16(descriptor, GD.checksum, descriptorChecksum(superblock.seed, group, descriptor));
    } else if (hasRoCompat(superblock, RO_COMPAT.gdtChecksum)) {
      writeU16(descriptor, GD.checksum, oldDescriptorChecksum(superblock.uuid, group, descriptor));
    }
  }

  /** Checksums of both bitmaps and of the descriptor, once nothing changes any more. */
  #sealGroup(group: number): void {
    const { superblock } = this;
    const descriptor = this.#descriptor(group);
    if (hasRoCompat(superblock, RO_COMPAT.metadataChecksum)) {
      const flags = readU16(descriptor, GD.flags);
      const seal = (block: number, bits: number, low: number, high: number): void => {
        const bitmap = this.blocks.block(block, `a bitmap of group ${group}`);
        const checksum = bitmapChecksum(superblock.seed, bitmap.subarray(0, Math.floor(bits / 8)));
        writeU16(descriptor, low, checksum);
        if (this.#isWide()) writeU16(descriptor, high, checksum >>> 16);
      };
      const places = {
        block: readU32(descriptor, GD.blockBitmapLow) + this.#high(descriptor, GD.blockBitmapHigh),
        inode: readU32(descriptor, GD.inodeBitmapLow) + this.#high(descriptor, GD.inodeBitmapHigh),
      };
      if ((flags & GROUP_BLOCK_UNINIT) === 0) {
        seal(places.block, superblock.blocksPerGroup, GD.blockBitmapChecksumLow, GD.blockBitmapChecksumHigh);
      }
      if ((flags & GROUP_INODE_UNINIT) === 0) {
        seal(places.inode, superblock.inodesPerGroup, GD.inodeBitmapChecksumLow, GD.inodeBitmapChecksumHigh);
      }
    }
    this.#sealDescriptor(group);
  }

  #high(descriptor: Uint8Array, offset: number): number {
    return this.#isWide() ? readU32(descriptor, offset) * 2 ** 32 : 0;
  }
}

function getBit(bitmap: Uint8Array, bit: number): boolean {
  return ((bitmap[bit >>> 3] ?? 0xff) & (1 << (bit & 7))) !== 0;
}

function setBit(bitmap: Uint8Array, bit: number, value: boolean): void {
  const at = bit >>> 3;
  const mask = 1 << (bit & 7);
  bitmap[at] = value ? (bitmap[at] ?? 0) | mask : (bitmap[at] ?? 0) & ~mask;
}

function memory(bytes: Uint8Array): ByteSource {
  return {
    sizeBytes: bytes.length,
    extents: [{ offset: 0, length: bytes.length }],
    read: (offset, length) => bytes.subarray(offset, offset + length),
  };
}

function zeros(sizeBytes: number): ByteSource {
  return {
    sizeBytes,
    extents: [{ offset: 0, length: sizeBytes }],
    read: (_offset, length) => new Uint8Array(length),
  };
}

/** A source with other bytes in some places. A later piece of equal offset wins. */
function patchedSource(base: ByteSource, pieces: readonly Piece[]): ChangedImage {
  const fill = (offset: number, target: Uint8Array): void => {
    checkRange(base.sizeBytes, offset, target.length);
    readInto(base, offset, target);
    for (const piece of pieces) {
      const from = Math.max(piece.offset, offset);
      const to = Math.min(piece.offset + piece.source.sizeBytes, offset + target.length);
      if (from < to) readInto(piece.source, from - piece.offset, target.subarray(from - offset, to - offset));
    }
  };
  return {
    changes: pieces,
    sizeBytes: base.sizeBytes,
    extents: base.sizeBytes === 0 ? [] : [{ offset: 0, length: base.sizeBytes }],
    readInto: fill,
    read(offset, length) {
      checkRange(base.sizeBytes, offset, length);
      const bytes = new Uint8Array(length);
      fill(offset, bytes);
      return bytes;
    },
  };
}
