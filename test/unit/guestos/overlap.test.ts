import { describe, expect, test } from 'vitest';
import type { LaunchMeasurement } from '../../../tools/guestos/measurements.ts';
import { describeOverlap, overlapOf } from '../../../tools/guestos/overlap.ts';

const digest = (fill: number): Uint8Array => new Uint8Array(48).fill(fill);
const measured = (fill: number, vcpuType: string | null, slot: string | null): LaunchMeasurement => ({
  measurement: digest(fill),
  vcpuType,
  kernelCmdline: slot === null ? null : `root=/dev/x dfinity.system=${slot} quiet`,
});
const blessed = (...fills: readonly number[]): { readonly measurement: Uint8Array }[] =>
  fills.map((fill) => ({ measurement: digest(fill) }));

/** Two slots with each of two CPU types. */
const FOUR = [
  measured(1, 'EPYC-v4', 'A'),
  measured(2, 'EPYC-v4', 'B'),
  measured(3, 'EPYC-Genoa', 'A'),
  measured(4, 'EPYC-Genoa', 'B'),
];

describe('overlapOf', () => {
  test('all of it', () => {
    expect(overlapOf(FOUR, blessed(1, 2, 3, 4))).toEqual({
      computed: 4,
      blessed: 4,
      matched: 4,
      rows: [
        { vcpuType: 'EPYC-v4', covered: ['A', 'B'], missing: [] },
        { vcpuType: 'EPYC-Genoa', covered: ['A', 'B'], missing: [] },
      ],
    });
  });

  test.each<[string, number[], [string[], string[]], [string[], string[]]]>([
    ['none of it', [9], [[], ['A', 'B']], [[], ['A', 'B']]],
    ['nothing at all', [], [[], ['A', 'B']], [[], ['A', 'B']]],
    ['one CPU type', [3, 4], [[], ['A', 'B']], [['A', 'B'], []]],
    ['one slot', [2, 4], [['B'], ['A']], [['B'], ['A']]],
    ['one slot of one CPU type', [1], [['A'], ['B']], [[], ['A', 'B']]],
    ['one, among strangers', [8, 4, 9], [[], ['A', 'B']], [['B'], ['A']]],
  ])('%s', (_, fills, rome, genoa) => {
    const overlap = overlapOf(FOUR, blessed(...fills));
    expect(overlap.rows.map(({ covered, missing }) => [covered, missing])).toEqual([rome, genoa]);
    expect(overlap.matched).toBe(fills.filter((fill) => fill <= 4).length);
    expect(overlap.blessed).toBe(fills.length);
  });

  test('a slot is covered when any of its vCPU counts is, whichever comes first', () => {
    const two = [measured(1, 'EPYC-v4', 'A'), measured(2, 'EPYC-v4', 'A')];
    for (const fill of [1, 2]) {
      expect(overlapOf(two, blessed(fill))).toMatchObject({
        matched: 1,
        rows: [{ covered: ['A'], missing: [] }],
      });
    }
  });

  test('a digest that is blessed twice counts once', () => {
    expect(overlapOf(FOUR, blessed(1, 1, 1))).toMatchObject({ blessed: 1, matched: 1 });
  });

  test('one differing bit is another measurement', () => {
    const other = digest(1);
    other[47] = 0x00;
    expect(overlapOf(FOUR, [{ measurement: other }]).matched).toBe(0);
  });

  test.each<[string, LaunchMeasurement, string, string]>([
    ['CPU type', measured(1, null, 'A'), 'unknown', 'A'],
    ['command line', measured(1, 'EPYC-v4', null), 'EPYC-v4', 'unknown'],
  ])('an unknown %s is called so', (_, measurement, vcpuType, slot) => {
    expect(overlapOf([measurement], blessed(1)).rows).toEqual([{ vcpuType, covered: [slot], missing: [] }]);
    expect(overlapOf([measurement], []).rows).toEqual([{ vcpuType, covered: [], missing: [slot] }]);
  });

  test('a command line without a slot word is of an unknown slot', () => {
    const line = { ...measured(1, 'EPYC-v4', null), kernelCmdline: 'root=/dev/x xdfinity.system=A' };
    expect(overlapOf([line], blessed(1)).rows[0]?.covered).toEqual(['unknown']);
  });

  test('names that every object has are names like others', () => {
    const odd = [measured(1, '__proto__', 'constructor'), measured(2, 'toString', '__proto__')];
    expect(overlapOf(odd, blessed(2)).rows).toEqual([
      { vcpuType: '__proto__', covered: [], missing: ['constructor'] },
      { vcpuType: 'toString', covered: ['__proto__'], missing: [] },
    ]);
  });

  test('nothing measured gives no rows', () => {
    expect(overlapOf([], blessed(1))).toEqual({ computed: 0, blessed: 1, matched: 0, rows: [] });
  });
});

describe('describeOverlap', () => {
  const lines = (...fills: readonly number[]): string[] =>
    describeOverlap(overlapOf(FOUR, blessed(...fills)));

  test('a whole overlap warns of nothing', () => {
    expect(lines(1, 2, 3, 4)).toEqual([
      '4 of 4 launch measurements of the base are among the 4 blessed',
      'EPYC-v4     slots A, B',
      'EPYC-Genoa  slots A, B',
    ]);
  });

  test('a partial one says from where and with which CPU a node would not open its disk', () => {
    expect(lines(1)).toEqual([
      '1 of 4 launch measurements of the base are among the 1 blessed',
      'EPYC-v4     slot A; not slot B: from there it would not open its disk',
      'EPYC-Genoa  not covered: such a node would not open its disk',
    ]);
  });

  test('nothing measured is one line', () => {
    expect(describeOverlap(overlapOf([], []))).toEqual([
      '0 of 0 launch measurements of the base are among the 0 blessed',
    ]);
  });
});
