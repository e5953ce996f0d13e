import { rootHash, lookup } from '../../../tools/nns/hash-tree.ts';
import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import {
  DEV_SECRET,
  leaf,
  makeCertificate,
  prune,
  signRootHash,
  subtree,
  timeLeaf,
} from '../../nns/signer.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CvmError } from '../../../tools/errors.ts';
import { expectRefusal } from '../../support/refusals.ts';
import { CANISTER, SLOW, TIME, HOLDS_GOVERNANCE, verify, delegated, legacy } from './dev-certificates.ts';

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
        const error = expectRefusal(() => verify(good.subarray(0, length)), 'CBOR_TRUNCATED', 'format');
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

  test('any pruning of unrelated paths is accepted, and changes nothing that is proven', SLOW, () => {
    const id = new Uint8Array(32).fill(1);
    const others = Array.from({ length: 7 }, (_, i) => new Uint8Array(32).fill(0x20 * (i + 1)));
    const ours = [id, subtree(['reply', leaf('hi')], ['status', leaf('replied')])] as const;
    const state = (hide: (tree: HashTree, i: number) => HashTree): HashTree =>
      subtree(
        ['canister', hide(subtree([CANISTER, leaf('x')]), 7)],
        [
          'request_status',
          subtree(
            ...others.map((other, i) => [other, hide(subtree(['status', leaf('done')]), i)] as const),
            ours,
          ),
        ],
        ['time', timeLeaf(TIME)],
      );
    const whole = state((tree) => tree);
    const signature = signRootHash(rootHash(whole), DEV_SECRET);
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }), (hidden) => {
        const tree = state((below, i) => (hidden[i] === true ? prune(below) : below));
        const verified = verify(makeCertificate({ tree, secret: DEV_SECRET, signature }));
        expect(verified.rootHash).toEqual(rootHash(whole));
        expect(lookup(['request_status', id, 'reply'], verified.tree)).toEqual({
          status: 'found',
          value: utf8Bytes('hi'),
        });
      }),
      { numRuns: 40, seed: 4 },
    );
  });

  test('any pruning of a path that the decision needs is refused by name', SLOW, () => {
    const inner = legacy(HOLDS_GOVERNANCE);
    const prunable: readonly [HashTree, string][] = [
      [subtree(['subnet', prune(inner)], ['time', timeLeaf(TIME)]), 'CERT_RANGES_MISSING'],
      [subtree(['time', prune(timeLeaf(TIME))]), 'CERT_TIME_MISSING'],
    ];
    for (const [tree, code] of prunable) expectRefusal(() => verify(delegated(tree)), code, 'trust');
  });
});
