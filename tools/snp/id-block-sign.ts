/**
 * The one module that signs: ID blocks of SEV-SNP, alone and in IGVM files. It never makes a key, and what build actions
 * run does not contain it, except the bundle of the igvm_sign rule (test/bundle).
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { p384 } from '@noble/curves/nist';
import { digestBytes } from '../bytes/digest.ts';
import { CvmError, formatError } from '../errors.ts';
import { writeIdBlock, type IdAuth, type IdBlock } from './id-block.ts';
import { keyPoint, writeSnpPublicKey } from './p384.ts';

/** A private key of P-384: the number (48 bytes, big-endian) and its public half (1028 bytes). */
export interface SigningKey {
  readonly scalar: Uint8Array;
  readonly publicKey: Uint8Array;
}

/**
 * @param pem SEC1 or PKCS#8, not encrypted
 * @throws CvmError format SNP_KEY_FORMAT, with a cause where there is no key that can be read
 */
export function readSigningKey(pem: Uint8Array, what: string): SigningKey {
  let key: KeyObject;
  try {
    key = createPrivateKey(Buffer.from(pem));
  } catch (cause) {
    if (cause instanceof CvmError) throw cause;
    throw formatError('SNP_KEY_FORMAT', `${what} holds no private key that can be read`, {
      mend: 'give an EC key of the curve P-384 as PEM, without a password: openssl ecparam -name secp384r1 -genkey -noout',
      cause,
    });
  }
  const publicKey = writeSnpPublicKey(keyPoint(key, what));
  const number = Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url');
  const scalar = new Uint8Array(48);
  scalar.set(number, scalar.length - number.length);
  return { scalar, publicKey };
}

/**
 * ECDSA P-384 with SHA-384, nonce of RFC 6979: the same key and message make the same bytes.
 * @returns R and S, big-endian, 48 bytes each
 */
export function signP384(key: SigningKey, message: Uint8Array): Uint8Array {
  const signature = p384.sign(digestBytes('sha384', message), key.scalar, { lowS: false, prehash: false });
  return signature.toBytes('compact');
}

/** Both signatures of an ID block. */
export function signIdBlock(block: IdBlock, idKey: SigningKey, authorKey: SigningKey): IdAuth {
  return {
    idKey: idKey.publicKey,
    blockSignature: signP384(idKey, writeIdBlock(block)),
    authorKey: authorKey.publicKey,
    keySignature: signP384(authorKey, idKey.publicKey),
  };
}
