import { formatError, usageError, type CvmError } from '../errors.ts';

/** A line of a sum file. */
export interface SumEntry {
  /** 64 lower-case hex digits. */
  readonly sha256: string;
  /** Below the folder of the sum file, with `/` between folders. */
  readonly name: string;
}

/** A release lists some ten files; a real sum file stays far below. */
export const SUMS_LIMIT_BYTES = 1 << 20;

/**
 * A sum file as releases have it: `<64 hex> <name>`, one space, sorted by name in UTF-8's byte order. A name with a
 * backslash, a line feed or a carriage return is written as GNU sha256sum does: escaped, with a backslash before the
 * digest. `sha256sum --check` reads it.
 *
 * @throws CvmError usage SUMS_NAME: two entries of one name, a name that this form cannot hold (a space or `*` in front, which
 *   readers take for a mark), or a path that leaves the folder
 */
export function writeSums(entries: readonly SumEntry[]): string {
  const names = new Set<string>();
  for (const { name } of entries) {
    const problem = nameProblem(name) ?? (/^[ *]/.test(name) ? 'begins with a space or *' : undefined);
    if (problem !== undefined) throw unwritable(name, problem);
    if (names.has(name)) throw unwritable(name, 'is listed twice');
    names.add(name);
  }
  return entries
    .toSorted((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
    .map(({ sha256, name }) => {
      const escaped = escapeName(name);
      return `${escaped === name ? '' : '\\'}${sha256} ${escaped}\n`;
    })
    .join('');
}

/**
 * Reads a sum file: one space as releases write it, two spaces or ` *` as sha256sum writes it, with its escapes. Digits may be
 * upper case. Strict otherwise: a line that readers might take in two ways, or skip, is an error, so that no file goes
 * unchecked.
 *
 * @throws CvmError format SUMS_LINE | SUMS_NAME | SUMS_TWICE | SUMS_EMPTY
 */
export function readSums(text: string): SumEntry[] {
  const lines = text.split('\n');
  // What follows the last line feed is no line; without that line feed the last line may have been cut off.
  if (lines.pop() !== '') throw badLine(lines.length + 1, 'the last line does not end');
  const seen = new Set<string>();
  const entries = lines.map((line, i) => {
    // A second space or a * is a mark, never part of the name.
    const [, mark, sha256 = '', written = ''] =
      /^(\\?)([0-9A-Fa-f]{64}) (?:[ *]|(?![ *]))(.+)$/s.exec(line) ?? [];
    if (mark === undefined) throw badLine(i + 1, 'not a digest, a space and a name');
    if (written.includes('\r') || written.includes('\0'))
      throw badLine(i + 1, 'a control character in the name');
    const name = mark === '' ? written : unescapeName(written);
    if (name === undefined || (mark === '' && name.includes('\\')))
      throw badLine(i + 1, 'a backslash that escapes nothing');
    const plain = name.startsWith('./') ? name.slice(2) : name;
    const problem = nameProblem(plain);
    if (problem !== undefined) {
      throw formatError('SUMS_NAME', `a name in the sum file ${problem}`, {
        facts: [
          ['line', i + 1],
          ['name', name.slice(0, 200)],
        ],
        mend: 'take the sum file from its release: no real one names such a file',
      });
    }
    if (seen.has(plain)) {
      throw formatError('SUMS_TWICE', 'the sum file lists a file twice', {
        facts: [
          ['line', i + 1],
          ['name', plain],
        ],
        mend: 'take the sum file from its release',
      });
    }
    seen.add(plain);
    return { sha256: sha256.toLowerCase(), name: plain };
  });
  if (entries.length === 0) {
    throw formatError('SUMS_EMPTY', 'the sum file lists no file', {
      mend: 'take the sum file from its release',
    });
  }
  return entries;
}

/** Why a name is not one of a file below the folder; undefined when it is. */
function nameProblem(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.includes('\0')) return 'holds a NUL byte';
  if (!name.isWellFormed()) return 'is no Unicode text';
  if (name.startsWith('/')) return 'is an absolute path';
  const parts = name.split('/');
  if (parts.includes('..')) return 'leads out of the folder';
  if (parts.includes('') || parts.includes('.')) return 'is no plain path';
  return undefined;
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r' };

function escapeName(name: string): string {
  return name.replace(/[\\\n\r]/g, (letter) => ESCAPES[letter] ?? letter);
}

function unescapeName(written: string): string | undefined {
  if (!/^(?:[^\\]|\\[\\nr])*$/s.test(written)) return undefined;
  return written.replace(/\\([\\nr])/g, (_, letter: string) =>
    letter === 'n' ? '\n' : letter === 'r' ? '\r' : letter,
  );
}

function unwritable(name: string, problem: string): CvmError {
  return usageError('SUMS_NAME', `a file has a name that a sum file cannot hold: it ${problem}`, {
    facts: [['name', name.slice(0, 200)]],
    mend: 'give the file another name',
  });
}

function badLine(line: number, problem: string): CvmError {
  return formatError('SUMS_LINE', `a line of the sum file is malformed: ${problem}`, {
    facts: [['line', line]],
    mend: 'take the sum file from its release; a line is 64 hex digits, one or two spaces, and a name',
  });
}
