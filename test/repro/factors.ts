/** What may differ from one build to another and must not show, and which combinations of it are built. Pure. */

/** A way in which machines differ; the first value is the plain one. */
export interface Factor {
  readonly name: string;
  readonly values: readonly [string, string];
}

export const FACTORS = [
  { name: 'folder', values: ['a', 'b second folder'] },
  { name: 'user', values: ['caller', '4242'] },
  { name: 'clock', values: ['now', '+10 years'] },
  { name: 'zone', values: ['UTC', 'Pacific/Kiritimati'] },
  { name: 'locale', values: ['C', 'tr_TR.UTF-8'] },
  { name: 'umask', values: ['022', '077'] },
  { name: 'door', values: ['bzlmod', 'workspace'] },
] as const satisfies readonly Factor[];

export type FactorName = (typeof FACTORS)[number]['name'];

/** A value for every factor. */
export type Machine = Readonly<Record<FactorName, string>>;

/** The factors that six builds can cover. */
const COVERED_LIMIT = 10;

/**
 * Six builds among which every pair of values of every two factors occurs, for up to ten factors of two values: the
 * construction of Kleitman and Spencer, and of Katona. The first build is plain in everything. Of the other five, every
 * factor is plain in two, and no two factors in the same two. So of any two factors both are plain in the first build,
 * each is plain without the other in some build, and in one of the five neither is.
 *
 * @throws RangeError for more than ten factors
 */
export function pairwise(factors: readonly Factor[]): readonly (readonly (0 | 1)[])[] {
  if (factors.length > COVERED_LIMIT)
    throw new RangeError(`six builds cover ${COVERED_LIMIT} factors, not ${factors.length}`);
  const pairs = [1, 2, 3, 4].flatMap((one) =>
    [2, 3, 4, 5].flatMap((other) => (one < other ? [[one, other]] : [])),
  );
  return [0, 1, 2, 3, 4, 5].map((build) =>
    factors.map((_, i) => (build === 0 || pairs[i]?.includes(build) === true ? 0 : 1)),
  );
}

/** Every combination, the plain one first. */
export function everything(factors: readonly Factor[]): readonly (readonly (0 | 1)[])[] {
  return Array.from({ length: 2 ** factors.length }, (_, build) =>
    factors.map((_, i) => ((build >> i) & 1) as 0 | 1),
  );
}

/** The machine that a row stands for. */
export function machineOf(row: readonly (0 | 1)[]): Machine {
  return Object.fromEntries(FACTORS.map(({ name, values }, i) => [name, values[row[i] ?? 0]])) as Machine;
}
