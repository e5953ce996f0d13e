import { CvmError, type ErrorKind, usageError } from '../errors.ts';
import type { Command } from './command.ts';

/** The kinds a lock error can be of, by its code; whatever else a lock is, it is malformed. */
const KINDS: Readonly<Record<string, ErrorKind>> = {
  LOCK_MISSING: 'usage',
  PROPOSAL_NOT_PINNED: 'usage',
  PROPOSAL_FILE_MISSING: 'usage',
};

/**
 * Ends with the error that reading a lock gave. Locks are read while Bazel loads, where an error would stop
 * everything; the targets that need the missing thing run this instead.
 */
export const command: Command = {
  summary: 'fail with the error of a lock that cannot be used',
  options: [
    { flags: '--code <code>', description: 'the code of the error', required: true },
    { flags: '--message <text>', description: 'what is wrong', required: true },
    { flags: '--mend <text>', description: 'what to do about it', required: true },
  ],
  run(_args, { code, message, mend }) {
    if (typeof code !== 'string' || !/^[A-Z0-9_]+$/.test(code)) {
      throw usageError('USAGE', '--code must be UPPER_SNAKE', { facts: [['code', String(code)]] });
    }
    const kind = KINDS[code] ?? 'format';
    throw new CvmError(kind, code, String(message), { mend: String(mend) });
  },
};
