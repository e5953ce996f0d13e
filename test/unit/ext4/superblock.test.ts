import { expect, test } from 'vitest';
import { readU32, writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { sliceSource, sourceFromBytes } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { INCOMPAT, RO_COMPAT, SB } from '../../../tools/ext4/layout.ts';
import { openExt4 } from '../../../tools/ext4/reader.ts';
import { expectRefusal, open, Patch, readEverything, vectorImage, vectorListing } from './image-patch.ts';

const WRONG_FIELDS: readonly (readonly [field: string, write: (bytes: Uint8Array) => void])[] = [
  ['block size of 128 KiB', (bytes) => writeU32(bytes, SB.logBlockSize, 7)],
  ['block size exponent of 2^32 - 1', (bytes) => writeU32(bytes, SB.logBlockSize, 0xffffffff)],
  ['cluster size other than the block size', (bytes) => writeU32(bytes, SB.logClusterSize, 4)],
  ['no blocks per group', (bytes) => writeU32(bytes, SB.blocksPerGroup, 0)],
  ['more blocks per group than a bitmap has bits', (bytes) => writeU32(bytes, SB.blocksPerGroup, 32776)],
  ['blocks per group that fill no byte of a bitmap', (bytes) => writeU32(bytes, SB.blocksPerGroup, 1001)],
  ['no blocks', (bytes) => writeU32(bytes, SB.blocksCountLow, 0)],
  ['more blocks than 48 bits number', (bytes) => writeU32(bytes, SB.blocksCountHigh, 0x20000)],
  ['more groups than descriptors are read of', (bytes) => writeU32(bytes, SB.blocksCountHigh, 0xffff)],
  ['first data block 1 with 4 KiB blocks', (bytes) => writeU32(bytes, SB.firstDataBlock, 1)],
  ['no inodes per group', (bytes) => writeU32(bytes, SB.inodesPerGroup, 0)],
  ['more inodes per group than a bitmap has bits', (bytes) => writeU32(bytes, SB.inodesPerGroup, 32769)],
  ['an inode count that the groups do not have', (bytes) => writeU32(bytes, SB.inodesCount, 8191)],
  ['inode size 0', (bytes) => writeU16(bytes, SB.inodeSize, 0)],
  ['inode size 64', (bytes) => writeU16(bytes, SB.inodeSize, 64)],
  ['inode size 384', (bytes) => writeU16(bytes, SB.inodeSize, 384)],
  ['inode size above the block size', (bytes) => writeU16(bytes, SB.inodeSize, 8192)],
  ['first inode below 11', (bytes) => writeU32(bytes, SB.firstInode, 10)],
  ['first inode past the last', (bytes) => writeU32(bytes, SB.firstInode, 8193)],
  ['descriptor size 32 with 64bit', (bytes) => writeU16(bytes, SB.descriptorSize, 32)],
  ['descriptor size 96', (bytes) => writeU16(bytes, SB.descriptorSize, 96)],
  ['descriptor size above the block size', (bytes) => writeU16(bytes, SB.descriptorSize, 8192)],
  ['revision 2', (bytes) => writeU32(bytes, SB.revision, 2)],
];

for (const [field, write] of WRONG_FIELDS) {
  test(`rejects a superblock with ${field}, though its checksum is right`, () => {
    const patch = new Patch('default-4k');
    write(patch.superblock);
    patch.sealSuperblock();
    expectRefusal('EXT4_SUPERBLOCK', () => open(patch.bytes));
  });
}

const UNREADABLE: readonly (readonly [feature: keyof typeof INCOMPAT, code: string])[] = [
  ['recover', 'EXT4_NEEDS_RECOVERY'],
  ['journalDevice', 'EXT4_JOURNAL_DEVICE'],
  ['encrypt', 'EXT4_ENCRYPTED'],
  ['compression', 'EXT4_FEATURE_UNSUPPORTED'],
  ['dirData', 'EXT4_FEATURE_UNSUPPORTED'],
  ['casefold', 'EXT4_FEATURE_UNSUPPORTED'],
];

for (const [feature, code] of UNREADABLE) {
  test(`refuses the feature ${feature} with ${code}`, () => {
    const patch = new Patch('default-4k');
    const word = readU32(patch.superblock, SB.featureIncompat);
    writeU32(patch.superblock, SB.featureIncompat, word | INCOMPAT[feature]);
    patch.sealSuperblock();
    expectRefusal(code, () => open(patch.bytes));
  });
}

test('refuses an incompatible feature that nobody knows, and names it', () => {
  const patch = new Patch('default-4k');
  const word = readU32(patch.superblock, SB.featureIncompat);
  writeU32(patch.superblock, SB.featureIncompat, word | 0x40000000);
  patch.sealSuperblock();
  try {
    open(patch.bytes);
    expect.unreachable();
  } catch (error) {
    expect((error as CvmError).facts).toContainEqual(['unsupported', 'incompat:0x40000000']);
  }
});

test('compatible and read-only-compatible features that nobody knows do not stop a reader', () => {
  const patch = new Patch('default-4k');
  writeU32(patch.superblock, SB.featureCompat, readU32(patch.superblock, SB.featureCompat) | 0x80000000);
  const roCompat = readU32(patch.superblock, SB.featureRoCompat);
  writeU32(patch.superblock, SB.featureRoCompat, roCompat | 0x40000000 | RO_COMPAT.readOnly);
  patch.sealSuperblock();
  expect(readEverything(patch.bytes)).toBe(vectorListing('default-4k'));
});

test('a seed of its own takes the place of the UUID', () => {
  const patch = new Patch('default-4k');
  const incompat = readU32(patch.superblock, SB.featureIncompat);
  let seed = 0xffffffff;
  for (const byte of patch.superblock.subarray(SB.uuid, SB.uuid + 16)) {
    seed ^= byte;
    for (let bit = 0; bit < 8; bit++) seed = seed & 1 ? (seed >>> 1) ^ 0x82f63b78 : seed >>> 1;
  }
  writeU32(patch.superblock, SB.featureIncompat, incompat | INCOMPAT.checksumSeed);
  writeU32(patch.superblock, SB.checksumSeed, seed);
  patch.superblock[SB.uuid] = (patch.superblock[SB.uuid] ?? 0) ^ 0xff;
  patch.sealSuperblock();
  expect(readEverything(patch.bytes)).toBe(vectorListing('default-4k'));
  writeU32(patch.superblock, SB.checksumSeed, seed ^ 1);
  patch.sealSuperblock();
  expectRefusal('EXT4_DESCRIPTOR_CHECKSUM', () => open(patch.bytes));
});

test('an image that ends one byte before its file system is refused', () => {
  const image = vectorImage('default-4k');
  expectRefusal('EXT4_TRUNCATED', () => open(image.subarray(0, image.length - 1)));
});

test('an image may be longer than its file system', () => {
  const image = vectorImage('ext2-1k-i128');
  const longer = new Uint8Array(image.length + 1000);
  longer.set(image);
  expect(readEverything(longer)).toBe(vectorListing('ext2-1k-i128'));
});

test('any truncation is refused', () => {
  for (const name of ['default-4k', 'ext2-1k-i128'] as const) {
    const whole = sourceFromBytes(vectorImage(name));
    for (const length of [0, 1, 1023, 1024, 2047, 2048, 4096, 1 << 20, whole.sizeBytes - 4096]) {
      expect(() => openExt4(sliceSource(whole, 0, length))).toThrow(CvmError);
    }
  }
});

test('what is no ext4 image is named: zeros, and a compressed image', () => {
  expectRefusal('EXT4_MAGIC', () => open(new Uint8Array(4096)));
  const compressed = new Uint8Array(4096);
  compressed.set([0x28, 0xb5, 0x2f, 0xfd]);
  try {
    open(compressed);
    expect.unreachable();
  } catch (error) {
    expect((error as CvmError).nearest).toContain('zstd');
  }
});

test('revision 0 has 128-byte inodes and first inode 11, whatever the later fields hold', () => {
  const patch = new Patch('ext2-1k-i128');
  writeU32(patch.superblock, SB.revision, 0);
  writeU16(patch.superblock, SB.inodeSize, 0);
  writeU32(patch.superblock, SB.firstInode, 0);
  expect(readEverything(patch.bytes)).toBe(vectorListing('ext2-1k-i128'));
});

test('reading changes nothing, also when the image is a Buffer, whose slices are views', () => {
  const image = vectorImage('default-4k');
  const before = Buffer.from(image);
  const buffer = Buffer.from(image);
  readEverything(buffer);
  expect(Buffer.compare(buffer, before)).toBe(0);
});
