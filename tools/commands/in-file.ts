import { CvmError } from '../errors.ts';

/** Runs `action`; errors of ours that it throws get the file's name among their facts. */
export function inFile<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
    if (error.facts.some(([name]) => name === 'file' || name === 'path')) throw error;
    throw new CvmError(error.kind, error.code, error.message, {
      facts: [['file', path], ...error.facts],
      ...(error.nearest === undefined ? {} : { nearest: error.nearest }),
      ...(error.mend === undefined ? {} : { mend: error.mend }),
      cause: error.cause,
    });
  }
}
