import { createHash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { chunks } from '../../../tools/bytes/source.ts';
import { FILLER_BLOCK_BYTES, fillerSource } from '../../../tools/miniature/filler.ts';
import { expectCvmError } from '../../support/errors.ts';

describe('filler', () => {
  test('is SHAKE256 of seed and block number, as documented', () => {
    const shake = createHash('shake256', { outputLength: FILLER_BLOCK_BYTES });
    const second = shake
      .update('seed')
      .update(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0))
      .digest();
    const source = fillerSource('seed', 3 * FILLER_BLOCK_BYTES);
    expect(bytesToHex(source.read(FILLER_BLOCK_BYTES, 64))).toBe(bytesToHex(second.subarray(0, 64)));
  });

  test('any part is the same part of the whole, across blocks', () => {
    const sizeBytes = 3 * FILLER_BLOCK_BYTES + 1000;
    const whole = fillerSource('a', sizeBytes).read(0, sizeBytes);
    const source = fillerSource('a', sizeBytes);
    fc.assert(
      fc.property(fc.nat(sizeBytes), fc.nat(sizeBytes), (from, to) => {
        const offset = Math.min(from, to);
        const length = Math.max(from, to) - offset;
        expect(Buffer.compare(source.read(offset, length), whole.subarray(offset, offset + length))).toBe(0);
      }),
    );
  });

  test('a larger size only appends', () => {
    const small = fillerSource('a', 100_000).read(0, 100_000);
    expect(Buffer.compare(fillerSource('a', 200_000).read(0, 100_000), small)).toBe(0);
  });

  test('another seed gives other bytes, and none of them compress', () => {
    const [a, b] = ['a', 'b'].map((seed) => fillerSource(seed, 1 << 20).read(0, 1 << 20)) as [
      Uint8Array,
      Uint8Array,
    ];
    expect(Buffer.compare(a, b)).not.toBe(0);
    expect(deflateSync(a).length).toBeGreaterThan(a.length);
  });

  test('has one extent, or none when empty', () => {
    expect(fillerSource('a', 5).extents).toEqual([{ offset: 0, length: 5 }]);
    expect(fillerSource('a', 0).extents).toEqual([]);
    expect([...chunks(fillerSource('a', 0))]).toEqual([]);
  });

  test.each([
    [-1, 1],
    [0, 11],
    [11, 0],
    [0.5, 1],
  ])('rejects reading %d..+%d of ten bytes', (offset, length) => {
    expectCvmError(() => fillerSource('a', 10).read(offset, length), 'SOURCE_BOUNDS', 'format');
  });
});
