import { createHash } from 'node:crypto';
import { checkRange, type ByteSource } from '../bytes/source.ts';

/** Filler is made in blocks of this size, each from the seed and its number alone. */
export const FILLER_BLOCK_BYTES = 1 << 16;

/**
 * Deterministic bytes that do not compress: what stands in for the bulk of a file system. Block i of 64 KiB is
 * SHAKE256(seed in UTF-8 || u64 little-endian i); the last one is cut. So any part can be made alone, and a larger
 * size only appends.
 *
 * @param sizeBytes a safe integer, not negative
 */
export function fillerSource(seed: string, sizeBytes: number): ByteSource {
  let cached = { index: -1, bytes: new Uint8Array(0) };
  const block = (index: number): Uint8Array => {
    if (cached.index !== index) {
      const number = Buffer.alloc(8);
      number.writeBigUInt64LE(BigInt(index));
      const shake = createHash('shake256', { outputLength: FILLER_BLOCK_BYTES });
      cached = { index, bytes: new Uint8Array(shake.update(seed, 'utf8').update(number).digest()) };
    }
    return cached.bytes;
  };
  return {
    sizeBytes,
    extents: sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }],
    read(offset, length) {
      checkRange(sizeBytes, offset, length);
      const bytes = new Uint8Array(length);
      for (let at = offset; at < offset + length;) {
        const from = at % FILLER_BLOCK_BYTES;
        const count = Math.min(FILLER_BLOCK_BYTES - from, offset + length - at);
        bytes.set(block(Math.floor(at / FILLER_BLOCK_BYTES)).subarray(from, from + count), at - offset);
        at += count;
      }
      return bytes;
    },
  };
}
