/**
 * Mutated certificates, requests and replies: whatever comes, a value or a named error, and never a crash. 5,000 inputs in the
 * normal run, 100,000 and a seed of the day in `//test:fuzz_nightly`.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../tools/bytes/hex.ts';
import { decodeCbor } from '../../tools/cbor/decode.ts';
import { encodeCbor } from '../../tools/cbor/encode.ts';
import { candidJson, candidOutline } from '../../tools/commands/candid-text.ts';
import { readCertificate } from '../../tools/nns/certificate.ts';
import { subnetPublicKey, subnetRangesFor } from '../../tools/nns/delegation.ts';
import { certifiedPaths, lookup, rootHash } from '../../tools/nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID } from '../../tools/nns/networks.ts';
import { readRootKey } from '../../tools/nns/root-key.ts';
import { readBlessedContent } from '../../tools/proposal/facts.ts';
import { fieldName } from '../../tools/proposal/field-names.ts';
import { decodeProposalInfo, readReply } from '../../tools/proposal/proposal-info.ts';
import { callRequestId, checkQuestion, readCallContent } from '../../tools/proposal/request.ts';
import { verifyProposal } from '../../tools/proposal/verify.ts';
import { DEV_TIME_NS, devCall, signProposal } from '../nns/answer.ts';
import { GOOD_PROPOSAL } from '../nns/examples.ts';
import { encodeProposalReply } from '../nns/proposal-reply.ts';
import {
  DEV_SECRET,
  SUBNET_SECRET,
  answerTree,
  delegationCbor,
  delegationTree,
  derKeyOf,
  leaf,
  makeCertificate,
  rangesCbor,
  subnetIdOf,
  subtree,
} from '../nns/signer.ts';
import { accepts, changesWith, mutate, RUNS, SEED } from './mutations.ts';

/** One input in so many goes through the whole decision, pairings included. */
const WHOLE_EVERY = 25;

const { certificate, request } = signProposal(GOOD_PROPOSAL);
const reply = encodeProposalReply(GOOD_PROPOSAL);
const subnetId = subnetIdOf(SUBNET_SECRET);
const ranges = [
  { start: new Uint8Array(10), end: new Uint8Array(10).fill(0x7f) },
  { start: new Uint8Array(10).fill(0x80), end: new Uint8Array(10).fill(0xff) },
];

function delegated(form: 'legacy' | 'sharded'): Uint8Array {
  const inner = delegationTree({ form, subnetId, ranges, timeNs: DEV_TIME_NS });
  return makeCertificate({
    tree: answerTree({ requestId: callRequestId(devCall(139001n)), reply, timeNs: DEV_TIME_NS }),
    secret: SUBNET_SECRET,
    delegation: delegationCbor(subnetId, makeCertificate({ tree: inner, secret: DEV_SECRET })),
  });
}

const CERTIFICATES = [certificate, delegated('legacy'), delegated('sharded')];

/** What reads which bytes. Everything that is read is also used, as far as it goes without a signature. */
const READERS: Readonly<
  Record<string, { readonly seeds: readonly Uint8Array[]; readonly read: (bytes: Uint8Array) => void }>
> = {
  cbor: {
    seeds: CERTIFICATES,
    read: (bytes) => {
      const value = decodeCbor(bytes);
      expect(decodeCbor(encodeCbor(value))).toEqual(value);
    },
  },
  certificate: {
    seeds: CERTIFICATES,
    read: (bytes) => {
      const read = readCertificate(bytes);
      rootHash(read.tree);
      for (const { path, value } of certifiedPaths(read.tree)) {
        expect(lookup(path, read.tree)).toEqual({ status: 'found', value });
      }
      if (read.delegation !== null) {
        const { tree } = readCertificate(read.delegation.certificate);
        subnetRangesFor(tree, read.delegation.subnetId, GOVERNANCE_CANISTER_ID);
        subnetPublicKey(tree, read.delegation.subnetId);
      }
    },
  },
  ranges: {
    seeds: [rangesCbor(ranges)],
    read: (bytes) => {
      const facts = subtree(['canister_ranges', leaf(bytes)]);
      subnetRangesFor(subtree(['subnet', subtree([subnetId, facts])]), subnetId, GOVERNANCE_CANISTER_ID);
    },
  },
  request: {
    seeds: [request],
    read: (bytes) => {
      const content = readCallContent(bytes);
      callRequestId(content);
      checkQuestion(content, 139001n);
    },
  },
  reply: {
    seeds: [reply, encodeProposalReply(null)],
    read: (bytes) => {
      for (const value of readReply(bytes).values) {
        JSON.stringify(candidJson(value, fieldName));
        candidOutline(value, fieldName, () => undefined);
      }
      readBlessedContent(decodeProposalInfo(bytes));
    },
  },
  key: {
    seeds: [derKeyOf(DEV_SECRET), Buffer.from(bytesToHex(derKeyOf(DEV_SECRET)))],
    read: (bytes) => void readRootKey(bytes),
  },
};

/** Heads of CBOR and Candid items that announce the most. */
const EXTREMES = [
  '00',
  '7f',
  '80',
  'ff',
  '1b',
  '5b',
  '9b',
  'bb',
  'd9d9f7',
  '9f',
  'f7',
  'ffffffffff7f',
  '5bffffffffffffffff',
];
const changes = changesWith(EXTREMES);

describe(`mutated inputs, ${RUNS} of them with seed ${SEED}`, () => {
  const names = Object.keys(READERS);

  test.each(names)('%s: a value or a named error', (name) => {
    const { seeds, read } = READERS[name] as (typeof READERS)[string];
    for (const seed of seeds) {
      const isGood = accepts(() => {
        read(seed);
      });
      // The reply that there is no such proposal is the one good input that is refused.
      expect(isGood, bytesToHex(seed)).toBe(seed.length !== encodeProposalReply(null).length);
    }
    let refused = 0;
    fc.assert(
      fc.property(fc.constantFrom(...seeds), changes, (seed, list) => {
        const bytes = mutate(seed, list);
        if (
          !accepts(() => {
            read(bytes);
          })
        )
          refused++;
      }),
      { numRuns: Math.ceil(RUNS / names.length), seed: SEED },
    );
    expect(refused).toBeGreaterThan(RUNS / names.length / 4);
  });

  test('the whole decision: nothing that was changed is believed', () => {
    const good = CERTIFICATES.map((bytes) => bytesToHex(bytes));
    fc.assert(
      fc.property(fc.constantFrom(...CERTIFICATES), changes, fc.boolean(), (seed, list, changesRequest) => {
        const bytes = changesRequest ? seed : mutate(seed, list);
        const asked = changesRequest ? mutate(request, list) : request;
        const isUnchanged = good.includes(bytesToHex(bytes)) && bytesToHex(asked) === bytesToHex(request);
        const isBelieved = accepts(() => {
          verifyProposal({
            certificate: bytes,
            request: asked,
            trust: { network: 'dev' },
            demandRequest: true,
            proposalId: 139001n,
          });
        });
        // A lost or added tag in front is the one change that means nothing.
        const means = (whole: Uint8Array): string => bytesToHex(whole).replace(/^d9d9f7/, '');
        const isSame =
          good.some((hex) => hex.replace(/^d9d9f7/, '') === means(bytes)) && means(asked) === means(request);
        expect(isBelieved).toBe(isUnchanged || isSame);
      }),
      { numRuns: Math.ceil(RUNS / WHOLE_EVERY), seed: SEED },
    );
  });
});
