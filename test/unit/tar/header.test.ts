import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { rawToBytes } from '../../../tools/bytes/text.ts';
import { readHeader, readNumber, sealHeader, writeHeader, writeNumber } from '../../../tools/tar/header.ts';
import { expectCvmError } from '../../support/errors.ts';
import { header } from '../../support/tar-blocks.ts';

function numberBytes(length: number, value: number): Uint8Array {
  const field = new Uint8Array(length);
  writeNumber(field, 0, length, value);
  return field;
}

function throws(action: () => unknown): boolean {
  try {
    action();
    return false;
  } catch {
    return true;
  }
}

describe('numbers', () => {
  test('the hash tree offset of a GuestOS root image is base-256', () => {
    expect(bytesToHex(numberBytes(12, 10_603_200_512))).toBe('800000000000000278000000');
    expect(readNumber(hexToBytes('800000000000000278000000'), 0, 'size')).toBe(10_603_200_512);
  });

  test('the last octal number and the first one that is not', () => {
    expect(bytesToHex(numberBytes(12, 8 ** 11 - 1))).toBe(`${'37'.repeat(11)}00`);
    expect(bytesToHex(numberBytes(12, 8 ** 11))).toBe('800000000000000200000000');
    expect(bytesToHex(numberBytes(8, 8 ** 7 - 1))).toBe(`${'37'.repeat(7)}00`);
    expect(bytesToHex(numberBytes(8, 8 ** 7))).toBe('8000000000200000');
  });

  test('what is written is read back', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(readNumber(numberBytes(12, value), 0, 'n')).toBe(value);
      }),
    );
  });

  test.each([
    ['        ', 0],
    ['\0\0\0\0\0\0\0\0', 0],
    ['   644 \0', 0o644],
    ['0000644 ', 0o644],
    ['00006440', 0o6440],
    ['0000644\0', 0o644],
  ])('%j is %d, as writers of all ages put it', (text, value) => {
    expect(readNumber(rawToBytes(text), 0, 'mode')).toBe(value);
  });

  test('two’s complement in base-256', () => {
    expect(readNumber(hexToBytes('ffffffffffffffffffffffff'), 0, 'mtime')).toBe(-1);
    expect(readNumber(hexToBytes('fffffffffffffffb'), 0, 'mtime')).toBe(-5);
    expect(readNumber(hexToBytes('8000000000000005'), 0, 'mtime')).toBe(5);
  });

  test.each([
    ['a digit eight', '00008440'],
    ['a sign', '-0000644'],
    ['digits after the end', '644\0 644'],
    ['hex', '0x000644'],
    ['a tab', '\t0000644'],
  ])('rejects %s', (_, text) => {
    expectCvmError(() => readNumber(rawToBytes(text), 0, 'mode'), 'TAR_NUMBER', 'format');
  });

  test('rejects base-256 beyond 2^53, where numbers lose their last digits', () => {
    expectCvmError(() => readNumber(hexToBytes('800000000020000000000000'), 0, 'size'), 'TAR_NUMBER');
    expectCvmError(() => readNumber(hexToBytes('bfffffffffffffffffffffff'), 0, 'size'), 'TAR_NUMBER');
    expectCvmError(() => readNumber(hexToBytes('c00000000000000000000000'), 0, 'size'), 'TAR_NUMBER');
  });
});

describe('headers', () => {
  test('what is written is read back', () => {
    const name = fc.stringMatching(/^[ -~]{1,100}$/);
    fc.assert(
      fc.property(
        fc.record({
          dialect: fc.constantFrom('posix' as const, 'gnu' as const),
          typeFlag: fc.constantFrom('0', '5', 'S', 'x'),
          name,
          linkName: name,
          mode: fc.nat(0o7777),
          uid: fc.nat(0xffff_ffff),
          gid: fc.nat(0xffff_ffff),
          sizeBytes: fc.maxSafeNat(),
          mtimeSec: fc.maxSafeNat(),
        }),
        (fields) => {
          expect(readHeader(sealHeader(writeHeader(fields)), 0)).toEqual({ ...fields, major: 0, minor: 0 });
        },
      ),
    );
  });

  test('any flipped bit is refused by the checksum, but for another spelling of the checksum itself', () => {
    const block = header({ name: 'etc/passwd', sizeBytes: 4096 });
    const whole = readHeader(block, 0);
    let spellings = 0;
    for (let bit = 0; bit < 8 * 512; bit++) {
      const flipped = new Uint8Array(block);
      const at = bit >>> 3;
      flipped[at] = (flipped[at] as number) ^ (1 << (bit & 7));
      if (at >= 148 && at < 156 && !throws(() => readHeader(flipped, 0))) {
        expect(readHeader(flipped, 0)).toEqual(whole);
        spellings++;
      } else {
        expectCvmError(() => readHeader(flipped, 0), 'TAR_CHECKSUM', 'format');
      }
    }
    // A leading zero as space, the NUL as space, the space as NUL.
    expect(spellings).toBeLessThanOrEqual(3);
  });

  test('the prefix stands before the name in POSIX headers, and nothing does in GNU ones', () => {
    const patch = (block: Uint8Array): void => {
      block.set(rawToBytes('a/b'), 345);
    };
    expect(readHeader(header({ name: 'c' }, patch), 0).name).toBe('a/b/c');
    expect(readHeader(header({ name: 'c', dialect: 'gnu' }, patch), 0).name).toBe('c');
  });

  test('a name may fill its field without a NUL', () => {
    expect(readHeader(header({ name: 'n'.repeat(100) }), 0).name).toBe('n'.repeat(100));
  });

  test('NUL as type is a file, as v7 wrote it', () => {
    const v7 = header({}, (block) => {
      block[156] = 0;
      block.fill(0, 257, 265);
    });
    expect(readHeader(v7, 0)).toMatchObject({ dialect: 'v7', typeFlag: '0' });
  });

  test('rejects ids that 32 bits do not hold, and negative sizes', () => {
    const set = (at: number, hex: string) => (block: Uint8Array) => {
      block.set(hexToBytes(hex), at);
    };
    expectCvmError(() => readHeader(header({}, set(108, '8000000100000000')), 0), 'TAR_RANGE');
    expectCvmError(() => readHeader(header({}, set(116, 'ffffffffffffffff')), 0), 'TAR_RANGE');
    expectCvmError(() => readHeader(header({}, set(124, 'ffffffffffffffffffffffff')), 0), 'TAR_RANGE');
    expectCvmError(() => readHeader(header({ typeFlag: '3' }, set(329, 'ffffffffffffffff')), 0), 'TAR_RANGE');
  });
});
