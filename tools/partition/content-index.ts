import { readInto, type ByteSource, type Extent } from '../bytes/source.ts';
import { bug } from '../errors.ts';
import { BLOCK_BYTES, type BlockScan } from './block-scan.ts';

/** Blocks that are looked at in one go. A batch is the unit of work of a thread, so it is part of no output. */
const BATCH_BLOCKS = 1024;
export const BATCH_BYTES = BATCH_BLOCKS * BLOCK_BYTES;

/** Adjacent blocks of a content, and the number of the first among all blocks that are looked at. */
interface Segment {
  readonly fileBlock: number;
  readonly count: number;
  readonly ordinal: number;
}

/** Keeps bytes for later, in memory or elsewhere. */
export interface ByteStore {
  /** Keeps nothing of the buffer. @returns where the bytes stand */
  append(bytes: Uint8Array): number;
  read(at: number, length: number): Uint8Array;
}

/** Whole blocks of contents one behind the other, to be given to `scanBlocks`. */
export interface Batch {
  readonly index: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * What is known of all contents of a tree after each of their bytes was read once: which blocks and sectors are zero,
 * and the blocks' digests. Blocks outside the contents' extents are not even read.
 *
 * Memory: one byte a block, and the segments of fragmented contents; digests go to the store.
 */
export class ContentIndex {
  readonly #segments = new Map<ByteSource, readonly Segment[]>();
  readonly #masks: Uint8Array[] = [];
  readonly #digestsAt: number[] = [];
  readonly #store: ByteStore;
  readonly #digestBytes: number;
  #cached = -1;
  #cachedDigests: Uint8Array = new Uint8Array(0);

  /** @param digestBytes 0 when no digests are asked for */
  constructor(store: ByteStore, digestBytes: number) {
    this.#store = store;
    this.#digestBytes = digestBytes;
  }

  /**
   * Reads the contents in order. Every batch but the last is full.
   * @param takeBuffer gives a buffer of {@link BATCH_BYTES}; what is in it does not matter
   */
  *batches(contents: Iterable<ByteSource>, takeBuffer: () => Uint8Array<ArrayBuffer>): Generator<Batch> {
    let ordinal = 0;
    let index = 0;
    let bytes = takeBuffer();
    let used = 0;
    for (const content of contents) {
      if (this.#segments.has(content)) continue;
      const segments: Segment[] = [];
      for (const { first, end } of blockRanges(content)) {
        segments.push({ fileBlock: first, count: end - first, ordinal });
        ordinal += end - first;
        for (let block = first; block < end;) {
          const count = Math.min(end - block, BATCH_BLOCKS - used);
          const from = block * BLOCK_BYTES;
          const length = Math.min(count * BLOCK_BYTES, content.sizeBytes - from);
          const at = used * BLOCK_BYTES;
          readInto(content, from, bytes.subarray(at, at + length));
          bytes.fill(0, at + length, at + count * BLOCK_BYTES);
          used += count;
          block += count;
          if (used === BATCH_BLOCKS) {
            yield { index, bytes };
            index++;
            bytes = takeBuffer();
            used = 0;
          }
        }
      }
      this.#segments.set(content, segments);
    }
    if (used > 0) yield { index, bytes: bytes.subarray(0, used * BLOCK_BYTES) };
  }

  /** Takes in what a batch turned out to hold, in any order; the digests may be thrown away afterwards. */
  add(index: number, { masks, digests }: BlockScan): void {
    this.#masks[index] = masks;
    if (this.#digestBytes > 0) this.#digestsAt[index] = this.#store.append(digests);
  }

  /** The runs of blocks that are not all zero. */
  *runs(content: ByteSource): Generator<Extent> {
    let start = 0;
    let end = -1;
    for (const { fileBlock, count, ordinal } of this.#segmentsOf(content)) {
      for (let i = 0; i < count; i++) {
        if (this.#mask(ordinal + i) === 0) continue;
        if (fileBlock + i !== end) {
          if (end >= 0) yield extentOf(content, start, end);
          start = fileBlock + i;
        }
        end = fileBlock + i + 1;
      }
    }
    if (end >= 0) yield extentOf(content, start, end);
  }

  /** The sector masks of a run that {@link runs} gave, or of part of it. */
  masks(content: ByteSource, fileBlock: number, count: number): Uint8Array {
    const masks = new Uint8Array(count);
    const first = this.#place(content, fileBlock).ordinal;
    for (let i = 0; i < count; i++) masks[i] = this.#mask(first + i);
    return masks;
  }

  /**
   * The digests of adjacent blocks that are not zero, one behind the other: of the first `count` blocks from one on, or
   * of fewer, but of one at least.
   */
  digests(content: ByteSource, fileBlock: number, count: number): Uint8Array {
    const { ordinal, left } = this.#place(content, fileBlock);
    const batch = Math.floor(ordinal / BATCH_BLOCKS);
    if (batch !== this.#cached) {
      const length = (this.#masks[batch]?.length ?? 0) * this.#digestBytes;
      this.#cachedDigests = this.#store.read(this.#digestsAt[batch] ?? 0, length);
      this.#cached = batch;
    }
    const first = ordinal % BATCH_BLOCKS;
    const last = Math.min(first + Math.min(count, left), BATCH_BLOCKS);
    return this.#cachedDigests.subarray(first * this.#digestBytes, last * this.#digestBytes);
  }

  #segmentsOf(content: ByteSource): readonly Segment[] {
    const segments = this.#segments.get(content);
    if (segments === undefined) throw bug('a content was not looked at');
    return segments;
  }

  #mask(ordinal: number): number {
    const mask = this.#masks[Math.floor(ordinal / BATCH_BLOCKS)]?.[ordinal % BATCH_BLOCKS];
    if (mask === undefined) throw bug('a block was not looked at');
    return mask;
  }

  /** A block's number, and how many blocks its segment has from there on. */
  #place(content: ByteSource, fileBlock: number): { readonly ordinal: number; readonly left: number } {
    const segments = this.#segmentsOf(content);
    let low = 0;
    let high = segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((segments[middle] as Segment).fileBlock <= fileBlock) low = middle;
      else high = middle - 1;
    }
    const segment = segments[low];
    if (segment === undefined || fileBlock < segment.fileBlock) throw bug('a block was not looked at');
    const within = fileBlock - segment.fileBlock;
    return { ordinal: segment.ordinal + within, left: segment.count - within };
  }
}

function extentOf(content: ByteSource, start: number, end: number): Extent {
  const offset = start * BLOCK_BYTES;
  return { offset, length: Math.min(end * BLOCK_BYTES, content.sizeBytes) - offset };
}

/** The extents of a content on the grid of blocks, merged where they meet. */
function* blockRanges(content: ByteSource): Generator<{ readonly first: number; readonly end: number }> {
  let first = 0;
  let end = 0;
  for (const { offset, length } of content.extents) {
    const from = Math.max(Math.floor(offset / BLOCK_BYTES), end);
    const to = Math.ceil((offset + length) / BLOCK_BYTES);
    if (to <= from) continue;
    if (from !== end) {
      if (end > first) yield { first, end };
      first = from;
    }
    end = to;
  }
  if (end > first) yield { first, end };
}
