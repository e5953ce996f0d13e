import { rawFromUtf8, utf8Bytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { inTreeOrder } from '../tree/order.ts';

/** What the 16-bit length of a name can say. */
export const NAME_BYTES_MAX = 0xffff;

/** Folders above a file; Linux takes no path of more than 4096 bytes. */
const DEPTH_MAX = 1024;

/**
 * A name as an entry can hold it: not empty, no NUL, at most 65535 bytes of UTF-8.
 * @throws CvmError format PACKIT_NAME
 */
export function requireArchiveName(name: string): Uint8Array {
  const bytes = utf8Bytes(name);
  if (name !== '' && !name.includes('\0') && name.isWellFormed() && bytes.length <= NAME_BYTES_MAX)
    return bytes;
  throw formatError('PACKIT_NAME', 'a packit archive cannot hold a file of this name', {
    facts: [
      ['name', name.slice(0, 200)],
      ['length', `${bytes.length} bytes`],
    ],
    mend: `a name is 1 to ${NAME_BYTES_MAX} bytes of UTF-8 without NUL`,
  });
}

/**
 * Where a name leads below the root of an archive: relative, `/` between parts. As in upstream's reader a leading `/` is
 * that root and `..` may go up as far as it, never above.
 */
export function placeOfName(name: string): { readonly path: string } | 'climbs' | 'no file' {
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) return 'climbs';
  }
  const isFile = parts.length > 0 && parts.length <= DEPTH_MAX && !/(^|\/)\.{0,2}$/.test(name);
  return isFile ? { path: parts.join('/') } : 'no file';
}

/**
 * Where an entry goes below the folder that it is unpacked into.
 *
 * @param at byte offset of the entry, for the error
 * @throws CvmError format PACKIT_NAME_CLIMBS | PACKIT_NAME
 */
export function unpackPath(name: string, at: number): string {
  requireArchiveName(name);
  const place = placeOfName(name);
  if (place === 'climbs') {
    throw formatError(
      'PACKIT_NAME_CLIMBS',
      'an archive names a file outside the folder it is unpacked into',
      {
        facts: [
          ['at', at],
          ['name', name.slice(0, 200)],
        ],
        mend: 'do not trust this archive; packit pack makes none like it',
      },
    );
  }
  if (place !== 'no file') return place.path;
  throw formatError('PACKIT_NAME', 'an archive holds a name that no file can have', {
    facts: [
      ['at', at],
      ['name', name.slice(0, 200)],
    ],
    mend: 'use cvm packit list to see what it holds; make it anew with names of files',
  });
}

/**
 * Files in the order in which `packit pack` walks a folder: the entries of each folder by name, bytewise, and below each
 * folder at once. Not the order of whole names: `a/b` comes before `a.b`, as `a` comes before `a.b`.
 */
export function inPackOrder<T extends { readonly name: string }>(files: readonly T[]): T[] {
  return inTreeOrder(files.map((file) => ({ path: rawFromUtf8(file.name), file }))).map(({ file }) => file);
}
