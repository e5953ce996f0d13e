import { constants, zstdCompress } from 'node:zlib';
import { sourceFromBytes } from '../bytes/source.ts';
import { bug } from '../errors.ts';
import { walkFrames } from './frames.ts';
import { requirePinnedEncoder } from './pinned-encoder.ts';

/** What one frame holds, except the last. Part of the format that is promised: changing it changes every archive. */
export const SLICE_BYTES = 8 << 20;

/** zstd's own default. */
export const DEFAULT_LEVEL = 3;

/** Slices compressed at the same time: as many as libuv has threads. The bytes do not depend on it. */
const IN_FLIGHT = 4;

/** Room for a slice that does not compress, so that the encoder runs through in one call: ZSTD_compressBound. */
const OUTPUT_BYTES = SLICE_BYTES + (SLICE_BYTES >>> 8);

/**
 * Compresses a stream to independent frames, one for every {@link SLICE_BYTES} of content, each with its content size
 * and a checksum; an empty stream is one empty frame. The bytes depend on the content and the level, not on how the
 * content was cut into chunks. Nothing but a few slices is held.
 *
 * Independent frames are what makes random access (`zstdSource`) and two cores possible: the encoder's own threads
 * are unsafe in Node 24 (nodejs/node issue 59899).
 *
 * @param inFlight slices compressed at the same time; the bytes do not depend on it
 * @throws CvmError usage ZSTD_ENCODER, and whatever `chunks` throws
 */
export async function* compressFrames(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  level: number = DEFAULT_LEVEL,
  inFlight: number = IN_FLIGHT,
): AsyncGenerator<Uint8Array> {
  await requirePinnedEncoder((content) => compressSlice(content, DEFAULT_LEVEL));
  const pending: Promise<Uint8Array>[] = [];
  /** Buffers whose slice is compressed. */
  const idle: Uint8Array[] = [];
  const start = (slice: Uint8Array): void => {
    const frame = compressSlice(slice, level).finally(() => {
      if (slice.byteLength === SLICE_BYTES) idle.push(slice);
    });
    // Awaited in order below; a failure meanwhile must not count as unhandled.
    frame.catch(() => undefined);
    pending.push(frame);
  };
  let isEmpty = true;
  for await (const slice of slices(chunks, idle)) {
    isEmpty = false;
    start(slice);
    if (pending.length >= inFlight) yield await (pending.shift() as Promise<Uint8Array>);
  }
  if (isEmpty) start(new Uint8Array(0));
  for (const frame of pending) yield await frame;
}

/** @param idle buffers to use again, whatever is in them */
async function* slices(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  idle: Uint8Array[],
): AsyncGenerator<Uint8Array> {
  let slice = idle.pop() ?? new Uint8Array(SLICE_BYTES);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const count = Math.min(SLICE_BYTES - filled, chunk.length - at);
      slice.set(chunk.subarray(at, at + count), filled);
      filled += count;
      at += count;
      if (filled === SLICE_BYTES) {
        yield slice;
        slice = idle.pop() ?? new Uint8Array(SLICE_BYTES);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield slice.subarray(0, filled);
}

function compressSlice(slice: Uint8Array, level: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const options = {
      params: {
        [constants.ZSTD_c_compressionLevel]: level,
        [constants.ZSTD_c_checksumFlag]: 1,
        [constants.ZSTD_c_contentSizeFlag]: 1,
      },
      pledgedSrcSize: slice.length,
      chunkSize: OUTPUT_BYTES,
    };
    zstdCompress(slice, options, (error, compressed) => {
      if (error !== null) {
        reject(error);
        return;
      }
      try {
        requireOneFrame(compressed, slice.length);
        resolve(compressed);
      } catch (cause) {
        reject(bug('the zstd encoder did not make one whole frame', { cause }));
      }
    });
  });
}

/** Node's binding has returned nothing, without an error, and cut frames short (nodejs/node issues 59899, 66078). */
function requireOneFrame(compressed: Uint8Array, contentBytes: number): void {
  const frames = [...walkFrames(sourceFromBytes(compressed))];
  if (frames.length !== 1 || frames[0]?.contentBytes !== contentBytes || !frames[0].hasChecksum) {
    throw bug(`${frames.length} frames, the first of ${frames[0]?.contentBytes} bytes`);
  }
}
