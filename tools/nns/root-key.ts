import { compareBytes, concatBytes } from '../bytes/compare.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { formatError } from '../errors.ts';
import type { CvmError } from '../errors.ts';

/**
 * The 37 bytes in front of every BLS key of the Internet Computer: SubjectPublicKeyInfo, algorithm 1.3.6.1.4.1.44668.5.3.1.2.1,
 * curve 1.3.6.1.4.1.44668.5.3.2.1, a bit string of 96 bytes without unused bits. Compared exactly, never parsed: DER has one form.
 */
const DER_PREFIX = hexToBytes('308182301d060d2b0601040182dc7c0503010201060c2b0601040182dc7c05030201036100');
const KEY_BYTES = 96;
/** Length of a key in DER: prefix and a compressed point of G2. */
export const DER_KEY_BYTES = DER_PREFIX.length + KEY_BYTES;

const MEND = 'give the key as its owner publishes it: whole, in DER, PEM or hex';

const PEM = /^\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*$/;

/**
 * The 96 key bytes of a DER key.
 * @throws CvmError format KEY_LENGTH | KEY_PREFIX
 */
export function keyFromDer(der: Uint8Array, what: string): Uint8Array {
  if (der.length !== DER_KEY_BYTES) {
    throw formatError('KEY_LENGTH', `the ${what} has the wrong length`, {
      facts: [
        ['expected', `${DER_KEY_BYTES} bytes (DER)`],
        ['found', `${der.length} bytes`],
      ],
      mend: MEND,
    });
  }
  const prefix = der.subarray(0, DER_PREFIX.length);
  if (compareBytes(prefix, DER_PREFIX) !== 0) {
    throw formatError('KEY_PREFIX', `the ${what} is not a BLS12-381 key of the Internet Computer`, {
      facts: [
        ['expected DER prefix', bytesToHex(DER_PREFIX)],
        ['found', bytesToHex(prefix)],
      ],
      mend: MEND,
    });
  }
  // A copy by constructor: .slice() of a Node Buffer is a view.
  return new Uint8Array(der.subarray(DER_PREFIX.length));
}

/** The DER form of 96 key bytes. */
export function keyToDer(key: Uint8Array): Uint8Array {
  return concatBytes(DER_PREFIX, key);
}

/**
 * A key as people hold it: DER bytes, PEM text, or hex text.
 * @returns the DER form
 * @throws CvmError format ROOT_KEY_TEXT | KEY_LENGTH | KEY_PREFIX
 */
export function readRootKey(file: Uint8Array): Uint8Array {
  const der = derOf(file);
  keyFromDer(der, 'root key');
  return der;
}

function derOf(file: Uint8Array): Uint8Array {
  if (file[0] === DER_PREFIX[0] && file[1] === DER_PREFIX[1]) return new Uint8Array(file);
  const text = Buffer.from(file).toString('latin1');
  const pem = PEM.exec(text);
  if (pem !== null) return fromBase64((pem[1] as string).replaceAll(/\s/g, ''));
  const hex = text.trim();
  if (/^[0-9a-fA-F]+$/.test(hex)) return hexToBytes(hex, 'root key');
  throw badText(file.length);
}

function fromBase64(text: string): Uint8Array {
  const bytes = new Uint8Array(Buffer.from(text, 'base64'));
  // Node skips what is not base64; the way back shows whether it skipped anything.
  if (Buffer.from(bytes).toString('base64') !== text) throw badText(text.length);
  return bytes;
}

function badText(length: number): CvmError {
  return formatError('ROOT_KEY_TEXT', 'this is no root key', {
    facts: [['length', `${length} bytes`]],
    mend: `give ${DER_KEY_BYTES} bytes of DER, as hex text, as PEM ("BEGIN PUBLIC KEY"), or as they are`,
  });
}
