/**
 * Compression in a thread of its own, which also writes what comes of it. What passes through a thread's memory makes
 * its garbage collector go over all that it holds; here that is next to nothing, where the main thread holds the tree.
 * (The encoder itself runs on Node's own threads, whoever asks.)
 */
import { fdatasync, fstatSync, write } from 'node:fs';
import type { MessagePort, Worker } from 'node:worker_threads';
import { compressSlices, OUTPUT_BYTES, SLICE_BYTES, slices } from '../zstd/compress.ts';
import type { ZstdLevel } from '../zstd/pinned-encoder.ts';
import { freeBuffer } from './buffers.ts';
import type { Chunks } from './files.ts';

/** After so many bytes the disk is told to begin: at the end, little is left to wait for. */
const SYNC_BYTES = 64 << 20;

/** Slices that wait for the encoder, so that it never does. */
const AHEAD = 1;

/** To the thread: a stream to be compressed into an open file. */
export interface PackingTask {
  readonly handle: number;
  readonly level: ZstdLevel;
  readonly inFlight: number;
}

/** What follows a {@link PackingTask}. */
export type ToThread =
  { readonly slice: SharedArrayBuffer; readonly index: number; readonly length: number } | 'end';

type FromThread =
  | { readonly free: number }
  | 'packed'
  | { readonly failure: string; readonly code: string | undefined; readonly syscall: string | undefined };

/**
 * Compresses a stream in a thread and writes it to an open file, from its start.
 * @param worker serves {@link servePacking} and nothing else from now on
 * @throws what `chunks` throws, system errors of writing, and an Error when the thread ends
 */
export async function packInThread(worker: Worker, task: PackingTask, chunks: Chunks): Promise<void> {
  const buffers: SharedArrayBuffer[] = [];
  const free: number[] = [];
  let failure: Error | undefined;
  let isDone = false;
  let wake: () => void = () => undefined;
  worker.on('message', (message: FromThread) => {
    if (message === 'packed') isDone = true;
    else if ('free' in message) free.push(message.free);
    else failure = systemError(message);
    wake();
  });
  const fail = (error: unknown): void => {
    failure ??= error instanceof Error ? error : new Error(`a thread ended with exit code ${String(error)}`);
    wake();
  };
  worker.on('error', fail);
  worker.on('exit', fail);
  const until = async (isTrue: () => boolean): Promise<void> => {
    while (!isTrue()) {
      if (failure !== undefined) throw failure;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const takeBuffer = async (): Promise<Uint8Array> => {
    if (free.length === 0 && buffers.length < task.inFlight + AHEAD) {
      free.push(buffers.push(new SharedArrayBuffer(SLICE_BYTES)) - 1);
    }
    await until(() => free.length > 0);
    return new Uint8Array(buffers[free.pop() as number] as SharedArrayBuffer);
  };
  const send = (message: ToThread): void => {
    worker.postMessage(message);
  };
  worker.postMessage(task);
  for await (const slice of slices(chunks, takeBuffer)) {
    const buffer = slice.buffer as unknown as SharedArrayBuffer;
    send({ slice: buffer, index: buffers.indexOf(buffer), length: slice.length });
  }
  send('end');
  await until(() => isDone);
}

function systemError(message: Exclude<FromThread, 'packed' | { free: number }>): Error {
  const { failure, code, syscall } = message;
  return Object.assign(new Error(failure), code === undefined ? {} : { code, syscall });
}

/**
 * The thread's side of {@link packInThread}.
 * @returns what takes the messages that follow the task
 */
export function servePacking(
  port: MessagePort,
  { handle, level, inFlight }: PackingTask,
): (message: ToThread) => void {
  const answer = (message: FromThread): void => {
    port.postMessage(message);
  };
  const waiting: { readonly bytes: Uint8Array; readonly index: number }[] = [];
  const indices = new Map<Uint8Array, number>();
  let isEnded = false;
  let wake: () => void = () => undefined;
  async function* received(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const next = waiting.shift();
      if (next !== undefined) {
        indices.set(next.bytes, next.index);
        yield next.bytes;
      } else if (isEnded) return;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  }
  const release = (slice: Uint8Array): void => {
    const index = indices.get(slice);
    indices.delete(slice);
    if (index !== undefined) answer({ free: index });
  };
  writePieces(handle, compressSlices(received(), level, inFlight, release)).then(
    () => {
      answer('packed');
    },
    (error: unknown) => {
      const { message, code, syscall } = error as NodeJS.ErrnoException;
      answer({ failure: message, code, syscall });
    },
  );
  return (message) => {
    if (message === 'end') isEnded = true;
    else waiting.push({ bytes: new Uint8Array(message.slice, 0, message.length), index: message.index });
    wake();
  };
}

async function writePieces(handle: number, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const isSynced = fstatSync(handle).isFile();
  let sinceSync = 0;
  let syncing: Promise<void> | undefined;
  let last: ArrayBufferLike | undefined;
  for await (const piece of pieces) {
    if (piece.buffer !== last) {
      freeOutput(last);
      last = piece.buffer;
    }
    for (let done = 0; done < piece.length;) done += await writeSome(handle, piece.subarray(done));
    sinceSync += piece.length;
    if (isSynced && sinceSync >= SYNC_BYTES && syncing === undefined) {
      sinceSync = 0;
      syncing = beginSync(handle).finally(() => {
        syncing = undefined;
      });
    }
  }
  await syncing;
}

/** The encoder makes new buffers all the time. Pieces of one follow each other; smaller ones may be of a pool. */
function freeOutput(buffer: ArrayBufferLike | undefined): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === OUTPUT_BYTES) freeBuffer(buffer);
}

/** Whether it succeeds shows when the file is synced as a whole. */
function beginSync(handle: number): Promise<void> {
  return new Promise((resolve) => {
    fdatasync(handle, () => {
      resolve();
    });
  });
}

function writeSome(handle: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(handle, bytes, 0, bytes.length, null, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}
