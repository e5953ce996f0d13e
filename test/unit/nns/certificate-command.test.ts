import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { command } from '../../../tools/commands/certificate-verify.ts';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import { rootHash } from '../../../tools/nns/hash-tree.ts';
import { rootKeyOf } from '../../../tools/nns/networks.ts';
import { principalToText } from '../../../tools/nns/principal.ts';
import {
  DEV_SECRET,
  STRANGER_SECRET,
  labeled,
  leaf,
  makeCertificate,
  prune,
  subtree,
  timeLeaf,
} from '../../nns/signer.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';
import type { Outcome } from '../../support/run-command.ts';
import { expectRefusalOf } from '../../support/refusals.ts';
import {
  HOLDS_GOVERNANCE,
  ROOT_KEY,
  SUBNET_ID,
  TIME,
  answer,
  delegated,
  legacy,
} from './dev-certificates.ts';

const GOVERNANCE = 'rrkah-fqaaa-aaaaa-aaaaq-cai';
let folder: string;

beforeAll(() => {
  folder = scratchFolder();
  writeFileSync(join(folder, 'root.cbor'), makeCertificate({ tree: answer, secret: DEV_SECRET }));
  writeFileSync(join(folder, 'delegated.cbor'), delegated(legacy(HOLDS_GOVERNANCE)));
  writeFileSync(join(folder, 'forged.cbor'), makeCertificate({ tree: answer, secret: STRANGER_SECRET }));
});

const verify = (
  file: string,
  options: Record<string, string | boolean | readonly string[]> = {},
): Promise<Outcome> =>
  runCommand(command, folder, [file], { canisterId: GOVERNANCE, rootKey: 'dev', ...options });

const json = async (...call: Parameters<typeof verify>): Promise<Record<string, unknown>> =>
  JSON.parse((await verify(call[0], { ...call[1], json: true })).out) as Record<string, unknown>;

describe('cvm certificate verify', () => {
  test('tells the whole decision as one JSON object', async () => {
    const decision = await json('delegated.cbor');
    expect(Object.keys(decision)).toEqual(['ok', 'rootHash', 'time', 'delegation', 'paths', 'stages']);
    expect(decision).toMatchObject({
      ok: true,
      rootHash: bytesToHex(rootHash(answer)),
      time: '2026-02-02T02:40:00.000000000Z',
      delegation: {
        subnetId: principalToText(SUBNET_ID),
        form: 'legacy',
        ranges: HOLDS_GOVERNANCE.map(({ start, end }) => [principalToText(start), principalToText(end)]),
      },
    });
    const stages = decision['stages'] as { name: string; ok: boolean }[];
    expect(stages).toHaveLength(10);
    expect(stages.every(({ ok }) => ok)).toBe(true);
  });

  test('lists everything that is certified, bytes whole', async () => {
    const { paths, delegation } = await json('root.cbor');
    expect(delegation).toBeNull();
    expect(paths).toEqual([
      {
        path: `request_status/0x${'01'.repeat(32)}/reply`,
        status: 'found',
        bytes: 2,
        hex: '6869',
        text: 'hi',
      },
      {
        path: `request_status/0x${'01'.repeat(32)}/status`,
        status: 'found',
        bytes: 7,
        hex: bytesToHex(Buffer.from('replied')),
        text: 'replied',
      },
      { path: 'time', status: 'found', bytes: 9, hex: expect.any(String) as string, text: null },
    ]);
  });

  test('is a readable tree for people', async () => {
    const { out, err, code } = await verify('delegated.cbor');
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^ok {10}canister range {8}rrkah/m);
    expect(out).toContain(
      `request_status\n  0x${'01'.repeat(32)}\n    reply: "hi"\n    status: "replied"\ntime: 0x`,
    );
  });

  test('says of a path that was asked for whether it is there', async () => {
    const tree = subtree(['a', prune(leaf('x'))], ['b', subtree(['c', leaf('y')])], ['time', timeLeaf(TIME)]);
    writeFileSync(join(folder, 'pruned.cbor'), makeCertificate({ tree, secret: DEV_SECRET }));
    const path = ['/b/c', 'b', 'a', 'a/z', 'q', '0x62/0x63', '', '0x'];
    const { paths } = await json('pruned.cbor', { path });
    expect((paths as { path: string; status: string }[]).map(({ path: at, status }) => [at, status])).toEqual(
      [
        ['b/c', 'found'],
        ['b', 'error'],
        ['a', 'unknown'],
        ['a/z', 'unknown'],
        ['q', 'absent'],
        ['b/c', 'found'],
        ['', 'error'],
        ['0x', 'absent'],
      ],
    );
    const { out } = await verify('pruned.cbor', { path: ['b/c', 'q'] });
    expect(out).toContain('b\n  c: "y"\nq: absent\n');
  });

  test('tells length and sha256 of a long value, and all of it in JSON', async () => {
    const tree = subtree(['big', leaf('z'.repeat(100_000))], ['time', timeLeaf(TIME)]);
    writeFileSync(join(folder, 'big.cbor'), makeCertificate({ tree, secret: DEV_SECRET }));
    expect((await verify('big.cbor')).out).toMatch(
      /^big: 100000 bytes, sha256 [0-9a-f]{64} \(whole with --json\)$/m,
    );
    expect((await json('big.cbor'))['paths']).toMatchObject([{ text: 'z'.repeat(100_000) }, {}]);
  });

  test('shows hostile labels and values escaped', async () => {
    const tree = subtree(['time', timeLeaf(TIME)], ['\u001b[2J\u202e', leaf('\u001b]0;owned\u0007\u2066')]);
    writeFileSync(join(folder, 'hostile.cbor'), makeCertificate({ tree, secret: DEV_SECRET }));
    for (const isJson of [true, false]) {
      const { out } = await verify('hostile.cbor', isJson ? { json: true } : {});
      expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
    }
  });

  test('two labels that could look alike do not', async () => {
    const tree = subtree(
      ['time', timeLeaf(TIME)],
      ['0x12', leaf('text')],
      [Uint8Array.of(0x12), leaf('byte')],
    );
    writeFileSync(join(folder, 'alike.cbor'), makeCertificate({ tree, secret: DEV_SECRET }));
    const { paths } = await json('alike.cbor');
    expect((paths as { path: string }[]).map(({ path }) => path)).toEqual(['0x12', '0x30783132', 'time']);
  });

  test('takes the root key as name, hex, DER and PEM', async () => {
    const pem = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(ROOT_KEY).toString('base64')}\n-----END PUBLIC KEY-----\n`;
    writeFileSync(join(folder, 'key.pem'), pem);
    writeFileSync(join(folder, 'key.der'), ROOT_KEY);
    for (const rootKey of ['dev', bytesToHex(ROOT_KEY), 'key.pem', 'key.der'])
      expect((await verify('root.cbor', { rootKey })).code).toBe(0);
  });
});

describe('a certificate that is not to be believed', () => {
  test('ends with the code of the error and tells the stages up to it', async () => {
    const { code, out, err } = await verify('forged.cbor', { json: true });
    expect(code).toBe(4);
    const decision = JSON.parse(out) as { stages: { name: string; ok: boolean }[] };
    expect(decision).toMatchObject({
      ok: false,
      rootHash: null,
      time: null,
      delegation: null,
      paths: [],
      error: { code: 'CERT_SIGNATURE', kind: 'trust', exitCode: 4 },
    });
    expect(decision.stages.map(({ name, ok }) => [name, ok])).toEqual([
      ['canister', true],
      ['root key', true],
      ['decode', true],
      ['delegation', true],
      ['signature', false],
    ]);
    expect(err).toMatch(/^error CERT_SIGNATURE \(exit 4\)/);
  });

  test('tells people the same, without a value of it', async () => {
    const { code, out } = await verify('forged.cbor');
    expect(code).toBe(4);
    expect(out).toMatch(/^failed {6}signature {3}CERT_SIGNATURE/m);
    expect(out).not.toContain('replied');
  });

  test.each<[string, Uint8Array, string, number]>([
    ['nothing', new Uint8Array(), 'CBOR_TRUNCATED', 3],
    ['text', Buffer.from('hello'), 'CBOR_TRUNCATED', 3],
    [
      'the whole answer of a replica',
      encodeCbor(
        new Map<string, string | Uint8Array>([
          ['status', 'replied'],
          ['certificate', makeCertificate({ tree: answer, secret: DEV_SECRET })],
        ]),
        true,
      ),
      'CERT_FIELD_UNKNOWN',
      3,
    ],
    [
      'no time',
      makeCertificate({ tree: labeled('x', leaf('y')), secret: DEV_SECRET }),
      'CERT_TIME_MISSING',
      4,
    ],
  ])('%s', async (_, bytes, errorCode, exitCode) => {
    writeFileSync(join(folder, 'bad.cbor'), bytes);
    const { code, out } = await verify('bad.cbor', { json: true });
    expect(code).toBe(exitCode);
    const { error } = JSON.parse(out) as { error: { code: string; mend: string | null } };
    expect(error.code).toBe(errorCode);
    expect(error.mend).not.toBeNull();
  });

  test('a whole answer is recognized', async () => {
    const bytes = encodeCbor(
      new Map([['certificate', makeCertificate({ tree: answer, secret: DEV_SECRET })]]),
    );
    writeFileSync(join(folder, 'response.cbor'), bytes);
    expect((await verify('response.cbor')).err).toContain('the whole answer of a replica');
  });

  test('the management canister is refused as the first step', async () => {
    const { code, out } = await verify('root.cbor', { canisterId: 'aaaaa-aa', json: true });
    expect(code).toBe(4);
    expect(JSON.parse(out)).toMatchObject({
      stages: [{ name: 'canister', ok: false }],
      error: { code: 'CERT_MANAGEMENT_CANISTER' },
    });
  });

  test('mainnet is asked when no key is named', async () => {
    const { code } = await runCommand(command, folder, ['root.cbor'], { canisterId: GOVERNANCE });
    expect(code).toBe(4);
    expect(rootKeyOf({ network: 'mainnet' })).not.toEqual(ROOT_KEY);
  });
});

describe('a call that is wrong', () => {
  test.each<
    [string, readonly string[], Record<string, string | readonly string[]>, string, 'usage' | 'format']
  >([
    ['no file', [], {}, 'ARGUMENT_MISSING', 'usage'],
    ['a missing file', ['missing.cbor'], {}, 'FILE_NOT_FOUND', 'usage'],
    ['a folder', ['.'], {}, 'FILE_NOT_REGULAR', 'usage'],
    ['no principal', ['root.cbor'], { canisterId: 'rrkah' }, 'PRINCIPAL_TEXT', 'format'],
    [
      'a mistyped principal',
      ['root.cbor'],
      { canisterId: 'rrkah-fqaaa-aaaaa-aaaaq-caj' },
      'PRINCIPAL_CHECKSUM',
      'format',
    ],
    ['a key that is a certificate', ['root.cbor'], { rootKey: 'root.cbor' }, 'ROOT_KEY_TEXT', 'format'],
    ['an unknown network', ['root.cbor'], { rootKey: 'testnet' }, 'FILE_NOT_FOUND', 'usage'],
    ['a path with a label of nothing', ['root.cbor'], { path: ['a//b'] }, 'CERT_PATH', 'usage'],
    ['a path with half a byte', ['root.cbor'], { path: ['0x1'] }, 'HEX_INVALID', 'format'],
  ])('%s', async (_, args, options, code, kind) => {
    await expectRefusalOf(
      () => runCommand(command, folder, args, { canisterId: GOVERNANCE, rootKey: 'dev', ...options }),
      code,
      kind,
    );
  });

  test('writes no file, whatever happens', async () => {
    const before = readdirSync(folder).sort();
    await verify('root.cbor');
    await verify('forged.cbor');
    expect(readdirSync(folder).sort()).toEqual(before);
  });
});
