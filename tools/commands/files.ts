/**
 * Files of the command layer: reading them as {@link ByteSource}, writing them whole or not at all.
 *
 * Node has no SEEK_HOLE and SEEK_DATA: a raw file is one extent, and whoever cares for its holes looks for zero
 * blocks. Sparse tar, which is how partitions travel, names its extents.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
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
import { checkRange, CHUNK_BYTES, type ByteSource, type Extent } from '../bytes/source.ts';
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
export function openFile(path: string): OpenFile {
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
): OpenFile {
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
 * (`/dev/stdout`, a pipe) is written through instead.
 *
 * @param check looks at the finished file under its temporary path; when it throws, the file never gets its name
 * @throws CvmError usage FILE_ACCESS | FILE_NOT_FOUND | FILE_NOT_REGULAR, and whatever `chunks` and `check` throw
 */
export async function writeFileWhole(
  path: string,
  chunks: Chunks,
  check?: (writtenPath: string) => Promise<void> | void,
): Promise<void> {
  await writeWhole(path, check, async (handle) => {
    const gathered = new Uint8Array(WRITE_BYTES);
    let filled = 0;
    for await (const chunk of chunks) {
      if (filled + chunk.length > WRITE_BYTES) {
        writeAll(handle, gathered.subarray(0, filled));
        filled = 0;
      }
      if (chunk.length >= WRITE_BYTES) {
        writeAll(handle, chunk);
      } else {
        gathered.set(chunk, filled);
        filled += chunk.length;
      }
    }
    writeAll(handle, gathered.subarray(0, filled));
  });
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
  await writeWhole(path, check, (handle, isRegular) => {
    if (!isRegular) {
      for (let at = 0; at < source.sizeBytes; at += CHUNK_BYTES) {
        writeAll(handle, source.read(at, Math.min(CHUNK_BYTES, source.sizeBytes - at)));
      }
      return;
    }
    ftruncateSync(handle, source.sizeBytes);
    for (const run of dataRuns(source, HOLE_BYTES)) {
      for (let done = 0; done < run.length; done += CHUNK_BYTES) {
        const at = run.offset + done;
        writeAll(handle, source.read(at, Math.min(CHUNK_BYTES, run.length - done)), at);
      }
    }
  });
}

async function writeWhole(
  path: string,
  check: ((writtenPath: string) => Promise<void> | void) | undefined,
  fill: (handle: number, isRegular: boolean) => Promise<void> | void,
): Promise<void> {
  try {
    const existing = statSync(path, { throwIfNoEntry: false });
    if (existing === undefined || existing.isFile()) {
      // Behind a symbolic link stands the file that is meant.
      await writeBeside(existing === undefined ? path : realpathSync(path), check, fill);
    } else if (existing.isDirectory() || check !== undefined) {
      throw notRegular(path, existing);
    } else {
      const handle = openSync(path, 'w');
      try {
        await fill(handle, false);
      } finally {
        closeSync(handle);
      }
    }
  } catch (cause) {
    throw fileError(path, 'write', cause);
  }
}

async function writeBeside(
  path: string,
  check: ((writtenPath: string) => Promise<void> | void) | undefined,
  fill: (handle: number, isRegular: boolean) => Promise<void> | void,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(8).toString('hex')}.part`);
  mkdirSync(dirname(path), { recursive: true });
  addPendingFile(temporary);
  try {
    const handle = openSync(temporary, 'wx');
    try {
      await fill(handle, true);
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

/** Without waiting in between: what goes to the page cache takes less than a thread that would be asked to do it. */
function writeAll(handle: number, bytes: Uint8Array, position?: number): void {
  for (let done = 0; done < bytes.length;) {
    const at = position === undefined ? null : position + done;
    done += writeSync(handle, bytes, done, bytes.length - done, at);
  }
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

function notRegular(path: string, stat: Stats): CvmError {
  return usageError('FILE_NOT_REGULAR', 'this is not a regular file', {
    facts: [
      ['path', path],
      ['found', stat.isDirectory() ? 'a folder' : 'a pipe, socket or device'],
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
    mend: code === 'ENOSPC' ? 'make room on the disk' : 'check permissions, disk and mounts',
    cause,
  });
}
