import type { RawText } from '../bytes/text.ts';

/**
 * Entries depth first, names in byte order: `a`, `a/c`, `a-b`. Plain text order would put `a-b` between a folder and
 * what is in it. The root comes first; a folder before its content.
 */
export function inTreeOrder<T extends { readonly path: RawText }>(entries: readonly T[]): T[] {
  // No path holds a NUL, so as separator it sorts before every byte of a name.
  const keyed = entries.map((entry) => ({ key: entry.path.replaceAll('/', '\0'), entry }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  return keyed.map(({ entry }) => entry);
}
