import { verifyCertificate } from '../../../tools/nns/certificate.ts';
import { StageLog } from '../../../tools/nns/stages.ts';
import { describe, expect, test } from 'vitest';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import type { CborValue } from '../../../tools/cbor/value.ts';
import type { CanisterRange } from '../../../tools/nns/delegation.ts';
import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import {
  DEV_SECRET,
  STRANGER_SECRET,
  SUBNET_SECRET,
  delegationCbor,
  delegationTree,
  derKeyOf,
  labeled,
  leaf,
  makeCertificate,
  prune,
  rangesCbor,
  subnetIdOf,
  subtree,
  timeLeaf,
} from '../../nns/signer.ts';
import { expectRefusal } from '../../support/refusals.ts';
import {
  TIME,
  SUBNET_ID,
  CANISTER,
  canister,
  range,
  HOLDS_GOVERNANCE,
  ROOT_KEY,
  verify,
  delegated,
  legacy,
  sharded,
} from './dev-certificates.ts';

describe.each([
  ['legacy', legacy],
  ['sharded', sharded],
] as const)('a delegation with %s ranges', (form, tree) => {
  test('verifies for a canister in a range, and says in which', () => {
    const verified = verify(delegated(tree([range(0, 9), range(20, 29)])), canister(25));
    expect(verified.delegation?.subnetId).toEqual(SUBNET_ID);
    expect(verified.delegation?.ranges.form).toBe(form);
  });

  test('tells every step of the reasoning, in order', () => {
    const log = new StageLog();
    verifyCertificate({
      certificate: delegated(tree(HOLDS_GOVERNANCE)),
      rootKey: ROOT_KEY,
      canisterId: CANISTER,
      log,
    });
    expect(log.stages.every(({ ok }) => ok === true)).toBe(true);
    expect(log.stages.map(({ name }) => name)).toEqual([
      'canister',
      'root key',
      'decode',
      'delegation',
      'delegation signature',
      'delegation time',
      'canister range',
      'subnet key',
      'signature',
      'time',
    ]);
  });

  test('includes both ends of a range', () => {
    const certificate = delegated(tree([range(5, 9), range(20, 20)]));
    for (const index of [5, 9, 20]) verify(certificate, canister(index));
    for (const index of [4, 10, 19, 21]) {
      expectRefusal(
        () => verify(certificate, canister(index)),
        index === 4 && form === 'sharded' ? 'CERT_RANGES_MISSING' : 'CERT_CANISTER_RANGE',
        'trust',
      );
    }
  });

  test('is refused when its canister range excludes governance, though the root signature verifies', () => {
    expectRefusal(() => verify(delegated(tree([range(0, 0)]))), 'CERT_CANISTER_RANGE', 'trust');
  });

  test('is refused when no range is left', () => {
    const code = form === 'legacy' ? 'CERT_CANISTER_RANGE' : 'CERT_RANGES_MISSING';
    expectRefusal(() => verify(delegated(tree([]))), code, 'trust');
  });

  test('is refused when a stranger signed the delegation', () => {
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { rootSecret: STRANGER_SECRET });
    expectRefusal(() => verify(certificate), 'CERT_DELEGATION_SIGNATURE', 'trust');
  });

  test('is refused when another subnet signed the certificate', () => {
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { secret: STRANGER_SECRET });
    expectRefusal(() => verify(certificate), 'CERT_SIGNATURE', 'trust');
  });

  test('is refused when the root signed what the subnet should have', () => {
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { secret: DEV_SECRET });
    expectRefusal(() => verify(certificate), 'CERT_SIGNATURE', 'trust');
  });

  test('is refused when it names another subnet than the one in its tree', () => {
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { subnetId: subnetIdOf(STRANGER_SECRET) });
    expectRefusal(() => verify(certificate), 'CERT_RANGES_MISSING', 'trust');
  });

  test('is refused when it is delegated twice, though every signature verifies', () => {
    const first = delegationCbor(
      SUBNET_ID,
      makeCertificate({ tree: tree(HOLDS_GOVERNANCE), secret: DEV_SECRET }),
    );
    const certificate = delegated(tree(HOLDS_GOVERNANCE), { inner: { delegation: first } });
    expectRefusal(() => verify(certificate), 'CERT_TOO_MANY_DELEGATIONS', 'trust');
  });

  test('is refused without a time in the delegation', () => {
    const timeless = delegationTree({ form, subnetId: SUBNET_ID, ranges: HOLDS_GOVERNANCE, timeNs: null });
    expectRefusal(() => verify(delegated(timeless)), 'CERT_TIME_MISSING', 'trust');
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
    expectRefusal(() => verify(delegated(tree), canister(15)), 'CERT_CANISTER_RANGE', 'trust');
  });

  test('the shard decides even where legacy ranges would say yes', () => {
    const tree = withShards(subtree(shard(canister(0), range(0, 0))), [
      'canister_ranges',
      leaf(rangesCbor(HOLDS_GOVERNANCE)),
    ]);
    expectRefusal(() => verify(delegated(tree)), 'CERT_CANISTER_RANGE', 'trust');
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
      expectRefusal(() => verify(delegated(withShards(pruned))), 'CERT_RANGES_MISSING', 'trust');
      const both = withShards(pruned, ['canister_ranges', leaf(rangesCbor(HOLDS_GOVERNANCE))]);
      expect(verify(delegated(both)).delegation?.ranges.form).toBe('legacy');
    }
  });

  test('a delegation that shows no ranges fails for any canister', () => {
    const tree = subtree(['subnet', subtree([SUBNET_ID, subtree(keyFacts)])], time);
    for (const index of [0, 1, 77]) {
      expectRefusal(() => verify(delegated(tree), canister(index)), 'CERT_RANGES_MISSING', 'trust');
    }
  });

  test('ids compare bytewise, a prefix first', () => {
    const short = CANISTER.subarray(0, 9);
    const tree = legacy([{ start: short, end: short }]);
    verify(delegated(tree), short);
    expectRefusal(() => verify(delegated(tree)), 'CERT_CANISTER_RANGE', 'trust');
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
    expectRefusal(() => verify(delegated(tree)), 'CERT_RANGES_SHAPE', 'format');
  });

  test('are read as strictly as everything else', () => {
    const trailing = Uint8Array.of(...rangesCbor(HOLDS_GOVERNANCE), 0);
    const facts = ['canister_ranges', leaf(trailing)] as const;
    const tree = subtree(['subnet', subtree([SUBNET_ID, subtree(facts, keyFacts)])], time);
    expectRefusal(() => verify(delegated(tree)), 'CBOR_TRAILING', 'format');
  });

  test('a shard or legacy entry that is no leaf is malformed', () => {
    const nested = subtree(['x', leaf('y')]);
    expectRefusal(
      () => verify(delegated(withShards(subtree([canister(0), nested])))),
      'CERT_RANGES_SHAPE',
      'format',
    );
    const tree = subtree(
      ['subnet', subtree([SUBNET_ID, subtree(['canister_ranges', nested], keyFacts)])],
      time,
    );
    expectRefusal(() => verify(delegated(tree)), 'CERT_RANGES_SHAPE', 'format');
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
    expectRefusal(() => verify(delegated(tree)), code);
  });
});
