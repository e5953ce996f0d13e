/**
 * The one error type of the house. Everything a command refuses is a {@link CvmError}; anything else that
 * escapes is our own bug and exits with 1.
 *
 * | kind     | exit code | meaning                                                                     |
 * | -------- | --------- | --------------------------------------------------------------------------- |
 * | bug      | 1         | our mistake: a state that the code itself should have made impossible       |
 * | usage    | 2         | the call is wrong: unknown flag, missing file, a value out of its range     |
 * | format   | 3         | the bytes are malformed                                                     |
 * | trust    | 4         | the bytes are well formed and must not be believed                          |
 * | mismatch | 5         | two values that have to agree do not                                        |
 * | network  | 6         | the network failed us (only commands that download or publish)              |
 */
export type ErrorKind = 'bug' | 'usage' | 'format' | 'trust' | 'mismatch' | 'network';

export const EXIT_CODES: Readonly<Record<ErrorKind, number>> = {
  bug: 1,
  usage: 2,
  format: 3,
  trust: 4,
  mismatch: 5,
  network: 6,
};

/** One line of facts: a short name and what was seen. Values are escaped when shown, not here. */
export type Fact = readonly [name: string, value: string | number | bigint];

export interface ErrorDetails {
  /** What was seen, in the order a reader wants it. */
  readonly facts?: readonly Fact[];
  /** The nearest miss: what would have matched, and by which change. */
  readonly nearest?: string;
  /** What to do about it: an imperative sentence or a command. */
  readonly mend?: string;
  readonly cause?: unknown;
}

export class CvmError extends Error {
  readonly kind: ErrorKind;
  /** UPPER_SNAKE, stable: tests and scripts match on it. */
  readonly code: string;
  readonly facts: readonly Fact[];
  readonly nearest: string | undefined;
  readonly mend: string | undefined;

  constructor(kind: ErrorKind, code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'CvmError';
    this.kind = kind;
    this.code = code;
    this.facts = details.facts ?? [];
    this.nearest = details.nearest;
    this.mend = details.mend;
  }

  get exitCode(): number {
    return EXIT_CODES[this.kind];
  }
}

/** The call is wrong. */
export function usageError(code: string, message: string, details?: ErrorDetails): CvmError {
  return new CvmError('usage', code, message, details);
}

/** The bytes are malformed. Give `at` (byte offset or structure name) among the facts. */
export function formatError(code: string, message: string, details?: ErrorDetails): CvmError {
  return new CvmError('format', code, message, details);
}

/** The bytes are well formed and must not be believed. */
export function trustError(code: string, message: string, details?: ErrorDetails): CvmError {
  return new CvmError('trust', code, message, details);
}

/** Two values that have to agree do not. */
export function mismatchError(code: string, message: string, details?: ErrorDetails): CvmError {
  return new CvmError('mismatch', code, message, details);
}

/** The network failed us. */
export function networkError(code: string, message: string, details?: ErrorDetails): CvmError {
  return new CvmError('network', code, message, details);
}

/** A state that the code itself should have made impossible. */
export function bug(message: string, details?: ErrorDetails): CvmError {
  return new CvmError('bug', 'INTERNAL', message, details);
}
