/** One line of a comparison. */
export interface DiffLine {
  readonly mark: ' ' | '-' | '+';
  readonly text: string;
}

/** Texts of more lines are shown as one replaced by the other. */
const LINES_LIMIT = 2000;

/**
 * What turns one text into another, line by line, by their longest common subsequence.
 * For files of some dozens of lines: time and memory grow with the product of both.
 */
export function diffLines(before: string, after: string): DiffLine[] {
  const a = lines(before);
  const b = lines(after);
  if (a.length > LINES_LIMIT || b.length > LINES_LIMIT) {
    return [
      ...a.map((text) => ({ mark: '-', text }) as const),
      ...b.map((text) => ({ mark: '+', text }) as const),
    ];
  }
  const lengths = commonLengths(a, b);
  const at = (i: number, j: number): number => lengths[i]?.[j] ?? 0;
  const result: DiffLine[] = [];
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      result.push({ mark: ' ', text: a[i] as string });
      i++;
      j++;
    } else if (i < a.length && (j === b.length || at(i + 1, j) >= at(i, j + 1))) {
      result.push({ mark: '-', text: a[i++] as string });
    } else {
      result.push({ mark: '+', text: b[j++] as string });
    }
  }
  return result;
}

/** `[i][j]`: how many lines the rests from i and from j have in common, in order. */
function commonLengths(a: readonly string[], b: readonly string[]): readonly Uint16Array[] {
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    const row = lengths[i] as Uint16Array;
    const below = lengths[i + 1] as Uint16Array;
    for (let j = b.length - 1; j >= 0; j--) {
      row[j] = a[i] === b[j] ? (below[j + 1] ?? 0) + 1 : Math.max(below[j] ?? 0, row[j + 1] ?? 0);
    }
  }
  return lengths;
}

function lines(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n');
}
