import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { command } from '../../../tools/commands/proposal-download.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { startReplica } from '../../nns/server.ts';
import type { Replica, ReplicaOptions } from '../../nns/server.ts';
import { STRANGER_SECRET } from '../../nns/signer.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';
import type { Outcome } from '../../support/run-command.ts';

const replicas: Replica[] = [];

afterEach(async () => {
  await Promise.all(replicas.splice(0).map((replica) => replica.close()));
});

async function replica(options: Partial<ReplicaOptions> = {}): Promise<Replica> {
  const started = await startReplica({ proposals: [GOOD_PROPOSAL], ...options });
  replicas.push(started);
  return started;
}

const run = (
  folder: string,
  nnsUrl: readonly string[],
  more: Record<string, string> = {},
): Promise<Outcome> =>
  runCommand(command, folder, [], { proposal: '139001', network: 'dev', outputDir: '.', nnsUrl, ...more });

describe('cvm proposal download', () => {
  test('writes a pair that verifies, and prints what to pin', async () => {
    const folder = scratchFolder();
    const { code, out } = await run(folder, [(await replica()).url]);
    expect(code).toBe(0);
    expect(readdirSync(folder).sort()).toEqual(['139001.cbor', '139001.request.cbor']);
    const certificate = readFileSync(join(folder, '139001.cbor'));
    const request = readFileSync(join(folder, '139001.request.cbor'));
    verifyProposal({
      certificate,
      request,
      trust: { network: 'dev' },
      demandRequest: true,
      proposalId: 139001n,
    });
    for (const bytes of [certificate, request])
      expect(out).toContain(bytesToHex(digestBytes('sha256', bytes)));
    expect(out).toMatch(/^next: /m);
  });

  test('keeps a valid pair and asks nobody', async () => {
    const folder = scratchFolder();
    await run(folder, [(await replica()).url]);
    const before = readFileSync(join(folder, '139001.cbor'));
    const second = await replica();
    const { out } = await run(folder, [second.url]);
    expect(out).toContain('(kept)');
    expect(second.paths).toEqual([]);
    expect(readFileSync(join(folder, '139001.cbor'))).toEqual(before);
  });

  test('replaces a pair that does not verify', async () => {
    const folder = scratchFolder();
    const host = await replica();
    await run(folder, [host.url]);
    writeFileSync(join(folder, '139001.cbor'), 'rubbish');
    const { err } = await run(folder, [host.url]);
    expect(err).toContain('do not verify');
    expect(readFileSync(join(folder, '139001.cbor'))).not.toEqual(Buffer.from('rubbish'));
  });

  test('fetches afresh when the request is missing: a bare certificate cannot be bound later', async () => {
    const folder = scratchFolder();
    const host = await replica();
    writeFileSync(join(folder, '139001.cbor'), 'rubbish');
    await run(folder, [host.url]);
    expect(host.paths).toHaveLength(1);
    expect(existsSync(join(folder, '139001.request.cbor'))).toBe(true);
  });

  test('writes nothing when the answer does not verify, and does not ask the next host', async () => {
    const folder = scratchFolder();
    const bad = await replica({ secret: STRANGER_SECRET });
    const good = await replica();
    await expectCvmRejection(() => run(folder, [bad.url, good.url]), 'CERT_SIGNATURE', 'trust');
    expect(readdirSync(folder)).toEqual([]);
    expect(good.paths).toEqual([]);
  });

  test('asks the next host when one refuses', async () => {
    const folder = scratchFolder();
    const bad = await replica({ mode: 'refuse' });
    const { err } = await run(folder, [bad.url, (await replica()).url]);
    expect(err).toContain('asking the next host');
    expect(readdirSync(folder)).toHaveLength(2);
  });

  test('escapes the title that it prints', async () => {
    const host = await replica({ proposals: [{ ...GOOD_PROPOSAL, title: 'a\u001b[2J\u202eb' }] });
    const { out } = await run(scratchFolder(), [host.url]);
    expect(out).toContain('a\\u{1b}[2J\\u{202e}b');
  });

  test('writes nothing when all hosts refuse', async () => {
    const folder = scratchFolder();
    const bad = await replica({ mode: 'refuse' });
    await expectCvmRejection(() => run(folder, [bad.url]), 'NNS_REJECTED', 'network');
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('hosts that are not asked', () => {
  test.each([
    ['http on mainnet', 'http://ic0.app', 'mainnet'],
    ['http on this machine for mainnet', 'http://127.0.0.1:1', 'mainnet'],
    ['http elsewhere for dev', 'http://example.com', 'dev'],
    ['http on a name that only starts like this machine', 'http://127.0.0.1.example.com', 'dev'],
    ['a file', 'file:///etc/passwd', 'dev'],
    ['a path', 'https://ic0.app/x', 'mainnet'],
    ['a query', 'https://ic0.app/?x', 'mainnet'],
    ['a name and password', 'https://user:secret@ic0.app', 'mainnet'],
    ['no URL', 'ic0.app', 'mainnet'],
    ['nothing', '', 'mainnet'],
  ])('%s', async (_, url, network) => {
    await expectCvmRejection(() => run(scratchFolder(), [url], { network }), 'NNS_URL', 'usage');
  });

  test('none at all for dev, where no host is known', async () => {
    await expectCvmRejection(() => run(scratchFolder(), []), 'NNS_URL', 'usage');
  });

  test.each(['0x', '-1', '1e3', '18446744073709551616', ''])('a proposal number %s', async (proposal) => {
    const host = await replica();
    await expectCvmRejection(() => run(scratchFolder(), [host.url], { proposal }), 'OPTION_NUMBER', 'usage');
    expect(host.paths).toEqual([]);
  });
});
