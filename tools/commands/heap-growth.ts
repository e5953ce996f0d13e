import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 collect garbage before it takes more memory: of the objects of a tree with a hundred thousand files it would let half
 * a gigabyte pile up. For commands that hold a tree; the others end before it matters.
 */
export function growHeapSlowly(): void {
  setFlagsFromString('--optimize-for-size');
}
