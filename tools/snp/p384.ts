import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { concatBytes, isZero } from '../bytes/compare.ts';
import { digestBytes } from '../bytes/digest.ts';
import { hexToBytes } from '../bytes/hex.ts';
import { readU32, writeU32 } from '../bytes/little-endian.ts';
import { CvmError, formatError, trustError } from '../errors.ts';

/*
 * ECDSA on P-384 with SHA-384 as SEV-SNP structures carry it: integers little-endian in 72 bytes. Source: AMD 56860, "Public
 * key format for ECDSA P-384" and "Signature format for ECDSA P-384".
 *
 *   public key, 1028 bytes              signature, 512 bytes
 *   000  4    curve, 2                  000  72   R
 *   004  72   Qx                        048  72   S
 *   04c  72   Qy                        090  368  zero
 *   094  880  zero
 */

export const SNP_PUBLIC_KEY_BYTES = 1028;
export const SNP_SIGNATURE_BYTES = 512;

/** R and S, big-endian, 48 bytes each: IEEE P1363. */
export const P1363_BYTES = 96;

/** A coordinate or half a signature in these structures. */
export const SNP_FIELD_BYTES = 72;

const CURVE_P384 = 2;
const SCALAR_BYTES = 48;
/** Source: FIPS 186-4, D.1.2.4. */
const ORDER = hexToBytes(
  'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
);

/** Coordinates, big-endian, 48 bytes each. */
export interface P384Point {
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

export function writeSnpPublicKey({ x, y }: P384Point): Uint8Array {
  const key = new Uint8Array(SNP_PUBLIC_KEY_BYTES);
  writeU32(key, 0, CURVE_P384);
  key.set(x.toReversed(), 4);
  key.set(y.toReversed(), 4 + SNP_FIELD_BYTES);
  return key;
}

/** @throws CvmError format SNP_KEY_FORMAT */
export function readSnpPublicKey(key: Uint8Array, what: string): P384Point {
  const wrong = (why: string): Error =>
    formatError('SNP_KEY_FORMAT', `${what} is malformed: ${why}`, {
      mend: 'SNP takes keys of the curve P-384',
    });
  if (key.length !== SNP_PUBLIC_KEY_BYTES)
    throw wrong(`it has ${key.length} bytes, not ${SNP_PUBLIC_KEY_BYTES}`);
  if (readU32(key, 0) !== CURVE_P384)
    throw wrong(`its curve is ${readU32(key, 0)}, not ${CURVE_P384} (P-384)`);
  if (!isZero(key.subarray(4 + 2 * SNP_FIELD_BYTES))) throw wrong('its reserved bytes are not zero');
  const x = bigEndian(key.subarray(4, 4 + SNP_FIELD_BYTES));
  const y = bigEndian(key.subarray(4 + SNP_FIELD_BYTES, 4 + 2 * SNP_FIELD_BYTES));
  if (x === undefined || y === undefined) throw wrong('a coordinate is longer than 384 bits');
  return { x, y };
}

/** SHA-384 of the 1028 bytes: ID_KEY_DIGEST and AUTHOR_KEY_DIGEST of reports. */
export function snpKeyDigest(key: Uint8Array): Uint8Array {
  return digestBytes('sha384', key);
}

/** @param signature R and S as {@link P1363_BYTES} */
export function writeSnpSignature(signature: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(SNP_SIGNATURE_BYTES);
  bytes.set(signature.slice(0, SCALAR_BYTES).toReversed(), 0);
  bytes.set(signature.slice(SCALAR_BYTES, P1363_BYTES).toReversed(), SNP_FIELD_BYTES);
  return bytes;
}

/** @returns R and S as {@link P1363_BYTES}. @throws CvmError format SNP_SIGNATURE_FORMAT */
export function readSnpSignature(bytes: Uint8Array, what: string): Uint8Array {
  const wrong = (why: string): Error => formatError('SNP_SIGNATURE_FORMAT', `${what} is malformed: ${why}`);
  if (bytes.length !== SNP_SIGNATURE_BYTES)
    throw wrong(`it has ${bytes.length} bytes, not ${SNP_SIGNATURE_BYTES}`);
  if (!isZero(bytes.subarray(2 * SNP_FIELD_BYTES))) throw wrong('its reserved bytes are not zero');
  const r = bigEndian(bytes.subarray(0, SNP_FIELD_BYTES));
  const s = bigEndian(bytes.subarray(SNP_FIELD_BYTES, 2 * SNP_FIELD_BYTES));
  if (r === undefined || s === undefined) throw wrong('a number in it is longer than 384 bits');
  return concatBytes(r, s);
}

/** 72 little-endian bytes as 48 big-endian ones; undefined when they do not fit. */
function bigEndian(field: Uint8Array): Uint8Array | undefined {
  return isZero(field.subarray(SCALAR_BYTES)) ? field.slice(0, SCALAR_BYTES).toReversed() : undefined;
}

/**
 * A point as a key to verify with.
 * @throws CvmError trust SNP_KEY_INVALID when it is not on the curve
 */
export function p384Key({ x, y }: P384Point, what: string): KeyObject {
  const part = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  try {
    return createPublicKey({ key: { kty: 'EC', crv: 'P-384', x: part(x), y: part(y) }, format: 'jwk' });
  } catch (cause) {
    throw trustError('SNP_KEY_INVALID', `${what} is no point of the curve P-384`, { cause });
  }
}

/**
 * The public half of a PEM or DER key; a private key or a certificate will do.
 * @throws CvmError format SNP_KEY_FORMAT, with a cause where there is no key that can be read
 */
export function publicKeyPoint(file: Uint8Array, what: string): P384Point {
  try {
    return keyPoint(createPublicKey(asKeyInput(file)), what);
  } catch (cause) {
    if (cause instanceof CvmError) throw cause;
    throw formatError('SNP_KEY_FORMAT', `${what} holds no public key`, {
      mend: 'give an EC key of the curve P-384 as PEM',
      cause,
    });
  }
}

function asKeyInput(file: Uint8Array): Parameters<typeof createPublicKey>[0] {
  const bytes = Buffer.from(file);
  return bytes.toString('latin1').includes('-----BEGIN')
    ? bytes
    : { key: bytes, format: 'der', type: 'spki' };
}

/** @throws CvmError format SNP_KEY_FORMAT when the key is of another curve or kind */
export function keyPoint(key: KeyObject, what: string): P384Point {
  const { asymmetricKeyType, asymmetricKeyDetails } = key;
  if (asymmetricKeyType !== 'ec' || asymmetricKeyDetails?.namedCurve !== 'secp384r1') {
    throw formatError('SNP_KEY_FORMAT', 'SNP only supports the EC curve P-384', {
      facts: [
        ['key', what],
        ['found', asymmetricKeyDetails?.namedCurve ?? asymmetricKeyType ?? 'a secret key'],
      ],
    });
  }
  const { x = '', y = '' } = key.export({ format: 'jwk' });
  const part = (text: string): Uint8Array => {
    const bytes = new Uint8Array(SCALAR_BYTES);
    const given = Buffer.from(text, 'base64url');
    bytes.set(given, SCALAR_BYTES - given.length);
    return bytes;
  };
  return { x: part(x), y: part(y) };
}

/** @param signature R and S as {@link P1363_BYTES} */
export function isSignedBy(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  return verify('sha384', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

/**
 * A signature as tools write it: DER (openssl), R and S alone, or SNP's own 512 bytes.
 * @returns R and S as {@link P1363_BYTES}
 * @throws CvmError format SNP_SIGNATURE_FORMAT
 */
export function readAnySignature(bytes: Uint8Array, what: string): Uint8Array {
  if (bytes.length === P1363_BYTES && bytes[0] !== 0x30) return bytes;
  if (bytes.length === SNP_SIGNATURE_BYTES) return readSnpSignature(bytes, what);
  const [r, afterR] = derInteger(bytes, 2);
  const [s, end] = derInteger(bytes, afterR);
  if (
    bytes[0] === 0x30 &&
    bytes[1] === bytes.length - 2 &&
    r !== undefined &&
    s !== undefined &&
    end === bytes.length
  )
    return concatBytes(r, s);
  if (bytes.length === P1363_BYTES) return bytes;
  throw formatError('SNP_SIGNATURE_FORMAT', `${what} is no ECDSA P-384 signature`, {
    facts: [['size', `${bytes.length} bytes`]],
    mend: 'sign with openssl dgst -sha384 -sign KEY FILE, which writes DER',
  });
}

/** Whether a number may be half of a signature: from 1 to below the order of the curve. 48 bytes, big-endian. */
export function isP384Scalar(number: Uint8Array): boolean {
  return !isZero(number) && Buffer.compare(number, ORDER) < 0;
}

/** An INTEGER at an offset as 48 bytes, and where it ends; undefined when there is none that fits. */
function derInteger(bytes: Uint8Array, at: number): [Uint8Array | undefined, number] {
  const length = bytes[at + 1] ?? 0;
  const body = bytes.subarray(at + 2, at + 2 + length);
  const end = at + 2 + length;
  // A leading zero keeps the number positive; one that is not needed is no DER.
  const isPadded = body[0] === 0 && ((body[1] ?? 0) & 0x80) !== 0;
  const digits = isPadded ? body.subarray(1) : body;
  const isMinimal = isPadded || (body[0] !== 0 && ((body[0] ?? 0x80) & 0x80) === 0);
  if (bytes[at] !== 2 || body.length !== length || !isMinimal || digits.length > SCALAR_BYTES)
    return [undefined, end];
  const number = new Uint8Array(SCALAR_BYTES);
  number.set(digits, SCALAR_BYTES - digits.length);
  return [number, end];
}
