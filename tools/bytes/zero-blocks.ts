import { CHUNK_BYTES, type ByteSource, type Extent } from './source.ts';

/** Whether `length` bytes from `offset` are all zero. */
function isZeroBlock(
  bytes: Uint8Array,
  words: Int32Array | undefined,
  offset: number,
  length: number,
): boolean {
  /* eslint-disable @typescript-eslint/no-non-null-assertion -- the caller's bounds; this runs for every block of an image */
  let at = offset;
  const end = offset + length;
  if (words !== undefined && (offset & 3) === 0) {
    const lastWord = end >>> 2;
    for (let word = offset >>> 2; word < lastWord; word++) if (words[word]! !== 0) return false;
    at = lastWord << 2;
  }
  for (; at < end; at++) if (bytes[at]! !== 0) return false;
  /* eslint-enable @typescript-eslint/no-non-null-assertion */
  return true;
}

/** A view of whole 32-bit words, where the buffer's alignment allows one. */
function wordsOf(bytes: Uint8Array): Int32Array | undefined {
  return bytes.byteOffset % 4 === 0
    ? new Int32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4))
    : undefined;
}

/**
 * The runs of blocks that hold anything but zeros, on a grid of `blockBytes` from byte 0, ascending, never touching
 * each other. The answer depends on the content alone: not on how the source's extents are cut, nor on whether zeros
 * inside it are known. The last block may be short. Nothing outside the extents is read.
 *
 * @param blockBytes a divisor of {@link CHUNK_BYTES}
 */
export function* dataRuns(source: ByteSource, blockBytes: number): Generator<Extent> {
  let start = -1;
  let end = 0;
  let seen = 0;
  // Nothing of what is read is kept: one buffer does, where the source has none of its own to show.
  let buffer: Uint8Array | undefined;
  for (const extent of source.extents) {
    let at = Math.max(seen, extent.offset - (extent.offset % blockBytes));
    const last = Math.min(
      source.sizeBytes,
      Math.ceil((extent.offset + extent.length) / blockBytes) * blockBytes,
    );
    while (at < last) {
      const length = Math.min(CHUNK_BYTES, last - at);
      let bytes: Uint8Array;
      if (source.readInto === undefined) bytes = source.read(at, length);
      else {
        buffer ??= new Uint8Array(Math.min(CHUNK_BYTES, source.sizeBytes));
        bytes = buffer.subarray(0, length);
        source.readInto(at, bytes);
      }
      const words = wordsOf(bytes);
      for (let block = 0; block < length; block += blockBytes) {
        const count = Math.min(blockBytes, length - block);
        if (isZeroBlock(bytes, words, block, count)) continue;
        if (at + block !== end || start < 0) {
          if (start >= 0) yield { offset: start, length: end - start };
          start = at + block;
        }
        end = at + block + count;
      }
      at += length;
    }
    seen = Math.max(seen, last);
  }
  if (start >= 0) yield { offset: start, length: end - start };
}
