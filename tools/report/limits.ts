/**
 * What a page shows of things that may be of any length: a proposal may bless thousands of launches with command lines of 100 KiB, a tree
 * may hold a million files. Whatever is cut says so where it is cut.
 */
export const LIMITS = {
  /** UTF-16 units of a title, of a name, and of one line of a file. */
  lineUnits: 300,
  /** Of a command line. */
  commandLineUnits: 4096,
  /** Of a proposal's summary. */
  summaryUnits: 8192,
  /** Of a lock's text. */
  lockUnits: 8192,
  /** Rows of a list of launches, blessed or computed. */
  launchRows: 64,
  /** Chips that are listed. */
  chips: 64,
  /** Rows of a tree: those that differ come first. */
  treeRows: 300,
  /** Text files of at most this many bytes are compared line by line. */
  textFileBytes: 64 << 10,
  /** Lines of the difference of one file, and of all. */
  fileDiffLines: 200,
  treeDiffLines: 400,
  /** Lines shown around a difference. */
  contextLines: 3,
  /** Launches that a search found and that are explained. */
  nearMatches: 16,
} as const;

/** The start of a text, with what is missing. Cuts no character in two. */
export function clip(text: string, units: number): string {
  if (text.length <= units) return text;
  const end = /[\ud800-\udbff]/.test(text[units - 1] ?? '') ? units - 1 : units;
  return `${text.slice(0, end)}… (cut: ${text.length} characters in all)`;
}

/** The first of many, and how many are not among them. */
export function firstOf<T>(
  items: readonly T[],
  count: number,
): { readonly shown: readonly T[]; readonly more: number } {
  return { shown: items.slice(0, count), more: Math.max(0, items.length - count) };
}
