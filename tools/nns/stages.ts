import { CvmError } from '../errors.ts';

/** One step of a decision: what was asked, what came out, and on what grounds. */
export interface Stage {
  readonly name: string;
  /** null: the step was not taken, because what it needs was neither given nor demanded. It proves nothing. */
  readonly ok: boolean | null;
  readonly detail: string;
}

/**
 * The chain of reasoning behind a decision, in order. It ends at the first step that failed; that step's error is
 * thrown on, so nobody can go on by mistake.
 */
export class StageLog {
  readonly #stages: Stage[] = [];

  get stages(): readonly Stage[] {
    return this.#stages;
  }

  /** Runs one step. `detail` says in a few words what a good result showed; outside text in it is not yet escaped. */
  run<T>(name: string, step: () => T, detail: (result: T) => string): T {
    try {
      const result = step();
      this.#stages.push({ name, ok: true, detail: detail(result) });
      return result;
    } catch (error) {
      const detailOfFailure = error instanceof CvmError ? `${error.code}: ${error.message}` : String(error);
      this.#stages.push({ name, ok: false, detail: detailOfFailure });
      throw error;
    }
  }

  /** Notes a step that was not taken, and what stays unproven without it. */
  leaveOut(name: string, detail: string): void {
    this.#stages.push({ name, ok: null, detail });
  }
}
