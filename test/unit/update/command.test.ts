import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { command } from '../../../tools/commands/proposal-download.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import { showError } from '../../../tools/show-error.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { STATUS } from '../../nns/proposal-reply.ts';
import { startReplica } from '../../nns/server.ts';
import type { Replica, ReplicaOptions } from '../../nns/server.ts';
import { STRANGER_SECRET } from '../../nns/signer.ts';
import { expectRefusalOf } from '../../support/refusals.ts';
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

  test('writes nothing when the answer does not verify', async () => {
    const folder = scratchFolder();
    const bad = await replica({ secret: STRANGER_SECRET });
    await expectRefusalOf(() => run(folder, [bad.url]), 'CERT_SIGNATURE', 'trust');
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each<[string, Partial<ReplicaOptions>, string]>([
    ['lies', { mode: 'lie' }, 'CERT_SIGNATURE'],
    ['is signed by a stranger', { secret: STRANGER_SECRET }, 'CERT_SIGNATURE'],
    ['replays another answer', { mode: 'replay' }, 'REQUEST_ID'],
    ['refuses', { mode: 'refuse' }, 'NNS_REJECTED'],
    ['stalls', { mode: 'stall' }, 'NNS_TIMEOUT'],
    ['hangs', { mode: 'hang' }, 'NNS_TIMEOUT'],
  ])('asks the next host when one %s, and says why', async (_, options, code) => {
    const folder = scratchFolder();
    const bad = await replica(options);
    const { err } = await run(folder, [bad.url, (await replica()).url], { timeout: '1' });
    expect(err).toMatch(new RegExp(`^${bad.url}: ${code}: .*asking the next host$`, 'm'));
    expect(readdirSync(folder)).toHaveLength(2);
  });

  test.each<[string, Partial<ReplicaOptions>, string]>([
    [
      'the proposal is open',
      { proposals: [{ ...GOOD_PROPOSAL, status: STATUS.open }] },
      'PROPOSAL_NOT_EXECUTED',
    ],
    ['there is no such proposal', { proposals: [] }, 'PROPOSAL_MISSING'],
    ['the call was rejected', { mode: 'reject' }, 'PROPOSAL_NOT_REPLIED'],
  ])('asks nobody else when the network itself says that %s', async (_, options, code) => {
    const folder = scratchFolder();
    const first = await replica(options);
    const second = await replica();
    await expectRefusalOf(() => run(folder, [first.url, second.url]), code, 'trust');
    expect(second.paths).toEqual([]);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('escapes the title that it prints', async () => {
    const host = await replica({ proposals: [{ ...GOOD_PROPOSAL, title: 'a\u001b[2J\u202eb' }] });
    const { out } = await run(scratchFolder(), [host.url]);
    expect(out).toContain('a\\u{1b}[2J\\u{202e}b');
  });

  test('writes nothing when all hosts refuse', async () => {
    const folder = scratchFolder();
    const bad = await replica({ mode: 'refuse' });
    await expectRefusalOf(() => run(folder, [bad.url]), 'NNS_REJECTED', 'network');
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('a folder that takes no file is found out before anybody is asked', () => {
  test.each<[string, (folder: string) => void, Record<string, string>, string]>([
    ['a file', (folder) => writeFileSync(join(folder, 'x'), ''), { outputDir: 'x' }, 'OUTPUT_DIR'],
    ['below a file', (folder) => writeFileSync(join(folder, 'x'), ''), { outputDir: 'x/y/z' }, 'OUTPUT_DIR'],
    ['a folder that cannot be written', () => undefined, { outputDir: '/proc/1' }, 'OUTPUT_DIR'],
    [
      'a folder in the place of the certificate',
      (folder) => mkdirSync(join(folder, '139001.cbor')),
      {},
      'FILE_NOT_REGULAR',
    ],
    [
      'a folder in the place of the request',
      (folder) => mkdirSync(join(folder, '139001.request.cbor')),
      {},
      'FILE_NOT_REGULAR',
    ],
  ])('%s', async (_, prepare, more, code) => {
    const folder = scratchFolder();
    prepare(folder);
    const host = await replica();
    await expectRefusalOf(() => run(folder, [host.url], more), code, 'usage');
    expect(host.paths).toEqual([]);
  });

  test('one that does not exist yet is made', async () => {
    const folder = scratchFolder();
    await run(folder, [(await replica()).url], { outputDir: 'a/b' });
    expect(readdirSync(join(folder, 'a/b'))).toHaveLength(2);
  });
});

describe('hosts that are not asked', () => {
  test('a password in a URL is not repeated', async () => {
    for (const url of [
      'https://user:secret@ic0.app',
      'https://us:er:secret@ic0.app:x',
      'user:secret@ic0.app',
    ]) {
      const error = await expectRefusalOf(() => run(scratchFolder(), [url]), 'NNS_URL', 'usage');
      expect(showError(error)).not.toContain('secret');
    }
  });

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
    await expectRefusalOf(() => run(scratchFolder(), [url], { network }), 'NNS_URL', 'usage');
  });

  test('none at all for dev, where no host is known', async () => {
    await expectRefusalOf(() => run(scratchFolder(), []), 'NNS_URL', 'usage');
  });

  test.each(['0x', '-1', '1e3', '18446744073709551616', ''])('a proposal number %s', async (proposal) => {
    const host = await replica();
    await expectRefusalOf(() => run(scratchFolder(), [host.url], { proposal }), 'OPTION_NUMBER', 'usage');
    expect(host.paths).toEqual([]);
  });
});
