import { constants, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { isZstd, walkFrames, type ZstdFrame } from '../../../tools/zstd/frames.ts';
import { expectCvmError } from '../../support/errors.ts';

function frames(...parts: readonly Uint8Array[]): ZstdFrame[] {
  return [...walkFrames(sourceFromBytes(concatBytes(...parts)))];
}

const hex = (text: string): Uint8Array => hexToBytes(text.replaceAll(' ', ''));

/** Header of an empty frame: single segment, no checksum, content size 0. */
const EMPTY = hex('28b52ffd 20 00 010000');

describe('headers', () => {
  test('an empty frame', () => {
    expect(frames(EMPTY)).toEqual([
      {
        kind: 'data',
        offset: 0,
        lengthBytes: 9,
        contentBytes: 0,
        contentLimitBytes: 0,
        windowBytes: 0,
        hasChecksum: false,
      },
    ]);
  });

  test.each([
    ['20 05', '290000 0102030405', 5, 5],
    ['60 0000', '030800 00', 256, 256],
    ['60 ff00', 'fb0f00 00', 511, 511],
    ['a0 07000000', '390000 01020304050607', 7, 7],
    ['e0 0700000000000000', '390000 01020304050607', 7, 7],
    ['00 00', '390000 01020304050607', undefined, 1024],
    ['00 0f', '390000 01020304050607', undefined, 3840],
    ['40 58 0000', '030800 00', 256, 2 << 20],
    ['c0 58 0700000000000000', '390000 01020304050607', 7, 2 << 20],
    ['01 58 00', '390000 01020304050607', undefined, 2 << 20],
    ['03 58 00000000', '390000 01020304050607', undefined, 2 << 20],
  ])('descriptor %s', (header, block, contentBytes, windowBytes) => {
    expect(frames(hex(`28b52ffd ${header} ${block}`))).toMatchObject([{ contentBytes, windowBytes }]);
  });

  test('checksum, several frames and skippable ones of all sixteen magics', () => {
    const withChecksum = hex('28b52ffd 24 00 010000 99e9d851');
    const skippable = Array.from({ length: 16 }, (_, i) =>
      hex(`${(0x50 + i).toString(16)}2a4d18 02000000 abcd`),
    );
    const found = frames(EMPTY, ...skippable, withChecksum);
    expect(
      found.map(({ kind, offset, lengthBytes, hasChecksum }) => [kind, offset, lengthBytes, hasChecksum]),
    ).toEqual([
      ['data', 0, 9, false],
      ...skippable.map((_, i) => ['skippable', 9 + 10 * i, 10, false]),
      ['data', 169, 13, true],
    ]);
  });

  test('what the encoder makes of many blocks is walked to its end', () => {
    const content = Buffer.alloc(3_000_000);
    for (let i = 0; i < content.length; i++) content[i] = (i * i * 31) >>> 7;
    const compressed = zstdCompressSync(content, {
      params: { [constants.ZSTD_c_checksumFlag]: 1 },
      pledgedSrcSize: content.length,
    });
    expect(frames(compressed, compressed)).toMatchObject([
      { offset: 0, lengthBytes: compressed.length, contentBytes: 3_000_000, hasChecksum: true },
      { offset: compressed.length, lengthBytes: compressed.length },
    ]);
  });

  test('without a content size the blocks bound it', () => {
    // Raw 7, RLE of 1000, compressed of 3: at most a block.
    const body = hex('380000 01020304050607 421f00 aa 1d0000 010203');
    expect(frames(hex('28b52ffd 00 58'), body)).toMatchObject([
      { contentBytes: undefined, contentLimitBytes: 7 + 1000 + (128 << 10) },
    ]);
  });

  test('magic tells zstd from the rest', () => {
    expect(isZstd(sourceFromBytes(EMPTY))).toBe(true);
    expect(isZstd(sourceFromBytes(hex('5f2a4d18')))).toBe(true);
    expect(isZstd(sourceFromBytes(hex('602a4d18')))).toBe(false);
    expect(isZstd(sourceFromBytes(hex('28b52f')))).toBe(false);
    expect(isZstd(sourceFromBytes(hex('1f8b0800')))).toBe(false);
  });
});

describe('refusals', () => {
  test.each([
    ['no bytes', '', 'ZSTD_EMPTY'],
    ['another magic', '27b52ffd 20 00 010000', 'ZSTD_MAGIC'],
    ['the magic of legacy frames', '27b52ffd', 'ZSTD_MAGIC'],
    ['the reserved bit', '28b52ffd 28 00 010000', 'ZSTD_HEADER'],
    ['a dictionary', '28b52ffd 21 01 00 010000', 'ZSTD_DICTIONARY'],
    ['a dictionary of four bytes', '28b52ffd 23 00000001 00 010000', 'ZSTD_DICTIONARY'],
    ['a window above 128 MiB', '28b52ffd 00 89 010000', 'ZSTD_WINDOW'],
    ['a single segment above 128 MiB', '28b52ffd a0 01000008 010000', 'ZSTD_WINDOW'],
    ['the largest window there is', '28b52ffd 00 ff 010000', 'ZSTD_WINDOW'],
    ['a size past 2^53', '28b52ffd c0 58 0000000000002000 010000', 'ZSTD_CONTENT_SIZE'],
    ['a size that no block can fill', '28b52ffd 20 05 010000', 'ZSTD_CONTENT_SIZE'],
    ['a block of the reserved type', '28b52ffd 00 58 0f0000 01', 'ZSTD_BLOCK'],
    ['a block above 128 KiB', '28b52ffd 00 58 090010', 'ZSTD_BLOCK'],
    ['a block above its window', '28b52ffd 00 00 032001 00', 'ZSTD_BLOCK'],
    ['garbage behind a frame', '28b52ffd 20 00 010000 00', 'ZSTD_TRUNCATED'],
    ['four zeros behind a frame', '28b52ffd 20 00 010000 00000000', 'ZSTD_MAGIC'],
    ['a skippable frame that runs out', '502a4d18 ffffffff 00', 'ZSTD_TRUNCATED'],
    ['blocks that run out', '28b52ffd 00 58 000000', 'ZSTD_TRUNCATED'],
    ['a checksum that runs out', '28b52ffd 24 00 010000 99e9d8', 'ZSTD_TRUNCATED'],
  ])('rejects %s', (_, bytes, code) => {
    expectCvmError(() => frames(hex(bytes)), code, 'format');
  });

  test('any truncation', () => {
    const whole = zstdCompressSync(
      Buffer.from('some text that is compressed, some text that is compressed'),
      {
        params: { [constants.ZSTD_c_checksumFlag]: 1 },
      },
    );
    for (let length = 1; length < whole.length; length++) {
      expectCvmError(() => frames(whole.subarray(0, length)), 'ZSTD_TRUNCATED', 'format');
    }
  });
});
