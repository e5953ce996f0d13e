import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Command, OptionValues } from '../../../tools/commands/command.ts';
import { command as verifyCertificateCommand } from '../../../tools/commands/certificate-verify.ts';
import { command as validateCommand } from '../../../tools/commands/guestos-validate.ts';
import { command as downloadCommand } from '../../../tools/commands/proposal-download.ts';
import { command as showCommand } from '../../../tools/commands/proposal-show.ts';
import { command as verifyCommand } from '../../../tools/commands/proposal-verify.ts';
import { asCvmError, errorJson, showError } from '../../../tools/show-error.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import type { DevProposal } from '../../nns/proposal-reply.ts';
import { STATUS } from '../../nns/proposal-reply.ts';
import { startReplica } from '../../nns/server.ts';
import type { Replica } from '../../nns/server.ts';
import { leaf, subtree } from '../../nns/signer.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';
import { ID, certify, statuses } from './dev-proposals.ts';

/** Everything that a terminal obeys, hides or turns around, and what a browser would run. */
const EVIL = [
  '\u001b[2J\u001b]0;owned\u0007',
  '\u009b31m',
  '\u0000\r\u0008\u007f',
  '\u202e\u2066\u200b\ufeff\u2028\u00ad',
  '\u{e0041}',
  '<script>alert(1)</script>',
].join('');
const MEGABYTES = 'm'.repeat(1_200_000);
const RAW =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/u;

const HOSTILE: DevProposal = {
  ...GOOD_PROPOSAL,
  title: `title ${EVIL}`,
  summary: `summary ${EVIL}\n${MEGABYTES}`,
  url: `https://example.com/${EVIL}`,
  chipIds: [new Uint8Array(64).fill(0x1b), new Uint8Array(64).fill(0x0a)],
  measurements: [
    {
      measurement: new Uint8Array(48).fill(0x07),
      kernelCmdline: `cmdline ${EVIL}${'c'.repeat(90_000)}`,
      vcpuType: `vcpu ${EVIL.slice(0, 20)}`,
    },
  ],
};

let folder: string;
let replica: Replica;

beforeAll(async () => {
  folder = scratchFolder();
  replica = await startReplica({ proposals: [HOSTILE] });
  const hostile = signProposal(HOSTILE);
  writeFileSync(join(folder, 'h.cbor'), hostile.certificate);
  writeFileSync(join(folder, 'h.request.cbor'), hostile.request);
  writeFileSync(
    join(folder, 'rejected.cbor'),
    certify(statuses(subtree([ID, subtree(['status', leaf('rejected')], ['reject_message', leaf(EVIL)])]))),
  );
  writeFileSync(join(folder, 'open.cbor'), signProposal({ ...HOSTILE, status: STATUS.open }).certificate);
  writeFileSync(
    join(folder, 'breaks-rules.cbor'),
    signProposal({ ...HOSTILE, rootfsHash: EVIL }).certificate,
  );
});

afterAll(async () => {
  await replica.close();
});

/** All that a person could see, with the error as the front shows it. */
async function everythingShown(
  command: Command,
  args: readonly string[],
  options: OptionValues,
): Promise<{ out: string; all: string }> {
  try {
    const { out, err } = await runCommand(command, folder, args, options);
    return { out, all: out + err };
  } catch (thrown) {
    const error = asCvmError(thrown);
    expect(error.kind).not.toBe('bug');
    return { out: '', all: showError(error) + errorJson(error) };
  }
}

const dev = { network: 'dev' };
const request = { request: 'h.request.cbor' };
const governance = { canisterId: 'rrkah-fqaaa-aaaaa-aaaaq-cai', rootKey: 'dev' };

describe('nothing of a hostile proposal reaches a terminal raw', () => {
  test.each<[string, Command, readonly string[], OptionValues]>([
    ['proposal verify', verifyCommand, ['h.cbor'], { ...dev, ...request }],
    ['proposal verify --json', verifyCommand, ['h.cbor'], { ...dev, ...request, json: true }],
    ['proposal verify of a rejection', verifyCommand, ['rejected.cbor'], dev],
    ['proposal verify of an open one', verifyCommand, ['open.cbor'], dev],
    ['proposal verify of one that breaks rules', verifyCommand, ['breaks-rules.cbor'], dev],
    ['proposal show', showCommand, ['h.cbor'], { ...dev, ...request }],
    ['proposal show --json', showCommand, ['h.cbor'], { ...dev, ...request, json: true }],
    ['proposal show of an open one', showCommand, ['open.cbor'], dev],
    ['proposal show of one that breaks rules', showCommand, ['breaks-rules.cbor'], dev],
    ['certificate verify', verifyCertificateCommand, ['h.cbor'], governance],
    ['certificate verify --json', verifyCertificateCommand, ['h.cbor'], { ...governance, json: true }],
    ['certificate verify of a rejection', verifyCertificateCommand, ['rejected.cbor'], governance],
    ['guestos validate', validateCommand, [], { ...dev, ...request, proposal: 'h.cbor' }],
    ['guestos validate --json', validateCommand, [], { ...dev, proposal: 'h.cbor', json: true }],
    ['guestos validate of a rejection', validateCommand, [], { ...dev, proposal: 'rejected.cbor' }],
  ])('%s', async (_, command, args, options) => {
    const { all } = await everythingShown(command, args, options);
    expect(all.length).toBeGreaterThan(0);
    expect(RAW.exec(all)?.[0].codePointAt(0)?.toString(16)).toBeUndefined();
  });

  test('proposal download', async () => {
    const { out, all } = await everythingShown(downloadCommand, [], {
      ...{ proposal: '139001', network: 'dev', outputDir: 'down', nnsUrl: [replica.url] },
    });
    expect(out).toContain('title \\u{1b}[2J');
    expect(RAW.test(all)).toBe(false);
  });

  test('proposal download of a host whose refusal is hostile', async () => {
    const host = await startReplica({
      proposals: [],
      intercept: (_, response) => {
        response.writeHead(400, EVIL.replace(/[^ -~]/gu, '')).end(EVIL);
        return true;
      },
    });
    const { all } = await everythingShown(downloadCommand, [], {
      ...{ proposal: '1', network: 'dev', outputDir: 'none', nnsUrl: [host.url] },
    });
    await host.close();
    expect(all).toContain('NNS_PROTOCOL');
    expect(RAW.test(all)).toBe(false);
  });
});

describe('nothing is silently cut', () => {
  test('proposal show has every text whole, for people and in JSON', async () => {
    const people = await everythingShown(showCommand, ['h.cbor'], dev);
    expect(people.out).toContain(`| ${MEGABYTES}\n`);
    expect(people.out).toContain('c'.repeat(90_000));
    const { out } = await everythingShown(showCommand, ['h.cbor'], { ...dev, json: true });
    expect(JSON.parse(out)).toMatchObject({
      proposalInfo: {
        proposal: {
          title: HOSTILE.title,
          summary: HOSTILE.summary,
          url: HOSTILE.url,
          action: { BlessAlternativeGuestOsVersion: { chip_ids: ['1b'.repeat(64), '0a'.repeat(64)] } },
        },
      },
    });
  });

  test('proposal verify has title, command line and CPU type whole', async () => {
    const { out } = await everythingShown(verifyCommand, ['h.cbor'], { ...dev, json: true });
    expect(JSON.parse(out)).toMatchObject({
      title: HOSTILE.title,
      measurements: [
        {
          kernelCmdline: HOSTILE.measurements[0]?.kernelCmdline,
          vcpuType: HOSTILE.measurements[0]?.vcpuType,
        },
      ],
    });
    expect((await everythingShown(verifyCommand, ['h.cbor'], dev)).out).toContain('c'.repeat(90_000));
  });

  test('certificate verify has the reply whole in JSON, and says so where it has not', async () => {
    const { out } = await everythingShown(verifyCertificateCommand, ['h.cbor'], {
      ...governance,
      json: true,
    });
    const { paths } = JSON.parse(out) as { paths: { path: string; bytes: number; hex: string }[] };
    const reply = paths.find(({ path }) => path.endsWith('/reply'));
    expect(reply?.bytes).toBeGreaterThan(1_200_000);
    expect(reply?.hex).toHaveLength(2 * (reply?.bytes ?? 0));
    expect((await everythingShown(verifyCertificateCommand, ['h.cbor'], governance)).out).toContain(
      '(whole with --json)',
    );
  });
});
