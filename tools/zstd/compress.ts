import type * as Zlib from 'node:zlib';
import * as zlib from 'node:zlib';
import { sourceFromBytes } from '../bytes/source.ts';
import { bug } from '../errors.ts';
import { walkFrames } from './frames.ts';
import { requirePinnedEncoder, type ZstdLevel } from './pinned-encoder.ts';

/** What one frame holds, except the last. Part of the format that is promised: changing it changes every archive. */
export const SLICE_BYTES = 8 << 20;

/** zstd's own default. */
export const DEFAULT_LEVEL: ZstdLevel = 3;

/**
 * For partitions, which an image is made from soon after: of Debian's programs and libraries, half again as much in the
 * same time as with {@link DEFAULT_LEVEL}, in 3 % more bytes.
 */
export const PARTITION_LEVEL: ZstdLevel = 2;

/** No frame of {@link compressSlice} is longer than this. Source: ZSTD_COMPRESSBOUND in zstd.h. */
export const FRAME_LIMIT_BYTES = SLICE_BYTES + (SLICE_BYTES >>> 8);

/**
 * Compresses a stream to independent frames, one for every {@link SLICE_BYTES} of content, each with its content size
 * and a checksum; an empty stream is one empty frame. The bytes depend on the content and the level, not on how the
 * content was cut into chunks. One slice is held.
 *
 * Independent frames are what makes random access (`zstdSource`) and two cores possible: the encoder's own threads
 * are unsafe in Node 24 (nodejs/node issue 59899).
 *
 * @throws CvmError usage ZSTD_ENCODER, and whatever `chunks` throws
 */
export async function* compressFrames(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  level: ZstdLevel = DEFAULT_LEVEL,
): AsyncGenerator<Uint8Array> {
  checkEncoder(level);
  const buffer = new Uint8Array(SLICE_BYTES);
  let isEmpty = true;
  for await (const slice of slices(chunks, () => buffer)) {
    isEmpty = false;
    yield makeFrame(slice, level);
  }
  if (isEmpty) yield makeFrame(new Uint8Array(0), level);
}

/** Whether this runtime's encoder makes the bytes that are promised. @throws CvmError usage ZSTD_ENCODER */
export function checkEncoder(level: ZstdLevel): void {
  requirePinnedEncoder(level, (content) => makeFrame(content, level));
}

/** The frame of one slice. */
export function makeFrame(slice: Uint8Array, level: ZstdLevel): Uint8Array {
  const frame = compressSlice(zlib, slice, level);
  requireOneFrame(frame, slice.length);
  return frame;
}

/**
 * Cuts a stream into slices of {@link SLICE_BYTES}, the last one shorter.
 * @param takeBuffer gives a buffer of that size at least, whatever is in it
 */
export async function* slices(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  takeBuffer: () => Uint8Array | Promise<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let slice: Uint8Array | undefined;
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      slice ??= await takeBuffer();
      const count = Math.min(SLICE_BYTES - filled, chunk.length - at);
      slice.set(chunk.subarray(at, at + count), filled);
      filled += count;
      at += count;
      if (filled === SLICE_BYTES) {
        yield slice.subarray(0, filled);
        slice = undefined;
        filled = 0;
      }
    }
  }
  if (slice !== undefined) yield slice.subarray(0, filled);
}

/**
 * One frame, made in one call with room for whatever comes of it: only then does the encoder work on the content where it
 * stands, a fifth faster than when it copies it through a window of its own, and the bytes depend on which of the two it does.
 *
 * What threads run as well: they are given this function's text, so it may use nothing that is outside of it.
 */
export function compressSlice(
  { zstdCompressSync, constants }: Pick<typeof Zlib, 'zstdCompressSync' | 'constants'>,
  slice: Uint8Array,
  level: ZstdLevel,
): Uint8Array {
  const { length } = slice;
  // Source: ZSTD_COMPRESSBOUND in zstd.h; 64 is the least that Node.js takes.
  const room = Math.max(64, length + (length >>> 8) + (Math.max(0, (128 << 10) - length) >>> 11));
  const frame = zstdCompressSync(slice, {
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      [constants.ZSTD_c_checksumFlag]: 1,
      [constants.ZSTD_c_contentSizeFlag]: 1,
    },
    pledgedSrcSize: length,
    chunkSize: room,
  });
  // What fits the window comes out the same either way. A frame in pieces has been put together, in a buffer of its size.
  if (length >= 1 << 20 && frame.buffer.byteLength < room) {
    throw new Error('the zstd encoder had less room than it was to have');
  }
  return frame;
}

/** Node's binding has returned nothing, without an error, and cut frames short (nodejs/node issues 59899, 66078). */
export function requireOneFrame(frame: Uint8Array, contentBytes: number): void {
  try {
    const frames = [...walkFrames(sourceFromBytes(frame))];
    if (frames.length !== 1 || frames[0]?.contentBytes !== contentBytes || !frames[0].hasChecksum) {
      throw bug(`${frames.length} frames, the first of ${frames[0]?.contentBytes} bytes`);
    }
  } catch (cause) {
    throw bug('the zstd encoder did not make one whole frame', { cause });
  }
}
