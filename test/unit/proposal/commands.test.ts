import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { command } from '../../../tools/commands/proposal-verify.ts';
import { writeLaunchMeasurements } from '../../../tools/guestos/measurements.ts';
import { rootKeyOf } from '../../../tools/nns/networks.ts';
import { command as signCommand } from '../../nns/commands/sign-proposal.ts';
import { DEV_TIME_NS, signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';
import type { Outcome } from '../../support/run-command.ts';

const good = signProposal(GOOD_PROPOSAL);
const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));
let folder: string;

beforeAll(() => {
  folder = scratchFolder();
  writeFileSync(join(folder, 'p.cbor'), good.certificate);
  writeFileSync(join(folder, 'p.request.cbor'), good.request);
});

const verify = (options: Record<string, string | boolean> = {}): Promise<Outcome> =>
  runCommand(command, folder, ['p.cbor'], { network: 'dev', ...options });

describe('cvm proposal verify', () => {
  test('tells every stage and every fact', async () => {
    const { code, out } = await verify({ request: 'p.request.cbor' });
    expect(code).toBe(0);
    const stages = out.split('\n').filter((line) => line.startsWith('ok '));
    expect(stages).toHaveLength(12);
    for (const text of [
      '139001 on dev, executed',
      '2a'.repeat(64),
      '1d'.repeat(32),
      '42'.repeat(48),
      'EPYC-Genoa',
    ]) {
      expect(out).toContain(text);
    }
  });

  test('says when the request was not at hand', async () => {
    const { out } = await verify();
    expect(out).toContain('not bound');
    expect(out).toMatch(/^not proven {2}question {4}no request given/m);
    expect(out).not.toMatch(/^ok .*not? .*given/m);
  });

  test('prints one JSON object, and writes the same', async () => {
    const { out } = await verify({ request: 'p.request.cbor', json: true, output: 'facts.json' });
    expect(readFileSync(join(folder, 'facts.json'), 'utf8')).toBe(out);
    expect(Object.keys(JSON.parse(out) as object)).toEqual([
      'proposalId',
      'network',
      'status',
      'certifiedTime',
      'requestId',
      'requestBound',
      'title',
      'chipIds',
      'rootfsHash',
      'measurements',
    ]);
  });

  test('is silent when it writes a file and was not asked to print', async () => {
    expect(await verify({ output: 'quiet.json' })).toEqual({ code: 0, out: '', err: '' });
  });

  test('accepts everything that a lock says, when it is so', async () => {
    const { code } = await verify({
      request: 'p.request.cbor',
      requireRequest: true,
      proposalId: '139001',
      certifiedTimeNs: `${DEV_TIME_NS}`,
      sha256: sha256(good.certificate),
      requestSha256: sha256(good.request),
    });
    expect(code).toBe(0);
  });

  test('asks mainnet when no network is named', async () => {
    await expectCvmRejection(() => runCommand(command, folder, ['p.cbor'], {}), 'CERT_SIGNATURE', 'trust');
  });

  test('looks with a key, as hex or from a file, and calls the result custom', async () => {
    const rootKey = rootKeyOf({ network: 'dev' });
    writeFileSync(join(folder, 'key.der'), rootKey);
    for (const key of [bytesToHex(rootKey), 'key.der']) {
      const { out } = await runCommand(command, folder, ['p.cbor'], { rootKey: key, json: true });
      expect(JSON.parse(out)).toMatchObject({ network: 'custom' });
    }
  });

  test.each<[string, Record<string, string | boolean>, string, string]>([
    ['another proposal than expected', { proposalId: '139002' }, 'PROPOSAL_ID', 'mismatch'],
    ['another time than expected', { certifiedTimeNs: '1' }, 'PROPOSAL_TIME', 'mismatch'],
    ['another certificate file', { sha256: '0'.repeat(64) }, 'PROPOSAL_SHA256', 'mismatch'],
    [
      'another request file',
      { request: 'p.request.cbor', requestSha256: '0'.repeat(64) },
      'PROPOSAL_SHA256',
      'mismatch',
    ],
    [
      'a sha256 of a request that is not given',
      { requestSha256: '0'.repeat(64) },
      'OPTION_CONFLICT',
      'usage',
    ],
    ['a sha256 that is none', { sha256: 'abc' }, 'HEX_INVALID', 'format'],
    ['no request where it is demanded', { requireRequest: true }, 'REQUEST_MISSING', 'trust'],
    ['the certificate for a request', { request: 'p.cbor' }, 'REQUEST_SHAPE', 'format'],
    ['an unknown network', { network: 'test' }, 'NETWORK_UNKNOWN', 'usage'],
    ['a network and a key', { rootKey: 'key.der' }, 'OPTION_CONFLICT', 'usage'],
    ['a missing request file', { request: 'missing.cbor' }, 'FILE_NOT_FOUND', 'usage'],
  ])('refuses %s', async (_, options, code, kind) => {
    await expectCvmRejection(() => verify(options), code, kind as 'usage');
  });

  test('refuses a call without a file', async () => {
    await expectCvmRejection(() => runCommand(command, folder, [], {}), 'ARGUMENT_MISSING', 'usage');
  });

  test('writes no file when it refuses', async () => {
    await expectCvmRejection(() => verify({ requireRequest: true, output: 'never.json' }), 'REQUEST_MISSING');
    expect(() => readFileSync(join(folder, 'never.json'))).toThrow('ENOENT');
  });

  test('escapes outside text for people, and keeps it whole in JSON', async () => {
    const title = 'a\u001b[2J\u202eb\u0000<script>';
    const kernelCmdline = `x\u001b]0;owned\u0007${'y'.repeat(50_000)}`;
    const hostile = signProposal({
      ...GOOD_PROPOSAL,
      title,
      measurements: [{ measurement: new Uint8Array(48), kernelCmdline, vcpuType: '\u2066' }],
    });
    writeFileSync(join(folder, 'hostile.cbor'), hostile.certificate);
    const people = await runCommand(command, folder, ['hostile.cbor'], { network: 'dev' });
    expect(people.out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202a-\u202e\u2066-\u2069]/);
    expect(people.out).toContain('y'.repeat(50_000));
    const json = await runCommand(command, folder, ['hostile.cbor'], { network: 'dev', json: true });
    expect(JSON.parse(json.out)).toMatchObject({ title, measurements: [{ kernelCmdline }] });
  });
});

describe('cvm-dev nns sign-proposal', () => {
  const options = {
    proposalId: '139001',
    rootHashFile: 'root-hash',
    measurements: 'm.json',
    chipId: ['2a'.repeat(64)],
    output: 'signed.cbor',
    requestOutput: 'signed.request.cbor',
  };

  beforeAll(() => {
    writeFileSync(join(folder, 'root-hash'), `${'ab'.repeat(32)}\n`);
    const entries = [{ measurement: new Uint8Array(48).fill(7), kernelCmdline: 'x=1', vcpuType: 'EPYC-v4' }];
    writeFileSync(join(folder, 'm.json'), writeLaunchMeasurements(entries));
  });

  test('makes a pair that verifies, the same bytes every time', async () => {
    await runCommand(signCommand, folder, [], options);
    const first = readFileSync(join(folder, 'signed.cbor'));
    await runCommand(signCommand, folder, [], options);
    expect(readFileSync(join(folder, 'signed.cbor'))).toEqual(first);
    const { out } = await runCommand(command, folder, ['signed.cbor'], {
      network: 'dev',
      request: 'signed.request.cbor',
      requireRequest: true,
      json: true,
    });
    expect(JSON.parse(out)).toMatchObject({
      proposalId: '139001',
      rootfsHash: 'ab'.repeat(32),
      chipIds: ['2a'.repeat(64)],
      measurements: [{ measurement: '07'.repeat(48), kernelCmdline: 'x=1', vcpuType: 'EPYC-v4' }],
    });
  });

  test('refuses a proposal that governance would refuse', async () => {
    await expectCvmRejection(
      () => runCommand(signCommand, folder, [], { ...options, chipId: [] }),
      'PROPOSAL_CHIP_IDS',
    );
  });
});
