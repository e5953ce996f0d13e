/**
 * AES-256-GCM as a store uses it: nonces of 12 bytes, tags of 16, no additional data, ciphertext as long as the
 * plaintext. Source: openvmm, `vm/vmgs/vmgs/src/encrypt.rs`.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { isZero } from '../bytes/compare.ts';
import { bug, usageError } from '../errors.ts';
import { KEY_BYTES, TAG_BYTES } from './header.ts';

const CIPHER = 'aes-256-gcm';

export interface Sealed {
  readonly ciphertext: Uint8Array;
  readonly tag: Uint8Array;
}

/** @throws CvmError bug for an all-zero key: a store must never be written with one */
export function seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array): Sealed {
  if (isZero(key)) throw bug('a VMGS store is about to be written with an all-zero key');
  const cipher = createCipheriv(CIPHER, key, nonce);
  const ciphertext = plain(cipher.update(plaintext));
  cipher.final();
  return { ciphertext, tag: plain(cipher.getAuthTag()) };
}

/** The plaintext, or undefined when the tag does not fit. */
export function unseal(key: Uint8Array, nonce: Uint8Array, sealed: Sealed): Uint8Array | undefined {
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(sealed.tag);
  const plaintext = plain(decipher.update(sealed.ciphertext));
  try {
    decipher.final();
  } catch {
    // Node tells a tag that does not fit in no other way.
    return undefined;
  }
  return plaintext;
}

/** A Buffer's `slice` is a view: none leaves this module. */
function plain(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/**
 * A datastore key as it was given.
 * @param what how the caller names it
 * @throws CvmError usage VMGS_KEY_LENGTH | VMGS_KEY_ZERO
 */
export function checkKey(key: Uint8Array, what: string): Uint8Array {
  if (key.length !== KEY_BYTES) {
    throw usageError('VMGS_KEY_LENGTH', `${what} has the wrong length`, {
      facts: [
        ['expected', `${KEY_BYTES} bytes`],
        ['found', `${key.length} bytes`],
      ],
      mend: 'a key file holds 32 raw bytes: no hex, no newline',
    });
  }
  if (isZero(key)) {
    throw usageError('VMGS_KEY_ZERO', `${what} is all zeros`, {
      mend: 'make a key of 32 random bytes',
    });
  }
  return key;
}
