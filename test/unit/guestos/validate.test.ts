import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import type { LaunchMeasurement } from '../../../tools/guestos/measurements.ts';
import { validateGuestOs, verdictJson } from '../../../tools/guestos/validate.ts';
import type { ProposalFacts } from '../../../tools/proposal/facts.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import type { DevMeasurement } from '../../nns/proposal-reply.ts';
import { expectCvmError } from '../../support/errors.ts';

const HASH = 'ab'.repeat(32);
const cmdline = (slot: string, hash = HASH): string =>
  `root=/dev/x console=ttyS0 dfinity.system=${slot} dfinity.tee=1 root_hash=${hash}`;

function measurement(byte: number, slot = 'A', vcpuType = 'EPYC-v4', hash = HASH): LaunchMeasurement {
  return { measurement: new Uint8Array(48).fill(byte), kernelCmdline: cmdline(slot, hash), vcpuType };
}

function factsOf(measurements: readonly DevMeasurement[], bound = true): ProposalFacts {
  const { certificate, request } = signProposal({ ...GOOD_PROPOSAL, measurements });
  return verifyProposal({ certificate, ...(bound ? { request } : {}), trust: { network: 'dev' } });
}

function blessed({ measurement: digest, kernelCmdline, vcpuType }: LaunchMeasurement): DevMeasurement {
  return {
    measurement: digest,
    ...(kernelCmdline === null ? {} : { kernelCmdline }),
    ...(vcpuType === null ? {} : { vcpuType }),
  };
}

const [CHIP, OTHER_CHIP] = GOOD_PROPOSAL.chipIds as [Uint8Array, Uint8Array];

describe('an image that fits', () => {
  const facts = factsOf([blessed(measurement(1)), blessed(measurement(9))]);
  const good = {
    facts,
    measurements: [measurement(1), measurement(2, 'B')],
    rootHash: GOOD_PROPOSAL.rootfsHash,
    chipIds: [OTHER_CHIP, CHIP],
  };

  test('gets a verdict with every check made', () => {
    const verdict = validateGuestOs(good);
    expect(verdict).toMatchObject({ ok: true, network: 'dev', proposalId: '139001', requestBound: true });
    expect(verdict.checks.map(({ name, status }) => `${name} ${status}`)).toEqual([
      'proposal ok',
      'measurements ok',
      'root-hash ok',
      'chip-id ok',
    ]);
    expect(verdict.matched).toEqual([
      { measurement: '01'.repeat(48), slot: 'A', vcpuType: 'EPYC-v4', kernelCmdline: cmdline('A') },
    ]);
    expect(verdict.checks[1]?.detail).toBe('1 of 2 measurements are among the 2 blessed: EPYC-v4 slot A');
  });

  test('one overlap is enough, and more on either side is fine', () => {
    expect(validateGuestOs({ facts, measurements: [measurement(3), measurement(9)] }).matched).toHaveLength(
      1,
    );
  });

  test('metadata is not compared: the digest decides', () => {
    const renamed = { measurement: new Uint8Array(48).fill(1), kernelCmdline: null, vcpuType: null };
    expect(validateGuestOs({ facts, measurements: [renamed] }).matched).toHaveLength(1);
  });

  test.each(['measurements', 'rootHash', 'chipIds'] as const)(
    'without %s that check is skipped, and said so',
    (part) => {
      const verdict = validateGuestOs({ ...good, [part]: undefined });
      expect(verdict.checks.filter(({ status }) => status === 'skipped')).toHaveLength(1);
    },
  );

  test('without anything the proposal alone is judged', () => {
    const verdict = validateGuestOs({ facts });
    expect(verdict.checks.map(({ status }) => status)).toEqual(['ok', 'skipped', 'skipped', 'skipped']);
    expect(verdict.rootHash).toBeNull();
  });

  test('a certificate without its request is told apart', () => {
    const verdict = validateGuestOs({ facts: factsOf([blessed(measurement(1))], false) });
    expect(verdict.requestBound).toBe(false);
    expect(verdict.checks[0]?.detail).toContain('not proven');
  });

  test('the verdict is one line of JSON', () => {
    const text = verdictJson(validateGuestOs(good));
    expect(text.indexOf('\n')).toBe(text.length - 1);
    expect(JSON.parse(text)).toEqual(validateGuestOs(good));
  });
});

describe('refusals', () => {
  const own = [measurement(1, 'A'), measurement(2, 'B')];

  test('any flipped bit of the one blessed measurement', () => {
    const facts = factsOf([blessed(measurement(1))]);
    for (let bit = 0; bit < 8 * 48; bit++) {
      const flipped = new Uint8Array(48).fill(1);
      flipped[bit >> 3] = 1 ^ (1 << (bit & 7));
      const measurements = [{ ...measurement(1), measurement: flipped }];
      expectCvmError(() => validateGuestOs({ facts, measurements }), 'MEASUREMENT_NOT_BLESSED', 'mismatch');
    }
  });

  test('no measurements at all overlap with nothing', () => {
    const facts = factsOf([blessed(measurement(1))]);
    expectCvmError(() => validateGuestOs({ facts, measurements: [] }), 'MEASUREMENT_NOT_BLESSED', 'mismatch');
  });

  test.each<[string, DevMeasurement[], string]>([
    [
      'another release',
      [blessed(measurement(8, 'A', 'EPYC-v4', 'cd'.repeat(32)))],
      `the proposal blesses another release: blessed entry 1 (EPYC-v4, slot A) has root_hash=${'cd'.repeat(32)}`,
    ],
    [
      'another CPU type',
      [blessed(measurement(8, 'B', 'EPYC-Genoa'))],
      'blessed entry 1 (EPYC-Genoa, slot B), if this were: CPU type EPYC-Genoa, not EPYC-v4',
    ],
    [
      'another word of the command line',
      [blessed({ ...measurement(8), kernelCmdline: cmdline('A').replace('ttyS0', 'ttyS1') })],
      'command line with "console=ttyS1", not "console=ttyS0"',
    ],
    [
      'the nearer of two entries',
      [blessed(measurement(8, 'A', 'EPYC-Turin')), blessed({ ...measurement(9), vcpuType: null })],
      'blessed entry 2 (unknown CPU, slot A) has the same command line and CPU type: firmware, kernel, initrd',
    ],
    [
      'the same words in another order',
      [blessed({ ...measurement(8), kernelCmdline: cmdline('A').split(' ').reverse().join(' ') })],
      'same words in another order',
    ],
    [
      'a longer command line',
      [blessed({ ...measurement(8), kernelCmdline: `${cmdline('A')} a b c d e f` })],
      '"a" "b" "c" "d" and 2 more, not nothing',
    ],
    [
      'a proposal without metadata',
      [{ measurement: new Uint8Array(48).fill(8) }],
      'the proposal records no command lines',
    ],
  ])('%s is named as the nearest miss', (_, entries, nearest) => {
    const error = expectCvmError(
      () => validateGuestOs({ facts: factsOf(entries), measurements: own }),
      'MEASUREMENT_NOT_BLESSED',
      'mismatch',
    );
    expect(error.nearest).toContain(nearest);
    expect(error.mend).toBeDefined();
    expect(error.facts).toContainEqual(['EPYC-v4', '01'.repeat(48)]);
  });

  test('another root hash', () => {
    const facts = factsOf([blessed(measurement(1))]);
    const error = expectCvmError(
      () => validateGuestOs({ facts, measurements: own, rootHash: HASH }),
      'ROOT_HASH_MISMATCH',
      'mismatch',
    );
    expect(error.facts).toContainEqual(['proposal rootfs_hash', GOOD_PROPOSAL.rootfsHash]);
    expect(error.facts).toContainEqual(['verity root hash', HASH]);
  });

  test('the measurements are judged although the root hash fits', () => {
    const facts = factsOf([blessed(measurement(7))]);
    expectCvmError(
      () => validateGuestOs({ facts, measurements: own, rootHash: GOOD_PROPOSAL.rootfsHash }),
      'MEASUREMENT_NOT_BLESSED',
    );
  });

  test('a rootfs_hash in upper case is the same hash', () => {
    const { certificate } = signProposal({
      ...GOOD_PROPOSAL,
      rootfsHash: GOOD_PROPOSAL.rootfsHash.toUpperCase(),
    });
    const facts = verifyProposal({ certificate, trust: { network: 'dev' } });
    expect(validateGuestOs({ facts, rootHash: GOOD_PROPOSAL.rootfsHash }).ok).toBe(true);
  });

  test('a chip that is not listed', () => {
    const facts = factsOf([blessed(measurement(1))]);
    const error = expectCvmError(
      () => validateGuestOs({ facts, chipIds: [new Uint8Array(64).fill(0x99)] }),
      'CHIP_NOT_LISTED',
      'mismatch',
    );
    expect(error.nearest).toBeUndefined();
  });

  test('one unlisted chip of two', () => {
    const facts = factsOf([blessed(measurement(1))]);
    expectCvmError(() => validateGuestOs({ facts, chipIds: [CHIP, new Uint8Array(64)] }), 'CHIP_NOT_LISTED');
  });

  test('a chip id with a slip of the hand shows the one that is meant', () => {
    const facts = factsOf([blessed(measurement(1))]);
    const slipped = CHIP.slice();
    slipped[10] = 0x2f;
    const error = expectCvmError(() => validateGuestOs({ facts, chipIds: [slipped] }), 'CHIP_NOT_LISTED');
    expect(error.nearest).toContain(bytesToHex(CHIP));
    expect(error.nearest).toContain('1 digits');
  });

  test('a chip id that is a prefix of a listed one', () => {
    const facts = factsOf([blessed(measurement(1))]);
    expectCvmError(() => validateGuestOs({ facts, chipIds: [CHIP.slice(0, 63)] }), 'CHIP_NOT_LISTED');
  });
});
