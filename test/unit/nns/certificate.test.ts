import { bls12_381 } from '@noble/curves/bls12-381';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import type { CborValue } from '../../../tools/cbor/value.ts';
import { CvmError } from '../../../tools/errors.ts';
import { verifyBls } from '../../../tools/nns/bls.ts';
import { readCertificate, verifyCertificate } from '../../../tools/nns/certificate.ts';
import type { VerifiedCertificate } from '../../../tools/nns/certificate.ts';
import type { CanisterRange } from '../../../tools/nns/delegation.ts';
import { rootHash } from '../../../tools/nns/hash-tree.ts';
import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../../../tools/nns/networks.ts';
import { keyFromDer } from '../../../tools/nns/root-key.ts';
import { StageLog } from '../../../tools/nns/stages.ts';
import {
  DEV_SECRET,
  STRANGER_SECRET,
  SUBNET_SECRET,
  answerTree,
  delegationCbor,
  delegationTree,
  derKeyOf,
  labeled,
  leaf,
  makeCertificate,
  prune,
  rangesCbor,
  signRootHash,
  subnetIdOf,
  subtree,
  timeLeaf,
  treeCbor,
} from '../../nns/signer.ts';
import type { Secret } from '../../nns/signer.ts';
import { expectCvmError } from '../../support/errors.ts';

/** Pairings by the hundred: a busy machine is no failure. */
const SLOW = { timeout: 120_000 };
const TIME = 1_770_000_000_000_000_000n;
const ROOT_KEY = rootKeyOf({ network: 'dev' });
const SUBNET_ID = subnetIdOf(SUBNET_SECRET);
const CANISTER = GOVERNANCE_CANISTER_ID;

/** The canister id with this number, as the network assigns them. */
function canister(index: number): Uint8Array {
  const id = hexToBytes('00000000000000000101');
  new DataView(id.buffer).setUint32(4, index);
  return id;
}

const range = (from: number, to: number): CanisterRange => ({ start: canister(from), end: canister(to) });
const HOLDS_GOVERNANCE = [range(0, 9)];
const answer = answerTree({ requestId: new Uint8Array(32).fill(1), reply: utf8Bytes('hi'), timeNs: TIME });

function verify(certificate: Uint8Array, canisterId = CANISTER, rootKey = ROOT_KEY): VerifiedCertificate {
  return verifyCertificate({ certificate, rootKey, canisterId });
}

interface DelegatedParts {
  readonly tree?: HashTree;
  readonly subnetId?: Uint8Array;
  readonly rootSecret?: Secret;
  readonly secret?: Secret;
  readonly inner?: Partial<{ delegation: CborValue; signature: Uint8Array }>;
}

/** A certificate by a subnet below the dev root; `inner` is the state that the root certified. */
function delegated(innerTree: HashTree, parts: DelegatedParts = {}): Uint8Array {
  const inner = makeCertificate({ tree: innerTree, secret: parts.rootSecret ?? DEV_SECRET, ...parts.inner });
  return makeCertificate({
    tree: parts.tree ?? answer,
    secret: parts.secret ?? SUBNET_SECRET,
    delegation: delegationCbor(parts.subnetId ?? SUBNET_ID, inner),
  });
}

const legacy = (ranges: readonly CanisterRange[]): HashTree =>
  delegationTree({ form: 'legacy', subnetId: SUBNET_ID, ranges, timeNs: TIME });
const sharded = (ranges: readonly CanisterRange[]): HashTree =>
  delegationTree({ form: 'sharded', subnetId: SUBNET_ID, ranges, timeNs: TIME });

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
    expectCvmError(
      () => verify(good, CANISTER, rootKeyOf({ network: 'mainnet' })),
      'CERT_SIGNATURE',
      'trust',
    );
  });

  test('is refused when a stranger signed it', () => {
    const forged = makeCertificate({ tree: answer, secret: STRANGER_SECRET });
    expectCvmError(() => verify(forged), 'CERT_SIGNATURE', 'trust');
  });

  test('is refused when its signature belongs to another tree', () => {
    const other = answerTree({ requestId: new Uint8Array(32), reply: utf8Bytes('no'), timeNs: TIME });
    const signature = signRootHash(rootHash(other), DEV_SECRET);
    expectCvmError(
      () => verify(makeCertificate({ tree: answer, secret: DEV_SECRET, signature })),
      'CERT_SIGNATURE',
    );
  });

  test('is refused for the management canister, whoever signed', () => {
    expectCvmError(() => verify(good, new Uint8Array()), 'CERT_MANAGEMENT_CANISTER', 'trust');
  });

  test('is refused for something that is no canister id', () => {
    expectCvmError(() => verify(good, new Uint8Array(30)), 'PRINCIPAL_LENGTH', 'format');
  });

  test('is refused without a time, though the signature verifies', () => {
    const tree = subtree(['request_status', leaf('x')]);
    expectCvmError(() => verify(makeCertificate({ tree, secret: DEV_SECRET })), 'CERT_TIME_MISSING', 'trust');
  });

  test('is refused when the time is pruned', () => {
    const tree = subtree(['a', leaf('x')], ['time', prune(timeLeaf(TIME))]);
    expectCvmError(() => verify(makeCertificate({ tree, secret: DEV_SECRET })), 'CERT_TIME_MISSING', 'trust');
  });

  test('is refused when the time is no number', () => {
    const tree = subtree(['time', leaf(hexToBytes('80'))]);
    expectCvmError(() => verify(makeCertificate({ tree, secret: DEV_SECRET })), 'LEB128', 'format');
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
      ['decode', true],
      ['delegation', true],
      ['signature', true],
      ['time', true],
    ]);
    const failed = new StageLog();
    const mainnet = rootKeyOf({ network: 'mainnet' });
    expectCvmError(
      () => verifyCertificate({ certificate: good, rootKey: mainnet, canisterId: CANISTER, log: failed }),
      'CERT_SIGNATURE',
    );
    expect(failed.stages.at(-1)).toEqual({
      name: 'signature',
      ok: false,
      detail: expect.stringMatching(/^CERT_SIGNATURE: /) as string,
    });
    expect(failed.stages).toHaveLength(3);
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
    expectCvmError(() => readCertificate(bytes), code, 'format');
  });

  test('is refused with bytes after it, though everything before verifies', () => {
    const bytes = bytesOf(...fields);
    verify(bytes);
    expectCvmError(() => verify(Uint8Array.of(...bytes, 0)), 'CBOR_TRAILING', 'format');
  });
});

describe.each([
  ['legacy', legacy],
  ['sharded', sharded],
] as const)('a delegation with %s ranges', (form, tree) => {
  test('verifies for a canister in a range, and says in which', () => {
    const verified = verify(delegated(tree([range(0, 9), range(20, 29)])), canister(25));
    expect(verified.delegation?.subnetId).toEqual(SUBNET_ID);
    expect(verified.delegation?.ranges.form).toBe(form);
  });

  test('includes both ends of a range', () => {
    const certificate = delegated(tree([range(5, 9), range(20, 20)]));
    for (const index of [5, 9, 20]) verify(certificate, canister(index));
    for (const index of [4, 10, 19, 21]) {
      expectCvmError(
        () => verify(certificate, canister(index)),
        index === 4 && form === 'sharded' ? 'CERT_RANGES_MISSING' : 'CERT_CANISTER_RANGE',
        'trust',
      );
    }
  });

  test('is refused when its canister range excludes governance, though the root signature verifies', () => {
    expectCvmError(() => verify(delegated(tree([range(0, 0)]))), 'CERT_CANISTER_RANGE', 'trust');
  });

  test('is refused when no range is left', () => {
    const code = form === 'legacy' ? 'CERT_CANISTER_RANGE' : 'CERT_RANGES_MISSING';
    expectCvmError(() => verify(delegated(tree([]))), code, 'trust');
  });

  test('is refused when a stranger signed the delegation', () => {
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { rootSecret: STRANGER_SECRET });
    expectCvmError(() => verify(certificate), 'CERT_DELEGATION_SIGNATURE', 'trust');
  });

  test('is refused when another subnet signed the certificate', () => {
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { secret: STRANGER_SECRET });
    expectCvmError(() => verify(certificate), 'CERT_SIGNATURE', 'trust');
  });

  test('is refused when the root signed what the subnet should have', () => {
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { secret: DEV_SECRET });
    expectCvmError(() => verify(certificate), 'CERT_SIGNATURE', 'trust');
  });

  test('is refused when it names another subnet than the one in its tree', () => {
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { subnetId: subnetIdOf(STRANGER_SECRET) });
    expectCvmError(() => verify(certificate), 'CERT_RANGES_MISSING', 'trust');
  });

  test('is refused when it is delegated twice, though every signature verifies', () => {
    const first = delegationCbor(
      SUBNET_ID,
      makeCertificate({ tree: tree(HOLDS_GOVERNANCE), secret: DEV_SECRET }),
    );
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { inner: { delegation: first } });
    expectCvmError(() => verify(certificate), 'CERT_TOO_MANY_DELEGATIONS', 'trust');
  });

  test('is refused without a time in the delegation', () => {
    const timeless = delegationTree({ form, subnetId: SUBNET_ID, ranges: HOLDS_GOVERNANCE, timeNs: null });
    expectCvmError(() => verify(delegated(timeless)), 'CERT_TIME_MISSING', 'trust');
  });
});

describe('canister ranges', () => {
  const keyFacts = ['public_key', leaf(derKeyOf(SUBNET_SECRET))] as const;
  const time = ['time', timeLeaf(TIME)] as const;
  const withShards = (shards: HashTree, ...legacyFacts: readonly (readonly [string, HashTree])[]): HashTree =>
    subtree(
      ['canister_ranges', subtree([SUBNET_ID, shards])],
      ['subnet', subtree([SUBNET_ID, subtree(keyFacts, ...legacyFacts)])],
      time,
    );
  const shard = (label: Uint8Array, ...ranges: readonly CanisterRange[]): readonly [Uint8Array, HashTree] => [
    label,
    leaf(rangesCbor(ranges)),
  ];

  test('only the shard with the greatest label not above the id counts', () => {
    // The first shard claims the canister too; a subnet cannot have two shards say it.
    const tree = withShards(subtree(shard(canister(0), range(0, 30)), shard(canister(10), range(20, 29))));
    verify(delegated(tree), canister(20));
    expectCvmError(() => verify(delegated(tree), canister(15)), 'CERT_CANISTER_RANGE', 'trust');
  });

  test('the shard decides even where legacy ranges would say yes', () => {
    const tree = withShards(subtree(shard(canister(0), range(0, 0))), [
      'canister_ranges',
      leaf(rangesCbor(HOLDS_GOVERNANCE)),
    ]);
    expectCvmError(() => verify(delegated(tree)), 'CERT_CANISTER_RANGE', 'trust');
  });

  test('pruned shards around the one that counts do no harm', () => {
    const other = labeled(canister(50), leaf(rangesCbor([range(50, 60)])));
    const tree = withShards({
      kind: 'fork',
      left: subtree(shard(canister(0), range(0, 9))),
      right: prune(other),
    });
    expect(verify(delegated(tree)).delegation?.ranges.form).toBe('sharded');
  });

  test('a shard that is pruned, or starts above the id, leaves the legacy ranges to ask', () => {
    const shards = [
      subtree([canister(0), prune(leaf(rangesCbor(HOLDS_GOVERNANCE)))]),
      subtree(shard(canister(50), range(50, 60))),
    ];
    for (const pruned of shards) {
      expectCvmError(() => verify(delegated(withShards(pruned))), 'CERT_RANGES_MISSING', 'trust');
      const both = withShards(pruned, ['canister_ranges', leaf(rangesCbor(HOLDS_GOVERNANCE))]);
      expect(verify(delegated(both)).delegation?.ranges.form).toBe('legacy');
    }
  });

  test('a delegation that shows no ranges fails for any canister', () => {
    const tree = subtree(['subnet', subtree([SUBNET_ID, subtree(keyFacts)])], time);
    for (const index of [0, 1, 77]) {
      expectCvmError(() => verify(delegated(tree), canister(index)), 'CERT_RANGES_MISSING', 'trust');
    }
  });

  test('ids compare bytewise, a prefix first', () => {
    const short = CANISTER.subarray(0, 9);
    const tree = legacy([{ start: short, end: short }]);
    verify(delegated(tree), short);
    expectCvmError(() => verify(delegated(tree)), 'CERT_CANISTER_RANGE', 'trust');
  });

  test.each<[string, CborValue]>([
    ['a map', new Map()],
    ['a range of one end', [[CANISTER]]],
    ['a range of three ends', [[CANISTER, CANISTER, CANISTER]]],
    ['a range that is no array', [CANISTER]],
    ['an end that is text', [[CANISTER, 'x']]],
    ['an end of 30 bytes', [[CANISTER, new Uint8Array(30)]]],
    ['a range that ends before it starts', [[canister(9), canister(0)]]],
  ])('as %s are malformed', (_, value) => {
    const facts = ['canister_ranges', leaf(encodeCbor(value))] as const;
    const tree = subtree(['subnet', subtree([SUBNET_ID, subtree(facts, keyFacts)])], time);
    expectCvmError(() => verify(delegated(tree)), 'CERT_RANGES_SHAPE', 'format');
  });

  test('are read as strictly as everything else', () => {
    const trailing = Uint8Array.of(...rangesCbor(HOLDS_GOVERNANCE), 0);
    const facts = ['canister_ranges', leaf(trailing)] as const;
    const tree = subtree(['subnet', subtree([SUBNET_ID, subtree(facts, keyFacts)])], time);
    expectCvmError(() => verify(delegated(tree)), 'CBOR_TRAILING', 'format');
  });

  test('a shard or legacy entry that is no leaf is malformed', () => {
    const nested = subtree(['x', leaf('y')]);
    expectCvmError(
      () => verify(delegated(withShards(subtree([canister(0), nested])))),
      'CERT_RANGES_SHAPE',
      'format',
    );
    const tree = subtree(
      ['subnet', subtree([SUBNET_ID, subtree(['canister_ranges', nested], keyFacts)])],
      time,
    );
    expectCvmError(() => verify(delegated(tree)), 'CERT_RANGES_SHAPE', 'format');
  });
});

describe('the key of a subnet', () => {
  const withKey = (...key: readonly (readonly [string, HashTree])[]): HashTree =>
    subtree(
      [
        'subnet',
        subtree([SUBNET_ID, subtree(['canister_ranges', leaf(rangesCbor(HOLDS_GOVERNANCE))], ...key)]),
      ],
      ['time', timeLeaf(TIME)],
    );

  test.each<[string, HashTree, string]>([
    ['missing', withKey(), 'CERT_SUBNET_KEY'],
    ['pruned', withKey(['public_key', prune(leaf('x'))]), 'CERT_SUBNET_KEY'],
    [
      'a bare key without DER',
      withKey(['public_key', leaf(derKeyOf(SUBNET_SECRET).subarray(37))]),
      'KEY_LENGTH',
    ],
    ['of another algorithm', withKey(['public_key', leaf(new Uint8Array(133))]), 'KEY_PREFIX'],
    [
      'no point of the curve',
      withKey([
        'public_key',
        leaf(Uint8Array.of(...ROOT_KEY.subarray(0, 37), ...new Uint8Array(96).fill(0xff))),
      ]),
      'BLS_KEY_POINT',
    ],
  ])('is refused when it is %s', (_, tree, code) => {
    expectCvmError(() => verify(delegated(tree)), code);
  });
});

describe('BLS points', () => {
  const { G1, G2, fields } = bls12_381;
  const message = utf8Bytes('message');
  const key = keyFromDer(ROOT_KEY, 'key');
  const { shortSignatures } = bls12_381;
  const signature = shortSignatures.Signature.toBytes(
    shortSignatures.sign(shortSignatures.hash(message), DEV_SECRET),
  );
  const infinity = (length: number): Uint8Array => Uint8Array.of(0xc0, ...new Uint8Array(length - 1));

  /** A point of the curve outside the prime-order subgroup: the first x with a root, which has the full order. */
  function strayG1(): Uint8Array {
    for (let x = 1; ; x++) {
      const bytes = new Uint8Array(48);
      bytes[0] = 0x80;
      bytes[47] = x;
      const y2 = fields.Fp.add(fields.Fp.pow(BigInt(x), 3n), 4n);
      if (fields.Fp.eql(fields.Fp.pow(y2, (fields.Fp.ORDER - 1n) / 2n), 1n)) return bytes;
    }
  }

  test('the good signature verifies, also from views of a larger buffer', () => {
    expect(verifyBls(key, signature, message)).toBe(true);
    const pool = Buffer.concat([Buffer.from('xx'), signature, message, key]);
    expect(verifyBls(pool.subarray(57), pool.subarray(2, 50), pool.subarray(50, 57))).toBe(true);
  });

  test('over another message or by another key it does not', () => {
    expect(verifyBls(key, signature, utf8Bytes('messagf'))).toBe(false);
    expect(verifyBls(keyFromDer(derKeyOf(STRANGER_SECRET), 'key'), signature, message)).toBe(false);
  });

  test('the negated signature does not verify', () => {
    const negated = G1.Point.fromBytes(signature).negate().toBytes(true);
    expect(verifyBls(key, negated, message)).toBe(false);
  });

  test.each<[string, Uint8Array]>([
    ['infinity', infinity(48)],
    ['infinity with the sign bit', Uint8Array.of(0xe0, ...infinity(48).subarray(1))],
    ['infinity with rubbish behind', Uint8Array.of(...infinity(48).subarray(0, 47), 1)],
    ['zeros', new Uint8Array(48)],
    ['all ones', new Uint8Array(48).fill(0xff)],
    ['a point outside the subgroup', strayG1()],
    [
      'the signature without its compression bit',
      Uint8Array.of((signature[0] as number) & 0x7f, ...signature.subarray(1)),
    ],
    ['the point uncompressed', G1.Point.fromBytes(signature).toBytes(false)],
    ['47 bytes', signature.subarray(0, 47)],
    ['no bytes', new Uint8Array()],
  ])('a signature that is %s is refused', (_, bad) => {
    expectCvmError(() => verifyBls(key, bad, message), 'BLS_SIGNATURE_POINT', 'trust');
  });

  test('a second encoding of a good signature, x plus the field prime, is refused', () => {
    // Found by search: a message whose signature has an x small enough for x + p to fit 381 bits.
    for (let i = 0; i < 64; i++) {
      const text = utf8Bytes(`message ${i}`);
      const point = shortSignatures.sign(shortSignatures.hash(text), DEV_SECRET);
      const { x } = point.toAffine();
      if (x + fields.Fp.ORDER >= 1n << 381n) continue;
      const good = point.toBytes(true);
      const flags = (good[0] as number) & 0xe0;
      const twin = hexToBytes((x + fields.Fp.ORDER).toString(16).padStart(96, '0'));
      twin[0] = (twin[0] as number) | flags;
      expect(verifyBls(key, good, text)).toBe(true);
      // The library alone takes both: that is why canonical form is demanded here.
      const lax = shortSignatures.verify(
        G1.Point.fromBytes(twin),
        shortSignatures.hash(text),
        G2.Point.fromBytes(key),
      );
      expect(lax).toBe(true);
      expectCvmError(() => verifyBls(key, twin, text), 'BLS_SIGNATURE_POINT', 'trust');
      return;
    }
    expect.unreachable('one signature in six has a small x');
  });

  test.each<[string, Uint8Array]>([
    ['infinity', infinity(96)],
    ['zeros', new Uint8Array(96)],
    ['all ones', new Uint8Array(96).fill(0xff)],
    ['a G1 point', signature],
    ['uncompressed', G2.Point.fromBytes(key).toBytes(false)],
    ['95 bytes', key.subarray(0, 95)],
  ])('a key that is %s is refused', (_, bad) => {
    expectCvmError(() => verifyBls(bad, signature, message), 'BLS_KEY_POINT', 'trust');
  });

  test('infinity as key and infinity as signature do not vouch for each other', () => {
    expectCvmError(() => verifyBls(infinity(96), infinity(48), message), 'BLS_KEY_POINT', 'trust');
  });
});

describe('mutations', () => {
  const good = delegated(legacy(HOLDS_GOVERNANCE));
  const refused = (bytes: Uint8Array): void => {
    let error: unknown;
    try {
      verify(bytes);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(CvmError);
    expect(['format', 'trust']).toContain((error as CvmError).kind);
  };

  test('the certificate that is mutated is good', () => {
    expect(verify(good).delegation).not.toBeNull();
  });

  test('any flipped bit is refused', SLOW, () => {
    fc.assert(
      fc.property(fc.nat(good.length * 8 - 1), (bit) => {
        const flipped = new Uint8Array(good);
        flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
        refused(flipped);
      }),
      { numRuns: 150 },
    );
  });

  test('any truncation is refused as malformed', () => {
    fc.assert(
      fc.property(fc.nat(good.length - 1), (length) => {
        const error = expectCvmError(() => verify(good.subarray(0, length)), 'CBOR_TRUNCATED', 'format');
        expect(error.facts.length).toBeGreaterThan(0);
      }),
    );
  });

  test('any byte inserted is refused', SLOW, () => {
    fc.assert(
      fc.property(fc.nat(good.length), fc.nat(255), (at, byte) => {
        refused(Uint8Array.of(...good.subarray(0, at), byte, ...good.subarray(at)));
      }),
      { numRuns: 100 },
    );
  });
});
