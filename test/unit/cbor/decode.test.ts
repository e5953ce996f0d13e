import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import {
  CBOR_LIMIT_BYTES,
  CBOR_LIMIT_DEPTH,
  CBOR_LIMIT_ITEMS,
  decodeCbor,
} from '../../../tools/cbor/decode.ts';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import type { CborValue } from '../../../tools/cbor/value.ts';
import { CvmError } from '../../../tools/errors.ts';

const decodeHex = (hex: string): CborValue => decodeCbor(hexToBytes(hex));

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(CvmError);
    expect((error as CvmError).kind).toBe('format');
    return (error as CvmError).code;
  }
  return 'accepted';
}

const cborValue = fc.letrec<{ value: CborValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }),
    fc.uint8Array({ maxLength: 300 }),
    fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => text.isWellFormed()),
    fc.constantFrom<CborValue>(true, false, null, undefined),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.array(fc.tuple(fc.string(), tie('value')), { maxLength: 5 }).map((entries) => new Map(entries)),
  ),
})).value;

describe('what RFC 8949 appendix A gives as examples', () => {
  test.each<[string, CborValue]>([
    ['00', 0n],
    ['17', 23n],
    ['1818', 24n],
    ['1903e8', 1000n],
    ['1a000f4240', 1000000n],
    ['1bffffffffffffffff', 18446744073709551615n],
    ['20', -1n],
    ['3903e7', -1000n],
    ['3bffffffffffffffff', -18446744073709551616n],
    ['f4', false],
    ['f5', true],
    ['f6', null],
    ['f7', undefined],
    ['40', new Uint8Array()],
    ['4401020304', Uint8Array.of(1, 2, 3, 4)],
    ['60', ''],
    ['62c3bc', 'ü'],
    ['64f0908591', '\u{10151}'],
    ['83010203', [1n, 2n, 3n]],
    ['8301820203820405', [1n, [2n, 3n], [4n, 5n]]],
    ['a0', new Map()],
    [
      'a26161016162820203',
      new Map<string, CborValue>([
        ['a', 1n],
        ['b', [2n, 3n]],
      ]),
    ],
  ])('%s', (hex, value) => {
    expect(decodeHex(hex)).toEqual(value);
    expect(bytesToHex(encodeCbor(value))).toBe(hex);
  });
});

describe('what two readers could take differently is refused', () => {
  test.each([
    ['a duplicate key', 'a2616101616102', 'CBOR_DUPLICATE_KEY'],
    ['an integer in one byte too many', '1817', 'CBOR_NON_MINIMAL'],
    ['an integer in two bytes that fits one', '1900ff', 'CBOR_NON_MINIMAL'],
    ['an integer in four bytes that fits two', '1a0000ffff', 'CBOR_NON_MINIMAL'],
    ['an integer in eight bytes that fits four', '1b00000000ffffffff', 'CBOR_NON_MINIMAL'],
    ['a negative integer that is not minimal', '3817', 'CBOR_NON_MINIMAL'],
    ['a byte string length that is not minimal', '580101', 'CBOR_NON_MINIMAL'],
    ['a text length that is not minimal', '780161', 'CBOR_NON_MINIMAL'],
    ['an array length that is not minimal', '980100', 'CBOR_NON_MINIMAL'],
    ['a map length that is not minimal', 'b90001616101', 'CBOR_NON_MINIMAL'],
    ['a tag number that is not minimal', 'da0000d9f700', 'CBOR_NON_MINIMAL'],
    ['an indefinite array', '9f01ff', 'CBOR_INDEFINITE'],
    ['an indefinite map', 'bf616101ff', 'CBOR_INDEFINITE'],
    ['an indefinite byte string', '5f4101ff', 'CBOR_INDEFINITE'],
    ['an indefinite text', '7f6161ff', 'CBOR_INDEFINITE'],
    ['a lone break', 'ff', 'CBOR_INDEFINITE'],
    ['a byte after the end', '0000', 'CBOR_TRAILING'],
    ['a byte string that runs past the end', '44dead', 'CBOR_TRUNCATED'],
    ['a byte string of 2^64-1 bytes', '5bffffffffffffffff', 'CBOR_TRUNCATED'],
    ['an array of 2^32-1 items', '9affffffff', 'CBOR_TRUNCATED'],
    ['a map of 2^63 pairs', 'bb8000000000000000', 'CBOR_TRUNCATED'],
    ['a map with a key and no value', 'a16161', 'CBOR_TRUNCATED'],
    ['nothing', '', 'CBOR_TRUNCATED'],
    ['a tag and nothing', 'd9d9f7', 'CBOR_TRUNCATED'],
    ['a number as key', 'a10102', 'CBOR_KEY_TYPE'],
    ['bytes as key', 'a1416102', 'CBOR_KEY_TYPE'],
    ['null as key', 'a1f602', 'CBOR_KEY_TYPE'],
    ['invalid UTF-8', '61ff', 'CBOR_UTF8'],
    ['a UTF-8 surrogate', '63eda080', 'CBOR_UTF8'],
    ['overlong UTF-8', '62c080', 'CBOR_UTF8'],
    ['invalid UTF-8 in a key', 'a161ff00', 'CBOR_UTF8'],
    ['another tag in front', 'c000', 'CBOR_TAG'],
    ['the self-describe tag twice', 'd9d9f7d9d9f700', 'CBOR_TAG'],
    ['the self-describe tag inside', '81d9d9f700', 'CBOR_TAG'],
    ['a bignum', 'c249010000000000000000', 'CBOR_TAG'],
    ['a half float', 'f93c00', 'CBOR_UNSUPPORTED'],
    ['a double', 'fb3ff0000000000000', 'CBOR_UNSUPPORTED'],
    ['an unassigned simple value', 'e0', 'CBOR_UNSUPPORTED'],
    ['a simple value in two bytes', 'f814', 'CBOR_UNSUPPORTED'],
    ['a reserved head', '1c', 'CBOR_UNSUPPORTED'],
  ])('%s', (_, hex, code) => {
    expect(codeOf(() => decodeHex(hex))).toBe(code);
  });
});

describe('limits', () => {
  const nested = (levels: number): Uint8Array =>
    concatBytes(new Uint8Array(levels).fill(0x81), Uint8Array.of(0x00));

  test('takes the deepest allowed nesting and refuses one level more', () => {
    expect(codeOf(() => decodeCbor(nested(CBOR_LIMIT_DEPTH)))).toBe('accepted');
    expect(codeOf(() => decodeCbor(nested(CBOR_LIMIT_DEPTH + 1)))).toBe('CBOR_DEPTH');
  });

  test('refuses a million levels without using the stack for them', () => {
    expect(codeOf(() => decodeCbor(nested(1_000_000)))).toBe('CBOR_DEPTH');
  });

  test('refuses a million levels of maps', () => {
    const levels = new Uint8Array(3_000_000).map((_, i) => [0xa1, 0x61, 0x61][i % 3] as number);
    expect(codeOf(() => decodeCbor(levels))).toBe('CBOR_DEPTH');
  });

  test('refuses more than 64 MiB before reading', () => {
    expect(codeOf(() => decodeCbor(new Uint8Array(CBOR_LIMIT_BYTES + 1)))).toBe('CBOR_SIZE');
  });

  test('refuses more items than it keeps memory for', () => {
    const count = CBOR_LIMIT_ITEMS + 1;
    const head = encodeCbor(BigInt(count));
    head[0] = (head[0] as number) | 0x80;
    expect(codeOf(() => decodeCbor(concatBytes(head, new Uint8Array(count))))).toBe('CBOR_ITEMS');
  });
});

test('null and undefined stay two values', () => {
  expect(decodeHex('82f6f7')).toEqual([null, undefined]);
});

test('takes the self-describe tag at the very front', () => {
  expect(decodeHex('d9d9f7820102')).toEqual([1n, 2n]);
});

test('an error names the offset of the item and the document', () => {
  expect(() => decodeCbor(hexToBytes('820018' + '05'), 'range list')).toThrow(
    expect.objectContaining({
      code: 'CBOR_NON_MINIMAL',
      message: expect.stringContaining('range list') as string,
      facts: expect.arrayContaining([['at', 'byte 2']]) as unknown,
    }),
  );
});

test('every byte string owns its buffer, though the input is a view of a pool', () => {
  const pool = Buffer.from('ffffff4401020304ff', 'hex');
  const input = pool.subarray(3, 8);
  const value = decodeCbor(input) as Uint8Array;
  expect(value.constructor).toBe(Uint8Array);
  expect([value.byteOffset, value.buffer.byteLength]).toEqual([0, 4]);
  pool.fill(0);
  expect(value).toEqual(Uint8Array.of(1, 2, 3, 4));
});

test('reading what was written gives it back', () => {
  fc.assert(
    fc.property(cborValue, fc.boolean(), (value, tagged) => {
      expect(decodeCbor(encodeCbor(value, tagged))).toEqual(value);
    }),
  );
});

test('what is accepted has no other encoding: writing it again gives the input', () => {
  fc.assert(
    fc.property(cborValue, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, at, flip) => {
      const bytes = encodeCbor(value);
      const index = at % bytes.length;
      bytes[index] = (bytes[index] as number) ^ flip;
      let read: CborValue;
      try {
        read = decodeCbor(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(CvmError);
        return;
      }
      expect(encodeCbor(read, bytes[0] === 0xd9)).toEqual(bytes);
    }),
    { numRuns: 2000 },
  );
});

test('any truncation is refused by name', () => {
  fc.assert(
    fc.property(cborValue, fc.nat(), (value, at) => {
      const bytes = encodeCbor(value);
      expect(codeOf(() => decodeCbor(bytes.subarray(0, at % bytes.length)))).toMatch(/^CBOR_/);
    }),
  );
});

test('random bytes give a value or a named error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(codeOf(() => decodeCbor(bytes))).toMatch(/^(CBOR_|accepted)/);
    }),
    { numRuns: 2000 },
  );
});

test('an integer that does not fit 64 bits is our bug, not a wrong encoding', () => {
  expect(() => encodeCbor(2n ** 64n)).toThrow(expect.objectContaining({ kind: 'bug' }));
});
