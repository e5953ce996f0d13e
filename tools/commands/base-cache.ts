/**
 * Base releases in the user's cache: downloaded once, gone on with after an interruption, believed by their sha256
 * alone. `<cache>/rules_cvm/bases/update-img-<commit>.tar.zst`, and `.part` behind it while it is not whole.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, open, rename, rm, symlink, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { identityOf, type FileIdentity } from '../bytes/digest.ts';
import { CHUNK_BYTES } from '../bytes/source.ts';
import { usageError } from '../errors.ts';
import type { PartialFile } from '../update/release-download.ts';
import type { Io } from './command.ts';
import { fileError, openFile } from './files.ts';

/** @throws CvmError usage CACHE_UNKNOWN */
export function baseCacheFolder({ env }: Pick<Io, 'env'>): string {
  const { XDG_CACHE_HOME: cache, HOME: home } = env;
  if (cache !== undefined && cache.startsWith('/')) return join(cache, 'rules_cvm', 'bases');
  if (home !== undefined && home.startsWith('/')) return join(home, '.cache', 'rules_cvm', 'bases');
  throw usageError(
    'CACHE_UNKNOWN',
    'there is no folder for downloads: neither XDG_CACHE_HOME nor HOME is set',
    {
      mend: 'set XDG_CACHE_HOME to a folder with room for an update image',
    },
  );
}

/** The name under which `rules/private/pins.bzl` looks for a base in Bazel's distribution folders. */
export function baseFileName(commit: string): string {
  return `update-img-${commit}.tar.zst`;
}

/** A file's sha256 and size. @throws CvmError usage FILE_NOT_FOUND | FILE_ACCESS */
export function fileSha256(path: string): FileIdentity {
  const file = openFile(path);
  try {
    return identityOf(file);
  } finally {
    file.close();
  }
}

/** A `.part` file: what an earlier download left, hashed, and what this one appends. */
export class PartFile implements PartialFile {
  readonly path: string;
  readonly #file: FileHandle;
  #hash: Hash = createHash('sha256');
  #sizeBytes = 0;
  /** Whether some of it was there before. */
  readonly resumed: boolean;

  private constructor(path: string, file: FileHandle, foundBytes: number) {
    this.path = path;
    this.#file = file;
    this.resumed = foundBytes > 0;
  }

  /** @throws CvmError usage FILE_ACCESS */
  static async open(path: string): Promise<PartFile> {
    try {
      await mkdir(dirname(path), { recursive: true });
      const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644);
      try {
        const { size } = await file.stat();
        const part = new PartFile(path, file, size);
        await part.#hashExisting(size);
        return part;
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (cause) {
      throw fileError(path, 'write', cause);
    }
  }

  async #hashExisting(size: number): Promise<void> {
    const buffer = new Uint8Array(CHUNK_BYTES);
    while (this.#sizeBytes < size) {
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.#sizeBytes);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#sizeBytes += bytesRead;
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get sha256(): string {
    return this.#hash.copy().digest('hex');
  }

  async append(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await this.#file.write(
          bytes,
          done,
          bytes.length - done,
          this.#sizeBytes + done,
        );
        done += bytesWritten;
      }
    } catch (cause) {
      // What a full disk took of the piece is not counted, and written over by the next try.
      throw fileError(this.path, 'write', cause);
    }
    this.#hash.update(bytes);
    this.#sizeBytes += bytes.length;
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash('sha256');
    this.#sizeBytes = 0;
  }

  /** Makes what was written survive a power cut. */
  async sync(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (cause) {
      throw fileError(this.path, 'write', cause);
    }
  }

  /** It can never become the file that was asked for. */
  async discard(): Promise<void> {
    await rm(this.path, { force: true });
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** Gives a whole `.part` file its name. */
export async function nameWhole(part: string, path: string): Promise<void> {
  try {
    await rename(part, path);
  } catch (cause) {
    throw fileError(path, 'write', cause);
  }
}

/** Puts a file of the user's into the cache, as a copy that shares its blocks where the file system can. */
export async function copyIntoCache(from: string, to: string): Promise<void> {
  const part = `${to}.part`;
  try {
    await mkdir(dirname(to), { recursive: true });
    await rm(part, { force: true });
    await copyFile(from, part, constants.COPYFILE_FICLONE);
    await rename(part, to);
  } catch (cause) {
    // Where nothing could be made there is nothing to take away: the first error is the one to tell.
    await rm(part, { force: true }).catch(() => undefined);
    throw fileError(to, 'write', cause);
  }
}

/** Makes a base known to Bazel: a link in one of its distribution folders. */
export async function linkForBazel(cached: string, folder: string, name: string): Promise<void> {
  const link = join(folder, name);
  try {
    await mkdir(folder, { recursive: true });
    await rm(link, { force: true });
    await symlink(cached, link);
  } catch (cause) {
    throw fileError(link, 'write', cause);
  }
}
