import { CvmError } from '../errors.ts';

/** Runs a step on a file; formats know no paths, so an error of theirs learns here which file it is about. */
export async function aboutFile<T>(path: string, step: () => Promise<T> | T): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof CvmError) || (error.kind !== 'format' && error.kind !== 'mismatch')) throw error;
    if (error.facts.some(([what]) => what === 'file')) throw error;
    throw new CvmError(error.kind, error.code, error.message, {
      facts: [['file', path], ...error.facts],
      ...(error.nearest === undefined ? {} : { nearest: error.nearest }),
      ...(error.mend === undefined ? {} : { mend: error.mend }),
      cause: error.cause,
    });
  }
}
