import { expect } from 'vitest';
import { CvmError, type ErrorKind } from '../../tools/errors.ts';

/** Runs `action`, which must throw a {@link CvmError} of this code (and kind); answers the error. */
export function expectCvmError(action: () => unknown, code: string, kind?: ErrorKind): CvmError {
  let thrown: unknown;
  try {
    action();
  } catch (error) {
    thrown = error;
  }
  return checkCvmError(thrown, code, kind);
}

export async function expectCvmRejection(
  action: () => Promise<unknown>,
  code: string,
  kind?: ErrorKind,
): Promise<CvmError> {
  let thrown: unknown;
  try {
    await action();
  } catch (error) {
    thrown = error;
  }
  return checkCvmError(thrown, code, kind);
}

function checkCvmError(thrown: unknown, code: string, kind: ErrorKind | undefined): CvmError {
  expect(thrown, `expected ${code}`).toBeInstanceOf(CvmError);
  const error = thrown as CvmError;
  expect(error.code).toBe(code);
  if (kind !== undefined) expect(error.kind).toBe(kind);
  return error;
}
