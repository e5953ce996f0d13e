import { expect, test } from 'vitest';
import { nearestWord } from '../../../tools/nearest.ts';

test.each([
  ['lst', 'list'],
  ['lits', 'list'],
  ['extrakt', 'extract'],
  ['list', 'list'],
])('%s is near %s', (word, expected) => {
  expect(nearestWord(word, ['build', 'extract', 'list'])).toBe(expected);
});

test.each(['', 'xyzzyx', 'completely-different'])('nothing is near %j', (word) => {
  expect(nearestWord(word, ['build', 'extract'])).toBeUndefined();
});
