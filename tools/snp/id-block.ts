import { bytesToHex } from '../bytes/hex.ts';
import { isZero } from '../bytes/compare.ts';
import { readU32, writeU32 } from '../bytes/little-endian.ts';
import { formatError, trustError } from '../errors.ts';
import { LAUNCH_DIGEST_BYTES } from './gctx.ts';
import {
  isSignedBy,
  p384Key,
  readSnpPublicKey,
  readSnpSignature,
  snpKeyDigest,
  SNP_PUBLIC_KEY_BYTES,
  SNP_SIGNATURE_BYTES,
  writeSnpSignature,
} from './p384.ts';

export const ID_BLOCK_BYTES = 96;
export const ID_AUTH_BYTES = 4096;
export const SNP_ID_BYTES = 16;

/** SMT allowed, and bit 17, which is always one: what tools default to. */
export const DEFAULT_POLICY = 0x30000n;

export const ID_BLOCK_VERSION = 1;
export const ALGORITHM_P384_SHA384 = 1;

/** What the owner of a guest signs: the launch digest and what the guest is called. */
export interface IdBlock {
  /** 48 bytes. */
  readonly launchDigest: Uint8Array;
  /** 16 bytes each, the owner's own; zeros when absent. */
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  /** 32 bits. */
  readonly guestSvn: number;
  /** Guest policy, 64 bits: has to be the one of launch. */
  readonly policy: bigint;
}

/** Places in the ID authentication structure. */
const AUTH = { blockSignature: 0x40, idKey: 0x240, keySignature: 0x680, authorKey: 0x880 } as const;

/** Public keys (1028 bytes) and signatures (R and S, big-endian) behind an ID block. */
export interface IdAuth {
  readonly idKey: Uint8Array;
  /** Over the 96 bytes of the ID block, by the ID key. */
  readonly blockSignature: Uint8Array;
  readonly authorKey: Uint8Array;
  /** Over the 1028 bytes of the ID key, by the author key. */
  readonly keySignature: Uint8Array;
}

/**
 * ID block, 96 bytes, little-endian: 00 launch digest (48), 30 family id (16), 40 image id (16), 50 version u32 1,
 * 54 guest SVN u32, 58 policy u64. Source: AMD 56860, SNP_LAUNCH_FINISH, "ID Block".
 */
export function writeIdBlock(block: IdBlock): Uint8Array {
  const bytes = new Uint8Array(ID_BLOCK_BYTES);
  bytes.set(block.launchDigest, 0);
  bytes.set(block.familyId, 0x30);
  bytes.set(block.imageId, 0x40);
  writeU32(bytes, 0x50, ID_BLOCK_VERSION);
  writeU32(bytes, 0x54, block.guestSvn);
  new DataView(bytes.buffer).setBigUint64(0x58, block.policy, true);
  return bytes;
}

/** @throws CvmError format ID_BLOCK_FORMAT */
export function readIdBlock(bytes: Uint8Array): IdBlock {
  if (bytes.length !== ID_BLOCK_BYTES) throw wrongLength('ID block', bytes.length, ID_BLOCK_BYTES);
  const version = readU32(bytes, 0x50);
  if (version !== ID_BLOCK_VERSION) {
    throw formatError('ID_BLOCK_FORMAT', 'the ID block has an unknown version', {
      facts: [['found', version]],
    });
  }
  return {
    launchDigest: bytes.slice(0, LAUNCH_DIGEST_BYTES),
    familyId: bytes.slice(0x30, 0x40),
    imageId: bytes.slice(0x40, 0x50),
    guestSvn: readU32(bytes, 0x54),
    policy: new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0x58, true),
  };
}

/**
 * ID authentication, 4096 bytes: 000 and 004 u32 key algorithms 1 (ECDSA P-384 with SHA-384), 040 signature of the block (512),
 * 240 ID key (1028), 680 signature of the ID key (512), 880 author key (1028), zeros between. Source: AMD 56860, "ID
 * Authentication Information".
 */
export function writeIdAuth(auth: IdAuth): Uint8Array {
  const bytes = new Uint8Array(ID_AUTH_BYTES);
  writeU32(bytes, 0, ALGORITHM_P384_SHA384);
  writeU32(bytes, 4, ALGORITHM_P384_SHA384);
  bytes.set(writeSnpSignature(auth.blockSignature), AUTH.blockSignature);
  bytes.set(auth.idKey, AUTH.idKey);
  bytes.set(writeSnpSignature(auth.keySignature), AUTH.keySignature);
  bytes.set(auth.authorKey, AUTH.authorKey);
  return bytes;
}

/** @throws CvmError format ID_BLOCK_FORMAT | SNP_SIGNATURE_FORMAT */
export function readIdAuth(bytes: Uint8Array): IdAuth {
  if (bytes.length !== ID_AUTH_BYTES) throw wrongLength('ID authentication', bytes.length, ID_AUTH_BYTES);
  const algorithms = [readU32(bytes, 0), readU32(bytes, 4)];
  if (algorithms.some((algorithm) => algorithm !== ALGORITHM_P384_SHA384)) {
    throw formatError('ID_BLOCK_FORMAT', 'a key algorithm is not ECDSA P-384 with SHA-384 (1)', {
      facts: [['found', algorithms.join(' and ')]],
    });
  }
  const part = (at: number, length: number): Uint8Array => bytes.slice(at, at + length);
  const gaps = [
    [8, AUTH.blockSignature],
    [AUTH.idKey + SNP_PUBLIC_KEY_BYTES, AUTH.keySignature],
    [AUTH.authorKey + SNP_PUBLIC_KEY_BYTES, ID_AUTH_BYTES],
  ] as const;
  const gap = gaps.find(([from, to]) => !isZero(bytes.subarray(from, to)));
  if (gap !== undefined) {
    throw formatError('ID_BLOCK_FORMAT', 'reserved bytes of the ID authentication are not zero', {
      facts: [['between', `0x${gap[0].toString(16)} and 0x${gap[1].toString(16)}`]],
    });
  }
  return {
    blockSignature: readSnpSignature(
      part(AUTH.blockSignature, SNP_SIGNATURE_BYTES),
      'the signature of the ID block',
    ),
    idKey: part(AUTH.idKey, SNP_PUBLIC_KEY_BYTES),
    keySignature: readSnpSignature(
      part(AUTH.keySignature, SNP_SIGNATURE_BYTES),
      'the signature of the ID key',
    ),
    authorKey: part(AUTH.authorKey, SNP_PUBLIC_KEY_BYTES),
  };
}

/**
 * Does what the firmware does at launch finish: both signatures.
 * @param block the 96 bytes
 * @throws CvmError format SNP_KEY_FORMAT; trust SNP_KEY_INVALID | ID_BLOCK_SIGNATURE | ID_KEY_SIGNATURE
 */
export function verifyIdAuth(block: Uint8Array, auth: IdAuth): void {
  const signed = (name: string, key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean =>
    isSignedBy(p384Key(readSnpPublicKey(key, name), name), message, signature);
  if (!signed('the ID key', auth.idKey, block, auth.blockSignature)) {
    throw trustError('ID_BLOCK_SIGNATURE', 'the ID block is not signed by the ID key', {
      facts: [
        ['ID key digest', bytesToHex(snpKeyDigest(auth.idKey))],
        ['launch digest in the block', bytesToHex(block.subarray(0, LAUNCH_DIGEST_BYTES))],
      ],
      mend: 'sign these 96 bytes with this key: a launch with them ends with BAD_SIGNATURE',
    });
  }
  if (!signed('the author key', auth.authorKey, auth.idKey, auth.keySignature)) {
    throw trustError('ID_KEY_SIGNATURE', 'the ID key is not signed by the author key', {
      facts: [
        ['ID key digest', bytesToHex(snpKeyDigest(auth.idKey))],
        ['author key digest', bytesToHex(snpKeyDigest(auth.authorKey))],
      ],
      mend: 'sign the 1028 bytes of the ID key with this author key: a launch with them ends with BAD_SIGNATURE',
    });
  }
}

/** The three lines of snp-create-id-block 0.0.13. */
export function idBlockText(block: Uint8Array, auth: Uint8Array): string {
  const { idKey, authorKey } = readIdAuth(auth);
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  return (
    `id-block=${base64(block)},id-auth=${base64(auth)}\n` +
    `id_key_hash: ${base64(snpKeyDigest(idKey))}\n` +
    `author_key: ${base64(snpKeyDigest(authorKey))}\n`
  );
}

function wrongLength(what: string, found: number, expected: number): Error {
  return formatError('ID_BLOCK_FORMAT', `the ${what} has the wrong length`, {
    facts: [
      ['expected', `${expected} bytes`],
      ['found', `${found} bytes`],
    ],
  });
}
