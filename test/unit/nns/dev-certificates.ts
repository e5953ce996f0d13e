import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import type { CborValue } from '../../../tools/cbor/value.ts';
import { verifyCertificate } from '../../../tools/nns/certificate.ts';
import type { VerifiedCertificate } from '../../../tools/nns/certificate.ts';
import type { CanisterRange } from '../../../tools/nns/delegation.ts';
import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../../../tools/nns/networks.ts';
import {
  DEV_SECRET,
  SUBNET_SECRET,
  answerTree,
  delegationCbor,
  delegationTree,
  makeCertificate,
  subnetIdOf,
} from '../../nns/signer.ts';
import type { Secret } from '../../nns/signer.ts';

/** Pairings by the hundred: a busy machine is no failure. */
export const SLOW = { timeout: 120_000 };
export const TIME = 1_770_000_000_000_000_000n;
export const ROOT_KEY = rootKeyOf({ network: 'dev' });
export const SUBNET_ID = subnetIdOf(SUBNET_SECRET);
export const CANISTER = GOVERNANCE_CANISTER_ID;

/** The canister id with this number, as the network assigns them. */
export function canister(index: number): Uint8Array {
  const id = hexToBytes('00000000000000000101');
  new DataView(id.buffer).setUint32(4, index);
  return id;
}

export const range = (from: number, to: number): CanisterRange => ({
  start: canister(from),
  end: canister(to),
});
export const HOLDS_GOVERNANCE = [range(0, 9)];
export const answer = answerTree({
  requestId: new Uint8Array(32).fill(1),
  reply: utf8Bytes('hi'),
  timeNs: TIME,
});

export function verify(
  certificate: Uint8Array,
  canisterId = CANISTER,
  rootKey = ROOT_KEY,
): VerifiedCertificate {
  return verifyCertificate({ certificate, rootKey, canisterId });
}

export interface DelegatedParts {
  readonly tree?: HashTree;
  readonly subnetId?: Uint8Array;
  readonly rootSecret?: Secret;
  readonly secret?: Secret;
  readonly inner?: Partial<{ delegation: CborValue; signature: Uint8Array }>;
}

/** A certificate by a subnet below the dev root; `inner` is the state that the root certified. */
export function delegated(innerTree: HashTree, parts: DelegatedParts = {}): Uint8Array {
  const inner = makeCertificate({ tree: innerTree, secret: parts.rootSecret ?? DEV_SECRET, ...parts.inner });
  return makeCertificate({
    tree: parts.tree ?? answer,
    secret: parts.secret ?? SUBNET_SECRET,
    delegation: delegationCbor(parts.subnetId ?? SUBNET_ID, inner),
  });
}

export const legacy = (ranges: readonly CanisterRange[]): HashTree =>
  delegationTree({ form: 'legacy', subnetId: SUBNET_ID, ranges, timeNs: TIME });
export const sharded = (ranges: readonly CanisterRange[]): HashTree =>
  delegationTree({ form: 'sharded', subnetId: SUBNET_ID, ranges, timeNs: TIME });
