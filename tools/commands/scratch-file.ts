/** Files without a name: what does not fit memory, and is gone when the process is. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { bug } from '../errors.ts';
import { fileError } from './files.ts';

/** Opens a new file in a folder and takes its name away. */
export function openUnlinked(folder: string): number {
  const name = join(folder, `.cvm-scratch-${randomBytes(8).toString('hex')}.part`);
  try {
    const handle = openSync(name, 'wx+', 0o600);
    rmSync(name);
    return handle;
  } catch (cause) {
    throw fileError(name, 'write', cause);
  }
}

/** Writes all of `bytes`. @param folder for errors: the file has no name */
export function writeFully(folder: string, handle: number, bytes: Uint8Array, position: number): void {
  try {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(handle, bytes, done, bytes.length - done, position + done);
    }
  } catch (cause) {
    throw fileError(folder, 'write', cause);
  }
}

/** Kept in memory before a file is opened: what an image of 64 MiB needs. */
const MEMORY_BYTES = 1 << 20;

/** Bytes kept for later: a little in memory, more in a file without a name. */
export class ScratchStore {
  readonly #folder: string;
  #memory: Uint8Array[] = [];
  #starts: number[] = [];
  #sizeBytes = 0;
  #handle: number | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Copies bytes. @returns where they stand */
  append(bytes: Uint8Array): number {
    const at = this.#sizeBytes;
    if (this.#handle === undefined && at + bytes.length > MEMORY_BYTES) this.#spill();
    if (this.#handle === undefined) {
      this.#memory.push(bytes.slice());
      this.#starts.push(at);
    } else {
      writeFully(this.#folder, this.#handle, bytes, at);
    }
    this.#sizeBytes += bytes.length;
    return at;
  }

  /** What one `append` took, from its start. */
  read(at: number, length: number): Uint8Array {
    if (this.#handle === undefined) {
      const kept = this.#memory[this.#starts.indexOf(at)];
      if (kept === undefined || kept.length < length) throw bug('a read of what was not kept');
      return kept.subarray(0, length);
    }
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const count = readSync(this.#handle, bytes, done, length - done, at + done);
      if (count === 0) throw bug('a scratch file ends early');
      done += count;
    }
    return bytes;
  }

  close(): void {
    if (this.#handle !== undefined) closeSync(this.#handle);
    this.#handle = undefined;
    this.#memory = [];
    this.#starts = [];
  }

  /** As the output that will stand there would. */
  #makeFolder(): void {
    try {
      mkdirSync(this.#folder, { recursive: true });
    } catch (cause) {
      throw fileError(this.#folder, 'write', cause);
    }
  }

  #spill(): void {
    this.#makeFolder();
    const handle = openUnlinked(this.#folder);
    this.#handle = handle;
    this.#memory.forEach((bytes, i) => writeFully(this.#folder, handle, bytes, this.#starts[i] as number));
    this.#memory = [];
    this.#starts = [];
  }
}
