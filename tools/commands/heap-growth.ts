import { setFlagsFromString } from 'node:v8';

/** Below this nothing piles up, and collecting more often would only take time. */
const MANY_ENTRIES = 20_000;

/**
 * Of a tree with many entries, has V8 collect garbage before it takes more memory: of the objects of a hundred thousand files
 * it would let half a gigabyte pile up.
 */
export function growHeapSlowlyFor(entries: number): void {
  if (entries >= MANY_ENTRIES) setFlagsFromString('--optimize-for-size');
}

/** The entries, while {@link growHeapSlowlyFor} is told how many have come. */
export function* growingHeapSlowly<T>(entries: Iterable<T>): Generator<T> {
  let count = 0;
  for (const entry of entries) {
    if (++count === MANY_ENTRIES) growHeapSlowlyFor(count);
    yield entry;
  }
}
