/**
 * Threads that look at blocks, and of which one compresses afterwards. Buffers are handed over, not copied; which
 * thread did what shows in no output.
 *
 * A thread begins with the file that this module ended up in: the module itself, a part of the bundle, or a bundle of
 * one file, whose front asks `isBlockWorker` before it does anything else.
 */
import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker, workerData, type MessagePort } from 'node:worker_threads';
import { bug } from '../errors.ts';
import { scanBlocks, type BlockScan, type DigestParameters } from '../partition/block-scan.ts';
import { BATCH_BYTES } from '../partition/content-index.ts';
import { freeBuffer } from './buffers.ts';
import type { Chunks } from './files.ts';
import { packInThread, servePacking, type PackingTask, type ToThread } from './packing-thread.ts';
import { WORKER_MARK } from './worker-mark.ts';

/** As many as Node has threads to compress with. */
export const MAX_JOBS = 4;

/** Two threads hash as fast as one reads; every further one would cost 30 MB and wait. */
const THREADS = 2;

/** A thread's new objects; V8 would take up to 48 MiB for them. */
const YOUNG_MEBIBYTES = 4;

/** The threads that are used when nobody says. */
export function defaultJobs(): number {
  return Math.min(MAX_JOBS, availableParallelism());
}

interface Task {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly parameters: DigestParameters | undefined;
}

type Answer = { readonly scan: BlockScan; readonly buffer: ArrayBuffer } | { readonly failure: string };

function answerTo({ bytes, parameters }: Task): Answer {
  try {
    return { scan: scanBlocks(bytes, parameters), buffer: bytes.buffer };
  } catch (error) {
    return { failure: String(error) };
  }
}

function transfersOf(answer: Answer): ArrayBuffer[] {
  return 'failure' in answer ? [] : [answer.scan.masks.buffer, answer.scan.digests.buffer, answer.buffer];
}

if (!isMainThread && workerData === WORKER_MARK) {
  const port = parentPort as MessagePort;
  let pack: ((message: ToThread) => void) | undefined;
  port.on('message', (message: Task | PackingTask | ToThread) => {
    if (pack !== undefined) pack(message as ToThread);
    else if (message !== 'end' && 'handle' in message) pack = servePacking(port, message);
    else {
      const answer = answerTo(message as Task);
      port.postMessage(answer, transfersOf(answer));
    }
  });
}

interface Waiting {
  readonly task: Task;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

interface Thread {
  readonly worker: Worker;
  current: Waiting | undefined;
}

/** Threads, or with one job none: the same work is then done where it is asked for. */
export class BlockWorkers {
  readonly jobs: number;
  readonly #threads: Thread[] = [];
  readonly #queue: Waiting[] = [];
  /** Buffers that came back. */
  readonly #buffers: ArrayBuffer[] = [];

  constructor(jobs: number) {
    this.jobs = Math.min(jobs, MAX_JOBS);
  }

  /** A buffer for a batch of blocks, perhaps one that was used before. */
  takeBuffer(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffers.pop() ?? new ArrayBuffer(BATCH_BYTES));
  }

  /** Takes the buffer away from the caller. */
  async scan(bytes: Uint8Array<ArrayBuffer>, parameters: DigestParameters | undefined): Promise<BlockScan> {
    const task = { bytes, parameters };
    const answer = await (this.jobs === 1
      ? Promise.resolve(answerTo(task))
      : new Promise<Answer>((resolve, reject) => {
          this.#queue.push({ task, resolve, reject });
          this.#assign();
        }));
    if ('failure' in answer) throw bug('a thread failed', { facts: [['error', answer.failure]] });
    this.#buffers.push(answer.buffer);
    return answer.scan;
  }

  /**
   * Compresses a stream into an open file, in a thread; all others end. No blocks are scanned any more.
   * @throws as `packInThread`
   */
  async pack(task: PackingTask, chunks: Chunks): Promise<void> {
    const thread = this.#threads.shift() ?? this.#start();
    await this.close();
    for (const buffer of this.#buffers.splice(0)) freeBuffer(buffer);
    this.#threads.push(thread);
    try {
      await packInThread(thread.worker, task, chunks);
    } finally {
      // The descriptor is about to be closed, and its number may be given to another file.
      await this.close();
    }
  }

  /** Ends the threads; what they still do is lost. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
    this.#threads.length = 0;
  }

  #assign(): void {
    while (this.#queue.length > 0) {
      let thread = this.#threads.find(({ current }) => current === undefined);
      if (thread === undefined) {
        if (this.#threads.length === Math.min(this.jobs, THREADS)) return;
        thread = this.#start();
        this.#threads.push(thread);
      }
      const waiting = this.#queue.shift() as Waiting;
      thread.current = waiting;
      thread.worker.postMessage(waiting.task, [waiting.task.bytes.buffer]);
    }
  }

  #start(): Thread {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: WORKER_MARK,
      argv: [WORKER_MARK],
      env: {},
      // What a thread makes dies young; without this its garbage takes more room than its work.
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MEBIBYTES },
    });
    const thread: Thread = { worker, current: undefined };
    worker.on('message', (answer: Answer) => {
      const waiting = thread.current;
      thread.current = undefined;
      waiting?.resolve(answer);
      this.#assign();
    });
    const fail = (error: unknown): void => {
      const waiting = thread.current;
      thread.current = undefined;
      waiting?.reject(bug('a thread ended', { cause: error }));
    };
    worker.on('error', fail);
    worker.on('exit', (code) => {
      fail(new Error(`exit code ${code}`));
    });
    return thread;
  }
}
