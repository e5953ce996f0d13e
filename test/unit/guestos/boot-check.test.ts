import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { command } from '../../../tools/commands/guestos-check-boot.ts';
import { openExt4 } from '../../../tools/ext4/reader.ts';
import { checkBoot, type BootCheckInput } from '../../../tools/guestos/boot-check.ts';
import { readAll } from '../../../tools/bytes/source.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { STATUS } from '../../nns/proposal-reply.ts';
import { expectCvmError } from '../../support/errors.ts';
import {
  bootArgsText,
  bootPartition,
  measureSource,
  recovery,
  rootPartition,
} from '../../support/guestos-images.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const GOOD = recovery();
const [CHIP] = GOOD_PROPOSAL.chipIds as [Uint8Array];
const LAUNCH = measureSource(GOOD.boot)[0]!;
const BASE_HASH = rootPartition(1).rootHash;

function input(over: Partial<BootCheckInput> = {}): BootCheckInput {
  return {
    boot: openExt4(GOOD.boot),
    rootHash: GOOD.rootHash,
    network: 'dev',
    attested: { chipId: CHIP, measurement: LAUNCH.measurement, policy: 0x30000n },
    plan: { vcpus: [64], vcpuTypes: ['EPYC-v4'] },
    ...over,
  };
}

describe('a node boots', () => {
  test('by its command line, and then no proposal is looked at', () => {
    const check = checkBoot(input({ rootHash: BASE_HASH, network: 'mainnet' }));
    expect(check).toMatchObject({ boots: 'normal', complete: true, code: null });
    expect(check.steps.map(({ name }) => name)).toEqual(['command-line']);
  });

  test('by the proposal, in the order of the boot code', () => {
    const check = checkBoot(input());
    expect(check).toMatchObject({ boots: 'recovery', complete: true, code: null });
    expect(check.steps.map(({ name, status }) => `${name} ${status}`)).toEqual([
      'command-line ok',
      'proposal ok',
      'certificate ok',
      'chip-id ok',
      'measurement ok',
      'launch ok',
      'policy ok',
      'root-hash ok',
    ]);
  });

  test('if what is not given fits: then it says so', () => {
    const attested = { chipId: undefined, measurement: undefined, policy: undefined };
    expect(checkBoot(input({ attested }))).toMatchObject({ boots: 'recovery', complete: false });
  });

  test('a blessed measurement that this partition does not launch with is said to be of another base', () => {
    const { certificate } = signProposal({
      ...GOOD.proposal,
      measurements: [...GOOD.proposal.measurements, { measurement: new Uint8Array(48).fill(9) }],
    });
    const boot = openExt4(bootPartition({ bootArgs: bootArgsText(BASE_HASH), proposal: certificate }));
    const attested = { chipId: CHIP, measurement: new Uint8Array(48).fill(9), policy: 0n };
    const check = checkBoot(input({ boot, attested }));
    expect(check).toMatchObject({ boots: 'recovery', complete: false });
    expect(check.steps.find(({ name }) => name === 'launch')?.detail).toContain('another base');
  });
});

describe('a node stops', () => {
  const withProposal = (over: object): BootCheckInput['boot'] =>
    openExt4(
      bootPartition({
        bootArgs: bootArgsText(BASE_HASH),
        proposal: signProposal({ ...GOOD.proposal, ...over }).certificate,
      }),
    );
  test.each<[string, Partial<BootCheckInput>, string, string]>([
    [
      'without a proposal',
      { boot: openExt4(bootPartition({ bootArgs: bootArgsText(BASE_HASH) })) },
      'proposal',
      'PROPOSAL_ABSENT',
    ],
    ['at a certificate of another network', { network: 'mainnet' }, 'certificate', 'CERT_SIGNATURE'],
    [
      'at a proposal that was not executed',
      { boot: withProposal({ status: STATUS.open }) },
      'certificate',
      'PROPOSAL_NOT_EXECUTED',
    ],
    [
      'at bytes that are no certificate',
      {
        boot: openExt4(
          bootPartition({ bootArgs: bootArgsText(BASE_HASH), proposal: new Uint8Array(100).fill(0xff) }),
        ),
      },
      'certificate',
      'CBOR_',
    ],
    [
      'on a chip that is not listed',
      { attested: { chipId: new Uint8Array(64), measurement: LAUNCH.measurement, policy: 0n } },
      'chip-id',
      'CHIP_NOT_LISTED',
    ],
    [
      'with a measurement that is not blessed',
      { attested: { chipId: CHIP, measurement: new Uint8Array(48), policy: 0n } },
      'measurement',
      'MEASUREMENT_NOT_BLESSED',
    ],
    [
      'when no launch of this partition is blessed',
      {
        attested: { chipId: CHIP, measurement: undefined, policy: undefined },
        plan: { vcpus: [3], vcpuTypes: ['EPYC-v4'] },
      },
      'launch',
      'MEASUREMENT_NOT_BLESSED',
    ],
    [
      'when the host may debug the guest',
      { attested: { chipId: CHIP, measurement: LAUNCH.measurement, policy: 0xb0000n } },
      'policy',
      'GUEST_POLICY',
    ],
    [
      'when the proposal names another root partition',
      { rootHash: 'ee'.repeat(32) },
      'root-hash',
      'ROOT_HASH_MISMATCH',
    ],
  ])('%s', (_, over, last, code) => {
    const check = checkBoot(input(over));
    expect(check.boots).toBe('no');
    expect(check.code).toContain(code);
    expect(check.steps.at(-1)).toMatchObject({ name: last, status: 'failed' });
  });

  test('a boot partition that cannot be read is an error, not an answer', () => {
    const boot = openExt4(bootPartition({ bootArgs: '' }));
    expectCvmError(() => checkBoot(input({ boot })), 'BOOT_ARGS_TEE_MISSING', 'format');
  });
});

describe('the command', () => {
  const folder = mkdtempSync(join(scratchFolder(), 'boot-'));
  const image = join(folder, 'boot.img');
  writeFileSync(image, readAll(GOOD.boot, 1 << 24, 'boot'));
  const report = new Uint8Array(1184);
  report[0] = 2;
  report.set([0, 0, 3], 8);
  report.set(LAUNCH.measurement, 0x90);
  report.set(CHIP, 0x1a0);
  writeFileSync(join(folder, 'report.bin'), report);
  writeFileSync(join(folder, 'short.bin'), report.subarray(0, 1183));
  writeFileSync(join(folder, 'old.bin'), Uint8Array.from([9, ...report.subarray(1)]));
  const base = { rootHash: GOOD.rootHash, network: 'dev', vcpuTypes: 'EPYC-v4' };

  test('takes a report', async () => {
    const { code, out } = await runCommand(command, folder, ['boot.img'], { ...base, report: 'report.bin' });
    expect(code).toBe(0);
    expect(out.trimEnd().split('\n').at(-1)).toBe('boots, by the proposal');
  });

  test('ends with 5 when the node would stop, and says where as JSON', async () => {
    const { code, out } = await runCommand(command, folder, ['boot.img'], {
      ...base,
      chipId: '00'.repeat(64),
      json: true,
    });
    expect(code).toBe(5);
    expect(JSON.parse(out)).toMatchObject({ boots: 'no', code: 'CHIP_NOT_LISTED' });
  });

  test.each([
    ['no root hash', { rootHash: undefined }, 'OPTION_MISSING'],
    ['report and chip', { report: 'report.bin', chipId: '00'.repeat(64) }, 'OPTION_CONFLICT'],
    ['a chip id of the wrong length', { chipId: '00' }, 'HEX_LENGTH'],
    ['a measurement that is no hex', { measurement: 'zz'.repeat(48) }, 'HEX_INVALID'],
    ['a short report', { report: 'short.bin' }, 'REPORT_LENGTH'],
    ['a report of an unknown version', { report: 'old.bin' }, 'REPORT_VERSION'],
    ['no such report', { report: 'none.bin' }, 'FILE_NOT_FOUND'],
  ])('%s is refused', async (_, over, code) => {
    await expect(runCommand(command, folder, ['boot.img'], { ...base, ...over })).rejects.toMatchObject({
      code,
    });
  });
});
