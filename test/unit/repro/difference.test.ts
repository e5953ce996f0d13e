import { zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { type Build, describeDifference, firstDisagreement } from '../../repro/difference.ts';
import { END, member } from '../../support/tar-blocks.ts';

const build = (name: string, artifacts: Record<string, string>): Build => ({
  name,
  artifacts: new Map(Object.entries(artifacts)),
});

describe('the first disagreement', () => {
  test('is none where every artifact has one sha256', () => {
    expect(
      firstDisagreement([build('1', { x: 'a', y: 'b' }), build('2', { y: 'b', x: 'a' })]),
    ).toBeUndefined();
    expect(firstDisagreement([])).toBeUndefined();
  });

  test('names the first artifact by name, and the first two builds', () => {
    const builds = [
      build('1', { x: 'a', y: 'b', z: 'c' }),
      build('2', { x: 'a', y: 'b', z: 'd' }),
      build('3', { x: 'a', y: 'e', z: 'c' }),
    ];
    expect(firstDisagreement(builds)).toMatchObject({
      artifact: 'y',
      one: { name: '1' },
      other: { name: '3' },
    });
  });

  test.each([
    [{ x: 'a', y: 'b' }, { x: 'a' }],
    [{ x: 'a' }, { x: 'a', y: 'b' }],
  ])('an artifact that one build lacks is one', (one, other) => {
    expect(firstDisagreement([build('1', one), build('2', other)])?.artifact).toBe('y');
  });
});

/** An archive of these files. */
const tarOf = (files: Record<string, string | Uint8Array>, fields: { mode?: number } = {}): Uint8Array =>
  concatBytes(...Object.entries(files).map(([name, content]) => member({ name, ...fields }, content)), END);
const text = (words: string): Uint8Array => new TextEncoder().encode(words);
describe('where two files differ', () => {
  test('nowhere', () => {
    expect(describeDifference(text('abc'), text('abc'))).toBeUndefined();
  });

  test.each([
    ['abc', 'abd', 'byte 2 of 3 and 3'],
    ['abc', 'abcd', 'byte 3 of 3 and 4'],
    ['', 'a', 'byte 0 of 0 and 1'],
  ])('%j and %j: %s', (one, other, where) => {
    expect(describeDifference(text(one), text(other))).toBe(where);
  });

  test('behind the first window', () => {
    const [one, other] = [new Uint8Array(3 << 20), new Uint8Array(3 << 20)];
    other[(2 << 20) + 5] = 1;
    expect(describeDifference(one, other)).toBe(`byte ${(2 << 20) + 5} of ${3 << 20} and ${3 << 20}`);
  });

  test('inside a member of an archive inside a member of an archive', () => {
    const archive = (line: string): Uint8Array =>
      zstdCompressSync(
        tarOf({ 'boot.tzst': zstdCompressSync(tarOf({ 'a.txt': text('same'), 'b.txt': text(line) })) }),
      );
    expect(describeDifference(archive('uid 0'), archive('uid 4'))).toBe(
      'member boot.tzst: member b.txt: byte 4 of 5 and 5',
    );
  });

  test('in what is said about a member', () => {
    expect(describeDifference(tarOf({ a: text('x') }), tarOf({ a: text('x') }, { mode: 0o600 }))).toBe(
      'member a: mode 420 and 384',
    );
    expect(describeDifference(tarOf({ a: text('x') }), tarOf({ b: text('x') }))).toBe('member 1: a and b');
    expect(describeDifference(tarOf({ a: text('x') }), tarOf({ a: text('x'), b: text('y') }))).toBe(
      'member 2: none and b',
    );
  });

  test('in compression alone', () => {
    const one = zstdCompressSync(text('abcdef'));
    const other = concatBytes(zstdCompressSync(text('abc')), zstdCompressSync(text('def')));
    expect(describeDifference(one, other)).toBe('compression: the contents are equal');
  });

  test('in a damaged archive: as bytes', () => {
    const whole = tarOf({ a: text('x') });
    const damaged = whole.slice();
    damaged[148] = 0xff;
    expect(describeDifference(whole, damaged)).toBe(`byte 148 of ${whole.length} and ${whole.length}`);
  });
});
