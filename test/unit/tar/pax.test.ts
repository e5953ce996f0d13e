import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rawFromBytes, rawToBytes, utf8Bytes } from '../../../tools/bytes/text.ts';
import { paxInteger, paxTime, readPaxRecords, writePaxRecords } from '../../../tools/tar/pax.ts';
import { expectCvmError } from '../../support/errors.ts';

describe('records', () => {
  test('as GNU tar writes a binary attribute: `=`, LF and NUL are nothing special', () => {
    const bytes = rawToBytes('30 SCHILY.xattr.user.bin=\x00\x0a\x3d\xff\n');
    expect(bytes.length).toBe(30);
    expect(readPaxRecords(bytes, 0)).toEqual([
      { key: 'SCHILY.xattr.user.bin', value: new Uint8Array([0, 10, 0x3d, 0xff]) },
    ]);
    expect(
      writePaxRecords(new Map([['SCHILY.xattr.user.bin', new Uint8Array([0, 10, 0x3d, 0xff])]])),
    ).toEqual(bytes);
  });

  test.each([
    [1, '6 k=v\n'],
    [3, '8 k=vvv\n'],
    [4, '9 k=vvvv\n'],
    [5, '11 k=vvvvv\n'],
    [6, '12 k=vvvvvv\n'],
    [92, `98 k=${'v'.repeat(92)}\n`],
    [93, `99 k=${'v'.repeat(93)}\n`],
    [94, `101 k=${'v'.repeat(94)}\n`],
  ])('a value of %d bytes: the length counts its own digits', (length, expected) => {
    expect(rawFromBytes(writePaxRecords(new Map([['k', utf8Bytes('v'.repeat(length))]])))).toBe(expected);
  });

  test('what is written is read back, in byte order of the keys', () => {
    const key = fc.stringMatching(/^[!-<>-~]{1,20}$/);
    fc.assert(
      fc.property(fc.dictionary(key, fc.uint8Array({ maxLength: 300 })), (records) => {
        const sorted = Object.keys(records).sort((a, b) => (a < b ? -1 : 1));
        const written = writePaxRecords(new Map(Object.entries(records)));
        expect(readPaxRecords(written, 0)).toEqual(sorted.map((k) => ({ key: k, value: records[k] })));
      }),
    );
  });

  test('repeated keys stay, in order: a sparse notation needs them', () => {
    expect(readPaxRecords(utf8Bytes('6 a=1\n6 a=2\n'), 0).map(({ value }) => rawFromBytes(value))).toEqual([
      '1',
      '2',
    ]);
  });

  test.each([
    ['no length', ' a=1\n'],
    ['a length with a leading zero', '06 a=1\n'],
    ['a length that is too short', '5 a=1\n'],
    ['a length that is too long', '7 a=1\n'],
    ['a length past 2^53', '99999999999999999999 a=1\n'],
    ['a length of zero', '0 a=1\n'],
    ['a length smaller than its own digits', '1 a=1\n'],
    ['a negative length', '-6 a=1\n'],
    ['no key', '5 =1\n'],
    ['no equals sign', '6 abc\n'],
    ['an equals sign in the next record alone', '4 a\n6 a=1\n'],
    ['no line feed', '6 a=1 '],
    ['a tab for the space', '6\ta=1\n'],
    ['NULs behind the records', '6 a=1\n\0\0'],
  ])('rejects %s', (_, text) => {
    expectCvmError(() => readPaxRecords(utf8Bytes(text), 0), 'TAR_PAX_RECORD', 'format');
  });
});

describe('values', () => {
  test.each([
    ['0', 0, 0],
    ['12', 12, 0],
    ['12.5', 12, 500_000_000],
    ['12.', 12, 0],
    ['1.000000001', 1, 1],
    ['1.0000000009', 1, 0],
    ['-1', -1, 0],
    ['-1.5', -2, 500_000_000],
    ['-0', 0, 0],
  ])('time %s', (text, sec, nsec) => {
    expect(paxTime(text, 'mtime', 0)).toEqual({ sec, nsec });
  });

  test.each(['', '.5', '1e3', '+1', '1,5', ' 1', '--1', '9007199254740993', '99999999999999999'])(
    'rejects the time %j',
    (text) => {
      expectCvmError(() => paxTime(text, 'mtime', 0), 'TAR_PAX_VALUE', 'format');
    },
  );

  test.each(['', '-1', '1.0', '0x1', '9007199254740992', ' 1'])('rejects the number %j', (text) => {
    expectCvmError(() => paxInteger(text, 'size', 0), 'TAR_PAX_VALUE', 'format');
  });
});
