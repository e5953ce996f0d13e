import { hash } from 'node:crypto';
import type { VerityParameters } from '../verity/parameters.ts';

/** The blocks of partitions: those of the file system, and of the data that a hash tree covers. */
export const BLOCK_BYTES = 4096;

/** The grid on which sparse tar archives leave holes. */
export const SECTOR_BYTES = 512;

const SECTORS = BLOCK_BYTES / SECTOR_BYTES;
const SECTOR_WORDS = SECTOR_BYTES / 4;

/** What of {@link VerityParameters} a block's digest depends on. Plain data: it travels to other threads. */
export type DigestParameters = Pick<VerityParameters, 'algorithm' | 'salt' | 'hashType'>;

/** What one look at a run of blocks tells. */
export interface BlockScan {
  /** A byte a block: bit k is set when sector k holds anything but zeros. */
  readonly masks: Uint8Array<ArrayBuffer>;
  /** The blocks' digests one behind the other; empty when none were asked for. Of a zero block it is all zero. */
  readonly digests: Uint8Array<ArrayBuffer>;
}

/**
 * Looks at blocks once: where they are zero, and what they hash to.
 * @param bytes whole blocks, aligned to 4 bytes in their buffer
 */
export function scanBlocks(bytes: Uint8Array, parameters: DigestParameters | undefined): BlockScan {
  const count = bytes.length / BLOCK_BYTES;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const masks = new Uint8Array(count);
  for (let block = 0; block < count; block++) masks[block] = sectorMask(words, block * (BLOCK_BYTES / 4));
  if (parameters === undefined) return { masks, digests: new Uint8Array(0) };

  const { algorithm, salt, hashType } = parameters;
  const salted = new Uint8Array(salt.length + BLOCK_BYTES);
  salted.set(salt, hashType === 0 ? BLOCK_BYTES : 0);
  const blockAt = hashType === 0 ? 0 : salt.length;
  const digestBytes = hash(algorithm, salted, 'buffer').length;
  const digests = new Uint8Array(count * digestBytes);
  const target = Buffer.from(digests.buffer);
  for (let block = 0; block < count; block++) {
    if (masks[block] === 0) continue;
    salted.set(bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES), blockAt);
    // By way of text: a buffer for every digest costs more than the digest itself.
    target.write(hash(algorithm, salted, 'hex'), block * digestBytes, 'hex');
  }
  return { masks, digests };
}

function sectorMask(words: Int32Array, start: number): number {
  let mask = 0;
  for (let sector = 0; sector < SECTORS; sector++) {
    const end = start + (sector + 1) * SECTOR_WORDS;
    for (let word = end - SECTOR_WORDS; word < end; word++) {
      if (words[word] !== 0) {
        mask |= 1 << sector;
        break;
      }
    }
  }
  return mask;
}
