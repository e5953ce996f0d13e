import { describe, expect, test } from 'vitest';
import { mismatchError } from '../../../tools/errors.ts';
import { passGate, revisionOfStatus, type GateInput } from '../../../tools/release/gate.ts';
import { PRODUCTION } from '../../../tools/release/layout.ts';
import { REHEARSAL } from '../../nns/rehearsal.ts';
import { expectRefusal } from '../../support/refusals.ts';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const GOOD: GateInput = { network: 'mainnet', revision: COMMIT, hasRequest: true, invalid: null };
const INVALID = mismatchError('ROOT_HASH_MISMATCH', 'the root partition is not the one', {
  facts: [['verity root hash', 'ab']],
  mend: 'build it anew',
});

test('what has nothing against it passes, and says of which commit it is', () => {
  expect(passGate(PRODUCTION, GOOD)).toBe(COMMIT);
  expect(passGate(PRODUCTION, { ...GOOD, revision: 'ab'.repeat(32) })).toBe('ab'.repeat(32));
});

describe('refused', () => {
  test.each<readonly [string, Partial<GateInput>, string, string]>([
    ['the dev network', { network: 'dev' }, 'GATE_DEV_NETWORK', '--base=<commit> --proposal=<id>'],
    ['an unknown revision', { revision: 'unknown' }, 'GATE_REVISION_UNKNOWN', '--workspace_status_command'],
    ['no revision at all', { revision: undefined }, 'GATE_REVISION_UNKNOWN', '--workspace_status_command'],
    ['an empty revision', { revision: '' }, 'GATE_REVISION_UNKNOWN', '--workspace_status_command'],
    ['a branch for a revision', { revision: 'main' }, 'GATE_REVISION_UNKNOWN', '--workspace_status_command'],
    [
      'a short commit',
      { revision: COMMIT.slice(0, 12) },
      'GATE_REVISION_UNKNOWN',
      '--workspace_status_command',
    ],
    [
      'a commit in capitals',
      { revision: COMMIT.toUpperCase() },
      'GATE_REVISION_UNKNOWN',
      '--workspace_status_command',
    ],
    [
      'two commits',
      { revision: `${COMMIT} ${COMMIT}` },
      'GATE_REVISION_UNKNOWN',
      '--workspace_status_command',
    ],
    ['a line below it', { revision: `${COMMIT}\n` }, 'GATE_REVISION_UNKNOWN', '--workspace_status_command'],
    ['a dirty revision', { revision: `${COMMIT}-dirty` }, 'GATE_REVISION_DIRTY', 'git status'],
    ['an unbound request', { hasRequest: false }, 'GATE_REQUEST_UNBOUND', '--proposal=<id>'],
    ['an image that was not validated', { invalid: INVALID }, 'GATE_IMAGE_UNVALIDATED', 'build it anew'],
  ])('%s, and the mend is named', (_, over, code, mend) => {
    const error = expectRefusal(() => passGate(PRODUCTION, { ...GOOD, ...over }), code, 'trust');
    expect(error.mend).toContain(mend);
  });

  test('an invalid image with the reason and the facts of it', () => {
    const error = expectRefusal(
      () => passGate(PRODUCTION, { ...GOOD, invalid: INVALID }),
      'GATE_IMAGE_UNVALIDATED',
    );
    expect(error.facts).toContainEqual(['reason', 'ROOT_HASH_MISMATCH: the root partition is not the one']);
    expect(error.facts).toContainEqual(['verity root hash', 'ab']);
    expect(error.cause).toBe(INVALID);
  });

  test('all reasons at once, each with its mend', () => {
    const error = expectRefusal(
      () =>
        passGate(PRODUCTION, {
          network: 'dev',
          revision: `${COMMIT}-dirty`,
          hasRequest: false,
          invalid: INVALID,
        }),
      'GATE_DEV_NETWORK',
    );
    const also = error.facts
      .filter(([name]) => name === 'also')
      .map(([, value]) => String(value).split(':')[0]);
    expect(also).toEqual(['GATE_REVISION_DIRTY', 'GATE_REQUEST_UNBOUND', 'GATE_IMAGE_UNVALIDATED']);
    expect(error.facts.filter(([name]) => name === 'mend of that')).toHaveLength(3);
  });

  test('mainnet by the tool that rehearses', () => {
    expect(passGate(REHEARSAL, { ...GOOD, network: 'dev' })).toBe(COMMIT);
    expectRefusal(() => passGate(REHEARSAL, GOOD), 'GATE_NETWORK', 'trust');
  });
});

test.each([
  [`BUILD_HOST x\nSTABLE_GIT_REVISION ${COMMIT}\nBUILD_USER y\n`, COMMIT],
  [`STABLE_GIT_REVISION ${COMMIT}-dirty\r\n`, `${COMMIT}-dirty`],
  ['STABLE_GIT_REVISION \n', ''],
  [`MY_STABLE_GIT_REVISION ${COMMIT}\n`, undefined],
  [`STABLE_GIT_REVISION_2 ${COMMIT}\n`, undefined],
  ['', undefined],
])('the status %j says %j', (text, revision) => {
  expect(revisionOfStatus(text)).toBe(revision);
});
