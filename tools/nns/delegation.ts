import { compareBytes } from '../bytes/compare.ts';
import { decodeCbor } from '../cbor/decode.ts';
import { cborKind, isCborArray } from '../cbor/value.ts';
import type { CborValue } from '../cbor/value.ts';
import { formatError, trustError } from '../errors.ts';
import type { CvmError, Fact } from '../errors.ts';
import { lookup, lookupSubtree, showLabel, visibleChildren } from './hash-tree.ts';
import type { HashTree } from './hash-tree.ts';
import { PRINCIPAL_MAX_BYTES, principalToText } from './principal.ts';
import { keyFromDer } from './root-key.ts';

/** Canister ids from `start` to `end`, both included, in bytewise order. */
export interface CanisterRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}

/** The ranges that were consulted: of the whole subnet, or of the one shard in which the canister must stand. */
export interface CanisterRanges {
  readonly form: 'legacy' | 'sharded';
  readonly ranges: readonly CanisterRange[];
}

/**
 * Checks that the root assigned `canisterId` to the subnet, by the tree of the delegation's certificate, whose signature must have
 * been verified before. Two forms exist: `/canister_ranges/<subnet>/<first id of the shard>`, where the shard with the
 * greatest label not above the id decides alone, and the older `/subnet/<subnet>/canister_ranges`. The sharded form is asked first; the legacy one only
 * when no shard for the id is shown.
 *
 * @throws CvmError trust CERT_RANGES_MISSING when neither form is shown, CERT_CANISTER_RANGE when the id is in no range
 * @throws CvmError format CERT_RANGES_SHAPE | CBOR_…
 */
export function subnetRangesFor(
  tree: HashTree,
  subnetId: Uint8Array,
  canisterId: Uint8Array,
): CanisterRanges {
  const found = shardFor(tree, subnetId, canisterId) ?? legacyRanges(tree, subnetId);
  if (found === undefined) {
    throw trustError('CERT_RANGES_MISSING', 'the delegation does not show which canisters the subnet holds', {
      facts: ids(subnetId, canisterId),
      mend: 'ask the canister endpoint for the certificate: certificates of subnet endpoints show no ranges',
    });
  }
  const inside = found.ranges.some(
    ({ start, end }) => compareBytes(start, canisterId) <= 0 && compareBytes(canisterId, end) <= 0,
  );
  if (!inside) {
    throw trustError('CERT_CANISTER_RANGE', 'the subnet that signed does not hold the canister', {
      facts: [...ids(subnetId, canisterId), ...nearestRange(found.ranges, canisterId)],
      mend: 'this certificate answers for another canister: fetch one that comes from the canister asked for',
    });
  }
  return found;
}

function shardFor(tree: HashTree, subnetId: Uint8Array, canisterId: Uint8Array): CanisterRanges | undefined {
  const shards = lookupSubtree(['canister_ranges', subnetId], tree);
  if (shards.status !== 'found') return undefined;
  const shard = visibleChildren(shards.tree)
    .filter(({ label }) => compareBytes(label, canisterId) <= 0)
    .at(-1);
  if (shard === undefined || shard.subtree.kind === 'pruned') return undefined;
  if (shard.subtree.kind !== 'leaf') throw badRanges(`the shard ${showLabel(shard.label)} is not a leaf`);
  return { form: 'sharded', ranges: readRanges(shard.subtree.value) };
}

function legacyRanges(tree: HashTree, subnetId: Uint8Array): CanisterRanges | undefined {
  const leaf = lookup(['subnet', subnetId, 'canister_ranges'], tree);
  if (leaf.status === 'error') throw badRanges('canister_ranges is not a leaf');
  return leaf.status === 'found' ? { form: 'legacy', ranges: readRanges(leaf.value) } : undefined;
}

/** A CBOR list of pairs of principals. */
function readRanges(bytes: Uint8Array): CanisterRange[] {
  const list = decodeCbor(bytes, 'list of canister ranges');
  if (!isCborArray(list)) throw badRanges(`the list is ${cborKind(list)}`);
  return list.map((pair) => {
    if (!isCborArray(pair) || pair.length !== 2) throw badRanges(`a range is ${cborKind(pair)}`);
    const range = { start: readPrincipal(pair[0]), end: readPrincipal(pair[1]) };
    if (compareBytes(range.start, range.end) > 0) throw badRanges('a range ends before it starts');
    return range;
  });
}

function readPrincipal(value: CborValue): Uint8Array {
  if (value instanceof Uint8Array && value.length <= PRINCIPAL_MAX_BYTES) return value;
  throw badRanges(`an end of a range is ${cborKind(value)}, not a principal`);
}

function badRanges(problem: string): CvmError {
  return formatError('CERT_RANGES_SHAPE', 'the canister ranges of the delegation are malformed', {
    facts: [['problem', problem]],
    mend: 'the network writes them otherwise: fetch the certificate again',
  });
}

function ids(subnetId: Uint8Array, canisterId: Uint8Array): Fact[] {
  return [
    ['subnet', principalToText(subnetId)],
    ['canister', principalToText(canisterId)],
  ];
}

/** The range before which, or after which, the canister stands: what a reader compares first. */
function nearestRange(ranges: readonly CanisterRange[], canisterId: Uint8Array): Fact[] {
  const last = ranges.filter(({ end }) => compareBytes(end, canisterId) < 0).at(-1);
  const nearest = last ?? ranges[0];
  if (nearest === undefined) return [['ranges', 'none']];
  return [['nearest range', `${principalToText(nearest.start)} to ${principalToText(nearest.end)}`]];
}

/**
 * The key of the subnet, in DER, as the root certified it.
 * @throws CvmError trust CERT_SUBNET_KEY when the tree does not show it, format KEY_LENGTH | KEY_PREFIX
 */
export function subnetPublicKey(tree: HashTree, subnetId: Uint8Array): Uint8Array {
  const found = lookup(['subnet', subnetId, 'public_key'], tree);
  if (found.status !== 'found') {
    throw trustError('CERT_SUBNET_KEY', 'the delegation does not show the key of the subnet', {
      facts: [
        ['subnet', principalToText(subnetId)],
        ['/subnet/…/public_key', found.status],
      ],
      mend: 'the key was pruned, or the delegation is for another subnet: fetch the certificate again',
    });
  }
  keyFromDer(found.value, 'subnet key');
  return found.value;
}
