import { constants, createZstdCompress } from 'node:zlib';
import { sparseSource, sourceFromBytes, type Piece } from '../bytes/source.ts';
import { bug } from '../errors.ts';
import { walkFrames } from './frames.ts';
import { requirePinnedEncoder, type ZstdLevel } from './pinned-encoder.ts';

/** What one frame holds, except the last. Part of the format that is promised: changing it changes every archive. */
export const SLICE_BYTES = 8 << 20;

/** zstd's own default. */
const DEFAULT_LEVEL: ZstdLevel = 3;

/**
 * For partitions, which an image is made from soon after: of Debian's programs and libraries, half again as much in the
 * same time as with {@link DEFAULT_LEVEL}, in 3 % more bytes.
 */
export const PARTITION_LEVEL: ZstdLevel = 2;

/** Slices compressed at the same time: as many as libuv has threads. The bytes do not depend on it. */
const IN_FLIGHT = 4;

/** A frame that is done and waits for its turn, so that nobody waits while one is written. */
const FINISHED = 1;

/** In so large pieces the encoder hands out what it makes: few, because each is a turn of the main thread. */
export const OUTPUT_BYTES = 512 << 10;

/**
 * Compresses a stream to independent frames, one for every {@link SLICE_BYTES} of content, each with its content size
 * and a checksum; an empty stream is one empty frame. The bytes depend on the content and the level, not on how the
 * content was cut into chunks. Nothing but a few slices is held. Frames come in pieces.
 *
 * Independent frames are what makes random access (`zstdSource`) and two cores possible: the encoder's own threads
 * are unsafe in Node 24 (nodejs/node issue 59899). Slices are taken and compressed while earlier frames are written.
 *
 * @param inFlight slices compressed at the same time; the bytes do not depend on it
 * @throws CvmError usage ZSTD_ENCODER, and whatever `chunks` throws
 */
export async function* compressFrames(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  level: ZstdLevel = DEFAULT_LEVEL,
  inFlight: number = IN_FLIGHT,
): AsyncGenerator<Uint8Array> {
  await checkEncoder(level);
  /** Buffers whose slice is compressed. */
  const idle: Uint8Array[] = [];
  const input = slices(chunks, () => idle.pop() ?? new Uint8Array(SLICE_BYTES));
  yield* compressSlices(input, level, inFlight, (slice) => {
    if (slice.byteLength === SLICE_BYTES) idle.push(slice);
  });
}

/** Whether this runtime's encoder makes the bytes that are promised. @throws CvmError usage ZSTD_ENCODER */
export async function checkEncoder(level: ZstdLevel): Promise<void> {
  await requirePinnedEncoder(level, (content) => compressSlice(content, level));
}

/**
 * The frames of slices that {@link slices} cut, in their order.
 * @param release is told when a slice's buffer may be used again
 */
export async function* compressSlices(
  input: AsyncGenerator<Uint8Array, void, undefined>,
  level: ZstdLevel,
  inFlight: number,
  release: (slice: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  const frames: Promise<readonly Uint8Array[]>[] = [];
  const seen = { isEnded: false, isEmpty: true };
  let running = 0;
  let taking: Promise<void> | undefined;

  const start = (slice: Uint8Array): void => {
    seen.isEmpty = false;
    running++;
    const frame = compressSlice(slice, level).finally(() => {
      running--;
      release(slice);
      take();
    });
    // Awaited in order below; a failure meanwhile must not count as unhandled.
    frame.catch(() => undefined);
    frames.push(frame);
  };
  const takeSlices = async (): Promise<void> => {
    while (!seen.isEnded && running < inFlight && frames.length < inFlight + FINISHED) {
      const { value, done } = await input.next();
      if (done === true) seen.isEnded = true;
      else start(value);
    }
  };
  /** Fills what is free with slices, unless that is being done. */
  const take = (): void => {
    taking ??= takeSlices()
      .catch((error: unknown) => {
        seen.isEnded = true;
        frames.push(rejected(error));
      })
      .finally(() => {
        taking = undefined;
      });
  };

  try {
    for (;;) {
      take();
      if (frames.length === 0) await taking;
      if (seen.isEnded && seen.isEmpty && frames.length === 0) start(new Uint8Array(0));
      const frame = frames.shift();
      if (frame === undefined) return;
      yield* await frame;
    }
  } finally {
    seen.isEnded = true;
    await taking;
    await input.return(undefined);
  }
}

function rejected(cause: unknown): Promise<never> {
  const promise = Promise.reject(cause instanceof Error ? cause : bug('a stream failed', { cause }));
  promise.catch(() => undefined);
  return promise;
}

/**
 * Cuts a stream into slices of {@link SLICE_BYTES}, the last one shorter.
 * @param takeBuffer gives a buffer of that size, whatever is in it
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
        yield slice;
        slice = undefined;
        filled = 0;
      }
    }
  }
  if (slice !== undefined) yield slice.subarray(0, filled);
}

/** One frame, in pieces. As one write and an end, which is what its bytes depend on. */
async function compressSlice(slice: Uint8Array, level: ZstdLevel): Promise<readonly Uint8Array[]> {
  const encoder = createZstdCompress({
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      [constants.ZSTD_c_checksumFlag]: 1,
      [constants.ZSTD_c_contentSizeFlag]: 1,
    },
    pledgedSrcSize: slice.length,
    chunkSize: Math.max(64, Math.min(OUTPUT_BYTES, slice.length)),
  });
  encoder.end(slice);
  const pieces: Uint8Array[] = [];
  for await (const piece of encoder as AsyncIterable<Buffer>) pieces.push(piece);
  try {
    requireOneFrame(pieces, slice.length);
    return pieces;
  } catch (cause) {
    throw bug('the zstd encoder did not make one whole frame', { cause });
  }
}

/** Node's binding has returned nothing, without an error, and cut frames short (nodejs/node issues 59899, 66078). */
function requireOneFrame(pieces: readonly Uint8Array[], contentBytes: number): void {
  const placed: Piece[] = [];
  let sizeBytes = 0;
  for (const piece of pieces) {
    placed.push({ offset: sizeBytes, source: sourceFromBytes(piece) });
    sizeBytes += piece.length;
  }
  const frames = [...walkFrames(sparseSource(sizeBytes, placed))];
  if (frames.length !== 1 || frames[0]?.contentBytes !== contentBytes || !frames[0].hasChecksum) {
    throw bug(`${frames.length} frames, the first of ${frames[0]?.contentBytes} bytes`);
  }
}
