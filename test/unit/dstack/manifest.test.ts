import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bundleDigest,
  readDigest,
  readSums,
  writeDigest,
  writeSums,
} from '../../../tools/dstack/manifest.ts';
import { expectCvmError } from '../../support/errors.ts';

const A = 'a'.repeat(64);
const B = '0'.repeat(64);
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));

test('two blanks, bare names, LF after every line; the digest is over those bytes', () => {
  const sums = writeSums([
    { name: 'ovmf.fd', sha256: A },
    { name: 'bzImage', sha256: B },
  ]);
  expect(Buffer.from(sums).toString()).toBe(`${A}  ovmf.fd\n${B}  bzImage\n`);
  // printf '…' | sha256sum
  expect(bundleDigest(bytes(''))).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  expect(Buffer.from(writeDigest(sums)).toString()).toBe(`${bundleDigest(sums)}\n`);
  expect(writeDigest(sums).length).toBe(65);
});

test('what is written reads back', () => {
  const name = fc
    .stringMatching(/^[A-Za-z0-9._-]{1,20}$/)
    .filter((text) => !['.', '..', 'sha256sum.txt'].includes(text));
  const hash = fc.stringMatching(/^[0-9a-f]{64}$/);
  const entries = fc.uniqueArray(fc.record({ name, sha256: hash }), {
    selector: (entry) => entry.name,
    minLength: 1,
  });
  fc.assert(
    fc.property(entries, (list) => {
      expect(readSums(writeSums(list))).toEqual(list);
    }),
    { seed: 7 },
  );
});

describe('one named error for', () => {
  test.each<[string, string, string]>([
    ['nothing', '', 'SUMS_EMPTY'],
    ['a last line without LF', `${A}  a`, 'SUMS_NO_FINAL_LF'],
    ['a duplicate', `${A}  a\n${B}  a\n`, 'SUMS_DUPLICATE'],
    ['an equal duplicate', `${A}  a\n${A}  a\n`, 'SUMS_DUPLICATE'],
    ['CR LF', `${A}  a\r\n`, 'SUMS_CRLF'],
    ['a blank line', `${A}  a\n\n`, 'SUMS_BLANK_LINE'],
    ['a line of blanks', `${A}  a\n  \n`, 'SUMS_BLANK_LINE'],
    ['*name', `${A} *a\n`, 'SUMS_BINARY_MARK'],
    ['upper-case hex', `${A.toUpperCase()}  a\n`, 'SUMS_UPPER_CASE'],
    ['a single upper-case digit', `A${A.slice(1)}  a\n`, 'SUMS_UPPER_CASE'],
    ['a single space', `${A} a\n`, 'SUMS_SINGLE_SPACE'],
    ['three spaces', `${A}   a\n`, 'SUMS_LINE'],
    ['a tab', `${A}\ta\n`, 'SUMS_LINE'],
    ['a blank in front', ` ${A}  a\n`, 'SUMS_LINE'],
    ['a comment', '# sums\n', 'SUMS_LINE'],
    ['a short digest', `${A.slice(1)}  a\n`, 'SUMS_LINE'],
    ['a long digest', `${A}0  a\n`, 'SUMS_LINE'],
    ['an escaped name', `\\${A}  a\n`, 'SUMS_LINE'],
    ['the form of BSD', `SHA256 (a) = ${A}\n`, 'SUMS_LINE'],
    ['a third field', `${A}  a b\n`, 'SUMS_EXTRA_FIELD'],
    ['a blank behind', `${A}  a \n`, 'SUMS_EXTRA_FIELD'],
    ['a folder', `${A}  a/b\n`, 'SUMS_UNSAFE_PATH'],
    ['an absolute path', `${A}  /a\n`, 'SUMS_UNSAFE_PATH'],
    ['the folder above', `${A}  ..\n`, 'SUMS_UNSAFE_PATH'],
    ['./name', `${A}  ./a\n`, 'SUMS_UNSAFE_PATH'],
    ['a backslash', `${A}  a\\b\n`, 'SUMS_UNSAFE_PATH'],
    ['a byte that is no ASCII', `${A}  a\xe9\n`, 'SUMS_UNSAFE_PATH'],
    ['a control character', `${A}  a\x1b[2J\n`, 'SUMS_UNSAFE_PATH'],
    ['no name', `${A}  \n`, 'SUMS_UNSAFE_PATH'],
    ['itself', `${A}  sha256sum.txt\n`, 'SUMS_SELF'],
    ['too many lines', Array.from({ length: 1025 }, (_, i) => `${A}  ${i}\n`).join(''), 'SUMS_SIZE'],
    ['too many bytes', 'x'.repeat((1 << 20) + 1), 'SUMS_SIZE'],
  ])('%s', (_, text, code) => {
    expectCvmError(() => readSums(bytes(text)), code, 'format');
  });

  test('whatever bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (content) => {
        try {
          readSums(content);
        } catch (error) {
          expect((error as { code?: string }).code).toMatch(/^SUMS_/);
        }
      }),
      { seed: 7 },
    );
  });
});

test('upstream’s words stand where it has some', () => {
  const message = (text: string, code: string): string =>
    expectCvmError(() => readSums(bytes(text)), code).message;
  expect(message(`${A}  a b\n`, 'SUMS_EXTRA_FIELD')).toBe('image manifest line 1 has extra fields');
  expect(message(`${A}  a\n${A}  ../a\n`, 'SUMS_UNSAFE_PATH')).toBe(
    'image manifest line 2 has an unsafe path',
  );
  expect(message(`${A}  sha256sum.txt\n`, 'SUMS_SELF')).toBe(
    'image manifest must not recursively list sha256sum.txt',
  );
  expect(message(`${A}  a\n${A}  a\n`, 'SUMS_DUPLICATE')).toBe('sha256sum.txt contains duplicate a entries');
});

test('digest.txt is trimmed and nothing else', () => {
  expect(readDigest(bytes(`\n ${A}\r\n`))).toBe(A);
  for (const text of ['', A.slice(1), A.toUpperCase(), `${A} x`, `${A}${' '.repeat(200)}`]) {
    expectCvmError(() => readDigest(bytes(text)), 'DIGEST_INVALID', 'format');
  }
});
