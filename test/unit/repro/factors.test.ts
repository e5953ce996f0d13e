import { expect, test } from 'vitest';
import { FACTORS, type Factor, everything, machineOf, pairwise } from '../../repro/factors.ts';

const some = (count: number): Factor[] =>
  Array.from({ length: count }, (_, i) => ({ name: `${i}`, values: ['plain', 'other'] }));

test.each([2, 3, FACTORS.length, 9, 10])('six builds hold every pair of values of %i factors', (count) => {
  const rows = pairwise(some(count));
  expect(rows).toHaveLength(6);
  for (let one = 0; one < count; one++) {
    for (let other = 0; other < one; other++) {
      expect(new Set(rows.map((row) => `${row[one]}${row[other]}`)).size, `${one} and ${other}`).toBe(4);
    }
  }
});

test('the first build is plain in everything', () => {
  expect(machineOf(pairwise(FACTORS)[0] ?? [])).toEqual({
    folder: 'a',
    user: 'caller',
    clock: 'now',
    zone: 'UTC',
    locale: 'C',
    umask: '022',
    door: 'bzlmod',
  });
});

test('more factors than six builds can cover are refused', () => {
  expect(() => pairwise(some(11))).toThrow(RangeError);
});

test('everything is every combination once', () => {
  const rows = everything(FACTORS);
  expect(rows).toHaveLength(128);
  expect(new Set(rows.map((row) => row.join(''))).size).toBe(128);
  expect(rows[0]).toEqual([0, 0, 0, 0, 0, 0, 0]);
});
