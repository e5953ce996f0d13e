import { CvmError, EXIT_CODES } from '../errors.ts';
import type { Stage } from '../nns/stages.ts';

/** A step with the error that it failed with. */
export interface Verdict extends Stage {
  readonly error?: CvmError;
}

/** Why a step could not be taken after all. */
export interface Unproven {
  readonly unproven: string;
}

/**
 * Steps that are all taken, one failed or not: a reviewer wants to know everything that is wrong. A step that needs what a failed
 * one should have given is not taken, and says so.
 */
export class VerdictLog {
  readonly #verdicts: Verdict[] = [];

  get verdicts(): readonly Verdict[] {
    return this.#verdicts;
  }

  /**
   * Takes a step. `detail` says what a good result showed, or that it showed nothing; outside text in it is not yet escaped.
   * @returns undefined when it failed; an error that is none of the house is thrown on
   */
  take<T>(name: string, step: () => T, detail: (result: T) => string | Unproven): T | undefined {
    try {
      const result = step();
      const shown = detail(result);
      if (typeof shown === 'string') this.#verdicts.push({ name, ok: true, detail: shown });
      else this.leaveOut(name, shown.unproven);
      return result;
    } catch (error) {
      if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
      this.#verdicts.push({ name, ok: false, detail: `${error.code}: ${error.message}`, error });
      return undefined;
    }
  }

  /** Notes a step that was not taken, and what stays unproven without it. */
  leaveOut(name: string, detail: string): void {
    this.#verdicts.push({ name, ok: null, detail });
  }

  get failures(): readonly CvmError[] {
    return this.#verdicts.flatMap(({ error }) => (error === undefined ? [] : [error]));
  }
}

/**
 * One exit code for all verdicts: 0 when no step failed; else 4 when anything is not to be believed, 5 when values do not agree, 3
 * when bytes are malformed, or cannot mean what they should.
 */
export function exitCodeOf(verdicts: readonly Verdict[]): number {
  const kinds = new Set(verdicts.flatMap(({ error }) => (error === undefined ? [] : [error.kind])));
  if (kinds.size === 0) return 0;
  if (kinds.has('trust')) return EXIT_CODES.trust;
  return kinds.has('mismatch') ? EXIT_CODES.mismatch : EXIT_CODES.format;
}
