import { Worker } from 'node:worker_threads';
import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { compressInThreads, framesInOrder } from '../../../tools/commands/frame-stream.ts';
import { removePendingFiles } from '../../../tools/commands/pending-files.ts';
import { SliceThreads } from '../../../tools/commands/slice-threads.ts';
import { CvmError } from '../../../tools/errors.ts';
import { blockDigest } from '../../../tools/verity/block-digest.ts';
import { compressFrames, SLICE_BYTES } from '../../../tools/zstd/compress.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { collectAsync } from '../../support/trees.ts';
import { noise } from '../../support/noise.ts';

function* cut(bytes: Uint8Array, length: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

/** Frames are gone when the next one is asked for. */
async function collectCopies(frames: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const frame of frames) parts.push(frame.slice());
  return Buffer.concat(parts);
}

describe('compressing in threads', () => {
  const large = noise(3 * SLICE_BYTES + 12_345);

  test.each([1, 2, 3, 4, 9])('makes the bytes that one thread makes, with %i', async (jobs) => {
    for (const level of [2, 3] as const) {
      const alone = await collectAsync(compressFrames([large], level));
      const made = await collectCopies(compressInThreads(cut(large, 999_983), level, jobs));
      expect(Buffer.compare(made, alone)).toBe(0);
    }
  });

  test.each([0, 1, 5000, SLICE_BYTES, SLICE_BYTES + 1])('also of %i bytes', async (length) => {
    const content = large.subarray(0, length);
    const made = await collectCopies(compressInThreads([content], 2, 2));
    expect(Buffer.compare(made, await collectAsync(compressFrames([content], 2)))).toBe(0);
  });

  test('an error of the stream is the error of the compression', async () => {
    for (const before of [0, SLICE_BYTES, 5 * SLICE_BYTES]) {
      function* failing(): Generator<Uint8Array> {
        yield new Uint8Array(before);
        throw new CvmError('format', 'SOURCE_BROKE', 'broken');
      }
      await expectCvmRejection(() => collectCopies(compressInThreads(failing(), 3, 2)), 'SOURCE_BROKE');
    }
  });

  test('takes no more of the stream than there are buffers, and ends with its reader', async () => {
    let taken = 0;
    let isEnded = false;
    function* endless(): Generator<Uint8Array> {
      try {
        for (;;) {
          taken++;
          yield new Uint8Array(SLICE_BYTES);
        }
      } finally {
        isEnded = true;
      }
    }
    const frames = compressInThreads(endless(), 2, 2);
    for (let i = 0; i < 3; i++) await frames.next();
    await frames.return(undefined);
    expect(taken).toBeLessThanOrEqual(3 + 4);
    expect(isEnded).toBe(true);
  });
});

describe('digests on the way', () => {
  const parameters = { algorithm: 'sha256', hashType: 1, salt: noise(32, 5) } as const;

  for (const jobs of [1, 2]) {
    test(`are those of every block, zeros too, with ${jobs} jobs`, async () => {
      const digest = blockDigest(
        { ...parameters, dataBlocks: 1, dataBlockBytes: 4096, hashBlockBytes: 4096, uuid: noise(16) },
        4096,
      );
      const content = noise(SLICE_BYTES + 8192, 3).fill(0, 4096, 12_288);
      const threads = new SliceThreads(jobs);
      const digests: Uint8Array[] = [];
      // eslint-disable-next-line @typescript-eslint/require-await -- slices come from an async source
      async function* input() {
        for (const slice of cut(content, SLICE_BYTES)) {
          const bytes = threads.takeBuffer().subarray(0, slice.length);
          bytes.set(slice);
          yield { bytes, digested: { blockBytes: 4096, parameters } };
        }
      }
      for await (const frame of framesInOrder(threads, input(), 2)) digests.push(frame.digests as Uint8Array);
      await threads.close();
      const expected = [...cut(content, 4096)].map((block) => digest(block));
      expect(Buffer.compare(Buffer.concat(digests), Buffer.concat(expected))).toBe(0);
    });
  }
});

describe('what goes wrong in a thread', () => {
  for (const jobs of [1, 2]) {
    test(`comes out as a bug that names it, with ${jobs} jobs`, async () => {
      const threads = new SliceThreads(jobs);
      const slice = threads.takeBuffer().subarray(0, SLICE_BYTES);
      const digested = {
        blockBytes: 4096,
        parameters: { algorithm: 'no such digest' as 'sha256', hashType: 1, salt: noise(1) },
      } as const;
      await expect(threads.pack(slice, 2, digested)).rejects.toMatchObject({
        kind: 'bug',
        message: 'a thread failed',
      });
      // The thread goes on.
      await expect(threads.pack(slice, 2)).resolves.toMatchObject({ digests: undefined });
      await threads.close();
    });
  }

  test('an end of the threads is the end of what they had in hand', async () => {
    const threads = new SliceThreads(2);
    const slices = [threads.takeBuffer(), threads.takeBuffer()].map((buffer) =>
      buffer.subarray(0, SLICE_BYTES),
    );
    const frames = slices.map((slice) => threads.pack(slice, 3));
    const ends = Promise.all(frames.map((frame) => expect(frame).rejects.toMatchObject({ kind: 'bug' })));
    await threads.close();
    await ends;
  });

  test('threads may be ended at any moment: they are not cut off where they work', async () => {
    for (let wait = 0; wait < 120; wait += 8) {
      const threads = new SliceThreads(2);
      const slices = Array.from({ length: threads.slices }, () =>
        threads.takeBuffer().subarray(0, SLICE_BYTES),
      );
      const frames = slices.map((slice) => threads.pack(slice, 2));
      const settled = Promise.allSettled(frames);
      await setTimeout(wait);
      if (wait % 16 === 0) removePendingFiles();
      await threads.close();
      for (const frame of await settled)
        if (frame.status === 'rejected') expect(frame.reason).toMatchObject({ kind: 'bug' });
    }
  });
});

test('a thread that ended before it was given anything is no thread that one waits for', async () => {
  const posted = vi.spyOn(Worker.prototype, 'postMessage');
  const threads = new SliceThreads(2);
  const slices = [threads.takeBuffer(), threads.takeBuffer()].map((buffer) =>
    buffer.subarray(0, SLICE_BYTES),
  );
  await Promise.all(slices.map((slice) => threads.pack(slice, 2)));
  for (const worker of new Set(posted.mock.contexts as Worker[])) await worker.terminate();
  posted.mockRestore();
  for (const slice of slices)
    await expect(threads.pack(slice, 2)).rejects.toMatchObject({ message: 'a thread ended' });
  await threads.close();
});

test('a buffer that is given back holds any later slice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 70_000 }), { maxLength: 6 }), async (lengths) => {
      const threads = new SliceThreads(1);
      for (const length of lengths) {
        const slice = threads.takeBuffer().subarray(0, length);
        slice.set(noise(length, length));
        const { bytes } = await threads.pack(slice, 2);
        expect(Buffer.compare(bytes, await collectAsync(compressFrames([noise(length, length)], 2)))).toBe(0);
        threads.release(slice);
      }
    }),
    { numRuns: 20, seed: 3 },
  );
});
