import { readInto, type ByteSource } from '../bytes/source.ts';
import { formatError } from '../errors.ts';
import type { Superblock } from './superblock.ts';

/** Metadata is read again and again in small steps; this many bytes of it stay in memory. */
const CACHE_BYTES = 4 << 20;

/** Checked access to the blocks of a file system. */
export interface BlockReader {
  /** One block of metadata, kept for a while. Not to be changed. @throws CvmError format EXT4_BLOCK_BOUNDS */
  block(number: number, what: string): Uint8Array;
  /** Bytes of `count` adjacent blocks of content, not kept. @throws CvmError format EXT4_BLOCK_BOUNDS */
  bytes(firstBlock: number, offset: number, length: number, what: string): Uint8Array;
  /** The same into a buffer of the caller's. @throws CvmError format EXT4_BLOCK_BOUNDS */
  bytesInto(firstBlock: number, offset: number, target: Uint8Array, what: string): void;
}

/**
 * Whether a run may belong to a file or a table: inside the file system, and not at or before the block of the
 * primary superblock.
 */
export function isBlockRun(superblock: Superblock, firstBlock: number, count: number): boolean {
  return (
    Number.isSafeInteger(firstBlock) &&
    firstBlock > superblock.firstDataBlock &&
    firstBlock + count <= superblock.blocksCount
  );
}

export function checkBlockRun(superblock: Superblock, firstBlock: number, count: number, what: string): void {
  if (isBlockRun(superblock, firstBlock, count)) return;
  throw formatError('EXT4_BLOCK_BOUNDS', `${what} lies outside the ext4 file system`, {
    facts: [
      ['first block', firstBlock],
      ['blocks', count],
      ['file system', `${superblock.blocksCount} blocks`],
    ],
    mend: 'the image is damaged: fetch it again and compare its sha256',
  });
}

export function blockReader(source: ByteSource, superblock: Superblock): BlockReader {
  const { blockSize } = superblock;
  const most = Math.max(1, Math.floor(CACHE_BYTES / blockSize));
  // A Map keeps insertion order: the first key is the one not used for longest.
  const cache = new Map<number, Uint8Array>();
  return {
    block(number, what) {
      const known = cache.get(number);
      if (known !== undefined) {
        cache.delete(number);
        cache.set(number, known);
        return known;
      }
      checkBlockRun(superblock, number, 1, what);
      // A copy: what a source returns may be a small view of a large buffer, which would stay in memory with it.
      const bytes = new Uint8Array(source.read(number * blockSize, blockSize));
      for (const oldest of cache.keys()) {
        if (cache.size < most) break;
        cache.delete(oldest);
      }
      cache.set(number, bytes);
      return bytes;
    },
    bytes(firstBlock, offset, length, what) {
      const blocks = Math.ceil((offset + length) / blockSize);
      checkBlockRun(superblock, firstBlock, blocks, what);
      return source.read(firstBlock * blockSize + offset, length);
    },
    bytesInto(firstBlock, offset, target, what) {
      const blocks = Math.ceil((offset + target.length) / blockSize);
      checkBlockRun(superblock, firstBlock, blocks, what);
      readInto(source, firstBlock * blockSize + offset, target);
    },
  };
}
