import {
  createPrivateKey,
  createPublicKey,
  createSign,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { command } from '../../../tools/commands/igvm-sign.ts';
import { command as measureCommand } from '../../../tools/commands/igvm-measure.ts';
import { readPublicKeyPem } from '../../../tools/igvm/id-block.ts';
import { headersOfKind, type SnpIdBlock } from '../../../tools/igvm/model.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { writeIgvm } from '../../../tools/igvm/writer.ts';
import { readSigningKey, signP384 } from '../../../tools/snp/id-block-sign.ts';
import { p384 } from '@noble/curves/nist';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import { allPageKinds, MINIMAL, MINIMAL_TDX, stage2CpuidPage } from '../../support/igvm-files.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

/** The private key of RFC 6979, A.2.6. */
const ID_SCALAR = hexToBytes(
  '6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5',
);
/** SHA-384 of "igvm author key", below the order of the curve. */
const AUTHOR_SCALAR = hexToBytes(
  'EBA8BED0BD94938CF4E5BC84618BF6D4A2AD46BD43ED2B9A5D919590BDF27E18881DE917121DC40FCC448F5EC08E5C62',
);

function keyOf(scalar: Uint8Array): KeyObject {
  const point = p384.getPublicKey(scalar, false);
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  return createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv: 'P-384',
      d: text(scalar),
      x: text(point.subarray(1, 49)),
      y: text(point.subarray(49)),
    },
  });
}
const sec1 = (scalar: Uint8Array): string => keyOf(scalar).export({ format: 'pem', type: 'sec1' }).toString();
const pkcs8 = (scalar: Uint8Array): string =>
  keyOf(scalar).export({ format: 'pem', type: 'pkcs8' }).toString();
const publicPem = (scalar: Uint8Array): string =>
  createPublicKey(keyOf(scalar)).export({ format: 'pem', type: 'spki' }).toString();

const ORDER =
  'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973';

/** 48 bytes of 72, as people write them. */
const bigEndian = (bytes: Uint8Array): string => bytesToHex(bytes.slice(0, 48).toReversed()).toUpperCase();
const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));

let folder = '';
beforeEach(() => {
  folder = scratchFolder();
  writeFileSync(join(folder, 'a.igvm'), writeIgvm(MINIMAL));
  writeFileSync(join(folder, 'id.pem'), sec1(ID_SCALAR));
  writeFileSync(join(folder, 'author.pem'), pkcs8(AUTHOR_SCALAR));
  writeFileSync(join(folder, 'id.pub'), publicPem(ID_SCALAR));
  writeFileSync(join(folder, 'author.pub'), publicPem(AUTHOR_SCALAR));
});
const run = (options: Readonly<Record<string, string | boolean>>, file = 'a.igvm'): Promise<Outcome> =>
  runCommand(command, folder, [file], options);
const written = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)));
const blockOf = (bytes: Uint8Array): SnpIdBlock =>
  headersOfKind(readIgvm(bytes), 'snp-id-block')[0] as SnpIdBlock;

test('RFC 6979, A.2.6: P-384 with SHA-384', () => {
  const key = readSigningKey(Buffer.from(sec1(ID_SCALAR)), 'id');
  const signature = bytesToHex(signP384(key, Buffer.from('sample'))).toUpperCase();
  expect(signature.slice(0, 96)).toBe(
    '94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46',
  );
  expect(signature.slice(96)).toBe(
    '99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8',
  );
});

describe('vectors (T6)', () => {
  test('an ID key alone', async () => {
    const { out } = await run({
      output: 's.igvm',
      idKey: 'id.pem',
      idBlockOutput: 'block',
      idKeyOutput: 'key',
    });
    expect(out).toBe('Successfully created signed file: s.igvm\n');
    expect(sha256(written('block'))).toBe('fb8896bdea22baef99c0412e13e583052a56bd043bc071836d4758d023269650');
    expect(bytesToHex(digestBytes('sha384', written('key')))).toBe(
      'c82b87995cee050c98271728955809072da07aa8d48252f4a9b85e208d9487a659defd62868a10a46c0252fa230a3452',
    );
    const signed = written('s.igvm');
    expect(signed.length).toBe(13224);
    expect(bytesToHex(signed.subarray(20, 24))).toBe('1262e362');
    expect(sha256(signed)).toBe('60f1d9b526ee7404a1579385cb58acf4cb38d82e0befabe5d2d27ffa99e0b92d');
    const { idKeySignature } = blockOf(signed);
    expect(bigEndian(idKeySignature.r)).toBe(
      '65592014CBA54B416D4BEEA9181EC8931FFE63D67AFDEE6EE864C466914D5678E63D4700E110FC57BD764B7921F5D769',
    );
    expect(bigEndian(idKeySignature.s)).toBe(
      'E76EB9AC8F5EF45B8B7D33FCFD353E9AACABA24E6142CA85AF5F6B5F75C5A6CA7CC545B83EE4725A991A88045712A667',
    );
    const measured = await runCommand(measureCommand, folder, ['s.igvm'], { bare: true });
    expect(measured.out).toMatch(/^CE9200E1CA7DCB29/);
  });

  test('an ID key and an author key', async () => {
    await run({ output: 's.igvm', idKey: 'id.pem', authorKey: 'author.pem' });
    const signed = written('s.igvm');
    expect(sha256(signed)).toBe('a9fd78f8050fc41e422e34b7c18af3d306d0cd02f74cf1523744b93c81ef3dfd');
    const { authorKeySignature, authorKeyEnabled } = blockOf(signed);
    expect(authorKeyEnabled).toBe(1);
    expect(bigEndian(authorKeySignature.r)).toBe(
      '260F0B31B4B34C77C6FCA24C7B4D3291A415E16DE028902EE46100A010009E8F4F092873C95395F7CB2668858B27E07E',
    );
    expect(bigEndian(authorKeySignature.s)).toBe(
      '2A8528CDDFCF0CDE7EB46E8247184680EDFE32407FF44D99CCDE02BD4B4DE682E6946C988C592B5CE7B203797685E24E',
    );
  });
});

describe('in two steps', () => {
  const sign = (scalar: Uint8Array, message: Uint8Array, dsaEncoding: 'der' | 'ieee-p1363'): Uint8Array =>
    new Uint8Array(
      createSign('sha384')
        .update(message)
        .sign({ key: keyOf(scalar), dsaEncoding }),
    );

  test.each(['der', 'ieee-p1363'] as const)('signatures in %s that were made elsewhere', async (encoding) => {
    await run({ idBlockOutput: 'block', idKeyOutput: 'key', idPublicKey: 'id.pub' });
    writeFileSync(join(folder, 'id.sig'), sign(ID_SCALAR, written('block'), encoding));
    writeFileSync(join(folder, 'author.sig'), sign(AUTHOR_SCALAR, written('key'), encoding));
    const detached = { idSignature: 'id.sig', idPublicKey: 'id.pub' };
    const author = { authorSignature: 'author.sig', authorPublicKey: 'author.pub' };
    await run({ output: 's.igvm', ...detached, ...author });
    const measured = await runCommand(measureCommand, folder, ['s.igvm'], { bare: true });
    expect(measured.code).toBe(0);
    await run({ output: 'both.igvm', idKey: 'id.pem', authorKey: 'author.pem' });
    expect(blockOf(written('s.igvm')).idPublicKey).toEqual(blockOf(written('both.igvm')).idPublicKey);
    // Each signature belongs to its own message, key and file.
    for (const wrong of [
      { ...detached, idSignature: 'author.sig' },
      { ...detached, idPublicKey: 'author.pub' },
      { ...detached, ...author, authorPublicKey: 'id.pub' },
      { ...detached, ...author, authorSignature: 'id.sig' },
      { ...detached, guestSvn: '1' },
      { ...detached, familyId: '01'.repeat(16) },
      { ...detached, imageId: '01'.repeat(16) },
    ]) {
      await expectCvmRejection(() => run({ output: 'wrong.igvm', ...wrong }), 'IGVM_SIGNATURE', 'trust');
    }
    expect(() => written('wrong.igvm')).toThrow();
  });

  test('bytes that are no signature', async () => {
    for (const bytes of [
      new Uint8Array(0),
      new Uint8Array(96),
      new Uint8Array(97),
      new Uint8Array(96).fill(255),
      // As SNP's own structures have it: R and S are 1.
      Uint8Array.from({ length: 512 }, (_, at) => (at === 0 || at === 72 ? 1 : 0)),
      // R and S at the order of the curve, and S zero.
      hexToBytes(ORDER + '01'.padStart(96, '0')),
      hexToBytes('01'.padStart(96, '0') + ORDER),
      hexToBytes('01'.padStart(96, '0') + '0'.repeat(96)),
    ]) {
      writeFileSync(join(folder, 'id.sig'), bytes);
      const options = { output: 's.igvm', idSignature: 'id.sig', idPublicKey: 'id.pub' };
      await expectCvmRejection(() => run(options), 'IGVM_SIGNATURE_FORM', 'format');
    }
  });
});

test('a version 2 file stays one, except as igvmmeasure writes it', async () => {
  writeFileSync(join(folder, 'v2.igvm'), writeIgvm(allPageKinds(stage2CpuidPage())));
  await run({ output: 's.igvm', idKey: 'id.pem' }, 'v2.igvm');
  expect(readIgvm(written('s.igvm')).version).toBe(2);
  await run({ output: 's1.igvm', idKey: 'id.pem', compat: 'igvmmeasure' }, 'v2.igvm');
  expect(readIgvm(written('s1.igvm')).version).toBe(1);
});

test('a signed file is signed anew only when told so', async () => {
  await run({ output: 's.igvm', idKey: 'id.pem' });
  await expectCvmRejection(
    () => run({ output: 't.igvm', idKey: 'id.pem' }, 's.igvm'),
    'IGVM_SIGNED',
    'mismatch',
  );
  await run({ output: 't.igvm', idKey: 'id.pem', replace: true }, 's.igvm');
  expect(written('t.igvm')).toEqual(written('s.igvm'));
});

test('measuring notices a block of another digest', async () => {
  await run({ output: 's.igvm', idKey: 'id.pem' });
  const zeroes = { nativeZero: true, bare: true };
  await expectCvmRejection(
    () => runCommand(measureCommand, folder, ['s.igvm'], zeroes),
    'IGVM_CLAIM',
    'mismatch',
  );
  const ignored = await runCommand(measureCommand, folder, ['s.igvm'], { ...zeroes, ignoreIdblock: true });
  expect(ignored.out).toMatch(/^6EF1AFFF/);
});

describe('calls that are refused', () => {
  test.each<[string, Readonly<Record<string, string | boolean>>, string]>([
    ['no output', { idKey: 'id.pem' }, 'IGVM_SIGN_USAGE'],
    ['no key', { output: 's.igvm' }, 'IGVM_SIGN_USAGE'],
    [
      'a key and a signature',
      { output: 's', idKey: 'id.pem', idSignature: 'x', idPublicKey: 'y' },
      'IGVM_SIGN_USAGE',
    ],
    ['a signature without a key', { output: 's', idSignature: 'x' }, 'IGVM_SIGN_USAGE'],
    ['a public key without a signature', { output: 's', idPublicKey: 'id.pub' }, 'IGVM_SIGN_USAGE'],
    ['another platform', { output: 's', idKey: 'id.pem', platform: 'sev-es' }, 'IGVM_SIGN_USAGE'],
    ['two outputs of one path', { output: 's', idBlockOutput: './s', idKey: 'id.pem' }, 'OUTPUT_TWICE'],
    ['a public key as the private one', { output: 's', idKey: 'id.pub' }, 'IGVM_KEY'],
    ['a private key as the public one', { idKeyOutput: 's', idPublicKey: 'id.pem' }, 'IGVM_KEY'],
    ['an IGVM file as a key', { output: 's', idKey: 'a.igvm' }, 'TEXT_NOT_UTF8'],
    ['a key that is not there', { output: 's', idKey: 'none.pem' }, 'FILE_NOT_FOUND'],
    ['a family id of 15 bytes', { output: 's', idKey: 'id.pem', familyId: '00'.repeat(15) }, 'HEX_LENGTH'],
  ])('%s', async (_name, options, code) => {
    await expectCvmRejection(() => run(options), code);
    expect(() => written('s')).toThrow();
  });

  test('keys of other curves', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pem = privateKey.export({ format: 'pem', type: 'sec1' }).toString();
    writeFileSync(join(folder, 'p256.pem'), pem);
    const error = await expectCvmRejection(
      () => run({ output: 's', idKey: 'p256.pem' }),
      'IGVM_KEY',
      'format',
    );
    expect(error.facts).toContainEqual(['found', 'a key of another kind or curve']);
    const shared = publicKey.export({ format: 'pem', type: 'spki' }).toString();
    const other = expectCvmError(() => readPublicKeyPem(shared, 'id'), 'IGVM_KEY', 'format');
    expect(other.facts).toContainEqual(['found', 'a key of another kind or curve']);
  });

  test('files without SEV-SNP or a policy', async () => {
    writeFileSync(join(folder, 'tdx.igvm'), writeIgvm(MINIMAL_TDX));
    await expectCvmRejection(
      () => run({ output: 's', idKey: 'id.pem' }, 'tdx.igvm'),
      'IGVM_PLATFORM_MISSING',
    );
    const headers = MINIMAL.headers.filter(({ kind }) => kind !== 'guest-policy');
    writeFileSync(join(folder, 'free.igvm'), writeIgvm({ ...MINIMAL, headers }));
    await expectCvmRejection(() => run({ output: 's', idKey: 'id.pem' }, 'free.igvm'), 'IGVM_POLICY_MISSING');
  });

  test('keys that are none', async () => {
    for (const pem of ['', 'x', '-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n']) {
      writeFileSync(join(folder, 'none.pem'), pem);
      const error = await expectCvmRejection(
        () => run({ output: 's', idKey: 'none.pem' }),
        'IGVM_KEY',
        'format',
      );
      expect(error.facts).toContainEqual(['found', 'no private key in PEM, or an encrypted one']);
    }
    const error = expectCvmError(() => readPublicKeyPem('x', 'id'), 'IGVM_KEY', 'format');
    expect(error.facts).toContainEqual(['found', 'no public key in PEM']);
  });
});
