/** How inputs are changed, and what may come of it: a value, or a refusal of the house. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { concatBytes } from '../../tools/bytes/compare.ts';
import { CvmError } from '../../tools/errors.ts';

/** Inputs in all of one file's tests. */
export const RUNS = Number(process.env['CVM_FUZZ_RUNS'] ?? '5000');
export const SEED = Number(process.env['CVM_FUZZ_SEED'] ?? '4');

/** A change of bytes: what goes wrong on the way, and what somebody would try. */
export type Change = (bytes: Uint8Array) => Uint8Array;

const at = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const place = (bytes: Uint8Array, share: number): number => Math.floor(share * bytes.length);
const spliced = (bytes: Uint8Array, from: number, to: number, middle: Uint8Array): Uint8Array =>
  concatBytes(bytes.subarray(0, from), middle, bytes.subarray(to));

/** @param extremes hex of what the format takes for large numbers, heads and ends */
export function changesWith(extremes: readonly string[]): fc.Arbitrary<Change[]> {
  const change: fc.Arbitrary<Change> = fc.oneof(
    fc.tuple(at, fc.nat(7)).map(([where, bit]): Change => (bytes) => {
      const copy = new Uint8Array(bytes);
      if (copy.length > 0) copy[place(copy, where)] = (copy[place(copy, where)] as number) ^ (1 << bit);
      return copy;
    }),
    fc
      .tuple(at, fc.constantFrom(...extremes), fc.boolean())
      .map(([where, hex, inserts]): Change => (bytes) => {
        const middle = new Uint8Array(Buffer.from(hex, 'hex'));
        const from = place(bytes, where);
        return spliced(bytes, from, inserts ? from : Math.min(bytes.length, from + middle.length), middle);
      }),
    at.map(
      (where): Change =>
        (bytes) =>
          bytes.subarray(0, place(bytes, where)),
    ),
    fc.tuple(at, fc.nat(40)).map(([where, count]): Change => (bytes) => {
      const from = place(bytes, where);
      return spliced(bytes, from, Math.min(bytes.length, from + count), new Uint8Array());
    }),
    fc.tuple(at, at, fc.nat(200)).map(([where, to, count]): Change => (bytes) => {
      const from = place(bytes, where);
      const target = place(bytes, to);
      return spliced(bytes, target, target, bytes.slice(from, from + count));
    }),
    fc.tuple(at, fc.uint8Array({ maxLength: 12 })).map(([where, middle]): Change => (bytes) => {
      const from = place(bytes, where);
      return spliced(bytes, from, from, middle);
    }),
  );
  return fc.array(change, { minLength: 1, maxLength: 4 });
}

export const mutate = (seed: Uint8Array, list: readonly Change[]): Uint8Array =>
  list.reduce((bytes, step) => step(bytes), seed);

/**
 * Runs a reader; what it throws has to be a refusal of the house, told in full.
 * @param kinds what may be refused: the input, not the call
 */
export function accepts(read: () => void, kinds: readonly string[] = ['format', 'trust']): boolean {
  try {
    read();
    return true;
  } catch (error) {
    if (!(error instanceof CvmError)) throw error;
    expect(kinds, error.stack).toContain(error.kind);
    expect(error.facts.length, error.code).toBeGreaterThan(0);
    expect(error.mend ?? '', error.code).not.toBe('');
    return false;
  }
}
