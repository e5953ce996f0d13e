/**
 * Certificates that are wrong or odd in ways a generator thought of, to ours and to the official agent. What we accept the agent
 * accepts, but for the two forms in the table of `nns.test.ts`: shards, and empty subtrees.
 */
import { Certificate } from '@dfinity/agent';
import { Principal } from '@dfinity/principal';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareBytes, concatBytes } from '../../tools/bytes/compare.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import { CvmError } from '../../tools/errors.ts';
import { verifyCertificate } from '../../tools/nns/certificate.ts';
import type { HashTree } from '../../tools/nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../../tools/nns/networks.ts';
import {
  DEV_SECRET,
  EMPTY,
  SUBNET_SECRET,
  answerTree,
  balanced,
  delegationCbor,
  delegationTree,
  labeled,
  leaf,
  makeCertificate,
  prune,
  subnetIdOf,
  timeLeaf,
} from '../nns/signer.ts';

/** Pairings by the hundred: a busy machine is no failure. */
const SLOW = { timeout: 240_000 };
const KEY = rootKeyOf({ network: 'dev' });
const TIME = 1_770_000_000_000_000_000n;
const SUBNET_ID = subnetIdOf(SUBNET_SECRET);

function ours(certificate: Uint8Array): string {
  try {
    verifyCertificate({ certificate, rootKey: KEY, canisterId: GOVERNANCE_CANISTER_ID });
    return 'ok';
  } catch (error) {
    expect(error).toBeInstanceOf(CvmError);
    return (error as CvmError).code;
  }
}

async function agent(certificate: Uint8Array): Promise<boolean> {
  try {
    await Certificate.create({
      certificate: new Uint8Array(certificate),
      rootKey: KEY,
      canisterId: Principal.fromUint8Array(GOVERNANCE_CANISTER_ID),
      disableTimeVerification: true,
    });
    return true;
  } catch {
    return false;
  }
}

const hasEmpty = (tree: HashTree): boolean =>
  tree.kind === 'empty' ||
  (tree.kind === 'fork' && (hasEmpty(tree.left) || hasEmpty(tree.right))) ||
  (tree.kind === 'labeled' && hasEmpty(tree.subtree));

/** A forest whose labels may be out of order, twice, pruned, empty or beside leaves, signed as it is. */
const node: fc.Arbitrary<HashTree> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom('a', 'b', 'timd', 'timf').map((label) => labeled(label, leaf('x'))),
  },
  { weight: 2, arbitrary: fc.constant(prune(leaf('hidden'))) },
  { weight: 1, arbitrary: fc.constant(EMPTY) },
  { weight: 1, arbitrary: fc.constant(leaf('lone')) },
);
const forest = fc
  .tuple(fc.array(node, { maxLength: 3 }), fc.boolean(), fc.array(node, { maxLength: 2 }))
  .map(([before, hasTime, after]) =>
    balanced([...before, ...(hasTime ? [labeled('time', timeLeaf(TIME))] : []), ...after]),
  );

test('of signed trees, well formed or not, we accept none that the agent refuses', SLOW, async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(forest, async (tree) => {
      const certificate = makeCertificate({ tree, secret: DEV_SECRET });
      const verdict = ours(certificate);
      seen.add(verdict);
      if (verdict !== 'ok' || hasEmpty(tree)) return;
      expect(await agent(certificate)).toBe(true);
    }),
    { numRuns: 120, seed: 4 },
  );
  expect([...seen]).toEqual(
    expect.arrayContaining(['ok', 'HASH_TREE_ORDER', 'HASH_TREE_MIXED', 'CERT_TIME_MISSING']),
  );
});

test('of certificates with changed bytes, we accept none that the agent refuses', SLOW, async () => {
  const inner = delegationTree({
    form: 'legacy',
    subnetId: SUBNET_ID,
    ranges: [{ start: new Uint8Array(10), end: new Uint8Array(10).fill(0xff) }],
    timeNs: TIME,
  });
  const tree = answerTree({ requestId: new Uint8Array(32).fill(1), reply: utf8Bytes('hi'), timeNs: TIME });
  const good = makeCertificate({
    tree,
    secret: SUBNET_SECRET,
    delegation: delegationCbor(SUBNET_ID, makeCertificate({ tree: inner, secret: DEV_SECRET })),
  });
  expect([ours(good), await agent(good)]).toEqual(['ok', true]);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(good.length - 1),
      fc.uint8Array({ maxLength: 3 }),
      fc.nat(3),
      async (at, middle, count) => {
        const changed = concatBytes(good.subarray(0, at), middle, good.subarray(at + count));
        // Nothing is accepted but the certificate itself, which the agent accepts too.
        if (ours(changed) === 'ok') {
          expect(compareBytes(changed, good)).toBe(0);
          expect(await agent(changed)).toBe(true);
        }
      },
    ),
    { numRuns: 150, seed: 4 },
  );
});

/** Shards as a subnet may have them: sorted by first id, each with ranges that may or may not hold governance. */
const shards = fc.uniqueArray(fc.nat(4), { minLength: 1, maxLength: 3 }).map((starts) =>
  starts
    .sort((a, b) => a - b)
    .map((start) => ({
      start: new Uint8Array([...new Uint8Array(7), start, 1, 1]),
      end: new Uint8Array([...new Uint8Array(7), start, 1, 0xff]),
    })),
);

test(
  'a sharded delegation is accepted exactly when the shard that counts holds governance',
  SLOW,
  async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(shards, async (ranges) => {
        const inner = delegationTree({ form: 'sharded', subnetId: SUBNET_ID, ranges, timeNs: TIME });
        const certificate = makeCertificate({
          tree: labeled('time', timeLeaf(TIME)),
          secret: SUBNET_SECRET,
          delegation: delegationCbor(SUBNET_ID, makeCertificate({ tree: inner, secret: DEV_SECRET })),
        });
        // By hand: the last shard that starts not above governance, whose eighth byte is 1.
        const counting = ranges
          .filter(({ start }) => compareBytes(start, GOVERNANCE_CANISTER_ID) <= 0)
          .at(-1);
        const holds = counting !== undefined && compareBytes(GOVERNANCE_CANISTER_ID, counting.end) <= 0;
        const verdict = ours(certificate);
        seen.add(verdict);
        expect(verdict === 'ok').toBe(holds);
        // The agent knows no shards: that is the other difference, and the reason why ranges are read by us.
        expect(await agent(certificate)).toBe(false);
      }),
      { numRuns: 60, seed: 4 },
    );
    expect([...seen]).toEqual(expect.arrayContaining(['ok', 'CERT_RANGES_MISSING', 'CERT_CANISTER_RANGE']));
  },
);
