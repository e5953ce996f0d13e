import { equalBytes, isZero } from '../bytes/compare.ts';
import { joinU32, readU16, readU32, writeU16, writeU32 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';
import { rawFromBytes, showRaw, utf8Bytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import {
  isVerityAlgorithm,
  isVerityBlockSize,
  VERITY_MAX_SALT_BYTES,
  VERITY_UUID_BYTES,
  type VerityParameters,
} from './parameters.ts';

/*
 * The dm-verity superblock, little-endian, 512 bytes at a multiple of 512:
 *   off  size  field                      must hold
 *     0     8  magic                      "verity", two NULs
 *     8     4  version                    1
 *    12     4  hash type                  0 or 1
 *    16    16  UUID                       printed order
 *    32    32  algorithm                  NUL padded
 *    64     4  data block size            power of two, 512 to 524288
 *    68     4  hash block size            the same
 *    72     8  data blocks                at least 1
 *    80     2  salt size                  at most 256
 *    82     6  zero
 *    88   256  salt                       zero behind its size
 *   344   168  zero
 * Source: cryptsetup lib/verity/verity.c, struct verity_sb. The kernel never reads it.
 */

export const VERITY_SUPERBLOCK_BYTES = 512;

const MAGIC = utf8Bytes('verity\0\0');
const VERSION = 1;
const OFFSET = {
  version: 8,
  hashType: 12,
  uuid: 16,
  algorithm: 32,
  dataBlockSize: 64,
  hashBlockSize: 68,
  dataBlocks: 72,
  saltSize: 80,
  reserved: 82,
  salt: 88,
  tail: 344,
} as const;
const ALGORITHM_BYTES = 32;

export function writeVeritySuperblock(parameters: VerityParameters): Uint8Array {
  const bytes = new Uint8Array(VERITY_SUPERBLOCK_BYTES);
  bytes.set(MAGIC);
  writeU32(bytes, OFFSET.version, VERSION);
  writeU32(bytes, OFFSET.hashType, parameters.hashType);
  bytes.set(parameters.uuid, OFFSET.uuid);
  bytes.set(utf8Bytes(parameters.algorithm), OFFSET.algorithm);
  writeU32(bytes, OFFSET.dataBlockSize, parameters.dataBlockBytes);
  writeU32(bytes, OFFSET.hashBlockSize, parameters.hashBlockBytes);
  writeU32(bytes, OFFSET.dataBlocks, parameters.dataBlocks % 2 ** 32);
  writeU32(bytes, OFFSET.dataBlocks + 4, Math.floor(parameters.dataBlocks / 2 ** 32));
  writeU16(bytes, OFFSET.saltSize, parameters.salt.length);
  bytes.set(parameters.salt, OFFSET.salt);
  return bytes;
}

function superblockBytes(image: ByteSource, offset: number): Uint8Array | undefined {
  if (offset % VERITY_SUPERBLOCK_BYTES !== 0 || offset + VERITY_SUPERBLOCK_BYTES > image.sizeBytes) {
    return undefined;
  }
  const bytes = image.read(offset, VERITY_SUPERBLOCK_BYTES);
  return equalBytes(bytes.subarray(0, MAGIC.length), MAGIC) ? bytes : undefined;
}

/** Whether a superblock begins at `offset`, sound or not. */
export function hasVeritySuperblock(image: ByteSource, offset: number): boolean {
  return superblockBytes(image, offset) !== undefined;
}

/**
 * Reads and checks the superblock at `offset`; the places it leads to are for the caller to check.
 * @throws CvmError format VERITY_NO_SUPERBLOCK | VERITY_SUPERBLOCK (one field, named)
 */
export function readVeritySuperblock(image: ByteSource, offset: number): VerityParameters {
  const bytes = superblockBytes(image, offset);
  if (bytes === undefined) {
    throw formatError('VERITY_NO_SUPERBLOCK', 'there is no dm-verity superblock at this place', {
      facts: [
        ['offset', offset],
        ['image', `${image.sizeBytes} bytes`],
      ],
      mend: 'give the hash offset that the tree was made with: a multiple of 512',
    });
  }
  const demand = (good: boolean, field: string, found: string | number, rule: string): void => {
    if (good) return;
    throw formatError('VERITY_SUPERBLOCK', `the dm-verity superblock has an impossible ${field}`, {
      facts: [
        ['at', offset],
        [field, found],
        ['must be', rule],
      ],
    });
  };
  const version = readU32(bytes, OFFSET.version);
  demand(version === VERSION, 'version', version, '1');
  const hashType = readU32(bytes, OFFSET.hashType);
  demand(hashType <= 1, 'hash type', hashType, '0 or 1');
  const name = rawFromBytes(bytes.subarray(OFFSET.algorithm, OFFSET.algorithm + ALGORITHM_BYTES));
  const algorithm = name.replace(/\0+$/, '');
  if (!isVerityAlgorithm(algorithm)) {
    throw formatError('VERITY_SUPERBLOCK', 'the dm-verity superblock names an unknown algorithm', {
      facts: [
        ['at', offset],
        ['algorithm', showRaw(algorithm)],
        ['must be', 'sha1, sha256, sha384 or sha512'],
      ],
    });
  }
  const dataBlockBytes = readU32(bytes, OFFSET.dataBlockSize);
  const hashBlockBytes = readU32(bytes, OFFSET.hashBlockSize);
  const blockRule = 'a power of two from 512 to 524288';
  demand(isVerityBlockSize(dataBlockBytes), 'data block size', dataBlockBytes, blockRule);
  demand(isVerityBlockSize(hashBlockBytes), 'hash block size', hashBlockBytes, blockRule);
  const dataBlocks = joinU32(readU32(bytes, OFFSET.dataBlocks), readU32(bytes, OFFSET.dataBlocks + 4));
  demand(
    dataBlocks >= 1 && Number.isSafeInteger(dataBlocks * dataBlockBytes),
    'number of data blocks',
    dataBlocks,
    'at least 1, together at most 2^53 bytes',
  );
  const saltBytes = readU16(bytes, OFFSET.saltSize);
  demand(saltBytes <= VERITY_MAX_SALT_BYTES, 'salt size', saltBytes, 'at most 256');
  for (const [field, from, to] of [
    ['padding', OFFSET.reserved, OFFSET.salt],
    ['padding behind the salt', OFFSET.salt + saltBytes, OFFSET.tail],
    ['tail', OFFSET.tail, VERITY_SUPERBLOCK_BYTES],
  ] as const) {
    demand(isZero(bytes.subarray(from, to)), field, 'bytes that are not zero', 'zero');
  }
  return {
    hashType: hashType === 0 ? 0 : 1,
    algorithm,
    dataBlockBytes,
    hashBlockBytes,
    dataBlocks,
    salt: bytes.slice(OFFSET.salt, OFFSET.salt + saltBytes),
    uuid: bytes.slice(OFFSET.uuid, OFFSET.uuid + VERITY_UUID_BYTES),
  };
}
