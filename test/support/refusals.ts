import { expect } from 'vitest';
import type { CvmError, ErrorKind } from '../../tools/errors.ts';
import { expectCvmError, expectCvmRejection } from './errors.ts';

/** A refusal of this code that tells everything a reader needs: what was seen, and what to do. */
export function expectRefusal(action: () => unknown, code: string, kind?: ErrorKind): CvmError {
  return checkTold(expectCvmError(action, code, kind));
}

export async function expectRefusalOf(
  action: () => Promise<unknown>,
  code: string,
  kind?: ErrorKind,
): Promise<CvmError> {
  return checkTold(await expectCvmRejection(action, code, kind));
}

function checkTold(error: CvmError): CvmError {
  expect(error.facts.length, `${error.code} has facts`).toBeGreaterThan(0);
  expect(error.mend ?? '', `${error.code} has a mend`).not.toBe('');
  return error;
}
