import { createHash } from 'node:crypto';
import { bls12_381 } from '@noble/curves/bls12-381';
import { compareBytes, concatBytes } from '../../tools/bytes/compare.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import { encodeCbor } from '../../tools/cbor/encode.ts';
import type { CborValue } from '../../tools/cbor/value.ts';
import { rootHash } from '../../tools/nns/hash-tree.ts';
import type { HashTree, Label } from '../../tools/nns/hash-tree.ts';
import { encodeLeb128 } from '../../tools/nns/leb128.ts';
import type { CanisterRange } from '../../tools/nns/delegation.ts';
import { keyToDer } from '../../tools/nns/root-key.ts';

/** A BLS secret: 32 bytes, a big-endian scalar. */
export type Secret = Uint8Array;

export function secretOf(scalar: number): Secret {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(28, scalar);
  return bytes;
}

/** The private half of the `dev` network's root key. It lives here and nowhere else. */
export const DEV_SECRET: Secret = secretOf(7);
/** A subnet below the dev root, for delegations. */
export const SUBNET_SECRET: Secret = secretOf(11);
/** A key that nobody trusts. */
export const STRANGER_SECRET: Secret = secretOf(13);

/** A subnet id of the usual form: SHA-224 of the key in DER, then 02. */
export function subnetIdOf(secret: Secret): Uint8Array {
  const digest = createHash('sha224').update(derKeyOf(secret)).digest();
  return concatBytes(new Uint8Array(digest), Uint8Array.of(2));
}

export function derKeyOf(secret: Secret): Uint8Array {
  return keyToDer(bls12_381.shortSignatures.getPublicKey(secret).toBytes(true));
}

const bytesOf = (label: Label): Uint8Array => (typeof label === 'string' ? utf8Bytes(label) : label);

export const EMPTY: HashTree = { kind: 'empty' };

export function leaf(value: Label): HashTree {
  return { kind: 'leaf', value: bytesOf(value) };
}

export function labeled(label: Label, subtree: HashTree): HashTree {
  return { kind: 'labeled', label: bytesOf(label), subtree };
}

export function fork(left: HashTree, right: HashTree): HashTree {
  return { kind: 'fork', left, right };
}

/** The same tree with everything hidden. */
export function prune(tree: HashTree): HashTree {
  return { kind: 'pruned', digest: rootHash(tree) };
}

/** A subtree of these children, sorted, as balanced as the network makes it. */
export function subtree(...children: readonly (readonly [Label, HashTree])[]): HashTree {
  const sorted = children.map(([label, below]) => [bytesOf(label), below] as const);
  sorted.sort(([a], [b]) => compareBytes(a, b));
  return balanced(sorted.map(([label, below]) => labeled(label, below)));
}

/** Nodes side by side in the order given, which need not be a good one. */
export function balanced(nodes: readonly HashTree[]): HashTree {
  const [first] = nodes;
  if (first === undefined) return EMPTY;
  if (nodes.length === 1) return first;
  const middle = nodes.length >>> 1;
  return fork(balanced(nodes.slice(0, middle)), balanced(nodes.slice(middle)));
}

export function treeCbor(tree: HashTree): CborValue {
  switch (tree.kind) {
    case 'empty':
      return [0n];
    case 'fork':
      return [1n, treeCbor(tree.left), treeCbor(tree.right)];
    case 'labeled':
      return [2n, tree.label, treeCbor(tree.subtree)];
    case 'leaf':
      return [3n, tree.value];
    case 'pruned':
      return [4n, tree.digest];
  }
}

/** The signature of a network over the state that hashes to `digest`: deterministic, 48 bytes. */
export function signRootHash(digest: Uint8Array, secret: Secret): Uint8Array {
  const { shortSignatures } = bls12_381;
  const message = concatBytes(Uint8Array.of(13), utf8Bytes('ic-state-root'), digest);
  return shortSignatures.Signature.toBytes(shortSignatures.sign(shortSignatures.hash(message), secret));
}

export interface CertificateParts {
  readonly tree: HashTree;
  readonly secret: Secret;
  /** Written as it stands; leave it out for none. */
  readonly delegation?: CborValue;
  readonly selfDescribe?: boolean;
  readonly signature?: Uint8Array;
}

/** A signed certificate. Nothing is checked: tests need wrong ones too. */
export function makeCertificate(parts: CertificateParts): Uint8Array {
  const map = new Map<string, CborValue>([
    ['tree', treeCbor(parts.tree)],
    ['signature', parts.signature ?? signRootHash(rootHash(parts.tree), parts.secret)],
  ]);
  if ('delegation' in parts) map.set('delegation', parts.delegation);
  return encodeCbor(map, parts.selfDescribe ?? true);
}

export const timeLeaf = (timeNs: bigint): HashTree => leaf(encodeLeb128(timeNs));

export function rangesCbor(ranges: readonly CanisterRange[]): Uint8Array {
  return encodeCbor(
    ranges.map(({ start, end }) => [start, end]),
    true,
  );
}

export interface DelegationParts {
  readonly form: 'legacy' | 'sharded';
  readonly subnetId: Uint8Array;
  readonly ranges: readonly CanisterRange[];
  /** null leaves the time out. */
  readonly timeNs: bigint | null;
}

/** The state that the root certifies about a subnet. Every range is a shard of its own in the sharded form. */
export function delegationTree({ form, subnetId, ranges, timeNs }: DelegationParts): HashTree {
  const key = ['public_key', leaf(derKeyOf(SUBNET_SECRET))] as const;
  const time = timeNs === null ? [] : [['time', timeLeaf(timeNs)] as const];
  if (form === 'legacy') {
    const facts = subtree(key, ['canister_ranges', leaf(rangesCbor(ranges))]);
    return subtree(['subnet', subtree([subnetId, facts])], ...time);
  }
  const shards = ranges.map((range) => [range.start, leaf(rangesCbor([range]))] as const);
  return subtree(
    ['canister_ranges', subtree([subnetId, subtree(...shards)])],
    ['subnet', subtree([subnetId, subtree(key)])],
    ...time,
  );
}

/** The `delegation` field of a certificate. */
export function delegationCbor(subnetId: Uint8Array, certificate: Uint8Array): CborValue {
  return new Map<string, CborValue>([
    ['subnet_id', subnetId],
    ['certificate', certificate],
  ]);
}

export interface AnswerParts {
  readonly requestId: Uint8Array;
  readonly reply: Uint8Array;
  readonly timeNs: bigint;
}

/** The state after a call was replied. */
export function answerTree({ requestId, reply, timeNs }: AnswerParts): HashTree {
  return subtree(
    ['request_status', subtree([requestId, subtree(['reply', leaf(reply)], ['status', leaf('replied')])])],
    ['time', timeLeaf(timeNs)],
  );
}
