/**
 * Files of the command layer: reading them as {@link ByteSource}, writing them whole or not at all.
 *
 * Node has no SEEK_HOLE and SEEK_DATA: a raw file is one extent, and whoever cares for its holes looks for zero
 * blocks. Sparse tar, which is how partitions travel, names its extents.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  checkRange,
  CHUNK_BYTES,
  readInto,
  sourceFromBytes,
  type ByteSource,
  type Extent,
  type Piece,
} from '../bytes/source.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import { bug, CvmError, formatError, usageError } from '../errors.ts';
import type { Io } from './command.ts';
import { addPendingFile, settlePendingFile } from './pending-files.ts';

/** A file that is being read. */
export interface OpenFile extends ByteSource {
  readonly path: string;
  /** Further reads are bugs; closing again does nothing. */
  close(): void;
}

/** Bytes of the source are those of the file, at the same offsets. */
export interface PlainFile extends OpenFile {
  /** For another thread, which ends before the file is closed. */
  readonly descriptor: number;
}

export function isPlainFile(source: ByteSource): source is PlainFile {
  return 'descriptor' in source;
}

/** Linux moves at most 2 GiB minus a page in one call. */
const LARGEST_READ_BYTES = 1 << 30;

/** Small chunks are gathered to this before they are written. */
const WRITE_BYTES = CHUNK_BYTES;

/** The grid on which {@link writeSourceWhole} leaves holes: the block size of the file systems it lands on. */
const HOLE_BYTES = 4096;

/**
 * Refuses two outputs of one path: the second would take the first one's place.
 * @param paths as they were given; undefined for an output that was not asked for
 * @throws CvmError usage OUTPUT_TWICE
 */
export function requireDistinctOutputs(io: Pick<Io, 'cwd'>, ...paths: readonly (string | undefined)[]): void {
  const given = paths.filter((path) => path !== undefined).map((path) => resolvePath(io, path));
  const again = given.find((path, i) => given.indexOf(path) !== i);
  if (again === undefined) return;
  throw usageError('OUTPUT_TWICE', 'two outputs of the command have one path', {
    facts: [['path', again]],
    mend: 'give each output a path of its own',
  });
}

/**
 * Refuses an output that is one of the inputs: it would take its place.
 * @param inputs paths as they were given; undefined for one that was not
 * @throws CvmError usage OUTPUT_IS_INPUT
 */
export function requireOtherThanInputs(
  io: Pick<Io, 'cwd'>,
  output: string | undefined,
  inputs: readonly (string | undefined)[],
): void {
  if (output === undefined) return;
  const written = statIfAny(resolvePath(io, output));
  if (written?.isFile() !== true) return;
  for (const input of inputs) {
    if (input === undefined || input === '') continue;
    const read = statIfAny(resolvePath(io, input));
    if (read?.ino !== written.ino || read.dev !== written.dev) continue;
    throw usageError('OUTPUT_IS_INPUT', 'the output is a file that is read', {
      facts: [
        ['input', resolvePath(io, input)],
        ['output', resolvePath(io, output)],
      ],
      mend: 'give the output a path of its own',
    });
  }
}

/** What stands at a path, as far as it can be looked at: whoever opens it says what is wrong. */
export function statIfAny(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** A path as the caller of the tool means it. @throws CvmError usage PATH_INVALID */
export function resolvePath(io: Pick<Io, 'cwd'>, path: string): string {
  if (path === '' || path.includes('\0')) {
    throw usageError('PATH_INVALID', 'a path is empty or holds a NUL byte', {
      mend: 'give the path of a file',
    });
  }
  return resolve(io.cwd, path);
}

/**
 * Opens a regular file for reading: sync random access, nothing cached.
 * @throws CvmError usage FILE_NOT_FOUND | FILE_NOT_REGULAR | FILE_ACCESS
 */
export function openFile(path: string): PlainFile {
  let handle: number | undefined;
  try {
    // Looked at before it is opened: opening a pipe would wait for its other end.
    requireRegular(path, statSync(path));
    handle = openSync(path, 'r');
    const stat = fstatSync(handle);
    requireRegular(path, stat);
    return sourceFromHandle(path, handle, stat.size);
  } catch (cause) {
    if (handle !== undefined) closeSync(handle);
    throw fileError(path, 'read', cause);
  }
}

/**
 * A descriptor as a source; closing the source closes the descriptor.
 * @param extents what of the file may be other than zero; all of it when absent
 */
export function sourceFromHandle(
  path: string,
  handle: number,
  sizeBytes: number,
  extents: readonly Extent[] = sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }],
): PlainFile {
  let isOpen = true;
  const fill = (offset: number, bytes: Uint8Array): void => {
    const { length } = bytes;
    checkRange(sizeBytes, offset, length);
    if (!isOpen) throw bug('a file is read after it was closed', { facts: [['file', path]] });
    for (let done = 0; done < length;) {
      const count = readOnce(path, handle, bytes, done, offset + done);
      if (count === 0) {
        throw formatError('FILE_SHRANK', 'a file became shorter while it was read', {
          facts: [
            ['file', path],
            ['size when opened', `${sizeBytes} bytes`],
            ['ends at', `${offset + done} bytes`],
          ],
          mend: 'leave the file alone while it is read',
        });
      }
      done += count;
    }
  };
  return {
    path,
    descriptor: handle,
    sizeBytes,
    extents,
    readInto: fill,
    read(offset, length) {
      checkRange(sizeBytes, offset, length);
      const bytes = new Uint8Array(length);
      fill(offset, bytes);
      return bytes;
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      closeSync(handle);
    },
  };
}

function readOnce(path: string, handle: number, bytes: Uint8Array, at: number, position: number): number {
  try {
    return readSync(handle, bytes, at, Math.min(LARGEST_READ_BYTES, bytes.length - at), position);
  } catch (cause) {
    throw fileError(path, 'read', cause);
  }
}

/** Chunks in order: what generators and streams both are. */
export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Writes a file whole or not at all: into a file of a unique name beside it, synced, then renamed. Whatever stood
 * there before stays until then. Missing folders are made. A path that names something other than a regular file
 * (a pipe, a device) is written through instead, and so is the file behind `/dev/stdout` and other open descriptors.
 *
 * @param check looks at the finished file under its temporary path; when it throws, the file never gets its name
 * @throws CvmError usage FILE_ACCESS | FILE_NOT_FOUND | FILE_NOT_REGULAR, and whatever `chunks` and `check` throw
 */
export async function writeFileWhole(
  path: string,
  chunks: Chunks,
  check?: (writtenPath: string) => Promise<void> | void,
): Promise<void> {
  await writeWhole(path, check, async (handle, isRegular) => {
    const gathered = new Uint8Array(WRITE_BYTES);
    const sync = isRegular ? new SyncAhead(handle) : undefined;
    let filled = 0;
    try {
      for await (const chunk of chunks) {
        if (filled + chunk.length > WRITE_BYTES) {
          await writeAll(handle, gathered.subarray(0, filled));
          filled = 0;
        }
        if (chunk.length >= WRITE_BYTES) {
          await writeAll(handle, chunk);
          sync?.wrote(chunk.length);
        } else {
          gathered.set(chunk, filled);
          filled += chunk.length;
        }
      }
      await writeAll(handle, gathered.subarray(0, filled));
    } finally {
      await sync?.settled();
    }
    sync?.check();
  });
}

/** After so many bytes in large chunks the disk is told to begin: at the end, little is left to wait for. */
const SYNC_BYTES = 16 << 20;

/** Has the disk write while more is made. */
class SyncAhead {
  readonly #handle: number;
  #failure: Error | undefined;
  #sinceSync = 0;
  #syncing: Promise<void> | undefined;

  constructor(handle: number) {
    this.#handle = handle;
  }

  wrote(bytes: number): void {
    this.#sinceSync += bytes;
    if (this.#sinceSync < SYNC_BYTES || this.#syncing !== undefined) return;
    this.#sinceSync = 0;
    this.#syncing = new Promise((resolve) => {
      fdatasync(this.#handle, (error) => {
        this.#failure ??= error ?? undefined;
        this.#syncing = undefined;
        resolve();
      });
    });
  }

  /** To be awaited before the descriptor is closed. */
  async settled(): Promise<void> {
    await this.#syncing;
  }

  /** Linux tells a descriptor once that writing back failed: the sync of the whole file would not hear of it again. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/**
 * {@link writeFileWhole} for a source: zeros become holes of the file, wherever the source's extents say so or a block
 * turns out to be zero.
 */
export async function writeSourceWhole(
  path: string,
  source: ByteSource,
  check?: (writtenPath: string) => Promise<void> | void,
): Promise<void> {
  await writeWhole(path, check, async (handle, isRegular) => {
    if (isRegular) await writeSparsely(handle, source);
    else await writeDensely(handle, source);
  });
}

/**
 * {@link writeSourceWhole} for a file with changes. Where the file system lets files share blocks (btrfs, XFS), only the
 * changes are written; elsewhere the file is copied, its zeros as holes.
 * @param basePath the file that is changed, as it is until the new one takes its name
 * @param changes where `source` differs from it
 */
export async function writeChangedWhole(
  path: string,
  basePath: string,
  source: ByteSource,
  changes: readonly Piece[],
): Promise<void> {
  await writeWhole(
    path,
    undefined,
    async (handle, isRegular, isCopy) => {
      if (!isRegular) await writeDensely(handle, source);
      else if (!isCopy) await writeSparsely(handle, source);
      else
        for (const { offset, source: change } of changes)
          await writeAt(handle, change, 0, change.sizeBytes, offset);
    },
    basePath,
  );
}

async function writeDensely(handle: number, source: ByteSource): Promise<void> {
  for (let at = 0; at < source.sizeBytes; at += CHUNK_BYTES) {
    await writeAll(handle, source.read(at, Math.min(CHUNK_BYTES, source.sizeBytes - at)));
  }
}

/** Every byte is read once: what turns out to be zero is not written. */
async function writeSparsely(handle: number, source: ByteSource): Promise<void> {
  ftruncateSync(handle, source.sizeBytes);
  const buffer = Buffer.alloc(CHUNK_BYTES);
  const zeros = Buffer.alloc(CHUNK_BYTES);
  let seen = 0;
  for (const { offset, length } of source.extents) {
    const first = Math.max(seen, offset - (offset % HOLE_BYTES));
    const end = Math.min(source.sizeBytes, Math.ceil((offset + length) / HOLE_BYTES) * HOLE_BYTES);
    for (let at = first; at < end; at += CHUNK_BYTES) {
      const bytes = buffer.subarray(0, Math.min(CHUNK_BYTES, end - at));
      readInto(source, at, bytes);
      // Holes of a file are read as zeros, and there may be gigabytes of them.
      if (bytes.equals(zeros.subarray(0, bytes.length))) continue;
      for (const run of dataRuns(sourceFromBytes(bytes), HOLE_BYTES)) {
        await writeAll(handle, bytes.subarray(run.offset, run.offset + run.length), at + run.offset);
      }
    }
    seen = Math.max(seen, end);
  }
}

async function writeAt(
  handle: number,
  source: ByteSource,
  from: number,
  length: number,
  position: number,
): Promise<void> {
  for (let done = 0; done < length; done += CHUNK_BYTES) {
    const bytes = source.read(from + done, Math.min(CHUNK_BYTES, length - done));
    await writeAll(handle, bytes, position + done);
  }
}

async function writeWhole(
  path: string,
  check: ((writtenPath: string) => Promise<void> | void) | undefined,
  fill: (handle: number, isRegular: boolean, isCopy: boolean) => Promise<void>,
  copyOf?: string,
): Promise<void> {
  try {
    const existing = statSync(path, { throwIfNoEntry: false });
    const descriptor = existing?.isFile() === true ? openDescriptor(path) : undefined;
    if (descriptor !== undefined) {
      if (check !== undefined && existing !== undefined) throw notRegular(path, existing);
      // Behind `>` and `>>` stands a file that others write to as well: it goes on where they are.
      await fill(descriptor, false, false);
    } else if (existing === undefined || existing.isFile()) {
      // Behind a symbolic link stands the file that is meant.
      await writeBeside(existing === undefined ? path : realpathSync(path), check, fill, copyOf);
    } else if (existing.isDirectory() || check !== undefined) {
      throw notRegular(path, existing);
    } else {
      const handle = openSync(path, 'w');
      try {
        await fill(handle, false, false);
      } finally {
        closeSync(handle);
      }
    }
  } catch (cause) {
    throw fileError(path, 'write', cause);
  }
}

export function isStandardOutput(path: string): boolean {
  return openDescriptor(path) === 1;
}

/** Of `/dev/stdout` and the like: the descriptor that this process has open already. */
function openDescriptor(path: string): number | undefined {
  if (path === '/dev/stdout') return 1;
  if (path === '/dev/stderr') return 2;
  const digits = /^\/(?:dev|proc\/self)\/fd\/([0-9]{1,9})$/.exec(path)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

async function writeBeside(
  path: string,
  check: ((writtenPath: string) => Promise<void> | void) | undefined,
  fill: (handle: number, isRegular: boolean, isCopy: boolean) => Promise<void>,
  copyOf: string | undefined,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(8).toString('hex')}.part`);
  mkdirSync(dirname(path), { recursive: true });
  addPendingFile(temporary);
  try {
    const isCopy = copyOf !== undefined && isSharedCopy(copyOf, temporary);
    const handle = openSync(temporary, isCopy ? 'r+' : 'wx');
    try {
      await fill(handle, true, isCopy);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    await check?.(temporary);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    settlePendingFile(temporary);
  }
  syncFolder(dirname(path));
}

/** What file systems answer that cannot share blocks, or not between these two files. */
const NO_SHARING = new Set(['ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOSYS', 'ENOTTY', 'EPERM']);

/** Makes a file of another one's blocks, without copying them, where there is such a thing. */
function isSharedCopy(from: string, to: string): boolean {
  try {
    copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    chmodSync(to, (statSync(from).mode & 0o777) | 0o600);
    return true;
  } catch (cause) {
    rmSync(to, { force: true });
    const code = cause instanceof Error ? (cause as NodeJS.ErrnoException).code : undefined;
    if (code !== undefined && NO_SHARING.has(code)) return false;
    throw cause;
  }
}

/** How much is written before whatever else waits, a signal for example, has its turn. */
const TURN_BYTES = 16 * CHUNK_BYTES;
let sinceTurn = 0;

/** Without a thread in between: what goes to the page cache takes less time than asking one to do it. */
async function writeAll(handle: number, bytes: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const at = position === undefined ? null : position + done;
    done += writeSync(handle, bytes, done, bytes.length - done, at);
  }
  sinceTurn += bytes.length;
  if (sinceTurn < TURN_BYTES) return;
  sinceTurn = 0;
  await new Promise((resolve) => setImmediate(resolve));
}

/** Makes the new name survive a power cut. */
function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function requireRegular(path: string, stat: Stats): void {
  if (!stat.isFile()) throw notRegular(path, stat);
}

function foundAs(stat: Stats): string {
  if (stat.isFile()) return 'a descriptor that is open already';
  return stat.isDirectory() ? 'a folder' : 'a pipe, socket or device';
}

function notRegular(path: string, stat: Stats): CvmError {
  return usageError('FILE_NOT_REGULAR', 'this is not a regular file', {
    facts: [
      ['path', path],
      ['found', foundAs(stat)],
    ],
    mend: 'give the path of a regular file; copy a device or a stream into one first',
  });
}

/** What the operating system said as an error of ours; errors of any other origin pass unchanged. */
export function fileError(path: string, action: 'read' | 'write', cause: unknown): unknown {
  if (cause instanceof CvmError || !(cause instanceof Error)) return cause;
  const { code, syscall } = cause as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return cause;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return usageError('FILE_NOT_FOUND', 'there is no such file', {
      facts: [['path', path]],
      mend: 'check the path; relative ones start at the folder the command was called in',
      cause,
    });
  }
  return usageError('FILE_ACCESS', `the file cannot be ${action === 'read' ? 'read' : 'written'}`, {
    facts: [
      ['path', path],
      ['system', `${code} in ${syscall}`],
    ],
    mend: MENDS[code] ?? 'check permissions, disk and mounts',
    cause,
  });
}

const MENDS: Readonly<Record<string, string>> = {
  ENOSPC: 'make room on the disk',
  EPIPE: 'whoever read the output went away before its end: let it read everything',
  EMFILE: 'more files are open than this process may have: raise the limit (ulimit -n)',
};
