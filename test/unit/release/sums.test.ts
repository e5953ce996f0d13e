import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readSums, writeSums } from '../../../tools/release/sums.ts';
import { expectCvmError } from '../../support/errors.ts';
import { expectRefusal } from '../../support/refusals.ts';

const A = 'ab'.repeat(32);
const B = '0c'.repeat(32);

/** Names that a folder can hold, hostile ones among them. */
const names = fc
  .array(fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.map((part) => part.replaceAll(/[/\0]/g, 'x')).join('/'))
  .filter(
    (name) =>
      name.isWellFormed() &&
      !/^[ *]/.test(name) &&
      !name.split('/').some((part) => part === '.' || part === '..'),
  );
const digests = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));
const entries = fc.uniqueArray(fc.record({ name: names, sha256: digests }), {
  minLength: 1,
  maxLength: 8,
  selector: ({ name }) => name,
});

describe('written', () => {
  test('with one space, sorted by the bytes of the names', () => {
    expect(
      writeSums([
        { name: 'update-img.tar.zst', sha256: A },
        { name: 'Z', sha256: B },
        { name: 'é', sha256: A },
      ]),
    ).toBe(`${B} Z\n${A} update-img.tar.zst\n${A} é\n`);
  });

  test('any set of names comes back as it went, whatever their order', () => {
    fc.assert(
      fc.property(entries, fc.boolean(), (list, isReversed) => {
        const text = writeSums(isReversed ? list.toReversed() : list);
        expect(text).toBe(writeSums(list));
        const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
        expect(readSums(text).toSorted(byName)).toEqual(list.toSorted(byName));
      }),
    );
  });

  test.each([' a', '*a', '', '../a', 'a/../b', '/etc/passwd', 'a//b', './a', 'a\0b', '\ud800'])(
    'not a name like %j',
    (name) => {
      expectRefusal(() => writeSums([{ name, sha256: A }]), 'SUMS_NAME', 'usage');
    },
  );

  test('no name twice', () => {
    expectRefusal(
      () =>
        writeSums([
          { name: 'a', sha256: A },
          { name: 'a', sha256: B },
        ]),
      'SUMS_NAME',
      'usage',
    );
  });
});

describe('read', () => {
  test.each([
    ['one space, as releases write it', `${A} a b\n`, 'a b'],
    ['two spaces, as sha256sum writes it', `${A}  a b\n`, 'a b'],
    ['a space and *, as sha256sum --binary writes it', `${A} *a b\n`, 'a b'],
    ['upper-case digits', `${A.toUpperCase()}  a\n`, 'a'],
    ['./ in front', `${A}  ./a\n`, 'a'],
    ['a folder', `${A}  sub/a\n`, 'sub/a'],
    ['an escaped line feed', `\\${A}  a\\nb\n`, 'a\nb'],
    ['an escaped backslash', `\\${A} a\\\\nb\n`, 'a\\nb'],
    ['an escaped carriage return', `\\${A}  a\\rb\n`, 'a\rb'],
  ])('%s', (_, text, name) => {
    expect(readSums(text)).toEqual([{ name, sha256: A }]);
  });

  test.each([
    ['an absolute path', `${A}  /etc/passwd\n`, 'SUMS_NAME'],
    ['a path out of the folder', `${A}  ../a\n`, 'SUMS_NAME'],
    ['one that goes down first', `${A}  a/../../b\n`, 'SUMS_NAME'],
    ['one that is escaped', `\\${A}  a\\n/../../b\n`, 'SUMS_NAME'],
    ['a folder', `${A}  a/\n`, 'SUMS_NAME'],
    ['the folder itself', `${A}  ./\n`, 'SUMS_NAME'],
    ['a digest of 63 digits', `${A.slice(1)}  a\n`, 'SUMS_LINE'],
    ['a digest of 65 digits', `0${A}  a\n`, 'SUMS_LINE'],
    ['no name', `${A}  \n`, 'SUMS_LINE'],
    ['no space', `${A}a\n`, 'SUMS_LINE'],
    ['a tab', `${A}\ta\n`, 'SUMS_LINE'],
    ['a comment', `# sums\n${A}  a\n`, 'SUMS_LINE'],
    ['an empty line', `${A}  a\n\n${B}  b\n`, 'SUMS_LINE'],
    ['the form of --tag', `SHA256 (a) = ${A}\n`, 'SUMS_LINE'],
    ['a last line that is cut off', `${A}  a\n${B}  b`, 'SUMS_LINE'],
    ['line ends of other systems', `${A}  a\r\n`, 'SUMS_LINE'],
    ['an unknown escape', `\\${A}  a\\tb\n`, 'SUMS_LINE'],
    ['a backslash without its mark', `${A}  a\\b\n`, 'SUMS_LINE'],
    ['a NUL byte', `${A}  a\0b\n`, 'SUMS_LINE'],
    ['a file twice', `${A}  a\n${A}  a\n`, 'SUMS_TWICE'],
    ['a file twice in two spellings', `${A}  a\n${B} ./a\n`, 'SUMS_TWICE'],
  ])('refuses %s', (_, text, code) => {
    expectRefusal(() => readSums(text), code, 'format');
  });

  test('refuses an empty file: it would check nothing', () => {
    expectCvmError(() => readSums(''), 'SUMS_EMPTY', 'format');
  });

  test('never throws but as the house does, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          names.map((name) => `${A}  ${name}\n`),
        ),
        (text) => {
          try {
            for (const { name } of readSums(text)) {
              expect(name.startsWith('/')).toBe(false);
              expect(name.split('/')).not.toContain('..');
            }
          } catch (error) {
            expect(error).toMatchObject({ kind: 'format' });
          }
        },
      ),
    );
  });
});
