import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffLines } from '../../../tools/bytes/line-diff.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { LIMITS } from '../../../tools/report/limits.ts';
import { hunksOf, smallText, textDifference, type Hunk } from '../../../tools/report/text-difference.ts';

const anyLines = fc.array(fc.constantFrom('a', 'b', 'c', 'd', ''), { maxLength: 60 });

/** What `patch` does: every hunk replaces its lines of the first text, at the place it names. */
function apply(before: readonly string[], hunks: readonly Hunk[]): string[] {
  const after: string[] = [];
  let at = 0;
  for (const { beforeLine, afterLine, lines } of hunks) {
    after.push(...before.slice(at, beforeLine - 1));
    expect(after).toHaveLength(afterLine - 1);
    at = beforeLine - 1;
    for (const { mark, text } of lines) {
      if (mark !== '+') expect(before[at++]).toBe(text);
      if (mark !== '-') after.push(text);
    }
  }
  return [...after, ...before.slice(at)];
}

describe('hunks', () => {
  test('turn the first text into the second, and show nothing far from a change', () => {
    fc.assert(
      fc.property(anyLines, anyLines, (before, after) => {
        const diff = diffLines(`${before.join('\n')}\n`, `${after.join('\n')}\n`);
        const hunks = hunksOf(diff);
        expect(apply([...before, ...(before.length === 0 ? [''] : [])], hunks)).toEqual(
          after.length === 0 ? [''] : after,
        );
        for (const { lines } of hunks) {
          const changed = lines.flatMap(({ mark }, i) => (mark === ' ' ? [] : [i]));
          expect(changed.length).toBeGreaterThan(0);
          lines.forEach((_, i) => {
            expect(Math.min(...changed.map((at) => Math.abs(at - i)))).toBeLessThanOrEqual(
              LIMITS.contextLines,
            );
          });
        }
      }),
      { seed: 6, numRuns: 400 },
    );
  });

  test('changes that are near are one hunk, others are not', () => {
    const text = (changed: readonly number[]): string =>
      Array.from({ length: 30 }, (_, i) => (changed.includes(i) ? `new ${i}` : `line ${i}`)).join('\n');
    expect(hunksOf(diffLines(text([]), text([5, 12])))).toHaveLength(1);
    expect(hunksOf(diffLines(text([]), text([5, 13])))).toHaveLength(2);
    expect(hunksOf(diffLines(text([]), text([])))).toHaveLength(0);
  });
});

describe('textDifference', () => {
  const between = (before: string | undefined, after: string | undefined, budget?: number) =>
    textDifference(
      before === undefined ? undefined : utf8Bytes(before),
      after === undefined ? undefined : utf8Bytes(after),
      budget,
    );

  test.each<[string, string | undefined, string | undefined, number, number, string]>([
    ['a new file', undefined, 'a\nb\n', 2, 0, 'same'],
    ['a removed file', 'a\nb\n', undefined, 0, 2, 'same'],
    ['the same', 'a\n', 'a\n', 0, 0, 'same'],
    ['a line feed at the end', 'a', 'a\n', 0, 0, 'added'],
    ['none at the end', 'a\n', 'a', 0, 0, 'removed'],
    ['a changed line', 'a\nb\n', 'a\nc\n', 1, 1, 'same'],
    ['an empty file', '', '', 0, 0, 'same'],
  ])('%s', (_, before, after, added, removed, finalNewline) => {
    expect(between(before, after)).toMatchObject({ added, removed, finalNewline, cut: 0 });
  });

  test('says how many lines it leaves out, and counts them all', () => {
    const long = Array.from({ length: 50 }, (_, i) => `${i}\n`).join('');
    const found = between(undefined, long, 8);
    expect(found).toMatchObject({ added: 50, cut: 42 });
    expect(found?.hunks.flatMap(({ lines }) => lines)).toHaveLength(8);
    expect(between(undefined, long, 0)).toMatchObject({ added: 50, cut: 50, hunks: [] });
    expect(between(undefined, long, -5)).toMatchObject({ cut: 50 });
  });

  test.each<[string, Uint8Array]>([
    ['a NUL', Uint8Array.of(0x61, 0, 0x62)],
    ['no UTF-8', Uint8Array.of(0xff, 0xfe)],
    ['half a character', Uint8Array.of(0xe2, 0x82)],
    ['more than is compared', new Uint8Array(LIMITS.textFileBytes + 1).fill(0x61)],
  ])('%s is no small text', (_, bytes) => {
    expect(smallText(bytes)).toBeUndefined();
    expect(textDifference(undefined, bytes)).toBeUndefined();
    expect(textDifference(bytes, undefined)).toBeUndefined();
    expect(textDifference(utf8Bytes('a'), bytes)).toBeUndefined();
  });

  test('the largest text is compared', () => {
    expect(smallText(new Uint8Array(LIMITS.textFileBytes).fill(0x61))).toHaveLength(LIMITS.textFileBytes);
  });
});
