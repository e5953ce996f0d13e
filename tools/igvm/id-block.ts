import { createPublicKey } from 'node:crypto';
import { p384 } from '@noble/curves/nist';
import { isZero } from '../bytes/compare.ts';
import { digestBytes } from '../bytes/digest.ts';
import { bug, formatError, mismatchError, trustError } from '../errors.ts';
import { guestPolicy } from './measured-file.ts';
import type { IdBlockPublicKey, IdBlockSignature, IgvmFile, SnpIdBlock } from './model.ts';

/*
 * AMD's ID_BLOCK and ID_AUTH: what a guest owner signs and a firmware checks. Numbers are little-endian, coordinates and
 * signature halves 72 bytes wide, of which P-384 uses 48.
 * Source: AMD 56860, SNP_LAUNCH_FINISH, "ID Block" and "ID Authentication Information"; keys and signatures as in the
 * chapter on ECDSA.
 */

const HALF_BYTES = 72;
const P384_BYTES = 48;
const CURVE_P384 = 2;
const ALGORITHM_ECDSA_P384_SHA384 = 1;

export const ID_BLOCK_BYTES = 96;

/** The ID key as the author signs it: u32 curve, qx, qy, zeros. */
export const ID_KEY_BYTES = 0x404;

export interface IdBlock {
  /** 48 bytes. */
  readonly ld: Uint8Array;
  /** 16 bytes. */
  readonly familyId: Uint8Array;
  /** 16 bytes. */
  readonly imageId: Uint8Array;
  readonly guestSvn: number;
  readonly policy: bigint;
}

const ID_BLOCK_VERSION = 1;

/**
 * The 96 bytes that the ID key signs: ld 48, family_id 16, image_id 16, u32 version 1, u32 guest_svn, u64 policy.
 */
export function writeIdBlock(block: IdBlock): Uint8Array {
  const bytes = new Uint8Array(ID_BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(block.ld, 0);
  bytes.set(block.familyId, 48);
  bytes.set(block.imageId, 64);
  view.setUint32(80, ID_BLOCK_VERSION, true);
  view.setUint32(84, block.guestSvn, true);
  view.setBigUint64(88, block.policy, true);
  return bytes;
}

/**
 * The policy that the ID block must name: that of the file.
 * @throws CvmError mismatch IGVM_POLICY_MISSING
 */
export function requirePolicy(file: IgvmFile, mask: number): bigint {
  const policy = guestPolicy(file, mask);
  if (policy !== undefined) return policy;
  throw mismatchError('IGVM_POLICY_MISSING', 'an ID block needs the policy of the file, which has none', {
    facts: [['mask', `0x${mask.toString(16)}`]],
    mend: 'build the file with a policy for SEV-SNP',
  });
}

/** What the author key signs. */
export function writeIdKey(key: IdBlockPublicKey): Uint8Array {
  const bytes = new Uint8Array(ID_KEY_BYTES);
  new DataView(bytes.buffer).setUint32(0, key.curve, true);
  bytes.set(key.qx, 4);
  bytes.set(key.qy, 4 + HALF_BYTES);
  return bytes;
}

/** @param point 97 bytes: 04, x, y, big-endian */
export function publicKeyFromPoint(point: Uint8Array): IdBlockPublicKey {
  if (point.length !== 1 + 2 * P384_BYTES || point[0] !== 4)
    throw bug('a point of P-384 is not uncompressed');
  return {
    curve: CURVE_P384,
    qx: half(point.subarray(1, 1 + P384_BYTES)),
    qy: half(point.subarray(1 + P384_BYTES)),
  };
}

/**
 * A P-384 public key in PEM.
 * @throws CvmError format IGVM_KEY
 */
export function readPublicKeyPem(pem: string, what: string): IdBlockPublicKey {
  // A private key would be accepted as well, and then lie where public ones are expected.
  if (pem.includes('PRIVATE KEY')) throw keyError(what, 'a private key where a public one belongs');
  let point: Uint8Array;
  try {
    const { crv, x = '', y = '' } = createPublicKey(pem).export({ format: 'jwk' });
    if (crv !== 'P-384') throw keyError(what, 'a key of another kind or curve');
    point = new Uint8Array([4, ...Buffer.from(x, 'base64url'), ...Buffer.from(y, 'base64url')]);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'IGVM_KEY') throw cause;
    throw keyError(what, 'no public key in PEM', cause);
  }
  return publicKeyFromPoint(point);
}

export function keyError(what: string, found: string, cause?: unknown): Error {
  return formatError('IGVM_KEY', 'a key cannot be used: P-384 in PEM is needed', {
    facts: [
      ['key', what],
      ['found', found],
    ],
    mend: 'make one with openssl ecparam -name secp384r1 -genkey -noout; openssl ec -pubout gives its public half',
    cause,
  });
}

/**
 * A detached signature: 96 bytes r and s, big-endian, or DER as openssl writes it.
 * @throws CvmError format IGVM_SIGNATURE_FORM
 */
export function readSignature(bytes: Uint8Array, what: string): IdBlockSignature {
  try {
    // bytes may be a view that DER parsing must not outlive.
    const signature =
      bytes.length === 2 * P384_BYTES
        ? p384.Signature.fromBytes(bytes.slice(), 'compact')
        : p384.Signature.fromBytes(bytes.slice(), 'der');
    return signatureFromCompact(signature.toBytes('compact'));
  } catch (cause) {
    throw formatError('IGVM_SIGNATURE_FORM', 'a signature is neither 96 bytes nor DER of P-384', {
      facts: [
        ['signature', what],
        ['size', `${bytes.length} bytes`],
      ],
      mend: 'sign with openssl dgst -sha384 -sign KEY',
      cause,
    });
  }
}

/** @param compact r and s, 48 bytes each, big-endian */
export function signatureFromCompact(compact: Uint8Array): IdBlockSignature {
  return { r: half(compact.subarray(0, P384_BYTES)), s: half(compact.subarray(P384_BYTES)) };
}

/** Big-endian to little-endian, and wide enough. */
function half(bigEndian: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HALF_BYTES);
  bytes.set(bigEndian.toReversed());
  return bytes;
}

/**
 * Checks one signature.
 * @throws CvmError trust IGVM_SIGNATURE
 */
export function requireSignature(
  signature: IdBlockSignature,
  message: Uint8Array,
  key: IdBlockPublicKey,
  what: string,
): void {
  if (isSigned(signature, message, key)) return;
  throw trustError('IGVM_SIGNATURE', 'a signature does not belong to its message and key', {
    facts: [['signature', what]],
    mend: 'sign what --id-block-output or --id-key-output wrote for this very file, with SHA-384 and this key',
  });
}

function isSigned(signature: IdBlockSignature, message: Uint8Array, key: IdBlockPublicKey): boolean {
  const parts = [signature.r, signature.s, key.qx, key.qy];
  if (key.curve !== CURVE_P384 || parts.some((part) => !isZero(part.subarray(P384_BYTES)))) return false;
  const [r, s, x, y] = parts.map((part) => part.slice(0, P384_BYTES).toReversed()) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  const compact = new Uint8Array([...r, ...s]);
  try {
    const options = { prehash: false, lowS: false };
    return p384.verify(compact, digestBytes('sha384', message), new Uint8Array([4, ...x, ...y]), options);
  } catch {
    // The library throws for points off the curve and scalars out of range: no signature.
    return false;
  }
}

export interface IdBlockParts {
  readonly block: IdBlock;
  readonly idKey: IdBlockPublicKey;
  readonly idSignature: IdBlockSignature;
  /** The author's key and its signature over the ID key, where there is an author. */
  readonly author?: { readonly key: IdBlockPublicKey; readonly signature: IdBlockSignature } | undefined;
}

/**
 * The header of a signed block. Both signatures are checked: a wrong one would be found by the firmware of a machine far
 * away.
 * @throws CvmError trust IGVM_SIGNATURE
 */
export function idBlockHeader(mask: number, { block, idKey, idSignature, author }: IdBlockParts): SnpIdBlock {
  requireSignature(idSignature, writeIdBlock(block), idKey, 'ID block');
  if (author !== undefined) requireSignature(author.signature, writeIdKey(idKey), author.key, 'ID key');
  const none = new Uint8Array(HALF_BYTES);
  return {
    kind: 'snp-id-block',
    mask,
    authorKeyEnabled: author === undefined ? 0 : 1,
    ld: block.ld,
    familyId: block.familyId,
    imageId: block.imageId,
    version: ID_BLOCK_VERSION,
    guestSvn: block.guestSvn,
    idKeyAlgorithm: ALGORITHM_ECDSA_P384_SHA384,
    authorKeyAlgorithm: ALGORITHM_ECDSA_P384_SHA384,
    idKeySignature: idSignature,
    idPublicKey: idKey,
    authorKeySignature: author?.signature ?? { r: none, s: none },
    authorPublicKey: author?.key ?? { curve: 0, qx: none, qy: none },
  };
}
