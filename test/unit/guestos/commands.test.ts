import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { command as bootArgs } from '../../../tools/commands/guestos-boot-args.ts';
import { command as notForProduction } from '../../../tools/commands/guestos-not-for-production.ts';
import { command as payload } from '../../../tools/commands/guestos-payload.ts';
import { command as validate } from '../../../tools/commands/guestos-validate.ts';
import { writeLaunchMeasurements } from '../../../tools/guestos/measurements.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { optionNames, runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const HASH = GOOD_PROPOSAL.rootfsHash;
const [CHIP, OTHER_CHIP] = GOOD_PROPOSAL.chipIds.map((chip) => bytesToHex(chip)) as [string, string];
const TEMPLATE = 'BOOT_ARGS_TEE_A="a root_hash=ROOT_HASH"\nBOOT_ARGS_TEE_B="b root_hash=ROOT_HASH"\n';

let folder = '';
const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
const write = (name: string, bytes: Uint8Array | string): void => writeFileSync(join(folder, name), bytes);

beforeAll(() => {
  folder = scratchFolder();
  const { certificate, request } = signProposal(GOOD_PROPOSAL);
  write('p.cbor', certificate);
  write('p.request.cbor', request);
  write('other.request.cbor', signProposal({ ...GOOD_PROPOSAL, proposalId: 5n }).request);
  const entry = (byte: number) => ({
    measurement: new Uint8Array(48).fill(byte),
    kernelCmdline: 'root=/dev/vda',
    vcpuType: 'EPYC-Genoa',
  });
  write('good.json', writeLaunchMeasurements([entry(0x41), entry(0x42)]));
  write('bad.json', writeLaunchMeasurements([entry(0x41)]));
  write('hash', `${HASH}\n`);
  write('upper', HASH.toUpperCase());
  write('short', HASH.slice(1));
  write('template', TEMPLATE);
});

async function judge(options: OptionValues): Promise<Outcome> {
  return await runCommand(validate, folder, [], { proposal: 'p.cbor', network: 'dev', ...options });
}

describe('guestos validate', () => {
  test('shows each check, done or skipped', async () => {
    const { code, out } = await judge({ measurements: 'good.json', rootHash: 'hash' });
    expect(code).toBe(0);
    expect(out.split('\n').map((line) => line.split(/ +/).slice(0, 2).join(' '))).toEqual([
      'ok proposal',
      'ok measurements',
      'ok root-hash',
      'skipped chip-id',
      '',
    ]);
  });

  test('prints and writes the same verdict', async () => {
    const options = {
      request: 'p.request.cbor',
      measurements: 'good.json',
      rootHash: HASH,
      chipId: [CHIP, OTHER_CHIP],
    };
    const { out } = await judge({ ...options, json: true, output: 'verdict.json' });
    expect(read('verdict.json')).toBe(out);
    expect(JSON.parse(out)).toMatchObject({ ok: true, network: 'dev', requestBound: true, rootHash: HASH });
  });

  test('writes in silence', async () => {
    expect((await judge({ output: 'silent.json' })).out).toBe('');
  });

  test.each(['hash', 'upper'])('takes a root hash from file %s', async (rootHash) => {
    expect((await judge({ rootHash })).code).toBe(0);
  });

  test.each<[string, OptionValues, string, string]>([
    ['a dev certificate on mainnet, the default', { network: undefined }, 'CERT_SIGNATURE', 'trust'],
    ['an unknown network', { network: 'test' }, 'NETWORK_UNKNOWN', 'usage'],
    ['the custom network, which only inspection knows', { network: 'custom' }, 'NETWORK_UNKNOWN', 'usage'],
    ['the request of another proposal', { request: 'other.request.cbor' }, 'REQUEST_ID', 'trust'],
    ['no overlap', { measurements: 'bad.json' }, 'MEASUREMENT_NOT_BLESSED', 'mismatch'],
    ['another root hash', { rootHash: '00'.repeat(32) }, 'ROOT_HASH_MISMATCH', 'mismatch'],
    ['a file with 63 digits', { rootHash: 'short' }, 'ROOT_HASH_TEXT', 'format'],
    ['63 digits', { rootHash: HASH.slice(1) }, 'FILE_NOT_FOUND', 'usage'],
    ['a chip that is not listed', { chipId: [CHIP, '00'.repeat(64)] }, 'CHIP_NOT_LISTED', 'mismatch'],
    ['a chip id of 63 bytes', { chipId: ['00'.repeat(63)] }, 'HEX_LENGTH', 'format'],
    ['a missing certificate', { proposal: 'missing' }, 'FILE_NOT_FOUND', 'usage'],
    ['measurements that are none', { measurements: 'hash' }, 'MEASUREMENTS_JSON', 'format'],
  ])('refuses %s, and writes nothing', async (_, options, code, kind) => {
    await expectCvmRejection(() => judge({ ...options, output: 'refused.json' }), code, kind as 'trust');
    expect(existsSync(join(folder, 'refused.json'))).toBe(false);
  });
});

describe('guestos boot-args', () => {
  test('fills the template', async () => {
    await runCommand(bootArgs, folder, [], {
      template: 'template',
      rootHashFile: 'hash',
      output: 'boot_args',
    });
    expect(read('boot_args')).toBe(TEMPLATE.replaceAll('ROOT_HASH', HASH));
  });

  test.each<[string, string, string]>([
    ['template', 'short', 'ROOT_HASH_TEXT'],
    ['hash', 'hash', 'BOOT_ARGS_TEMPLATE'],
  ])('refuses template %s with hash file %s', async (template, rootHashFile, code) => {
    const options = { template, rootHashFile, output: 'refused' };
    await expectCvmRejection(() => runCommand(bootArgs, folder, [], options), code, 'format');
    expect(existsSync(join(folder, 'refused'))).toBe(false);
  });
});

describe('guestos payload', () => {
  const options = { rootHashFile: 'hash', measurements: 'good.json' };

  test('prints what a proposer submits', async () => {
    const { out } = await runCommand(payload, folder, [], { ...options, chipId: [CHIP] });
    expect(JSON.parse(out)).toMatchObject({ chip_ids: [[...Buffer.from(CHIP, 'hex')]], rootfs_hash: HASH });
  });

  test('writes it, and a summary', async () => {
    const { out } = await runCommand(payload, folder, [], {
      ...options,
      output: 'p.json',
      summaryOutput: 'p.txt',
    });
    expect(out).toBe('');
    expect(JSON.parse(read('p.json'))).not.toHaveProperty('chip_ids');
    expect(read('p.txt')).toContain(HASH);
  });

  test('refuses a chip id that is no hex', async () => {
    await expectCvmRejection(
      () => runCommand(payload, folder, [], { ...options, chipId: ['x'] }),
      'HEX_INVALID',
    );
  });
});

test('guestos not-for-production writes the notice', async () => {
  await runCommand(notForProduction, folder, [], { output: 'notice.txt' });
  expect(read('notice.txt')).toMatch(/^NOT FOR PRODUCTION\n/);
  expect(read('notice.txt')).toContain('ends in "-dev"');
});

test('no command of these takes a root key', () => {
  for (const command of [bootArgs, notForProduction, payload, validate]) {
    expect(optionNames(command).join(' ')).not.toMatch(/key/i);
  }
});
