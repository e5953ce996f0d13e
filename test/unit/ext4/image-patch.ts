import { readFileSync } from 'node:fs';
import { zstdDecompressSync } from 'node:zlib';
import { expect } from 'vitest';
import { readU16, readU32, writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import {
  descriptorChecksum,
  directoryLeafChecksum,
  extentBlockChecksum,
  extentTailOffset,
  inodeChecksum,
  inodeSeed,
  superblockChecksum,
  xattrBlockChecksum,
} from '../../../tools/ext4/checksum.ts';
import { GD, INODE, SB, XATTR_BLOCK } from '../../../tools/ext4/layout.ts';
import { jsonLine } from '../../../tools/ext4/listing.ts';
import { openExt4, type Ext4Image } from '../../../tools/ext4/reader.ts';

export const VECTORS = ['default-4k', 'ext2-1k-i128', 'inline-4k'] as const;
export type VectorName = (typeof VECTORS)[number];

function vectorFile(name: string): URL {
  return new URL(`../../vectors/ext4/${name}`, import.meta.url);
}

const images = new Map<VectorName, Uint8Array>();

/** A fresh copy of a vector's image. */
export function vectorImage(name: VectorName): Uint8Array {
  let image = images.get(name);
  if (image === undefined) {
    image = new Uint8Array(zstdDecompressSync(readFileSync(vectorFile(`${name}.img.zst`))));
    images.set(name, image);
  }
  return image.slice();
}

export function vectorListing(name: VectorName): string {
  return readFileSync(vectorFile(`${name}.json`), 'utf8');
}

export function open(image: Uint8Array): Ext4Image {
  return openExt4(sourceFromBytes(image));
}

/** Reads everything there is: bitmaps, the tree, all contents. */
export function readEverything(image: Uint8Array): string {
  const tree = open(image);
  tree.verifyBitmaps();
  return `[\n${[...tree.nodes()].map(jsonLine).join(',\n')}\n]\n`;
}

/** Expects one error of kind format with this code. */
export function expectRefusal(code: string, run: () => unknown): void {
  let seen: unknown = 'no error';
  try {
    run();
  } catch (error) {
    seen = error;
  }
  if (!(seen instanceof CvmError)) throw new Error(`expected ${code}, saw ${String(seen)}`);
  expect([seen.kind, seen.code]).toEqual(['format', code]);
}

/**
 * A vector's image that a test damages on purpose. `seal…` puts the right checksum over the damage, so that what is
 * tested is the structure's own check and not its checksum.
 */
export class Patch {
  readonly bytes: Uint8Array;
  readonly blockSize: number;
  readonly #seed: number;

  constructor(name: VectorName) {
    this.bytes = vectorImage(name);
    this.blockSize = 1024 << readU32(this.bytes, 1024 + SB.logBlockSize);
    this.#seed = name === 'ext2-1k-i128' ? 0 : seedOf(this.bytes);
  }

  block(number: number): Uint8Array {
    return this.bytes.subarray(number * this.blockSize, (number + 1) * this.blockSize);
  }

  get superblock(): Uint8Array {
    return this.bytes.subarray(1024, 2048);
  }

  descriptor(group: number): Uint8Array {
    const size = readU16(this.superblock, SB.descriptorSize) || 32;
    const at = (this.blockSize === 1024 ? 2 : 1) * this.blockSize + group * size;
    return this.bytes.subarray(at, at + size);
  }

  inodeNumber(path: string): number {
    for (const node of open(this.bytes).nodes()) if (`/${node.entry.path}` === path) return node.inode;
    throw new Error(`the vector has no ${path}`);
  }

  slot(inode: number): Uint8Array {
    const perGroup = readU32(this.superblock, SB.inodesPerGroup);
    const size = readU16(this.superblock, SB.inodeSize);
    const group = Math.floor((inode - 1) / perGroup);
    const table = readU32(this.descriptor(group), GD.inodeTableLow);
    const at = table * this.blockSize + ((inode - 1) % perGroup) * size;
    return this.bytes.subarray(at, at + size);
  }

  /** The first block of an inode that has extents. */
  firstBlock(inode: number): number {
    return readU32(this.slot(inode), INODE.blockArea + 12 + 8);
  }

  sealSuperblock(): void {
    writeU32(this.superblock, SB.checksum, superblockChecksum(this.superblock));
  }

  sealDescriptor(group: number): void {
    const bytes = this.descriptor(group);
    writeU16(bytes, GD.checksum, descriptorChecksum(this.#seed, group, bytes));
  }

  sealInode(inode: number): void {
    const slot = this.slot(inode);
    const checksum = inodeChecksum(this.#seed, inode, slot);
    writeU16(slot, INODE.checksumLow, checksum);
    writeU16(slot, INODE.checksumHigh, checksum >>> 16);
  }

  sealDirectoryBlock(inode: number, block: number): void {
    const bytes = this.block(block);
    writeU32(bytes, bytes.length - 4, directoryLeafChecksum(this.#owner(inode), bytes));
  }

  sealExtentBlock(inode: number, block: number): void {
    const bytes = this.block(block);
    const max = readU16(bytes, 4);
    writeU32(bytes, extentTailOffset(max), extentBlockChecksum(this.#owner(inode), bytes, max));
  }

  sealXattrBlock(block: number): void {
    const bytes = this.block(block);
    writeU32(bytes, XATTR_BLOCK.checksum, xattrBlockChecksum(this.#seed, block, bytes));
  }

  #owner(inode: number): number {
    return inodeSeed(this.#seed, inode, readU32(this.slot(inode), INODE.generation));
  }
}

function seedOf(image: Uint8Array): number {
  let seed = 0xffffffff;
  for (const byte of image.subarray(1024 + SB.uuid, 1024 + SB.uuid + 16)) {
    seed ^= byte;
    for (let bit = 0; bit < 8; bit++) seed = seed & 1 ? (seed >>> 1) ^ 0x82f63b78 : seed >>> 1;
  }
  return seed >>> 0;
}
