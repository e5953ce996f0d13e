import { bls12_381 } from '@noble/curves/bls12-381';
import { equalBytes } from '../bytes/compare.ts';
import { trustError } from '../errors.ts';
import type { CvmError } from '../errors.ts';

/** A compressed point of G1. */
export const SIGNATURE_BYTES = 48;

/**
 * A plain copy of the generator of G2. The library's own carries a mark by which every multiplication, also the one that checks
 * its subgroup, first makes tables: 0.2 s that a process which verifies once never gets back. That is why the
 * equation stands here, and `shortSignatures.verify` is not called.
 */
const GENERATOR = bls12_381.G2.Point.fromAffine(bls12_381.G2.Point.BASE.toAffine());

/**
 * Whether `signature` is the one signature over `message` by `key`: BLS12-381, signatures in G1, keys in G2, suite
 * `BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_`. Both points must be in their prime-order subgroup, must not be the
 * point at infinity, and must be in the one compressed encoding of that point: the library reduces coordinates
 * modulo the field prime, which would give a signature a second encoding.
 *
 * @param key 96 bytes
 * @param signature 48 bytes
 * @returns false when both are good points and the signature is not over this message by this key
 * @throws CvmError trust BLS_KEY_POINT | BLS_SIGNATURE_POINT
 */
export function verifyBls(key: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  const { G1, G2, shortSignatures, pairingBatch, fields } = bls12_381;
  const keyPoint = decodePoint(G2.Point, key, () => badPoint('BLS_KEY_POINT', 'public key'));
  const signaturePoint = decodePoint(G1.Point, signature, () => badPoint('BLS_SIGNATURE_POINT', 'signature'));
  // Copied: the library hashes what `.buffer` holds when it is given a view of a pool.
  const hashed = shortSignatures.hash(new Uint8Array(message));
  // e(signature, generator) = e(hash, key), as a product with the hash negated.
  const product = pairingBatch([
    { g1: hashed.negate(), g2: keyPoint },
    { g1: signaturePoint, g2: GENERATOR },
  ]);
  return fields.Fp12.eql(product, fields.Fp12.ONE);
}

interface DecodablePoint {
  is0(): boolean;
  toBytes(compressed: boolean): Uint8Array;
}

function decodePoint<P extends DecodablePoint>(
  group: { fromBytes(bytes: Uint8Array): P },
  encoded: Uint8Array,
  refusal: (cause?: unknown) => CvmError,
): P {
  const bytes = new Uint8Array(encoded);
  let point: P;
  try {
    // Checks curve and subgroup; a test with a point outside the subgroup holds the library to it.
    point = group.fromBytes(bytes);
  } catch (cause) {
    throw refusal(cause);
  }
  if (point.is0() || !equalBytes(point.toBytes(true), bytes)) throw refusal();
  return point;
}

function badPoint(code: string, what: string): CvmError {
  return trustError(code, `the ${what} is not a valid point`, {
    facts: [['demanded', 'canonical compressed encoding, on the curve, in the subgroup, not infinity']],
    mend: 'no network made this: fetch the certificate again',
  });
}
