import { mismatchError } from '../errors.ts';
import { parseLock } from '../lock/lock.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { BaseReport, Certification, LockCheck, LockReport } from './model.ts';

/** What a lock is compared with. */
export interface LockedFacts {
  readonly network: NetworkName;
  readonly base: BaseReport | null;
  readonly certification: Certification | null;
}

/**
 * Compares every value of a lock with what was computed.
 * @throws CvmError format LOCK_INVALID
 */
export function checkLock(name: string, text: string, facts: LockedFacts): LockReport {
  const lock = parseLock(text);
  const { base, certification } = facts;
  const checks: LockCheck[] = [{ name: 'network', pinned: lock.network, found: facts.network }];
  if ('target' in lock.base) {
    checks.push({ name: 'base', pinned: lock.base.target, found: null });
  } else {
    checks.push(
      {
        name: 'base.commit',
        pinned: lock.base.commit,
        found: base === null ? null : (base.version ?? 'none'),
      },
      { name: 'base.sha256', pinned: lock.base.sha256, found: base?.file.sha256 ?? null },
      {
        name: 'base.size',
        pinned: `${lock.base.size}`,
        found: base === null ? null : `${base.file.sizeBytes}`,
      },
    );
  }
  if (lock.proposal !== null && 'target' in lock.proposal) {
    checks.push({ name: 'proposal', pinned: lock.proposal.target, found: null });
  } else if (lock.proposal !== null) {
    const proven = certification?.facts ?? null;
    checks.push(
      {
        name: 'proposal.id',
        pinned: lock.proposal.id,
        found: proven === null ? null : `${proven.proposalId}`,
      },
      {
        name: 'proposal.sha256',
        pinned: lock.proposal.sha256,
        found: certification?.certificate.sha256 ?? null,
      },
      {
        name: 'proposal.requestSha256',
        pinned: lock.proposal.requestSha256,
        found: certification?.request?.sha256 ?? null,
      },
      {
        name: 'proposal.certifiedTimeNs',
        pinned: lock.proposal.certifiedTimeNs,
        found: proven === null ? null : `${proven.certifiedTimeNs}`,
      },
    );
  }
  return { name, text, checks };
}

/** Whether a lock pins the base's sha256, and it is that. */
export function basePin(lock: LockReport | null): 'same' | 'differs' | 'none' {
  const check = lock?.checks.find(({ name }) => name === 'base.sha256');
  if (check === undefined || check.found === null) return 'none';
  return check.found === check.pinned ? 'same' : 'differs';
}

/** @throws CvmError mismatch LOCK_DIFFERS */
export function requireLock({ name, checks }: LockReport): void {
  const wrong = checks.filter(({ pinned, found }) => found !== null && found !== pinned);
  if (wrong.length === 0) return;
  throw mismatchError('LOCK_DIFFERS', 'the files are not those that the lock pins', {
    facts: [
      ['lock', name],
      ...wrong.flatMap(
        ({ name: field, pinned, found }) =>
          [
            [`${field}, pinned`, pinned],
            [`${field}, found`, found ?? ''],
          ] as const,
      ),
    ],
    mend: 'give the base release, certificate and request that the lock pins, or the lock that belongs to them',
  });
}
