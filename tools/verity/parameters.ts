import { usageError } from '../errors.ts';

/** Digest sizes in bytes. */
export const VERITY_ALGORITHMS = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 } as const;
export type VerityAlgorithm = keyof typeof VERITY_ALGORITHMS;

export function isVerityAlgorithm(name: string): name is VerityAlgorithm {
  return Object.hasOwn(VERITY_ALGORITHMS, name);
}

/** Everything that the root hash depends on besides the data, and the UUID, on which it does not. */
export interface VerityParameters {
  /** 1, or 0 for the old Chrome OS way: salt behind the block, slots without padding. */
  readonly hashType: 0 | 1;
  readonly algorithm: VerityAlgorithm;
  /** Powers of two, 512 to 524288. */
  readonly dataBlockBytes: number;
  readonly hashBlockBytes: number;
  /** At least 1. */
  readonly dataBlocks: number;
  /** 0 to 256 bytes. */
  readonly salt: Uint8Array;
  /** 16 bytes in printed order. */
  readonly uuid: Uint8Array;
}

export const VERITY_MAX_SALT_BYTES = 256;
export const VERITY_UUID_BYTES = 16;
const MIN_BLOCK_BYTES = 512;
const MAX_BLOCK_BYTES = 512 * 1024;

export function isVerityBlockSize(bytes: number): boolean {
  return (
    Number.isInteger(bytes) &&
    bytes >= MIN_BLOCK_BYTES &&
    bytes <= MAX_BLOCK_BYTES &&
    (bytes & (bytes - 1)) === 0
  );
}

/** @throws CvmError usage VERITY_PARAMETER */
export function checkParameters(parameters: VerityParameters): void {
  const refuse = (what: string, found: string | number, rule: string): never => {
    throw usageError('VERITY_PARAMETER', `dm-verity cannot have this ${what}`, {
      facts: [
        ['found', found],
        ['must be', rule],
      ],
    });
  };
  for (const [what, bytes] of [
    ['data block size', parameters.dataBlockBytes],
    ['hash block size', parameters.hashBlockBytes],
  ] as const) {
    if (!isVerityBlockSize(bytes)) refuse(what, bytes, 'a power of two from 512 to 524288');
  }
  const { dataBlocks, dataBlockBytes, salt, uuid } = parameters;
  if (
    !Number.isSafeInteger(dataBlocks) ||
    dataBlocks < 1 ||
    !Number.isSafeInteger(dataBlocks * dataBlockBytes)
  ) {
    refuse('number of data blocks', dataBlocks, 'at least 1, together at most 2^53 bytes');
  }
  if (salt.length > VERITY_MAX_SALT_BYTES) refuse('salt', `${salt.length} bytes`, 'at most 256 bytes');
  if (uuid.length !== VERITY_UUID_BYTES) refuse('UUID', `${uuid.length} bytes`, '16 bytes');
}
