import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { CvmError } from '../../../tools/errors.ts';
import { beginsLikeQuote, readQuote } from '../../../tools/tdx/quote.ts';
import { pseudoRandom } from '../../support/dstack.ts';
import { expectCvmError } from '../../support/errors.ts';

const SIGNATURE = pseudoRandom(300, 'signature');
const REPORT = pseudoRandom(885, 'report');

function header(version: number, tee = 0x81): Uint8Array {
  const bytes = new Uint8Array(48);
  writeU16(bytes, 0, version);
  writeU16(bytes, 2, 2);
  writeU32(bytes, 4, tee);
  return bytes;
}

function sized(bytes: Uint8Array, length = bytes.length): Uint8Array {
  const field = new Uint8Array(4);
  writeU32(field, 0, length);
  return concatBytes(field, bytes);
}

function descriptor(type: number, size: number): Uint8Array {
  const bytes = new Uint8Array(6);
  writeU16(bytes, 0, type);
  writeU32(bytes, 2, size);
  return bytes;
}

const version4 = (): Uint8Array => concatBytes(header(4), REPORT.slice(0, 584), sized(SIGNATURE));
const version5 = (type: number, size: number): Uint8Array =>
  concatBytes(header(5), descriptor(type, size), REPORT.slice(0, size), sized(SIGNATURE));

const QUOTES: readonly [string, Uint8Array][] = [
  ['TDX 1.0', version4()],
  ['TDX 1.0', version5(2, 584)],
  ['TDX 1.5', version5(3, 648)],
  ['TDX 1.5 extended', version5(4, 885)],
];

describe('quotes of both versions', () => {
  test.each(QUOTES)('%s: the same registers at their places', (kind, bytes) => {
    const quote = readQuote(bytes);
    expect(quote.report).toBe(kind);
    expect(quote.version).toBe(bytes[0]);
    expect(quote.mrtd).toEqual(REPORT.slice(136, 184));
    expect(quote.mrConfigId).toEqual(REPORT.slice(184, 232));
    expect(quote.rtmr0).toEqual(REPORT.slice(328, 376));
    expect(quote.rtmr1).toEqual(REPORT.slice(376, 424));
    expect(quote.rtmr2).toEqual(REPORT.slice(424, 472));
    expect(quote.rtmr3).toEqual(REPORT.slice(472, 520));
    expect(quote.reportData).toEqual(REPORT.slice(520, 584));
    expect(quote.isDebug).toBe(((REPORT[120] ?? 0) & 1) === 1);
    expect(quote.signatureBytes).toBe(SIGNATURE.length);
    expect(beginsLikeQuote(bytes)).toBe(true);
  });

  test('zeros behind the quote mean nothing, as in buffers of quoting services', () => {
    for (const [, bytes] of QUOTES)
      expect(readQuote(concatBytes(bytes, new Uint8Array(70)))).toEqual(readQuote(bytes));
  });

  test('a quote that ends with its report says so', () => {
    expect(readQuote(version4().slice(0, 632)).signatureBytes).toBe(0);
    expect(readQuote(version5(3, 648).slice(0, 702)).signatureBytes).toBe(0);
  });
});

describe('every length is checked', () => {
  const edited = (bytes: Uint8Array, edit: (copy: Uint8Array) => void): Uint8Array => {
    const copy = bytes.slice();
    edit(copy);
    return copy;
  };
  test.each<[string, Uint8Array, string]>([
    ['version 3', concatBytes(header(3), version4().slice(48)), 'QUOTE_VERSION'],
    ['an SGX quote of version 4', concatBytes(header(4, 0), version4().slice(48)), 'QUOTE_TEE'],
    ['an enclave in version 5', version5(1, 384), 'QUOTE_BODY'],
    ['an unknown body', version5(5, 885), 'QUOTE_BODY'],
    ['TDX 1.5 in the size of 1.0', version5(3, 584), 'QUOTE_BODY'],
    ['TDX 1.0 in the size of 1.5', version5(2, 648), 'QUOTE_BODY'],
    [
      'the largest size there is',
      edited(version5(2, 584), (copy) => writeU32(copy, 50, 0xffff_ffff)),
      'QUOTE_BODY',
    ],
    ['a signature behind the end', edited(version4(), (copy) => writeU32(copy, 632, 301)), 'QUOTE_TRUNCATED'],
    [
      'the largest signature',
      edited(version4(), (copy) => writeU32(copy, 632, 0xffff_ffff)),
      'QUOTE_TRUNCATED',
    ],
    ['a signature that ends early', edited(version4(), (copy) => writeU32(copy, 632, 10)), 'QUOTE_TRAILING'],
    ['something behind', concatBytes(version5(3, 648), Uint8Array.of(0, 0, 1)), 'QUOTE_TRAILING'],
  ])('%s', (_, bytes, code) => {
    const error = expectCvmError(() => readQuote(bytes), code, 'format');
    expect(error.mend).toContain('whole');
  });

  test.each(QUOTES)('%s: cut anywhere, it is truncated', (_, bytes) => {
    const report = bytes.length - SIGNATURE.length - 4;
    for (let length = 0; length < bytes.length; length++) {
      if (length === report) continue;
      expectCvmError(() => readQuote(bytes.slice(0, length)), 'QUOTE_TRUNCATED', 'format');
    }
  });

  test('any bytes: a quote or an error of ours', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...QUOTES.map(([, bytes]) => bytes)),
        fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 4 }),
        fc.nat(1300),
        (seed, edits, length) => {
          const bytes = seed.slice(0, length);
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          try {
            readQuote(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(CvmError);
            expect((error as CvmError).kind).toBe('format');
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
