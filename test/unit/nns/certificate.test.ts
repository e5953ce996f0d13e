import { describe, expect, test } from 'vitest';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import type { CborValue } from '../../../tools/cbor/value.ts';
import { readCertificate, verifyCertificate } from '../../../tools/nns/certificate.ts';
import { rootHash } from '../../../tools/nns/hash-tree.ts';
import { rootKeyOf } from '../../../tools/nns/networks.ts';
import { StageLog } from '../../../tools/nns/stages.ts';
import {
  DEV_SECRET,
  STRANGER_SECRET,
  answerTree,
  delegationCbor,
  leaf,
  makeCertificate,
  prune,
  signRootHash,
  subtree,
  timeLeaf,
  treeCbor,
} from '../../nns/signer.ts';
import { expectRefusal } from '../../support/refusals.ts';
import {
  TIME,
  ROOT_KEY,
  SUBNET_ID,
  CANISTER,
  canister,
  HOLDS_GOVERNANCE,
  answer,
  verify,
  legacy,
} from './dev-certificates.ts';

describe('a certificate of the root subnet', () => {
  const good = makeCertificate({ tree: answer, secret: DEV_SECRET });

  test('verifies, and says when and what', () => {
    const verified = verify(good);
    expect(verified.timeNs).toBe(TIME);
    expect(verified.rootHash).toEqual(rootHash(answer));
    expect(verified.delegation).toBeNull();
  });

  test('speaks for any canister', () => {
    expect(verify(good, canister(77)).delegation).toBeNull();
  });

  test('needs no self-describe tag, and may say that it has no delegation', () => {
    verify(makeCertificate({ tree: answer, secret: DEV_SECRET, selfDescribe: false }));
    verify(makeCertificate({ tree: answer, secret: DEV_SECRET, delegation: null }));
  });

  test('verifies when its bytes are a view of a larger buffer', () => {
    verify(Buffer.concat([Buffer.from('junk'), good, Buffer.from('junk')]).subarray(4, 4 + good.length));
  });

  test('verifies with any unrelated path pruned', () => {
    const tree = subtree(
      ['request_status', prune(subtree([new Uint8Array(32), leaf('x')]))],
      ['time', timeLeaf(TIME)],
    );
    verify(makeCertificate({ tree, secret: DEV_SECRET }));
  });

  test('is refused under another root key, though the certificate is sound', () => {
    expectRefusal(() => verify(good, CANISTER, rootKeyOf({ network: 'mainnet' })), 'CERT_SIGNATURE', 'trust');
  });

  test('is refused under something that is no key, as the step that it is', () => {
    for (const [rootKey, code] of [
      [ROOT_KEY.subarray(1), 'KEY_LENGTH'],
      [ROOT_KEY.map((byte, i) => (i === 4 ? byte ^ 1 : byte)), 'KEY_PREFIX'],
    ] as const) {
      const log = new StageLog();
      expectRefusal(
        () => verifyCertificate({ certificate: good, rootKey, canisterId: CANISTER, log }),
        code,
        'format',
      );
      expect(log.stages.at(-1)).toMatchObject({ name: 'root key', ok: false });
    }
  });

  test('is refused when a stranger signed it', () => {
    const forged = makeCertificate({ tree: answer, secret: STRANGER_SECRET });
    expectRefusal(() => verify(forged), 'CERT_SIGNATURE', 'trust');
  });

  test('is refused when its signature belongs to another tree', () => {
    const other = answerTree({ requestId: new Uint8Array(32), reply: utf8Bytes('no'), timeNs: TIME });
    const signature = signRootHash(rootHash(other), DEV_SECRET);
    expectRefusal(
      () => verify(makeCertificate({ tree: answer, secret: DEV_SECRET, signature })),
      'CERT_SIGNATURE',
    );
  });

  test('is refused for the management canister, whoever signed', () => {
    expectRefusal(() => verify(good, new Uint8Array()), 'CERT_MANAGEMENT_CANISTER', 'trust');
  });

  test('is refused for something that is no canister id', () => {
    expectRefusal(() => verify(good, new Uint8Array(30)), 'PRINCIPAL_LENGTH', 'format');
  });

  test('is refused without a time, though the signature verifies', () => {
    const tree = subtree(['request_status', leaf('x')]);
    expectRefusal(() => verify(makeCertificate({ tree, secret: DEV_SECRET })), 'CERT_TIME_MISSING', 'trust');
  });

  test('is refused when the time is pruned', () => {
    const tree = subtree(['a', leaf('x')], ['time', prune(timeLeaf(TIME))]);
    expectRefusal(() => verify(makeCertificate({ tree, secret: DEV_SECRET })), 'CERT_TIME_MISSING', 'trust');
  });

  test('is refused when the time is no number', () => {
    const tree = subtree(['time', leaf(hexToBytes('80'))]);
    expectRefusal(() => verify(makeCertificate({ tree, secret: DEV_SECRET })), 'LEB128', 'format');
  });

  test('any time in the tree is taken: no clock is asked', () => {
    for (const timeNs of [0n, 1n, 2n ** 64n - 1n]) {
      const tree = subtree(['time', timeLeaf(timeNs)]);
      expect(verify(makeCertificate({ tree, secret: DEV_SECRET })).timeNs).toBe(timeNs);
    }
  });

  test('tells its reasoning, and stops telling at the first failure', () => {
    const log = new StageLog();
    verifyCertificate({ certificate: good, rootKey: ROOT_KEY, canisterId: CANISTER, log });
    expect(log.stages.map(({ name, ok }) => [name, ok])).toEqual([
      ['canister', true],
      ['root key', true],
      ['decode', true],
      ['delegation', true],
      ['signature', true],
      ['time', true],
    ]);
    const failed = new StageLog();
    const mainnet = rootKeyOf({ network: 'mainnet' });
    expectRefusal(
      () => verifyCertificate({ certificate: good, rootKey: mainnet, canisterId: CANISTER, log: failed }),
      'CERT_SIGNATURE',
    );
    expect(failed.stages.at(-1)).toEqual({
      name: 'signature',
      ok: false,
      detail: expect.stringMatching(/^CERT_SIGNATURE: /) as string,
    });
    expect(failed.stages).toHaveLength(5);
  });
});

describe('the map of a certificate', () => {
  const signature = signRootHash(rootHash(answer), DEV_SECRET);
  const fields: readonly (readonly [string, CborValue])[] = [
    ['tree', treeCbor(answer)],
    ['signature', signature],
  ];
  const bytesOf = (...entries: readonly (readonly [string, CborValue])[]): Uint8Array =>
    encodeCbor(new Map(entries), true);
  const inner = makeCertificate({ tree: legacy(HOLDS_GOVERNANCE), secret: DEV_SECRET });

  test('may have its keys in any order', () => {
    verify(bytesOf(...[...fields].reverse()));
  });

  test.each<[string, Uint8Array, string]>([
    ['an array', encodeCbor([1n]), 'CERT_SHAPE'],
    ['an unknown field', bytesOf(...fields, ['extra', 1n]), 'CERT_FIELD_UNKNOWN'],
    ['no tree', bytesOf(['signature', signature]), 'CERT_FIELD_MISSING'],
    ['no signature', bytesOf(['tree', treeCbor(answer)]), 'CERT_FIELD_MISSING'],
    [
      'a signature of 47 bytes',
      bytesOf(['tree', treeCbor(answer)], ['signature', signature.subarray(0, 47)]),
      'CERT_SHAPE',
    ],
    ['a signature as text', bytesOf(['tree', treeCbor(answer)], ['signature', 'x'.repeat(48)]), 'CERT_SHAPE'],
    ['a delegation that is CBOR undefined', bytesOf(...fields, ['delegation', undefined]), 'CERT_SHAPE'],
    ['a delegation that is false', bytesOf(...fields, ['delegation', false]), 'CERT_SHAPE'],
    ['an empty delegation', bytesOf(...fields, ['delegation', new Map()]), 'CERT_FIELD_MISSING'],
    [
      'an unknown field in the delegation',
      bytesOf(...fields, [
        'delegation',
        new Map<string, CborValue>([
          ['subnet_id', SUBNET_ID],
          ['certificate', inner],
          ['x', 1n],
        ]),
      ]),
      'CERT_FIELD_UNKNOWN',
    ],
    [
      'a subnet id of no bytes',
      bytesOf(...fields, ['delegation', delegationCbor(new Uint8Array(), inner)]),
      'CERT_SHAPE',
    ],
    [
      'a subnet id of 30 bytes',
      bytesOf(...fields, ['delegation', delegationCbor(new Uint8Array(30), inner)]),
      'CERT_SHAPE',
    ],
    [
      'a delegation whose certificate is text',
      bytesOf(...fields, [
        'delegation',
        new Map<string, CborValue>([
          ['subnet_id', SUBNET_ID],
          ['certificate', 'x'],
        ]),
      ]),
      'CERT_SHAPE',
    ],
  ])('is refused with %s', (_, bytes, code) => {
    expectRefusal(() => readCertificate(bytes), code, 'format');
  });

  test('is refused with bytes after it, though everything before verifies', () => {
    const bytes = bytesOf(...fields);
    verify(bytes);
    expectRefusal(() => verify(Uint8Array.of(...bytes, 0)), 'CBOR_TRAILING', 'format');
  });
});
