/**
 * A second thread that takes the SHA-384 of ranges of an open file from the last one on, while the caller comes from the first. Who
 * gets to a range first hashes it, so nobody waits, and where the thread fails the caller has done all of it.
 */
import type * as Crypto from 'node:crypto';
import type * as FileSystem from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { ByteSource, Extent } from '../bytes/source.ts';
import { isPlainFile } from './files.ts';

/** Less than this is hashed sooner than a thread starts. (Of SHA-256, which processors have instructions for, all is.) */
const WORTH_A_THREAD_BYTES = 16 << 20;

/** As much as the thread reads at once. */
const READ_BYTES = 1 << 18;

/** A thread that has not begun by then never will. */
const START_MS = 2000;

const DIGEST_BYTES = 48;

/** Where in {@link Work.state} what stands. */
const PLACES = { firstHashed: 0, isStopped: 1, hasBegun: 2, hasEnded: 3 } as const;

/** What the thread is told. */
interface Work {
  readonly descriptor: number;
  readonly digestBytes: number;
  readonly readBytes: number;
  /** Offset and length of each range. */
  readonly ranges: Float64Array;
  readonly digests: Uint8Array;
  readonly state: Int32Array;
  readonly places: typeof PLACES;
}

/** Whether there is a processor for a thread, and enough to do for it. */
export function isWorthAThread(ranges: readonly Extent[]): boolean {
  if (availableParallelism() < 2) return false;
  return ranges.reduce((sum, { length }) => sum + length, 0) >= WORTH_A_THREAD_BYTES;
}

/** A thread that hashes a file as its one range, where that saves time. */
export function fileAhead(source: ByteSource): DigestsAhead | undefined {
  const ranges = [{ offset: 0, length: source.sizeBytes }];
  if (!isPlainFile(source) || !isWorthAThread(ranges)) return undefined;
  return new DigestsAhead(source.descriptor, ranges);
}

export class DigestsAhead {
  readonly #work: Work;
  readonly #ended: Promise<void>;

  /** @param descriptor stays open until {@link stop} is done */
  constructor(descriptor: number, ranges: readonly Extent[]) {
    this.#work = {
      descriptor,
      digestBytes: DIGEST_BYTES,
      readBytes: READ_BYTES,
      ranges: Float64Array.from(ranges.flatMap(({ offset, length }) => [offset, length])),
      digests: new Uint8Array(new SharedArrayBuffer(ranges.length * DIGEST_BYTES)),
      state: new Int32Array(new SharedArrayBuffer(16)),
      places: PLACES,
    };
    Atomics.store(this.#work.state, PLACES.firstHashed, ranges.length);
    // With a module of ours, most of the time would go into loading what the thread has no use for.
    const modules = "require('node:crypto'), require('node:fs')";
    const code = `(${hashBackwards.toString()})(${modules}, require('node:worker_threads').workerData)`;
    const worker = new Worker(code, { eval: true, workerData: this.#work, env: {} });
    // What it cannot read the caller cannot read either, and says so.
    worker.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      worker.once('exit', () => {
        resolve();
      });
    });
  }

  /** The digest of a range, undefined when the thread has not come to it. */
  at(index: number): Uint8Array | undefined {
    const { digests, digestBytes, ranges, state } = this.#work;
    if (index >= ranges.length / 2 || index < Atomics.load(state, PLACES.firstHashed)) return undefined;
    return digests.slice(index * digestBytes, (index + 1) * digestBytes);
  }

  /** {@link at} when the thread has hashed everything, or has failed. */
  wait(index: number): Uint8Array | undefined {
    const { state } = this.#work;
    Atomics.wait(state, PLACES.hasBegun, 0, START_MS);
    if (Atomics.load(state, PLACES.hasBegun) !== 0) Atomics.wait(state, PLACES.hasEnded, 0);
    return this.at(index);
  }

  /** Ends the thread, which then reads no more. */
  async stop(): Promise<void> {
    Atomics.store(this.#work.state, PLACES.isStopped, 1);
    await this.#ended;
  }
}

/** All that the thread runs. Its text is handed over: it may use nothing that is outside of it. */
function hashBackwards(
  { createHash, hash }: typeof Crypto,
  { readSync }: typeof FileSystem,
  { descriptor, digestBytes, readBytes, ranges, digests, state, places }: Work,
): void {
  const buffer = new Uint8Array(readBytes);
  const target = Buffer.from(digests.buffer);
  const offsetOf = (index: number): number => ranges[2 * index] as number;
  const endOf = (index: number): number => offsetOf(index) + (ranges[2 * index + 1] as number);

  const read = (from: number, to: number): Uint8Array => {
    const length = to - from;
    for (let done = 0; done < length;) {
      const count = readSync(descriptor, buffer, done, length - done, from + done);
      if (count === 0) throw new Error('the file became shorter');
      done += count;
    }
    return buffer.subarray(0, length);
  };
  const isStopped = (): boolean => Atomics.load(state, places.isStopped) !== 0;

  /** A range larger than the buffer. @returns false when it was not hashed */
  const hashLarge = (index: number): boolean => {
    const whole = createHash('sha384');
    for (let at = offsetOf(index); at < endOf(index); at += readBytes) {
      if (isStopped()) return false;
      whole.update(read(at, Math.min(at + readBytes, endOf(index))));
    }
    target.set(whole.digest(), index * digestBytes);
    return true;
  };

  /** Ranges that follow one another in the file, as many as fit into the buffer. @returns the first of them */
  const hashSmall = (last: number): number => {
    let first = last;
    while (
      first > 0 &&
      endOf(first - 1) === offsetOf(first) &&
      endOf(last) - offsetOf(first - 1) <= readBytes
    ) {
      first--;
    }
    const start = offsetOf(first);
    const bytes = read(start, endOf(last));
    for (let i = first; i <= last; i++) {
      // A string of Latin-1 is the cheapest form in which Node.js hands a digest over.
      const digest = hash('sha384', bytes.subarray(offsetOf(i) - start, endOf(i) - start), 'binary');
      target.write(digest, i * digestBytes, 'latin1');
    }
    return first;
  };

  Atomics.store(state, places.hasBegun, 1);
  Atomics.notify(state, places.hasBegun);
  try {
    for (let last = ranges.length / 2 - 1; last >= 0 && !isStopped(); last--) {
      if (endOf(last) - offsetOf(last) <= readBytes) last = hashSmall(last);
      else if (!hashLarge(last)) return;
      Atomics.store(state, places.firstHashed, last);
    }
  } finally {
    Atomics.store(state, places.hasEnded, 1);
    Atomics.notify(state, places.hasEnded);
  }
}
