import type { ByteSource } from '../bytes/source.ts';
import { rawFromUtf8, type RawText } from '../bytes/text.ts';
import { type CvmError, formatError, usageError } from '../errors.ts';
import { type EntryCommon, NO_XATTRS, parentPath, type TreeEntry } from './entry.ts';

/** Times are not in a listing; all are this. */
const EPOCH = { mtimeSec: 0, mtimeNsec: 0 } as const;
const MAX_ID = 0xffff_ffff;
const MAX_NAME_BYTES = 255;
/** Linux device numbers: 12 bits of major, 20 of minor. */
const MAX_MAJOR = 0xfff;
const MAX_MINOR = 0xfffff;

interface Line {
  readonly number: number;
  readonly text: string;
  readonly words: readonly string[];
}

/**
 * Reads a file tree from a listing in the words of Linux's gen_init_cpio: a line an entry, `#` comments, white space
 * between words, octal modes, decimal ids, absolute paths.
 *
 *     dir   <path> <mode> <uid> <gid>
 *     file  <path> <source> <mode> <uid> <gid> [<hard link>…]
 *     slink <path> <target> <mode> <uid> <gid>
 *     nod   <path> <mode> <uid> <gid> <b|c> <major> <minor>
 *     pipe  <path> <mode> <uid> <gid>
 *     sock  <path> <mode> <uid> <gid>
 *
 * A folder stands before what is in it; the root folder is 0755 root unless a line says otherwise.
 * Source: Linux, usr/gen_init_cpio.c, its usage text.
 *
 * @param contents the content of every source that the listing may name
 * @returns the entries, the root first, then in the listing's order
 * @throws CvmError format LISTING_LINE | LISTING_PATH | LISTING_DUPLICATE | LISTING_PARENT
 * @throws CvmError usage LISTING_SOURCE_UNKNOWN | LISTING_SOURCE_UNUSED
 */
export function treeFromListing(text: string, contents: ReadonlyMap<string, ByteSource>): TreeEntry[] {
  const entries = new Map<RawText, TreeEntry>();
  entries.set('', { type: 'dir', path: '', mode: 0o755, uid: 0, gid: 0, xattrs: NO_XATTRS, ...EPOCH });
  const unused = new Set(contents.keys());
  let rootSeen = false;
  for (const line of listingLines(text)) {
    for (const entry of readLine(line, contents, unused)) {
      const again = entry.path === '' && !rootSeen ? undefined : entries.get(entry.path);
      if (again !== undefined)
        throw lineError('LISTING_DUPLICATE', line, 'the path stands in the listing twice');
      if (entry.path === '') rootSeen = true;
      else if (entries.get(parentPath(entry.path))?.type !== 'dir') {
        throw lineError('LISTING_PARENT', line, 'the folder it lies in stands nowhere before it');
      }
      entries.set(entry.path, entry);
    }
  }
  if (unused.size > 0) {
    throw usageError('LISTING_SOURCE_UNUSED', 'a file was given that the listing does not name', {
      facts: [['source', [...unused].join(', ')]],
      mend: 'add a line `file <path> <source> <mode> <uid> <gid>`, or leave the file out',
    });
  }
  return [...entries.values()];
}

function* listingLines(text: string): Generator<Line> {
  for (const [index, whole] of text.split('\n').entries()) {
    const trimmed = whole.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    yield { number: index + 1, text: trimmed, words: trimmed.split(/[ \t]+/) };
  }
}

function readLine(line: Line, contents: ReadonlyMap<string, ByteSource>, unused: Set<string>): TreeEntry[] {
  const [kind, path = '', ...rest] = line.words;
  const common = (words: readonly (string | undefined)[]): EntryCommon => ({
    path: readPath(line, path),
    mode: readNumber(line, 'mode', words[0], 8, 0o7777),
    uid: readNumber(line, 'uid', words[1], 10, MAX_ID),
    gid: readNumber(line, 'gid', words[2], 10, MAX_ID),
    xattrs: NO_XATTRS,
    ...EPOCH,
  });
  switch (kind) {
    case 'dir':
      wordCount(line, rest.length === 3);
      return [{ type: 'dir', ...common(rest) }];
    case 'pipe':
    case 'sock':
      wordCount(line, rest.length === 3);
      return [{ type: kind === 'pipe' ? 'fifo' : 'socket', ...common(rest) }];
    case 'slink':
      wordCount(line, rest.length === 4);
      return [{ type: 'symlink', target: rawFromUtf8(rest[0] as string), ...common(rest.slice(1)) }];
    case 'nod': {
      wordCount(line, rest.length === 6 && (rest[3] === 'b' || rest[3] === 'c'));
      return [
        {
          type: rest[3] === 'b' ? 'block' : 'char',
          major: readNumber(line, 'major', rest[4], 10, MAX_MAJOR),
          minor: readNumber(line, 'minor', rest[5], 10, MAX_MINOR),
          ...common(rest),
        },
      ];
    }
    case 'file': {
      wordCount(line, rest.length >= 4);
      const source = rest[0] as string;
      const content = contents.get(source);
      if (content === undefined) {
        throw usageError('LISTING_SOURCE_UNKNOWN', 'the listing names a file that was not given', {
          facts: [
            ['line', line.number],
            ['source', source],
          ],
          mend: `give it: --file ${source}=<path>`,
        });
      }
      unused.delete(source);
      const fields = common(rest.slice(1));
      const links = rest.slice(4).map((link): TreeEntry => {
        return { ...fields, type: 'hardlink', path: readPath(line, link), linkPath: fields.path };
      });
      return [{ type: 'file', content, ...fields }, ...links];
    }
    default:
      throw lineError('LISTING_LINE', line, 'the first word must be dir, file, slink, nod, pipe or sock');
  }
}

function wordCount(line: Line, right: boolean): void {
  if (!right) throw lineError('LISTING_LINE', line, 'the line has too few or too many words for its kind');
}

function readPath(line: Line, path: string): RawText {
  if (path === '/') return '';
  const components = path.split('/').slice(1);
  const wrong = components.find(
    (name) => name === '' || name === '.' || name === '..' || rawFromUtf8(name).length > MAX_NAME_BYTES,
  );
  if (!path.startsWith('/') || wrong !== undefined || path.includes('\0')) {
    throw lineError('LISTING_PATH', line, 'a path must be absolute, without empty, `.` or `..` components');
  }
  return rawFromUtf8(path.slice(1));
}

function readNumber(line: Line, what: string, word: string | undefined, radix: 8 | 10, max: number): number {
  const digits = radix === 8 ? /^[0-7]{1,6}$/ : /^[0-9]{1,10}$/;
  const value = word !== undefined && digits.test(word) ? Number.parseInt(word, radix) : Number.NaN;
  if (Number.isNaN(value) || value > max) {
    throw lineError(
      'LISTING_LINE',
      line,
      `the ${what} must be ${radix === 8 ? 'octal' : 'decimal'}, at most ${max.toString(radix)}`,
    );
  }
  return value;
}

function lineError(code: string, line: Line, problem: string): CvmError {
  return formatError(code, problem, {
    facts: [
      ['line', line.number],
      ['text', line.text],
    ],
  });
}
