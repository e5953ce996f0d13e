import type { RawText } from '../bytes/text.ts';

/**
 * Depth first, names in byte order: `a`, `a/c`, `a-b`. Plain text order would put `a-b` between a folder and its content.
 */
export function comparePaths(a: RawText, b: RawText): number {
  const [first, second] = [a.replaceAll('/', '\0'), b.replaceAll('/', '\0')];
  return first < second ? -1 : first > second ? 1 : 0;
}
