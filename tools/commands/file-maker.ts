/**
 * Makes many small files: their contents are gathered in a buffer, of which a second thread makes files, or the first one while
 * the second has enough to do. Making a file takes the kernel longer than reading what goes into it.
 */
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { readInto, type ByteSource } from '../bytes/source.ts';
import type { RawText } from '../bytes/text.ts';
import { bug, CvmError } from '../errors.ts';
import { addRunningProgram } from './pending-files.ts';

/** Contents that are gathered before they are written: as much as stays in a core's cache with what the kernel does. */
const BATCH_BYTES = 1 << 20;

/** Small files that are made before a signal has its turn. */
const BATCH_FILES = 64;

/** Of more pieces than this a file is made by itself: an archive may have a million of a byte each, and every one is a write. */
const BATCH_FILE_PIECES = 256;

/** A large content moves in pieces that stay in a core's cache between being read and written. */
const PIECE_BYTES = 128 << 10;

/** After so many pieces of one file signals get their turn. */
const PIECES_A_TURN = 8;

/** Batches in the thread's hands: one that it works on, and one that waits, so that it never does. */
const AHEAD = 2;

/** So many full batches are made before a thread is started: fewer are done sooner than it is. */
const BATCHES_ALONE = 8;

/** However long the kernel takes for one file, a signal does not wait for longer. */
const STOP_MS = 2000;

/** Where in the state what stands. */
const PLACES = { isStopped: 0, isBusy: 1 } as const;

/** What a new file is to be. */
export interface NewFile {
  /** The bytes of a path. */
  readonly path: RawText;
  readonly content: ByteSource;
  readonly mode: number;
  /** Absent: that of whoever makes it. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** Seconds, as text. */
  readonly mtime: string;
}

/** A {@link NewFile} whose content stands in a buffer. Plain data: it travels. */
interface Gathered extends Omit<NewFile, 'content'> {
  readonly sizeBytes: number;
  /** Where in the buffer a run of bytes stands, its length, and where it goes in the file. */
  readonly runs: readonly (readonly [at: number, length: number, offset: number])[];
}

type Answer = 'done' | Failure;

interface Failure {
  /** In the batch. */
  readonly index: number;
  readonly message: string;
}

interface Batch {
  readonly shared: SharedArrayBuffer;
  files: Gathered[];
  filled: number;
}

/** A batch in the thread's hands. */
interface Waiting {
  readonly batch: Batch;
  readonly files: readonly Gathered[];
}

/** A file could not be made. */
export class FileNotMade extends Error {
  readonly path: RawText;

  constructor(path: RawText, message: string) {
    super(message);
    this.path = path;
  }
}

type FileSystem = Pick<
  typeof fs,
  'closeSync' | 'fchmodSync' | 'fchownSync' | 'ftruncateSync' | 'futimesSync' | 'openSync' | 'writeSync'
>;

/**
 * Gives a file what it has beside its content. Self-contained as {@link makeFiles}.
 * @param end of what was written: the rest is a hole
 */
function finishFile(
  { fchmodSync, fchownSync, ftruncateSync, futimesSync }: FileSystem,
  handle: number,
  { mode, owner, mtime }: Omit<NewFile, 'content'>,
  end: number,
  sizeBytes: number,
): void {
  if (end < sizeBytes) ftruncateSync(handle, sizeBytes);
  if (owner !== undefined) fchownSync(handle, owner.uid, owner.gid);
  fchmodSync(handle, mode);
  futimesSync(handle, mtime, mtime);
}

/**
 * All that the thread runs. Its text is handed over: it may use nothing that is outside of it. Every file is made anew:
 * whatever has the name already, a link for example, is left alone.
 */
function makeFiles(
  fileSystem: FileSystem,
  finish: typeof finishFile,
  shared: SharedArrayBuffer,
  files: readonly Gathered[],
  isStopped: () => boolean,
): Answer {
  const { closeSync, openSync, writeSync } = fileSystem;
  const bytes = new Uint8Array(shared);
  for (const [index, file] of files.entries()) {
    if (isStopped()) break;
    try {
      const handle = openSync(Buffer.from(file.path, 'latin1'), 'wx', 0o600);
      try {
        let end = 0;
        for (const [at, length, offset] of file.runs) {
          for (let done = 0; done < length;)
            done += writeSync(handle, bytes, at + done, length - done, offset + done);
          end = offset + length;
        }
        finish(fileSystem, handle, file, end, file.sizeBytes);
      } finally {
        closeSync(handle);
      }
    } catch (error) {
      return { index, message: (error as Error).message };
    }
  }
  return 'done';
}

const THREAD_CODE = `
const fs = require('node:fs');
const { parentPort, workerData: { state, places } } = require('node:worker_threads');
const finishFile = ${finishFile.toString()};
const makeFiles = ${makeFiles.toString()};
const isStopped = () => Atomics.load(state, places.isStopped) !== 0;
parentPort.on('message', ({ shared, files }) => {
  Atomics.store(state, places.isBusy, 1);
  const answer = makeFiles(fs, finishFile, shared, files, isStopped);
  Atomics.store(state, places.isBusy, 0);
  Atomics.notify(state, places.isBusy);
  parentPort.postMessage(answer);
});`;

export class FileMaker {
  readonly #state = new Int32Array(new SharedArrayBuffer(8));
  readonly #idle: Batch[] = [];
  readonly #waiting: Waiting[] = [];
  #current: Batch = newBatch();
  #worker: Worker | undefined;
  #batches = 0;
  #settle: () => void = () => undefined;
  #failure: Error | undefined;
  #wake: () => void = () => undefined;

  /**
   * Reads the content now and makes the file sooner or later.
   * @throws FileNotMade this one or an earlier one; what reading the content throws
   */
  async add({ content, ...file }: NewFile): Promise<void> {
    const { extents, sizeBytes } = content;
    const length = extents.reduce((sum, extent) => sum + extent.length, 0);
    const isAlone = length > BATCH_BYTES || extents.length > BATCH_FILE_PIECES;
    if (isAlone || this.#current.filled + length > BATCH_BYTES) await this.#flush();
    if (isAlone) {
      await this.#makeLarge(file, content);
      return;
    }
    const batch = this.#current;
    const runs = extents.map((extent) => {
      const at = batch.filled;
      readInto(content, extent.offset, new Uint8Array(batch.shared, at, extent.length));
      batch.filled += extent.length;
      return [at, extent.length, extent.offset] as const;
    });
    batch.files.push({ ...file, sizeBytes, runs });
    if (batch.files.length === BATCH_FILES) await this.#flush();
  }

  /** In pieces, through the buffer of the batch that begins. */
  async #makeLarge(file: Omit<NewFile, 'content'>, content: ByteSource): Promise<void> {
    const buffer = new Uint8Array(this.#current.shared, 0, PIECE_BYTES);
    try {
      const handle = fs.openSync(Buffer.from(file.path, 'latin1'), 'wx', 0o600);
      try {
        let end = 0;
        let pieces = 0;
        for (const { offset, length } of content.extents) {
          for (end = offset; end < offset + length;) {
            if (++pieces % PIECES_A_TURN === 0) await setImmediate();
            const bytes = buffer.subarray(0, Math.min(PIECE_BYTES, offset + length - end));
            readInto(content, end, bytes);
            for (let done = 0; done < bytes.length;)
              done += fs.writeSync(handle, bytes, done, bytes.length - done, end + done);
            end += bytes.length;
          }
        }
        finishFile(fs, handle, file, end, content.sizeBytes);
      } finally {
        fs.closeSync(handle);
      }
    } catch (error) {
      throw error instanceof CvmError ? error : new FileNotMade(file.path, (error as Error).message);
    }
  }

  /** Makes what has not been made. @throws FileNotMade */
  async finish(): Promise<void> {
    await this.#flush();
    while (this.#waiting.length > 0 && this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#check();
  }

  /** Ends the thread: no file is made any more. */
  async close(): Promise<void> {
    this.#stop();
    await this.#worker?.terminate();
    this.#settle();
  }

  async #flush(): Promise<void> {
    // Answers, and signals, have their turn.
    await setImmediate();
    this.#check();
    if (this.#current.files.length === 0) return;
    if (++this.#batches === BATCHES_ALONE && availableParallelism() > 1) this.#start();
    const batch = this.#current;
    const { files } = batch;
    batch.files = [];
    batch.filled = 0;
    if (this.#worker !== undefined && this.#waiting.length < AHEAD) {
      this.#waiting.push({ batch, files });
      this.#worker.postMessage({ shared: batch.shared, files });
      this.#current = this.#idle.pop() ?? newBatch();
      return;
    }
    const answer = makeFiles(fs, finishFile, batch.shared, files, () => false);
    if (answer !== 'done') throw notMade(files, answer);
  }

  #start(): void {
    const worker = new Worker(THREAD_CODE, {
      eval: true,
      env: {},
      workerData: { state: this.#state, places: PLACES },
    });
    worker.on('message', (answer: Answer) => {
      const { batch, files } = this.#waiting.shift() as Waiting;
      if (answer !== 'done') this.#failure ??= notMade(files, answer);
      this.#idle.push(batch);
      this.#wake();
    });
    const fail = (cause: unknown): void => {
      this.#failure ??= bug('the thread that makes files ended', { cause });
      this.#wake();
    };
    worker.on('error', fail);
    worker.on('exit', fail);
    this.#worker = worker;
    this.#settle = addRunningProgram(() => {
      this.#stop();
    });
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Waits for the file that is just being made. */
  #stop(): void {
    Atomics.store(this.#state, PLACES.isStopped, 1);
    Atomics.wait(this.#state, PLACES.isBusy, 1, STOP_MS);
  }
}

function newBatch(): Batch {
  return { shared: new SharedArrayBuffer(BATCH_BYTES), files: [], filled: 0 };
}

function notMade(files: readonly Gathered[], { index, message }: Failure): FileNotMade {
  return new FileNotMade((files[index] as Gathered).path, message);
}
