import { generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import type { Command, OptionValues } from '../../../tools/commands/command.ts';
import { command as assemble } from '../../../tools/commands/snp-id-block-assemble.ts';
import { command as create } from '../../../tools/commands/snp-id-block-create.ts';
import { command as prepare } from '../../../tools/commands/snp-id-block-prepare.ts';
import { command as verify } from '../../../tools/commands/snp-id-block-verify.ts';
import { readSigningKey, signP384 } from '../../../tools/snp/id-block-sign.ts';
import { readIdAuth, readIdBlock, verifyIdAuth, writeIdBlock } from '../../../tools/snp/id-block.ts';
import {
  p384Key,
  readAnySignature,
  readSnpPublicKey,
  readSnpSignature,
  snpKeyDigest,
} from '../../../tools/snp/p384.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import { privateKeyPem, publicKeyPem } from '../../support/p384-keys.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const P2 = '841e9a1435f38ea3356ad8c44fdef588e74d79bbde683205a37c49d605d957a56ee23b0d6d91add16c3128f97ed6d942';
const P2_BLOCK =
  'hB6aFDXzjqM1atjET971iOdNebveaDIFo3xJ1gXZV6Vu4jsNbZGt0WwxKPl+1tlCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAwAAAAAA';
const DIGEST_1 =
  '01ce77b697886b46c6e363a9d02bbee2506e4b21ca4b3085f35f20e4cf66ac780e01e38aad53f973cbcea56e59a7b382';
const DIGEST_2 =
  '0fa1181994e8fe9a2411a51bf9ef0c2f7a9680bd1601a913bfd32b095bc0ce0d3a18a18aee8e7e4acca9040f9d3269a8';

let folder = '';
beforeAll(async () => {
  folder = scratchFolder();
  const write = (name: string, text: string | Uint8Array): void => writeFileSync(join(folder, name), text);
  write('id.pem', privateKeyPem(1n, 'sec1'));
  write('author.pem', privateKeyPem(2n));
  write('id.pub', publicKeyPem(1n));
  write('author.pub', publicKeyPem(2n));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  write('p256.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }));
  write('text', 'no key');
  await run(create, { ...KEYS, ...FILES });
});

const run = async (command: Command, options: OptionValues, ...args: readonly string[]): Promise<Outcome> =>
  await runCommand(command, folder, args, options);
const KEYS = { measurement: P2, idkey: 'id.pem', authorkey: 'author.pem' };
const FILES = { idBlockFile: 'block.bin', idAuthFile: 'auth.bin' };
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)));

describe('signatures', () => {
  test('are those of RFC 6979, A.2.6, message "sample"', () => {
    const scalar = BigInt(
      '0x6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5',
    );
    const key = readSigningKey(Buffer.from(privateKeyPem(scalar)), 'key');
    expect(bytesToHex(signP384(key, Buffer.from('sample')))).toBe(
      '94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46' +
        '99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8',
    );
  });

  test('the digests of the keys 1 and 2', () => {
    const digest = (scalar: bigint): string =>
      bytesToHex(snpKeyDigest(readSigningKey(Buffer.from(privateKeyPem(scalar)), 'key').publicKey));
    expect([digest(1n), digest(2n)]).toEqual([DIGEST_1, DIGEST_2]);
  });

  test('are read as DER, as R and S, and as SNP has them', () => {
    const message = Buffer.from('message');
    for (let i = 0; i < 20; i++) {
      const der = sign('sha384', message, privateKeyPem(3n));
      const raw = readAnySignature(new Uint8Array(der), 'x');
      expect(raw).toHaveLength(96);
      expect(readAnySignature(raw, 'x')).toEqual(raw);
    }
    const auth = readIdAuth(file('auth.bin'));
    expect(readAnySignature(file('auth.bin').slice(0x40, 0x240), 'x')).toEqual(auth.blockSignature);
  });

  test.each<[string, string]>([
    ['nothing', ''],
    ['no DER', '00'.repeat(70)],
    ['a cut one', '3045'],
    ['a wrong length', '30070201010201' + '01'],
    ['a negative number', '3006020180020101'],
    ['a padding too much', '300702020001020101'],
    ['an empty number', '30050200020101'],
    ['bytes behind', '300602010102010100'],
    ['a number too long', `30360231${'01'.repeat(49)}020101`],
  ])('are no signature: %s', (_, hex) => {
    expectCvmError(() => readAnySignature(hexToBytes(hex), 'x'), 'SNP_SIGNATURE_FORMAT', 'format');
  });
});

describe('cvm snp id-block create', () => {
  test('prints what snp-create-id-block prints', async () => {
    const { code, out, err } = await run(create, KEYS);
    expect([code, err]).toEqual([0, '']);
    const lines = out.split('\n');
    expect(lines[0]).toMatch(
      new RegExp(`^id-block=${P2_BLOCK.replaceAll('+', '\\+')},id-auth=[A-Za-z0-9+/]{5462}==$`),
    );
    expect(lines.slice(1)).toEqual([
      `id_key_hash: ${Buffer.from(DIGEST_1, 'hex').toString('base64')}`,
      `author_key: ${Buffer.from(DIGEST_2, 'hex').toString('base64')}`,
      '',
    ]);
    // Deterministic, and whatever the measurement is written in.
    const again = await run(create, { ...KEYS, measurement: Buffer.from(P2, 'hex').toString('base64') });
    expect(again.out).toBe(out);
  });

  test('writes binary files, and base64 as snpguest has it', async () => {
    expect(file('block.bin')).toHaveLength(96);
    expect(file('auth.bin')).toHaveLength(4096);
    await run(create, { ...KEYS, idBlockFile: 'block.b64', idAuthFile: 'auth.b64', form: 'base64' });
    expect(Buffer.from(file('block.b64')).toString()).toBe(P2_BLOCK);
    expect((await run(verify, { idBlock: 'block.b64', idAuth: 'auth.b64' })).code).toBe(0);
  });

  test('takes ids, version and policy', async () => {
    await run(create, {
      ...KEYS,
      familyId: '00112233445566778899aabbccddeeff',
      imageId: '0xff112233445566778899aabbccddee00',
      guestSvn: '7',
      policy: '0xb0000',
      idBlockFile: 'named.bin',
    });
    const block = readIdBlock(file('named.bin'));
    expect(bytesToHex(block.familyId)).toBe('00112233445566778899aabbccddeeff');
    expect(bytesToHex(block.imageId)).toBe('ff112233445566778899aabbccddee00');
    expect([block.guestSvn, block.policy]).toEqual([7, 0xb0000n]);
    expect(writeIdBlock(block)).toEqual(file('named.bin'));
  });

  test('a measurement that is too long is refused, and cut with --compat', async () => {
    const long = Buffer.from(`${P2}00ff`, 'hex').toString('base64');
    await expectCvmRejection(() => run(create, { ...KEYS, measurement: long }), 'HEX_LENGTH', 'format');
    const { out } = await run(create, { ...KEYS, measurement: long, compat: 'snp-create-id-block' });
    expect(out).toBe((await run(create, KEYS)).out);
    const short = { ...KEYS, measurement: 'AAAA', compat: 'snp-create-id-block' };
    await expectCvmRejection(() => run(create, short), 'HEX_LENGTH');
  });

  test.each<[string, OptionValues, string, number]>([
    ['no keys', { idkey: undefined }, 'ID_BLOCK_KEYS', 2],
    ['one key', { authorkey: undefined }, 'ID_BLOCK_KEYS', 2],
    ['no measurement', { measurement: undefined }, 'OPTION_MISSING', 2],
    ['another curve', { idkey: 'p256.pem' }, 'SNP_KEY_FORMAT', 1],
    ['a public key', { idkey: 'id.pub' }, 'SNP_KEY_FORMAT', 1],
    ['no key in the file', { authorkey: 'text' }, 'SNP_KEY_FORMAT', 1],
    ['no file', { authorkey: 'nowhere' }, 'FILE_NOT_FOUND', 1],
    ['a short id', { familyId: '00' }, 'HEX_LENGTH', 1],
    ['a version too large', { guestSvn: '0x100000000' }, 'OPTION_NUMBER', 2],
    ['another form', { form: 'pem' }, 'ID_BLOCK_FORM', 2],
    ['another tool', { compat: 'snpguest' }, 'COMPAT_UNKNOWN', 2],
    ['one output for two', { idBlockFile: 'x', idAuthFile: './x' }, 'OUTPUT_TWICE', 2],
  ])('fails: %s', async (_, options, code, exit) => {
    const error = await expectCvmRejection(() => run(create, { ...KEYS, ...options }), code);
    expect(create.exitCode?.(error)).toBe(exit);
  });
});

describe('two steps without private keys', () => {
  const parts = { idBlockFile: 'unsigned.bin', idkeyPublic: 'id.pub', idkeyFile: 'idkey.bin' };
  const signed = {
    idBlock: 'unsigned.bin',
    idkeyPublic: 'id.pub',
    authorkeyPublic: 'author.pub',
    idBlockSignature: 'block.sig',
    idkeySignature: 'idkey.sig',
  };
  beforeAll(async () => {
    const { out } = await run(prepare, { measurement: P2, ...parts });
    expect(out).toBe(`${DIGEST_1}\n`);
    const signature = (scalar: bigint, name: string): Uint8Array =>
      sign('sha384', file(name), privateKeyPem(scalar));
    writeFileSync(join(folder, 'block.sig'), signature(1n, 'unsigned.bin'));
    writeFileSync(join(folder, 'idkey.sig'), signature(2n, 'idkey.bin'));
  });

  test('make the same block with other nonces', async () => {
    const { code, out } = await run(assemble, { ...signed, idAuthFile: 'other-auth.bin' });
    expect(code).toBe(0);
    expect(out.split('\n').slice(1)).toEqual((await run(create, KEYS)).out.split('\n').slice(1));
    verifyIdAuth(file('unsigned.bin'), readIdAuth(file('other-auth.bin')));
  });

  test.each<[string, OptionValues, string]>([
    [
      'signatures in the wrong place',
      { idBlockSignature: 'idkey.sig', idkeySignature: 'block.sig' },
      'ID_BLOCK_SIGNATURE',
    ],
    ['the author key of another', { authorkeyPublic: 'id.pub' }, 'ID_KEY_SIGNATURE'],
    ['the ID key of another', { idkeyPublic: 'author.pub' }, 'ID_BLOCK_SIGNATURE'],
    ['no signature', { idkeySignature: 'text' }, 'SNP_SIGNATURE_FORMAT'],
    ['no key', { idkeyPublic: 'text' }, 'SNP_KEY_FORMAT'],
    ['no block', { idBlock: 'text' }, 'ID_BLOCK_FORMAT'],
  ])('refuse %s and write nothing', async (_, options, code) => {
    await expectCvmRejection(() => run(assemble, { ...signed, ...options, idAuthFile: 'none.bin' }), code);
    expect(existsSync(join(folder, 'none.bin'))).toBe(false);
  });

  test('have something to write, or refuse', async () => {
    await expectCvmRejection(() => run(prepare, { measurement: P2 }), 'OPTION_MISSING');
    await expectCvmRejection(() => run(prepare, { idkeyPublic: 'id.pub' }), 'OPTION_MISSING');
    expect((await run(prepare, { idkeyPublic: 'id.pub', idkeyFile: 'alone.bin' })).code).toBe(0);
  });
});

describe('cvm snp id-block verify', () => {
  const both = { idBlock: 'block.bin', idAuth: 'auth.bin' };
  test('text as it was printed', async () => {
    writeFileSync(join(folder, 'printed'), (await run(create, KEYS)).out);
    const { code, out } = await run(verify, { json: true }, 'printed');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      ok: true,
      measurement: P2,
      familyId: '00'.repeat(16),
      imageId: '00'.repeat(16),
      guestSvn: 0,
      policy: '0x30000',
      idKeyDigest: DIGEST_1,
      authorKeyDigest: DIGEST_2,
    });
  });

  const right: OptionValues = {
    measurement: P2,
    familyId: '00'.repeat(16),
    imageId: '00'.repeat(16),
    guestSvn: '0',
    policy: '0x30000',
    idKeyDigest: DIGEST_1,
    authorKeyDigest: DIGEST_2,
  };
  test('compares everything', async () => {
    expect((await run(verify, { ...both, ...right })).code).toBe(0);
  });
  test.each(Object.keys(right))('and finds another %s', async (name) => {
    const value = String(right[name]);
    const other = name === 'guestSvn' ? '1' : name === 'policy' ? '0x30001' : `${value.slice(0, -1)}f`;
    await expectCvmRejection(
      () => run(verify, { ...both, ...right, [name]: other }),
      'ID_BLOCK_DIFFERS',
      'mismatch',
    );
  });

  test('any changed bit of block, keys and signatures is refused', () => {
    const [block, auth] = [file('block.bin'), file('auth.bin')];
    const check = (changedBlock: Uint8Array, changedAuth: Uint8Array): void =>
      verifyIdAuth((readIdBlock(changedBlock), changedBlock), readIdAuth(changedAuth));
    check(block, auth);
    for (let at = 0; at < block.length; at++) {
      const changed = block.slice();
      changed[at]! ^= 1 << (at % 8);
      expect(() => check(changed, auth), `block ${at}`).toThrow();
    }
    for (let at = 0; at < auth.length; at += 7) {
      const changed = auth.slice();
      changed[at]! ^= 1 << (at % 8);
      expect(() => check(block, changed), `auth ${at}`).toThrow();
    }
  });

  test('a point beside the curve, a long coordinate, another curve, reserved bytes', () => {
    const key = readIdAuth(file('auth.bin')).idKey;
    const change = (at: number, value: number): Uint8Array => {
      const changed = key.slice();
      changed[at] = value;
      return changed;
    };
    const read = (bytes: Uint8Array): unknown => p384Key(readSnpPublicKey(bytes, 'key'), 'key');
    expectCvmError(() => read(change(4, key[4]! ^ 1)), 'SNP_KEY_INVALID', 'trust');
    expectCvmError(() => read(change(4 + 71, 1)), 'SNP_KEY_FORMAT', 'format');
    expectCvmError(() => read(change(0, 1)), 'SNP_KEY_FORMAT', 'format');
    expectCvmError(() => read(change(1027, 1)), 'SNP_KEY_FORMAT', 'format');
    expectCvmError(() => read(key.slice(1)), 'SNP_KEY_FORMAT', 'format');
    const signature = file('auth.bin').slice(0x40, 0x240);
    signature[71] = 1;
    expectCvmError(() => readSnpSignature(signature, 'x'), 'SNP_SIGNATURE_FORMAT', 'format');
    expectCvmError(() => readSnpSignature(signature.slice(1), 'x'), 'SNP_SIGNATURE_FORMAT', 'format');
  });

  test.each<[string, OptionValues, readonly string[], string]>([
    ['nothing', {}, [], 'OPTION_MISSING'],
    ['half', { idBlock: 'block.bin' }, [], 'OPTION_MISSING'],
    ['both ways', both, ['printed'], 'OPTION_MISSING'],
    ['no such text', {}, ['text'], 'ID_BLOCK_FORMAT'],
    ['parts exchanged', { idBlock: 'auth.bin', idAuth: 'block.bin' }, [], 'ID_BLOCK_FORMAT'],
    ['a missing file', {}, ['nowhere'], 'FILE_NOT_FOUND'],
  ])('refuses %s', async (_, options, args, code) => {
    await expectCvmRejection(() => run(verify, options, ...args), code);
  });
});
