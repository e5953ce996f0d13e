import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32c } from '../../../tools/bytes/crc32c.ts';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';

test('the check value of the polynomial, without the final inversion', () => {
  expect(crc32c(0xffffffff, utf8Bytes('123456789'))).toBe(0x1cf96d7c);
});

test('a digest over parts equals the digest over the whole, wherever it is cut', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.uint8Array({ maxLength: 64 }), (a, b) => {
      expect(crc32c(crc32c(7, a), b)).toBe(crc32c(7, concatBytes(a, b)));
    }),
  );
});

test('any flipped bit changes the digest', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 64 }), fc.nat(), fc.nat(7), (bytes, at, bit) => {
      const flipped = new Uint8Array(bytes);
      const index = at % bytes.length;
      flipped[index] = (flipped[index] as number) ^ (1 << bit);
      expect(crc32c(0, flipped)).not.toBe(crc32c(0, bytes));
    }),
  );
});
