import { createPrivateKey } from 'node:crypto';
import { p384 } from '@noble/curves/nist';
import { digestBytes } from '../bytes/digest.ts';
import { keyError, publicKeyFromPoint, signatureFromCompact } from './id-block.ts';
import type { IdBlockPublicKey, IdBlockSignature } from './model.ts';

/*
 * Signing of ID blocks: one of the few modules of the tools that holds a private key. It never makes one, and what build
 * actions run does not contain it, except the bundle of the igvm_sign rule (test/bundle).
 */

/** A P-384 private key that signs. */
export interface IdBlockSigner {
  readonly publicKey: IdBlockPublicKey;
  /** ECDSA with SHA-384 and the nonce of RFC 6979: the same message has the same signature. */
  signature(message: Uint8Array): IdBlockSignature;
}

/**
 * @param pem SEC1 ("EC PRIVATE KEY"), as igvmmeasure takes it, or PKCS #8 ("PRIVATE KEY"); not encrypted
 * @throws CvmError format IGVM_KEY
 */
export function signerFromPem(pem: string, what: string): IdBlockSigner {
  let scalar: Uint8Array;
  try {
    const { crv, d = '' } = createPrivateKey(pem).export({ format: 'jwk' });
    if (crv !== 'P-384') throw keyError(what, 'a key of another kind or curve');
    scalar = new Uint8Array(Buffer.from(d, 'base64url'));
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'IGVM_KEY') throw cause;
    throw keyError(what, 'no private key in PEM, or an encrypted one', cause);
  }
  return {
    publicKey: publicKeyFromPoint(p384.getPublicKey(scalar, false)),
    signature(message) {
      const digest = digestBytes('sha384', message);
      const signed = p384.sign(digest, scalar, { prehash: false, lowS: false });
      return signatureFromCompact(signed.toBytes('compact'));
    },
  };
}
