import { describe, expect, test } from 'vitest';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes, sparseSource } from '../../../tools/bytes/source.ts';
import { rawFromUtf8, utf8Bytes } from '../../../tools/bytes/text.ts';
import { hashName } from '../../../tools/ext4/directory-hash.ts';
import { hasSuperblock, planGeometry } from '../../../tools/ext4/geometry.ts';
import { makeBitmap, makeSuperblock } from '../../../tools/ext4/group-writer.ts';
import { readSuperblock } from '../../../tools/ext4/superblock.ts';
import { planXattrs, xattrEntryHash } from '../../../tools/ext4/xattr-writer.ts';
import { EXT4_OPTIONS } from '../../support/ext4-trees.ts';

describe('half-MD4 of names', () => {
  const seed = hexToBytes('00112233445566778899aabbccddeeff');
  test.each([
    ['a', 0x93752ee6, 0x578c30ba],
    ['file.txt', 0xd3b55800, 0xc48bdc59],
    ['x'.repeat(33), 0x4748cc22, 0xf5f9cca9],
  ])('%s', (name, major, minor) => {
    expect(hashName(name, seed)).toEqual({ major, minor });
  });

  test('a zero seed stands for the start of MD4', () => {
    const start = hexToBytes('0123456789abcdeffedcba9876543210');
    const name = rawFromUtf8('ünï');
    expect(hashName(name, new Uint8Array(16))).toEqual(hashName(name, start));
  });
});

describe('xattr hashes', () => {
  test('of a label', () => {
    const value = utf8Bytes('system_u:object_r:etc_t:s0\0');
    expect(xattrEntryHash(utf8Bytes('selinux'), value)).toBe(0x0dd300e2);
  });

  test('of a name without a value', () => {
    expect(xattrEntryHash(utf8Bytes('a'), new Uint8Array())).toBe(0x61);
  });
});

describe('where xattrs go', () => {
  test('88 bytes fit into the inode, 89 go to the block', () => {
    const at = (size: number): number =>
      planXattrs('f', new Map([['user.a', new Uint8Array(size)]])).inSlot.length;
    expect(at(68)).toBe(1);
    expect(at(69)).toBe(0);
  });

  test('the block is sorted by index, name length and name, however they were given', () => {
    const names = ['user.b', 'user.aa', 'security.z', 'user.a', 'trusted.q'];
    const big = new Uint8Array(100);
    const plan = planXattrs('f', new Map(names.map((name) => [name, big])));
    expect(plan.inBlock.map(({ index, name }) => `${index} ${Buffer.from(name).toString()}`)).toEqual([
      '1 a',
      '1 b',
      '1 aa',
      '4 q',
      '6 z',
    ]);
  });
});

describe('geometry', () => {
  test('superblock copies stand in groups 0, 1 and powers of 3, 5 and 7', () => {
    const groups = Array.from({ length: 130 }, (_, group) => group).filter(hasSuperblock);
    expect(groups).toEqual([0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
  });

  test('a last group without room for its tables and one block is left out', () => {
    const least = 1 + 1 + 2 + 2 + 1;
    expect(planGeometry((32768 + least) * 4096, 64)).toMatchObject({ groupCount: 2, inodesPerGroup: 32 });
    expect(planGeometry((32768 + least - 1) * 4096, 64)).toMatchObject({
      groupCount: 1,
      totalBlocks: 32768,
      inodesPerGroup: 64,
    });
  });
});

test('a superblock counts the blocks of 16 TiB, which are one more than 32 bits hold', () => {
  const geometry = planGeometry(2 ** 44, 2 ** 30);
  const groups = Array.from({ length: geometry.groupCount }, () => ({
    usedBlocks: 300,
    usedInodes: 0,
    directories: 0,
  }));
  const bytes = makeSuperblock(geometry, groups, EXT4_OPTIONS, 0);
  const image = sparseSource(2 ** 44, [{ offset: 1024, source: sourceFromBytes(bytes) }]);
  expect(readSuperblock(image)).toMatchObject({ blocksCount: 2 ** 32, groupCount: 2 ** 17 });
});

describe('bitmaps', () => {
  test.each([
    [0, 32768, 0],
    [1, 32768, 1],
    [9, 32768, 9],
    [0, 32767, 1],
    [3, 5, 32768 - 2],
    [12, 256, 12 + 32768 - 256],
    [32768, 32768, 32768],
  ])('%i used of %i: %i bits', (used, size, bits) => {
    const bitmap = makeBitmap(used, size);
    const isSet = (bit: number): boolean => ((bitmap[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
    const set = Array.from({ length: 32768 }, (_, bit) => bit).filter(isSet);
    expect(set).toHaveLength(bits);
    expect(set.every((bit) => bit < used || bit >= size)).toBe(true);
  });
});
