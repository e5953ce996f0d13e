import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import type { TdxMeasurement } from './image.ts';
import type { TdxQuote } from './quote.ts';
import type { PredictedEvent } from './register.ts';

/** The registers that an image and a VM determine, in the order in which verifiers compare them. */
export const COMPARED_REGISTERS = ['mrtd', 'rtmr0', 'rtmr1', 'rtmr2'] as const;
export type ComparedRegister = (typeof COMPARED_REGISTERS)[number];

export interface RegisterResult {
  readonly register: ComparedRegister;
  readonly status: 'match' | 'mismatch' | 'unpredictable';
  /** Computed. */
  readonly expected: Uint8Array | undefined;
  /** Of the quote. */
  readonly actual: Uint8Array;
}

export function compareRegisters(measured: TdxMeasurement, quote: TdxQuote): RegisterResult[] {
  return COMPARED_REGISTERS.map((register) => {
    const expected = measured[register];
    const actual = quote[register];
    const status =
      expected === undefined ? 'unpredictable' : equalBytes(expected, actual) ? 'match' : 'mismatch';
    return { register, status, expected, actual };
  });
}

/** As dstack's verifier words it. */
export function mismatchText({ register, expected, actual }: RegisterResult): string {
  const computed = expected === undefined ? 'unknown' : bytesToHex(expected);
  return `${register.toUpperCase()} mismatch: expected=${computed}, actual=${bytesToHex(actual)}`;
}

export interface EventDifference {
  readonly index: number;
  /** The predicted event's, or of an extra one what the log calls it. */
  readonly name: string;
  readonly status: 'match' | 'mismatch' | 'extra' | 'missing' | 'unpredictable';
  readonly expected: Uint8Array | undefined;
  readonly actual: Uint8Array | undefined;
  /** What was predicted to go in. */
  readonly input: string | undefined;
}

/** Event by event; what the prediction leaves open is no difference. */
export function compareEvents(
  predicted: readonly PredictedEvent[],
  logged: readonly { readonly digest: Uint8Array; readonly name: string; readonly type: number }[],
): EventDifference[] {
  return Array.from({ length: Math.max(predicted.length, logged.length) }, (_, index) => {
    const expected = predicted[index];
    const actual = logged[index];
    const status =
      expected === undefined
        ? 'extra'
        : actual === undefined
          ? 'missing'
          : expected.digest === undefined
            ? 'unpredictable'
            : equalBytes(expected.digest, actual.digest)
              ? 'match'
              : 'mismatch';
    const logName =
      actual === undefined || actual.name === '' ? `type 0x${(actual?.type ?? 0).toString(16)}` : actual.name;
    return {
      index,
      name: expected?.name ?? logName,
      status,
      expected: expected?.digest,
      actual: actual?.digest,
      input: expected?.input,
    };
  });
}
