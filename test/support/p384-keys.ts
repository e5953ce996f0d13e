import { createPrivateKey, createPublicKey } from 'node:crypto';
import { p384 } from '@noble/curves/nist';

/** PEM of the private key with this number: no test makes a key by chance. */
export function privateKeyPem(scalar: bigint, type: 'sec1' | 'pkcs8' = 'pkcs8'): string {
  const bytes = Buffer.from(scalar.toString(16).padStart(96, '0'), 'hex');
  const point = Buffer.from(p384.getPublicKey(bytes, false));
  const part = (buffer: Buffer): string => buffer.toString('base64url');
  const jwk = {
    kty: 'EC',
    crv: 'P-384',
    d: part(bytes),
    x: part(point.subarray(1, 49)),
    y: part(point.subarray(49)),
  };
  return createPrivateKey({ key: jwk, format: 'jwk' }).export({ type, format: 'pem' }).toString();
}

export function publicKeyPem(scalar: bigint): string {
  return createPublicKey(privateKeyPem(scalar)).export({ type: 'spki', format: 'pem' }).toString();
}
