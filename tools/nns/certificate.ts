import { concatBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { decodeCbor } from '../cbor/decode.ts';
import { cborKind, isCborMap } from '../cbor/value.ts';
import type { CborMap, CborValue } from '../cbor/value.ts';
import { formatError, trustError } from '../errors.ts';
import type { CvmError } from '../errors.ts';
import { SIGNATURE_BYTES, verifyBls } from './bls.ts';
import { subnetPublicKey, subnetRangesFor } from './delegation.ts';
import type { CanisterRanges } from './delegation.ts';
import { certifiedPaths, lookup, readHashTree, rootHash } from './hash-tree.ts';
import type { HashTree } from './hash-tree.ts';
import { decodeLeb128 } from './leb128.ts';
import { PRINCIPAL_MAX_BYTES, principalToText } from './principal.ts';
import { keyFromDer } from './root-key.ts';
import { StageLog } from './stages.ts';

/** A certificate as it was written: nothing in it is believed yet. */
export interface Certificate {
  readonly tree: HashTree;
  readonly signature: Uint8Array;
  readonly delegation: Delegation | null;
}

/** The root's word for a subnet: `certificate` is itself a certificate, signed by the root, that shows the subnet's key. */
export interface Delegation {
  readonly subnetId: Uint8Array;
  readonly certificate: Uint8Array;
}

declare const verified: unique symbol;

/**
 * A certificate that was verified for one canister and one root key. Only {@link verifyCertificate} makes one; what
 * reads facts out of a certificate takes nothing else.
 */
export interface VerifiedCertificate {
  readonly [verified]: true;
  readonly tree: HashTree;
  /** 32 bytes: what the signature covers. */
  readonly rootHash: Uint8Array;
  readonly canisterId: Uint8Array;
  /** Nanoseconds since 1970 from the leaf `/time`: what the network said, compared with no clock. */
  readonly timeNs: bigint;
  /** null when the root subnet signed by itself. */
  readonly delegation: { readonly subnetId: Uint8Array; readonly ranges: CanisterRanges } | null;
}

export interface VerifyCertificateOptions {
  readonly certificate: Uint8Array;
  /** 133 bytes of DER. */
  readonly rootKey: Uint8Array;
  /** Whose state the certificate is to speak for. */
  readonly canisterId: Uint8Array;
  readonly log?: StageLog;
}

const MEND_SHAPE = 'give a certificate as the network made it; if this is one, it is damaged: fetch it again';

const STATE_ROOT_SEPARATOR = concatBytes(Uint8Array.of('ic-state-root'.length), utf8Bytes('ic-state-root'));

/**
 * Reads a certificate: a map of `tree`, `signature` (48 bytes) and, when a subnet other than the root signed,
 * `delegation` (a map of `subnet_id` and `certificate`; null stands for none, CBOR undefined does not).
 * Source: Internet Computer interface specification, "Certification encoding".
 * @throws CvmError format CBOR_… | CERT_SHAPE | CERT_FIELD_UNKNOWN | CERT_FIELD_MISSING | HASH_TREE_…
 */
export function readCertificate(bytes: Uint8Array, what = 'certificate'): Certificate {
  const map = fieldsOf(decodeCbor(bytes, what), what, ['tree', 'signature'], ['delegation']);
  const signature = bytesField(map, 'signature', what);
  if (signature.length !== SIGNATURE_BYTES) {
    throw badShape(what, 'signature', `${SIGNATURE_BYTES} bytes`, cborKind(signature));
  }
  return {
    tree: readHashTree(map.get('tree')),
    signature,
    delegation: map.has('delegation') ? readDelegation(map.get('delegation'), what) : null,
  };
}

function readDelegation(value: CborValue, what: string): Delegation | null {
  if (value === null) return null;
  const name = `delegation of the ${what}`;
  const map = fieldsOf(value, name, ['subnet_id', 'certificate'], []);
  const subnetId = bytesField(map, 'subnet_id', name);
  if (subnetId.length === 0 || subnetId.length > PRINCIPAL_MAX_BYTES) {
    throw badShape(name, 'subnet_id', `1 to ${PRINCIPAL_MAX_BYTES} bytes`, cborKind(subnetId));
  }
  return { subnetId, certificate: bytesField(map, 'certificate', name) };
}

function fieldsOf(
  value: CborValue,
  what: string,
  needed: readonly string[],
  optional: readonly string[],
): CborMap {
  if (!isCborMap(value)) throw badShape(what, 'the whole', 'a map', cborKind(value));
  for (const key of value.keys()) {
    if (needed.includes(key) || optional.includes(key)) continue;
    throw formatError('CERT_FIELD_UNKNOWN', `the ${what} has a field that does not belong there`, {
      facts: [
        ['field', key],
        ['known fields', [...needed, ...optional].join(', ')],
      ],
      ...nearestOf(value),
      mend: MEND_SHAPE,
    });
  }
  for (const key of needed) {
    if (value.has(key)) continue;
    throw formatError('CERT_FIELD_MISSING', `the ${what} lacks a field`, {
      facts: [['field', key]],
      mend: MEND_SHAPE,
    });
  }
  return value;
}

/** A whole answer of a replica was stored, which holds a certificate. */
function nearestOf(map: CborMap): { readonly nearest?: string } {
  return map.get('certificate') instanceof Uint8Array && !map.has('subnet_id')
    ? { nearest: 'this is the whole answer of a replica: its field `certificate` holds the certificate' }
    : {};
}

function bytesField(map: CborMap, key: string, what: string): Uint8Array {
  const value = map.get(key);
  if (!(value instanceof Uint8Array)) throw badShape(what, key, 'a byte string', cborKind(value));
  return value;
}

function badShape(what: string, field: string, expected: string, found: string): CvmError {
  return formatError('CERT_SHAPE', `the ${what} is malformed`, {
    facts: [
      ['field', field],
      ['expected', expected],
      ['found', found],
    ],
    mend: MEND_SHAPE,
  });
}

/**
 * Decides whether the network that holds `rootKey` certified this tree for this canister. No clock is asked: what was
 * certified once stays certified, and `/time` is only demanded and read.
 *
 * @throws CvmError format for bytes that are no certificate (see {@link readCertificate}; KEY_LENGTH, KEY_PREFIX, LEB128)
 * @throws CvmError trust CERT_MANAGEMENT_CANISTER | CERT_SIGNATURE | CERT_DELEGATION_SIGNATURE | CERT_TOO_MANY_DELEGATIONS |
 *   CERT_RANGES_MISSING | CERT_CANISTER_RANGE | CERT_SUBNET_KEY | CERT_TIME_MISSING | BLS_KEY_POINT | BLS_SIGNATURE_POINT
 */
export function verifyCertificate(options: VerifyCertificateOptions): VerifiedCertificate {
  const log = options.log ?? new StageLog();
  const canisterId = new Uint8Array(options.canisterId);
  log.run(
    'canister',
    () => {
      checkCanister(canisterId);
    },
    () => principalToText(canisterId),
  );
  log.run(
    'root key',
    () => keyFromDer(options.rootKey, 'root key'),
    (key) => `BLS12-381, ${bytesToHex(key.subarray(0, 8))}…, ${key.length} bytes`,
  );
  const certificate = log.run(
    'decode',
    () => readCertificate(options.certificate),
    (read) => `${options.certificate.length} bytes, ${certifiedPaths(read.tree).length} certified values`,
  );
  const signer = verifySigner(certificate.delegation, options.rootKey, canisterId, log);
  const digest = rootHash(certificate.tree);
  log.run(
    'signature',
    () => {
      checkSignature(certificate, digest, signer.derKey, 'CERT_SIGNATURE', 'certificate');
    },
    () => `by the ${signer.name} over root hash ${bytesToHex(digest)}`,
  );
  const timeNs = log.run(
    'time',
    () => certifiedTime(certificate.tree, 'certificate'),
    (time) => `${time} ns since 1970, compared with no clock`,
  );
  const fields: Omit<VerifiedCertificate, typeof verified> = {
    tree: certificate.tree,
    rootHash: digest,
    canisterId,
    timeNs,
    delegation: signer.delegation,
  };
  // The one place where the brand is given.
  return fields as VerifiedCertificate;
}

function checkCanister(canisterId: Uint8Array): void {
  if (canisterId.length > 0 && canisterId.length <= PRINCIPAL_MAX_BYTES) return;
  if (canisterId.length === 0) {
    throw trustError(
      'CERT_MANAGEMENT_CANISTER',
      'no certificate can be verified for the management canister',
      {
        facts: [['why', 'it lives on every subnet, so no canister range could limit who speaks for it']],
        mend: 'name the canister whose answer this is',
      },
    );
  }
  throw formatError('PRINCIPAL_LENGTH', 'the canister id is longer than a principal may be', {
    facts: [
      ['length', `${canisterId.length} bytes`],
      ['limit', `${PRINCIPAL_MAX_BYTES} bytes`],
    ],
    mend: 'name a canister',
  });
}

interface Signer {
  readonly name: string;
  readonly derKey: Uint8Array;
  readonly delegation: VerifiedCertificate['delegation'];
}

/** The key that must have signed: the root's own, or that of the subnet which the root names for this canister. */
function verifySigner(
  delegation: Delegation | null,
  rootKey: Uint8Array,
  canisterId: Uint8Array,
  log: StageLog,
): Signer {
  if (delegation === null) {
    return log.run(
      'delegation',
      () => ({ name: 'root subnet', derKey: rootKey, delegation: null }),
      () => 'none: signed by the root subnet itself',
    );
  }
  const { subnetId } = delegation;
  const what = 'delegation certificate';
  const inner = log.run(
    'delegation',
    () => {
      const read = readCertificate(delegation.certificate, what);
      if (read.delegation !== null) {
        throw trustError('CERT_TOO_MANY_DELEGATIONS', 'the certificate has too many delegations', {
          facts: [
            ['found', 'a delegation inside the delegation'],
            ['allowed', 'one, from the root subnet'],
          ],
          mend: 'the network makes no such certificate: fetch another',
        });
      }
      return read;
    },
    () => `to subnet ${principalToText(subnetId)}`,
  );
  log.run(
    'delegation signature',
    () => {
      checkSignature(inner, rootHash(inner.tree), rootKey, 'CERT_DELEGATION_SIGNATURE', what);
    },
    () => `by the root subnet over root hash ${bytesToHex(rootHash(inner.tree))}`,
  );
  log.run(
    'delegation time',
    () => certifiedTime(inner.tree, what),
    (time) => `${time} ns since 1970, compared with no clock`,
  );
  const ranges = log.run(
    'canister range',
    () => subnetRangesFor(inner.tree, subnetId, canisterId),
    (found) => `${principalToText(canisterId)} lies in the subnet's ${found.form} ranges`,
  );
  const derKey = log.run(
    'subnet key',
    () => subnetPublicKey(inner.tree, subnetId),
    () => 'certified by the root subnet',
  );
  return { name: `subnet ${principalToText(subnetId)}`, derKey, delegation: { subnetId, ranges } };
}

function checkSignature(
  certificate: Certificate,
  digest: Uint8Array,
  derKey: Uint8Array,
  code: 'CERT_SIGNATURE' | 'CERT_DELEGATION_SIGNATURE',
  what: string,
): void {
  const key = keyFromDer(derKey, `key that is to have signed the ${what}`);
  if (verifyBls(key, certificate.signature, concatBytes(STATE_ROOT_SEPARATOR, digest))) return;
  throw trustError(code, `the signature of the ${what} does not verify`, {
    facts: [
      ['root hash', bytesToHex(digest)],
      ['key', bytesToHex(key)],
    ],
    mend: 'the bytes were changed, or another network signed them: fetch the certificate again, or name its network',
  });
}

/** The leaf `/time`. All-zero bytes, which stand for no time in test certificates, read as zero. */
function certifiedTime(tree: HashTree, what: string): bigint {
  const found = lookup(['time'], tree);
  if (found.status !== 'found') {
    throw trustError('CERT_TIME_MISSING', `the ${what} does not contain a time`, {
      facts: [['/time', found.status]],
      mend: 'every certificate of the network shows its time: fetch it again',
    });
  }
  if (found.value.length === 8 && found.value.every((byte) => byte === 0)) return 0n;
  return decodeLeb128(found.value, `time of the ${what}`);
}
