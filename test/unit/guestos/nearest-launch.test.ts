import { describe, expect, test } from 'vitest';
import { openExt4 } from '../../../tools/ext4/reader.ts';
import { measureBootPartition, type MeasurePlan } from '../../../tools/guestos/boot-partition.ts';
import { nearestLaunch, nearestLaunchFinding } from '../../../tools/guestos/nearest-launch.ts';
import { NotBlessedError, refusalOf, validateGuestOs } from '../../../tools/guestos/validate.ts';
import type { BlessedMeasurement } from '../../../tools/proposal/facts.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import { prepareSnpLaunch } from '../../../tools/snp/launch-digest.ts';
import { vcpuTypeSignature } from '../../../tools/snp/vcpu-types.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { expectCvmError } from '../../support/errors.ts';
import { firmwareS, INITRD, KERNEL } from '../../support/firmware.ts';
import { bootArgsText, bootPartition } from '../../support/guestos-images.ts';

const HASH = 'ab'.repeat(32);
const OTHER = 'cd'.repeat(32);
const boot = openExt4(bootPartition({ bootArgs: bootArgsText(HASH) }));
const PLAN: MeasurePlan = { vcpus: [64], vcpuTypes: ['EPYC-v4'] };

/** What the same files give under other circumstances. */
function blessed(
  over: { vcpus?: number; vcpuType?: string; cmdline?: string; features?: bigint; record?: boolean } = {},
): BlessedMeasurement {
  const { vcpus = 64, vcpuType = 'EPYC-v4', features = 1n, record = true } = over;
  const cmdline = over.cmdline ?? `root=/dev/x dfinity.system=A dfinity.tee=1 root_hash=${HASH}`;
  const launch = prepareSnpLaunch({
    firmware: firmwareS(),
    kernel: KERNEL.subarray(0, 5000),
    initrd: INITRD.subarray(0, 5000),
  });
  const measurement = launch.predict({
    append: cmdline,
    vcpus,
    vcpuSig: vcpuTypeSignature(vcpuType),
    guestFeatures: features,
    vmmType: 'QEMU',
  });
  return { measurement, kernelCmdline: record ? cmdline : null, vcpuType: record ? vcpuType : null };
}

const strange: BlessedMeasurement = {
  measurement: new Uint8Array(48).fill(7),
  kernelCmdline: `root=/dev/x root_hash=${HASH}`,
  vcpuType: 'EPYC-v4',
};

describe('why nothing is blessed', () => {
  test.each([
    ['the vCPU count', blessed({ vcpus: 16 }), ['16 vCPUs, not 64']],
    ['one vCPU', blessed({ vcpus: 1 }), ['1 vCPUs, not 64']],
    [
      'the CPU type',
      blessed({ vcpuType: 'EPYC-Turin' }),
      [expect.stringContaining('EPYC-Turin (signature 0xb00f00), not EPYC-v4')],
    ],
    [
      'the CPU type, though the proposal does not record it',
      blessed({ vcpuType: 'EPYC-Milan', record: false }),
      [expect.stringContaining('EPYC-Milan')],
    ],
    [
      'the command line',
      blessed({ cmdline: `quiet dfinity.system=A root_hash=${HASH}` }),
      ['the command line that the proposal records (slot A)'],
    ],
    [
      'the command line of before SEV',
      blessed({ cmdline: `root=/dev/x dfinity.system=B root_hash=${HASH}`, record: false }),
      [expect.stringContaining('slot B')],
    ],
    ['guest features', blessed({ features: 0x21n }), ['guest features 0x21, not 0x1']],
    [
      'vCPU count and CPU type at once',
      blessed({ vcpus: 8, vcpuType: 'EPYC-Genoa' }),
      ['8 vCPUs, not 64', expect.stringContaining('EPYC-Genoa')],
    ],
  ] as [string, BlessedMeasurement, string[]][])('%s', (_, entry, differences) => {
    const found = nearestLaunch(boot, PLAN, [strange, entry]);
    expect(found.matches).toHaveLength(1);
    expect(found.matches[0]?.measurement).toBe(Buffer.from(entry.measurement).toString('hex'));
    expect(found.matches[0]?.differences).toEqual(differences);
    expect(nearestLaunchFinding(found)?.finding).toContain('is blessed, and this base gives it with');
  });

  test('another release, seen by its root hash, even where its digest cannot be met', () => {
    const other = { ...strange, kernelCmdline: `root=/dev/x root_hash=${OTHER}` };
    const found = nearestLaunch(boot, PLAN, [other]);
    expect(found.matches).toEqual([]);
    const finding = nearestLaunchFinding(found)?.finding ?? '';
    expect(finding).toContain('the proposal blesses another release');
    expect(finding).toContain(OTHER);
    expect(finding).toContain(HASH);
    expect(finding).not.toContain('would give');
  });

  test('another release with the same kernel, initrd and firmware', () => {
    const entry = blessed({ cmdline: `root=/dev/x dfinity.system=A dfinity.tee=1 root_hash=${OTHER}` });
    const finding = nearestLaunchFinding(nearestLaunch(boot, PLAN, [entry]))?.finding ?? '';
    expect(finding).toContain('another release');
    expect(finding).toContain('would give what is blessed');
  });

  test('nothing fits: nothing is claimed, and how much was tried is said', () => {
    const found = nearestLaunch(boot, PLAN, [strange]);
    expect(found.matches).toEqual([]);
    expect(found.tried).toBeGreaterThan(1000);
    expect(nearestLaunchFinding(found)).toBeUndefined();
  });

  test('65 vCPUs are beyond what is tried', () => {
    expect(nearestLaunch(boot, PLAN, [blessed({ vcpus: 65 })]).matches).toEqual([]);
  });
});

describe('the refusal', () => {
  const factsOf = (entry: BlessedMeasurement) => {
    const { certificate, request } = signProposal({
      ...GOOD_PROPOSAL,
      measurements: [{ measurement: entry.measurement, kernelCmdline: entry.kernelCmdline ?? '' }],
    });
    return verifyProposal({ certificate, request, trust: { network: 'dev' } });
  };
  const measurements = measureBootPartition(boot, PLAN);

  test('stays a refusal, however near the miss', () => {
    const error = expectCvmError(
      () =>
        validateGuestOs({
          facts: factsOf(blessed({ vcpus: 16 })),
          measurements,
          launch: { boot, plan: PLAN },
        }),
      'MEASUREMENT_NOT_BLESSED',
      'mismatch',
    );
    expect(error.nearest).toContain('16 vCPUs, not 64');
    expect(error).toBeInstanceOf(NotBlessedError);
    const record = refusalOf(error, 'dev');
    expect(record.ok).toBe(false);
    expect(record.error.code).toBe('MEASUREMENT_NOT_BLESSED');
    expect(record.nearestLaunch?.matches[0]?.vcpus).toBe(16);
  });

  test('is made without a boot partition too, by what the proposal records', () => {
    const error = expectCvmError(
      () => validateGuestOs({ facts: factsOf(blessed({ vcpus: 16 })), measurements }),
      'MEASUREMENT_NOT_BLESSED',
      'mismatch',
    );
    expect(refusalOf(error, 'dev').nearestLaunch).toBeNull();
    expect(error.nearest).not.toContain('16 vCPUs');
  });
});
