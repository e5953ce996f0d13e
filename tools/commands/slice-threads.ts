/**
 * Threads that turn slices of a stream into zstd frames, and take digests of the blocks in them on the way. Which thread did
 * what shows in no output.
 */
import * as crypto from 'node:crypto';
import { availableParallelism } from 'node:os';
import type * as Threads from 'node:worker_threads';
import { Worker } from 'node:worker_threads';
import * as zlib from 'node:zlib';
import { bug, usageError } from '../errors.ts';
import { digestBlocks, type DigestParameters } from '../verity/block-digest.ts';
import { compressSlice, FRAME_LIMIT_BYTES, requireOneFrame, SLICE_BYTES } from '../zstd/compress.ts';
import type { ZstdLevel } from '../zstd/pinned-encoder.ts';
import { addRunningProgram } from './pending-files.ts';

/** Every further thread would cost 30 MB. */
export const MAX_JOBS = 4;

/** Slices that wait for a thread, so that none ever does: one that is being filled, and one that is done and not yet written. */
const WAITING_SLICES = 2;

/** Where in the state of the threads what stands: how many are working, and whether they are to begin nothing more. */
const PLACES = { isStopped: 0, busy: 1 } as const;

/** More than a slice takes on a slow machine. */
const STOP_MS = 5000;

/** A thread's new objects; V8 would take up to 48 MiB for them. */
const YOUNG_MEBIBYTES = 4;

/** The threads that are used when nobody says. */
export function defaultJobs(): number {
  return Math.min(MAX_JOBS, availableParallelism());
}

/** The blocks of a slice that digests are asked of: whole ones from its start. */
export interface Digested {
  readonly blockBytes: number;
  readonly parameters: DigestParameters;
}

/** What is done with a slice. Plain data: it travels. */
interface Task {
  /** The slice's content from the start; afterwards the frame. */
  readonly shared: SharedArrayBuffer;
  readonly length: number;
  readonly level: ZstdLevel;
  readonly digested: Digested | undefined;
}

type Answer =
  | { readonly frameBytes: number; readonly digests: Uint8Array<ArrayBuffer> | undefined }
  | { readonly failure: string };

export interface Frame {
  /** Stands in the slice's buffer, until that is given back. */
  readonly bytes: Uint8Array;
  readonly digests: Uint8Array | undefined;
}

/**
 * All that a thread runs, and without threads what is run in their place. Its text is handed over, with those of the two
 * functions: it may use nothing that is outside of it. (A module of ours would bring the whole tool along.)
 */
function workOn(
  modules: Pick<typeof crypto, 'hash'> & Pick<typeof zlib, 'zstdCompressSync' | 'constants'>,
  functions: { readonly compressSlice: typeof compressSlice; readonly digestBlocks: typeof digestBlocks },
  { shared, length, level, digested }: Task,
): Answer {
  try {
    const slice = new Uint8Array(shared, 0, length);
    const digests =
      digested && functions.digestBlocks(modules, slice, digested.blockBytes, digested.parameters);
    const frame = functions.compressSlice(modules, slice, level);
    const frameBytes = frame.length;
    if (frameBytes > shared.byteLength) throw new Error(`a frame of ${frameBytes} bytes`);
    new Uint8Array(shared).set(frame);
    // The encoder's room is as large as a slice: given back at once, where it is not part of Node's pool.
    const { buffer } = frame;
    if (buffer instanceof ArrayBuffer && buffer.byteLength >= 1 << 20) buffer.transfer(0);
    return { frameBytes, digests };
  } catch (error) {
    return { failure: String(error) };
  }
}

const MODULES = { hash: crypto.hash, zstdCompressSync: zlib.zstdCompressSync, constants: zlib.constants };

const THREAD_CODE = `
const { hash } = require('node:crypto');
const { zstdCompressSync, constants } = require('node:zlib');
const { parentPort, workerData: { state, places } } = require('node:worker_threads');
const functions = { compressSlice: ${compressSlice.toString()}, digestBlocks: ${digestBlocks.toString()} };
const work = ${workOn.toString()};
parentPort.on('message', (task) => {
  Atomics.add(state, places.busy, 1);
  const isStopped = Atomics.load(state, places.isStopped) !== 0;
  const answer = isStopped
    ? { failure: 'it was stopped' }
    : work({ hash, zstdCompressSync, constants }, functions, task);
  Atomics.sub(state, places.busy, 1);
  Atomics.notify(state, places.busy);
  parentPort.postMessage(answer, answer.digests === undefined ? [] : [answer.digests.buffer]);
});`;

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

interface Thread {
  readonly worker: Threads.Worker;
  /** What it was given and has not answered, in order. */
  readonly waiting: Waiting[];
  /** Why it has ended: what it is given from then on would never be answered. */
  readonly ended: () => Error | undefined;
}

/** Threads, or with one job none: the same work is then done where it is asked for. */
export class SliceThreads {
  readonly jobs: number;
  readonly #threads: Thread[] = [];
  readonly #idle: SharedArrayBuffer[] = [];
  readonly #state = new Int32Array(new SharedArrayBuffer(8));
  #settle: (() => void) | undefined;
  #buffers = 0;

  constructor(jobs: number) {
    this.jobs = Math.min(jobs, MAX_JOBS);
  }

  /** Slices that can be in work at the same time. */
  get slices(): number {
    return this.jobs === 1 ? 1 : this.jobs + WAITING_SLICES;
  }

  /** Starts the threads before there is something to do for them. */
  start(): void {
    while (this.jobs > 1 && this.#threads.length < this.jobs) this.#threads.push(startThread(this.#state));
  }

  /** A buffer for a slice; whoever takes more than {@link slices} of them at a time has a bug. */
  takeBuffer(): Uint8Array {
    let shared = this.#idle.pop();
    if (shared === undefined) {
      if (this.#buffers === this.slices) throw bug('more slices than there are buffers');
      this.#buffers++;
      shared = new SharedArrayBuffer(FRAME_LIMIT_BYTES);
    }
    return new Uint8Array(shared);
  }

  /** Gives a buffer back: nobody may use what stands in it any more. */
  release({ buffer }: Uint8Array): void {
    this.#idle.push(buffer as unknown as SharedArrayBuffer);
  }

  /**
   * The frame of a slice, in the buffer that the slice stands in from its start. Threads start with the first slice that is
   * full: less than that is done sooner than they are.
   */
  async pack(slice: Uint8Array, level: ZstdLevel, digested?: Digested): Promise<Frame> {
    const shared = slice.buffer as unknown as SharedArrayBuffer;
    const task: Task = { shared, length: slice.length, level, digested };
    const answer =
      this.jobs === 1 || (this.#threads.length === 0 && slice.length < SLICE_BYTES)
        ? workOn(MODULES, { compressSlice, digestBlocks }, task)
        : await new Promise<Answer>((resolve, reject) => {
            this.start();
            this.#settle ??= addRunningProgram(() => {
              this.#stop();
            });
            const thread = this.#threads.reduce((a, b) => (b.waiting.length < a.waiting.length ? b : a));
            const ended = thread.ended();
            if (ended !== undefined) throw ended;
            thread.waiting.push({ resolve, reject });
            thread.worker.postMessage(task);
          });
    if ('failure' in answer) throw bug('a thread failed', { facts: [['error', answer.failure]] });
    const bytes = new Uint8Array(shared, 0, answer.frameBytes);
    requireOneFrame(bytes, slice.length);
    return { bytes, digests: answer.digests };
  }

  /** Ends the threads; what they have not begun is lost. */
  async close(): Promise<void> {
    this.#stop();
    await Promise.all(this.#threads.splice(0).map(({ worker }) => worker.terminate()));
    this.#settle?.();
    this.#settle = undefined;
  }

  /**
   * Waits for what the threads are just doing. Node.js aborts the whole process when a thread ends between the making of an
   * encoder and its first use ("close before init").
   */
  #stop(): void {
    Atomics.store(this.#state, PLACES.isStopped, 1);
    for (;;) {
      const busy = Atomics.load(this.#state, PLACES.busy);
      if (busy === 0 || Atomics.wait(this.#state, PLACES.busy, busy, STOP_MS) === 'timed-out') return;
    }
  }
}

/** A thread takes descriptors and memory that a process may be short of. */
function notStarted(error: unknown): Error | undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_WORKER_INIT_FAILED') return undefined;
  return usageError('THREAD_START', 'a thread cannot be started', {
    facts: [['system', (error as Error).message]],
    mend: 'raise the limits of this process (ulimit -n), or do with one thread where the command has --jobs',
    cause: error,
  });
}

function startThread(state: Int32Array): Thread {
  const waiting: Waiting[] = [];
  let ended: Error | undefined;
  const worker = new Worker(THREAD_CODE, {
    eval: true,
    env: {},
    workerData: { state, places: PLACES },
    // What a thread makes dies young; without this its garbage takes more room than its work.
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MEBIBYTES },
  });
  worker.on('message', (answer: Answer) => waiting.shift()?.resolve(answer));
  const fail = (error: unknown): void => {
    ended ??= notStarted(error) ?? bug('a thread ended', { cause: error });
    for (const { reject } of waiting.splice(0)) reject(ended);
  };
  worker.on('error', fail);
  worker.on('exit', (code) => {
    fail(new Error(`exit code ${code}`));
  });
  return { worker, waiting, ended: () => ended };
}
