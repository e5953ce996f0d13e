import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffLines, type DiffLine } from '../../../tools/bytes/line-diff.ts';

const linesOf = (text: string): string[] => (text === '' ? [] : text.replace(/\n$/, '').split('\n'));
const side = (diff: readonly DiffLine[], mark: '-' | '+'): string[] =>
  diff.filter((line) => line.mark === ' ' || line.mark === mark).map(({ text }) => text);
const show = (diff: readonly DiffLine[]): string[] => diff.map(({ mark, text }) => `${mark}${text}`);

/** Few different lines, so that many are in both. */
const anyText = fc
  .array(fc.constantFrom('a', 'b', 'c', '', ' ', '{', '}'), { maxLength: 12 })
  .chain((lines) => fc.constantFrom(lines.join('\n'), lines.map((line) => `${line}\n`).join('')));

/** How many lines two lists have in common, in order, by trying all subsets of the first. */
function mostInCommon(a: readonly string[], b: readonly string[]): number {
  let most = 0;
  for (let subset = 0; subset < 1 << a.length; subset++) {
    const chosen = a.filter((_, i) => (subset >> i) % 2 === 1);
    let at = 0;
    const isInB = chosen.every((line) => {
      const found = b.indexOf(line, at);
      at = found + 1;
      return found >= 0;
    });
    if (isInB) most = Math.max(most, chosen.length);
  }
  return most;
}

describe('diffLines', () => {
  test('without added lines it is the first text, without removed ones the second', () => {
    fc.assert(
      fc.property(anyText, anyText, (before, after) => {
        const diff = diffLines(before, after);
        expect(side(diff, '-')).toEqual(linesOf(before));
        expect(side(diff, '+')).toEqual(linesOf(after));
      }),
      { seed: 5, numRuns: 500 },
    );
  });

  test('as many lines stay as can stay', () => {
    const few = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 7 });
    fc.assert(
      fc.property(few, few, (a, b) => {
        const diff = diffLines(a.join('\n'), b.join('\n'));
        expect(diff.filter(({ mark }) => mark === ' ')).toHaveLength(mostInCommon(a, b));
      }),
      { seed: 5, numRuns: 300 },
    );
  });

  test.each<[string, string, string, string[]]>([
    ['nothing and nothing', '', '', []],
    ['a new file', '', 'a\nb\n', ['+a', '+b']],
    ['a removed file', 'a\nb\n', '', ['-a', '-b']],
    ['the same', 'a\nb\n', 'a\nb\n', [' a', ' b']],
    ['one changed line: what was stands before what is', 'a\nb\nc\n', 'a\nx\nc\n', [' a', '-b', '+x', ' c']],
    ['an inserted line', 'a\nc\n', 'a\nb\nc\n', [' a', '+b', ' c']],
    ['a removed line', 'a\nb\nc\n', 'a\nc\n', [' a', '-b', ' c']],
    ['an empty line', 'a\n', 'a\n\n', [' a', '+']],
    ['blanks count', 'a', ' a', ['-a', '+ a']],
    ['a carriage return counts', 'a\n', 'a\r\n', ['-a', '+a\r']],
  ])('%s', (_, before, after, expected) => {
    expect(show(diffLines(before, after))).toEqual(expected);
  });

  test('texts beyond the limit are replaced whole', () => {
    const long = Array.from({ length: 2001 }, (_, i) => `${i}`).join('\n');
    const diff = diffLines(long, '7\n');
    expect(diff).toHaveLength(2002);
    expect(diff.some(({ mark }) => mark === ' ')).toBe(false);
    expect(diff.at(-1)).toEqual({ mark: '+', text: '7' });
  });

  test('texts at the limit are compared', () => {
    const long = Array.from({ length: 2000 }, (_, i) => `${i}`).join('\n');
    expect(diffLines(long, '7\n').filter(({ mark }) => mark === ' ')).toEqual([{ mark: ' ', text: '7' }]);
  });
});
