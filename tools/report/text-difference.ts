import { equalBytes } from '../bytes/compare.ts';
import { diffLines, type DiffLine } from '../bytes/line-diff.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { CvmError } from '../errors.ts';
import { LIMITS } from './limits.ts';

/** Lines that stand together, with unchanged ones around them. Line numbers from 1, of the first line of each side. */
export interface Hunk {
  readonly beforeLine: number;
  readonly afterLine: number;
  readonly lines: readonly DiffLine[];
}

/** How the text of a file became another. */
export interface TextDifference {
  readonly hunks: readonly Hunk[];
  readonly added: number;
  readonly removed: number;
  /** What lines do not show: the last line feed came or went. */
  readonly finalNewline: 'same' | 'added' | 'removed';
  /** Lines of hunks that are not among them. */
  readonly cut: number;
}

/**
 * A small file as text: UTF-8 without NUL.
 * @returns undefined when it is none, or larger than {@link LIMITS.textFileBytes}
 */
export function smallText(bytes: Uint8Array): string | undefined {
  if (bytes.length > LIMITS.textFileBytes || bytes.includes(0)) return undefined;
  try {
    return utf8FromBytes(bytes);
  } catch (error) {
    if (error instanceof CvmError) return undefined;
    throw error;
  }
}

/**
 * @param before undefined when the file is new
 * @param after undefined when it is gone
 * @param budget lines that may be shown
 * @returns undefined when one of them is no small text
 */
export function textDifference(
  before: Uint8Array | undefined,
  after: Uint8Array | undefined,
  budget: number = LIMITS.fileDiffLines,
): TextDifference | undefined {
  const was = before === undefined ? '' : smallText(before);
  const is = after === undefined ? '' : smallText(after);
  if (was === undefined || is === undefined) return undefined;
  if (before !== undefined && after !== undefined && equalBytes(before, after)) {
    return { hunks: [], added: 0, removed: 0, finalNewline: 'same', cut: 0 };
  }
  const diff = diffLines(was, is);
  const { hunks, cut } = cutHunks(hunksOf(diff), budget);
  return {
    hunks,
    added: diff.filter(({ mark }) => mark === '+').length,
    removed: diff.filter(({ mark }) => mark === '-').length,
    finalNewline: before === undefined || after === undefined ? 'same' : finalNewline(was, is),
    cut,
  };
}

function finalNewline(was: string, is: string): TextDifference['finalNewline'] {
  const had = was.endsWith('\n');
  const has = is.endsWith('\n');
  return had === has ? 'same' : has ? 'added' : 'removed';
}

/** Changed lines with {@link LIMITS.contextLines} around them; what is nearer together than that is one. */
export function hunksOf(diff: readonly DiffLine[]): Hunk[] {
  const { contextLines } = LIMITS;
  const isNear = new Uint8Array(diff.length);
  for (const [i, { mark }] of diff.entries()) {
    if (mark !== ' ') isNear.fill(1, Math.max(0, i - contextLines), i + contextLines + 1);
  }
  const hunks: { beforeLine: number; afterLine: number; lines: DiffLine[] }[] = [];
  let beforeLine = 1;
  let afterLine = 1;
  for (const [i, line] of diff.entries()) {
    if (isNear[i] === 1) {
      if (isNear[i - 1] !== 1) hunks.push({ beforeLine, afterLine, lines: [] });
      hunks.at(-1)?.lines.push(line);
    }
    if (line.mark !== '+') beforeLine++;
    if (line.mark !== '-') afterLine++;
  }
  return hunks;
}

function cutHunks(hunks: readonly Hunk[], budget: number): { readonly hunks: Hunk[]; readonly cut: number } {
  const kept: Hunk[] = [];
  let left = Math.max(0, budget);
  let cut = 0;
  for (const hunk of hunks) {
    const lines = hunk.lines.slice(0, left);
    if (lines.length > 0) kept.push({ ...hunk, lines });
    left -= lines.length;
    cut += hunk.lines.length - lines.length;
  }
  return { hunks: kept, cut };
}
