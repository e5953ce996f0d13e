/**
 * Where keys and nonces of an encrypted store come from: random bytes, or a secret seed when the same inputs have to
 * make the same bytes.
 */
import { hkdfSync } from 'node:crypto';
import { concatBytes, isZero } from '../bytes/compare.ts';
import { digestBytes } from '../bytes/digest.ts';
import { writeU32 } from '../bytes/little-endian.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { KEY_BYTES, NONCE_BYTES } from './header.ts';

/** What a key or nonce is for. */
export interface Purpose {
  /** `file`: a file's data; `table`: the extended file table; `slot`: the metadata key in its slot. */
  readonly use: 'file' | 'table' | 'slot';
  /** The file's id, 63 for the table, the number of the slot. */
  readonly id: number;
  /** The sequence number of the header that will make it visible. */
  readonly sequence: number;
  /** What is encrypted. */
  readonly plaintext: Uint8Array;
  /** Counts from 0 when a draw has to be thrown away. */
  readonly attempt: number;
}

export interface Secrets {
  /** 32 bytes that encrypt this plaintext and no other. */
  key(purpose: Purpose): Uint8Array;
  /** 12 bytes, never twice under one key for two plaintexts. */
  nonce(purpose: Purpose): Uint8Array;
}

/**
 * Fresh keys and nonces. All 12 bytes of a nonce are random: under one datastore key that leaves more room than
 * openvmm's 4 random bytes and a counter, and readers take the 12 bytes as they are.
 * @param random a cryptographic source, handed in by whoever may ask the system for one
 */
export function randomSecrets(random: (length: number) => Uint8Array): Secrets {
  return {
    key: () => random(KEY_BYTES),
    nonce: () => random(NONCE_BYTES),
  };
}

export const SEED_MIN_BYTES = 32;
export const SEED_MAX_BYTES = 4096;

const SALT = utf8Bytes('rules_cvm vmgs 1');

/**
 * Keys and nonces from a secret seed: HKDF-SHA256 with info = what it is for || id || sequence || attempt ||
 * SHA-256(plaintext). Another plaintext has another key, and in a slot, where the key is given, another nonce.
 * Whoever knows the seed can read the store.
 * @throws CvmError usage VMGS_SEED
 */
export function seededSecrets(seed: Uint8Array): Secrets {
  checkSeed(seed);
  const derive = (kind: 'key' | 'nonce', purpose: Purpose, length: number): Uint8Array => {
    const numbers = new Uint8Array(12);
    writeU32(numbers, 0, purpose.id);
    writeU32(numbers, 4, purpose.sequence);
    writeU32(numbers, 8, purpose.attempt);
    const label = utf8Bytes(`${purpose.use} ${kind}\0`);
    const info = concatBytes(label, numbers, digestBytes('sha256', purpose.plaintext));
    return new Uint8Array(hkdfSync('sha256', seed, SALT, info, length));
  };
  return {
    key: (purpose) => derive('key', purpose, KEY_BYTES),
    nonce: (purpose) => derive('nonce', purpose, NONCE_BYTES),
  };
}

/** 16 bytes for a VHD's id from a seed and a digest of the content. */
export function seededVhdId(seed: Uint8Array, content: Uint8Array): Uint8Array {
  checkSeed(seed);
  return new Uint8Array(hkdfSync('sha256', seed, SALT, concatBytes(utf8Bytes('vhd id\0'), content), 16));
}

function checkSeed(seed: Uint8Array): void {
  if (seed.length >= SEED_MIN_BYTES && seed.length <= SEED_MAX_BYTES && !isZero(seed)) return;
  throw usageError('VMGS_SEED', 'the seed is too short, too long, or all zeros', {
    facts: [
      ['length', `${seed.length} bytes`],
      ['allowed', `${SEED_MIN_BYTES} to ${SEED_MAX_BYTES} bytes`],
    ],
    mend: 'keep 32 random bytes in a file that is as secret as the key',
  });
}
