/** Streams of zstd frames whose slices are worked on by several threads. */
import { bug } from '../errors.ts';
import { checkEncoder, DEFAULT_LEVEL, makeFrame, slices } from '../zstd/compress.ts';
import type { ZstdLevel } from '../zstd/pinned-encoder.ts';
import type { Chunks } from './files.ts';
import { defaultJobs, SliceThreads, type Digested, type Frame } from './slice-threads.ts';

/** A slice in a buffer of the threads, and the blocks at its start that digests are asked of. */
export interface Slice {
  readonly bytes: Uint8Array;
  readonly digested?: Digested | undefined;
}

/**
 * The frames of slices, in the order of these. A frame's bytes are gone when the next one is asked for.
 * @param input takes a buffer of the threads for every slice, and never more than one ahead
 */
export async function* framesInOrder(
  threads: SliceThreads,
  input: AsyncIterable<Slice>,
  level: ZstdLevel,
): AsyncGenerator<Frame> {
  const inWork: { readonly buffer: Uint8Array; readonly frame: Promise<Frame> }[] = [];
  async function* first(): AsyncGenerator<Frame> {
    const done = inWork.shift();
    if (done === undefined) throw bug('no slice is in work');
    yield await done.frame;
    threads.release(done.buffer);
  }
  for await (const { bytes, digested } of input) {
    const frame = threads.pack(bytes, level, digested);
    // Awaited in order; a failure meanwhile must not count as unhandled.
    frame.catch(() => undefined);
    inWork.push({ buffer: bytes, frame });
    if (inWork.length === threads.slices) yield* first();
  }
  while (inWork.length > 0) yield* first();
}

/**
 * What `compressFrames` makes, on as many threads as there are cores. The bytes of a chunk are used before the next one is
 * asked for; those of a frame are gone when the next one is.
 * @param jobs threads; they have no part in the bytes
 * @throws CvmError usage ZSTD_ENCODER, and whatever `chunks` throws
 */
export async function* compressInThreads(
  chunks: Chunks,
  level: ZstdLevel = DEFAULT_LEVEL,
  jobs: number = defaultJobs(),
): AsyncGenerator<Uint8Array> {
  checkEncoder(level);
  const threads = new SliceThreads(jobs);
  async function* input(): AsyncGenerator<Slice> {
    for await (const bytes of slices(chunks, () => threads.takeBuffer())) yield { bytes };
  }
  try {
    let isEmpty = true;
    for await (const { bytes } of framesInOrder(threads, input(), level)) {
      isEmpty = false;
      yield bytes;
    }
    if (isEmpty) yield makeFrame(new Uint8Array(0), level);
  } finally {
    await threads.close();
  }
}
