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

test('a word that shares no letter is not near, however short it is', () => {
  expect(nearestWord('5', ['1', '2', '3', '4'])).toBeUndefined();
  expect(nearestWord('ab', ['xy', 'ay'])).toBe('ay');
});
