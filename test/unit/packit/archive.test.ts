import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { CvmError } from '../../../tools/errors.ts';
import { readPackit, writePackit } from '../../../tools/packit/archive.ts';
import { inPackOrder, unpackPath } from '../../../tools/packit/name.ts';
import { expectCvmError } from '../../support/errors.ts';

const pack = (...files: readonly (readonly [string, string])[]): Uint8Array => {
  const archive = writePackit(
    files.map(([name, text]) => ({ name, content: sourceFromBytes(utf8Bytes(text)) })),
  );
  return archive.read(0, archive.sizeBytes);
};
const list = (bytes: Uint8Array): [string, string][] =>
  [...readPackit(sourceFromBytes(bytes))].map(({ name, content }) => [
    name,
    Buffer.from(content.read(0, content.sizeBytes)).toString(),
  ]);

/** From packit's own test. */
const FILES = [
  ['f1', 'some data'],
  ['f2', 'some more data'],
  ['f3/f4', 'even more data!'],
] as const;

test("the archive of packit's own test", () => {
  const bytes = pack(...FILES);
  expect(bytes.length).toBe(91);
  expect(bytesToHex(bytes.subarray(0, 36))).toBe(
    '504b4954080000000100020009000000000000006631736f6d6520646174610100020' + '00e',
  );
  expect(bytesToHex(digestBytes('sha256', bytes))).toBe(
    '90f3f56cdbc6ecd188a02cea2adf07451cd68f16728bfb8fe47161f4213c26e5',
  );
  expect(list(bytes)).toEqual(FILES);
});

test('an empty archive is its header', () => {
  expect(bytesToHex(pack())).toBe('504b495408000000');
  expect(list(pack())).toEqual([]);
});

test('a longer header is skipped', () => {
  const bytes = pack(...FILES);
  const longer = concatBytes(hexToBytes('504b49540c000000ffffffff'), bytes.subarray(8));
  expect(list(longer)).toEqual(FILES);
});

describe('paths', () => {
  test.each([
    ['a/b/c', 'a/b/c'],
    ['/a/b/c', 'a/b/c'],
    ['a/../a/b', 'a/b'],
    ['a/b/../../c/d', 'c/d'],
    ['./a//b', 'a/b'],
  ])('%s', (name, path) => {
    expect(unpackPath(name, 0)).toBe(path);
  });
  test.each(['../a/b', '/../a', 'a/b/../../../c/d', 'a/./../../c/d', '..', 'a/../..'])(
    '%s climbs',
    (name) => {
      expectCvmError(() => unpackPath(name, 0), 'PACKIT_NAME_CLIMBS', 'format');
    },
  );
  test.each(['/', '.', 'a/', 'a/..', 'a/.', 'a/'.repeat(2000) + 'b'])('%s is no file', (name) => {
    expectCvmError(() => unpackPath(name, 0), 'PACKIT_NAME', 'format');
  });
  test('the order is that of a walk: a folder before what follows its name', () => {
    const names = ['a.b', 'b', 'a/c', 'a', 'a/b/z', 'a/b.y', 'ä', 'Z'].map((name) => ({ name }));
    expect(inPackOrder(names).map(({ name }) => name)).toEqual([
      'Z',
      'a',
      'a/b/z',
      'a/b.y',
      'a/c',
      'a.b',
      'b',
      'ä',
    ]);
  });
});

describe('refusals', () => {
  const good = pack(['f', 'data']);
  const with_ = (at: number, ...values: readonly number[]): Uint8Array => {
    const bytes = good.slice();
    bytes.set(values, at);
    return bytes;
  };
  const rows: readonly (readonly [string, Uint8Array, string])[] = [
    ['nothing', new Uint8Array(), 'PACKIT_TRUNCATED'],
    ['another magic number', with_(0, 0x51), 'PACKIT_MAGIC'],
    ['a header of 7 bytes', with_(4, 7), 'PACKIT_HEADER'],
    ['a header larger than the file', with_(4, 0, 1), 'PACKIT_HEADER'],
    ['type 2', with_(8, 2), 'PACKIT_TYPE'],
    ['an empty name', with_(10, 0), 'PACKIT_NAME'],
    ['a name behind the end', with_(10, 0xff), 'PACKIT_TRUNCATED'],
    ['contents behind the end', with_(12, 5), 'PACKIT_TRUNCATED'],
    ['contents of 2^63 bytes', with_(19, 0x80), 'PACKIT_TRUNCATED'],
    ['a name that is not UTF-8', with_(20, 0xff), 'PACKIT_NAME'],
    ['a name of NUL', with_(20, 0), 'PACKIT_NAME'],
    ['half an entry behind the last', concatBytes(good, Uint8Array.of(1)), 'PACKIT_TRUNCATED'],
  ];
  test.each(rows)('%s', (_, bytes, code) => {
    expectCvmError(() => list(bytes), code, 'format');
  });
  test.each(['', 'a\0b', 'x'.repeat(0x10000), '\ud800'])('no archive of such a name', (name) => {
    expectCvmError(() => pack([name, '']), 'PACKIT_NAME', 'format');
  });
});

test('what is packed is what is read; any cut is an error or a shorter list', () => {
  const name = fc
    .string({ minLength: 1, maxLength: 9, unit: 'grapheme' })
    .filter((text) => !text.includes('\0') && text.isWellFormed());
  const files = fc.array(fc.tuple(name, fc.string({ maxLength: 20, unit: 'grapheme-ascii' })), {
    maxLength: 6,
  });
  fc.assert(
    fc.property(files, fc.nat(), (given, cut) => {
      const bytes = pack(...given);
      expect(list(bytes)).toEqual(given);
      const shorter = bytes.subarray(0, cut % bytes.length);
      try {
        const read = list(shorter);
        expect(read).toEqual(given.slice(0, read.length));
        expect(read.length).toBeLessThan(given.length);
      } catch (error) {
        expect(error).toBeInstanceOf(CvmError);
        expect((error as CvmError).code).toBe('PACKIT_TRUNCATED');
      }
    }),
    { seed: 8 },
  );
});

test('any bytes are read or refused by name', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (tail, withHeader) => {
      const bytes = withHeader ? concatBytes(pack(), Uint8Array.of(1, 0), tail) : tail;
      try {
        list(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(CvmError);
        expect((error as CvmError).kind).toBe('format');
      }
    }),
    { seed: 8, numRuns: 1000 },
  );
});
