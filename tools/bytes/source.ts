import { bug, formatError } from '../errors.ts';

/** A run of bytes: `offset` and `length` in bytes, length > 0. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/**
 * Random-access bytes that know their holes: the shape in which every image, partition, archive member and
 * file content travels through the tools. Nobody holds a whole image: readers ask for what they need, and
 * writers return a source that makes bytes on demand.
 *
 * `extents` ascend and neither overlap nor touch the end; everything outside them reads as zero. Extents are a
 * promise of zeros elsewhere, not of non-zero bytes inside.
 */
export interface ByteSource {
  readonly sizeBytes: number;
  readonly extents: readonly Extent[];
  /**
   * Exactly `length` bytes from `offset`, in a buffer the caller may keep but must not change.
   * @throws CvmError format SOURCE_BOUNDS when the range does not lie inside the source
   */
  read(offset: number, length: number): Uint8Array;
  /** {@link read} into a buffer of the caller's, where that saves one: use the function {@link readInto}. */
  readInto?(offset: number, target: Uint8Array): void;
}

/** Fills `target` with the bytes from `offset`. @throws CvmError format SOURCE_BOUNDS */
export function readInto(source: ByteSource, offset: number, target: Uint8Array): void {
  if (source.readInto === undefined) target.set(source.read(offset, target.length));
  else source.readInto(offset, target);
}

/** The unit in which streams move: large enough to be quick, small enough to bound memory. */
export const CHUNK_BYTES = 1 << 20;

/** Refuses a range outside `sizeBytes`, non-integers and negative numbers. */
export function checkRange(sizeBytes: number, offset: number, length: number): void {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(length) ||
    offset < 0 ||
    length < 0 ||
    offset + length > sizeBytes
  ) {
    throw formatError('SOURCE_BOUNDS', 'a read lies outside the bytes there are', {
      facts: [
        ['offset', offset],
        ['length', length],
        ['size', sizeBytes],
      ],
      mend: 'the file is truncated or its tables are wrong: fetch it again and compare its sha256',
    });
  }
}

/**
 * Bytes in memory as a source. One extent, or none when empty.
 *
 * A Node Buffer is taken as the plain array below it: `slice` of a Buffer is a view where that of a Uint8Array is a
 * copy, and whoever works on a "copy" would change the image.
 */
export function sourceFromBytes(given: Uint8Array): ByteSource {
  const bytes = new Uint8Array(given.buffer, given.byteOffset, given.length);
  return {
    sizeBytes: bytes.length,
    extents: bytes.length === 0 ? [] : [{ offset: 0, length: bytes.length }],
    read(offset, length) {
      checkRange(bytes.length, offset, length);
      return bytes.subarray(offset, offset + length);
    },
  };
}

/** Bytes or a source, as a source. */
export function asSource(data: ByteSource | Uint8Array): ByteSource {
  return data instanceof Uint8Array ? sourceFromBytes(data) : data;
}

/** A window of another source. */
export function sliceSource(source: ByteSource, offset: number, length: number): ByteSource {
  checkRange(source.sizeBytes, offset, length);
  return new Slice(source, offset, length);
}

/** A class, where other sources are closures: an archive has one for every file, and trees have many files. */
class Slice implements ByteSource {
  readonly sizeBytes: number;
  readonly #source: ByteSource;
  readonly #offset: number;

  constructor(source: ByteSource, offset: number, length: number) {
    this.#source = source;
    this.#offset = offset;
    this.sizeBytes = length;
  }

  get extents(): readonly Extent[] {
    return clipExtents(this.#source.extents, this.#offset, this.sizeBytes);
  }

  read(at: number, count: number): Uint8Array {
    checkRange(this.sizeBytes, at, count);
    return this.#source.read(this.#offset + at, count);
  }

  readInto(at: number, target: Uint8Array): void {
    checkRange(this.sizeBytes, at, target.length);
    readInto(this.#source, this.#offset + at, target);
  }
}

/** The parts of `extents` inside a window, relative to the window's start. */
export function clipExtents(extents: readonly Extent[], offset: number, length: number): Extent[] {
  const clipped: Extent[] = [];
  for (const extent of extents) {
    const from = Math.max(extent.offset, offset);
    const to = Math.min(extent.offset + extent.length, offset + length);
    if (from < to) clipped.push({ offset: from - offset, length: to - from });
  }
  return clipped;
}

/** A piece of a {@link sparseSource}: `source` placed at `offset`. */
export interface Piece {
  readonly offset: number;
  readonly source: ByteSource;
}

/**
 * A source made of pieces at ascending offsets, zero between them.
 * @throws CvmError bug when pieces overlap, do not ascend, or end past `sizeBytes`
 */
export function sparseSource(sizeBytes: number, pieces: readonly Piece[]): ByteSource {
  const placed = pieces.filter((piece) => piece.source.sizeBytes > 0);
  const extents: Extent[] = [];
  let end = 0;
  for (const { offset, source } of placed) {
    if (offset < end) throw bug('sparse source pieces overlap or do not ascend');
    end = offset + source.sizeBytes;
    for (const extent of source.extents) {
      const from = offset + extent.offset;
      const last = extents.at(-1);
      if (last !== undefined && last.offset + last.length === from) {
        extents[extents.length - 1] = { offset: last.offset, length: last.length + extent.length };
      } else {
        extents.push({ offset: from, length: extent.length });
      }
    }
  }
  if (end > sizeBytes) throw bug('a sparse source piece ends past the size');
  /** @param first the first piece that ends behind `offset` */
  const fill = (first: number, offset: number, target: Uint8Array): void => {
    let done = offset;
    for (let i = first; i < placed.length; i++) {
      const piece = placed[i] as Piece;
      const from = Math.max(piece.offset, offset);
      const to = Math.min(piece.offset + piece.source.sizeBytes, offset + target.length);
      if (from >= to) break;
      target.fill(0, done - offset, from - offset);
      readInto(piece.source, from - piece.offset, target.subarray(from - offset, to - offset));
      done = to;
    }
    target.fill(0, done - offset);
  };
  return {
    sizeBytes,
    extents,
    readInto(offset, target) {
      checkRange(sizeBytes, offset, target.length);
      fill(firstPieceEndingAfter(placed, offset), offset, target);
    },
    read(offset, length) {
      checkRange(sizeBytes, offset, length);
      const first = firstPieceEndingAfter(placed, offset);
      const only = placed[first];
      if (
        only !== undefined &&
        only.offset <= offset &&
        offset + length <= only.offset + only.source.sizeBytes
      ) {
        return only.source.read(offset - only.offset, length);
      }
      const bytes = new Uint8Array(length);
      fill(first, offset, bytes);
      return bytes;
    },
  };
}

function firstPieceEndingAfter(pieces: readonly Piece[], offset: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const piece = pieces[middle] as Piece;
    if (piece.offset + piece.source.sizeBytes <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The whole source in memory: for small files only. @throws CvmError format SOURCE_TOO_LARGE above `limitBytes` */
export function readAll(source: ByteSource, limitBytes: number, what: string): Uint8Array {
  if (source.sizeBytes > limitBytes) {
    throw formatError('SOURCE_TOO_LARGE', `${what} is larger than it may be`, {
      facts: [
        ['size', `${source.sizeBytes} bytes`],
        ['limit', `${limitBytes} bytes`],
      ],
    });
  }
  return source.read(0, source.sizeBytes);
}

/** All bytes in order, holes as zeros, at most {@link CHUNK_BYTES} at a time. */
export function* chunks(source: ByteSource): Generator<Uint8Array> {
  for (let at = 0; at < source.sizeBytes; at += CHUNK_BYTES) {
    yield source.read(at, Math.min(CHUNK_BYTES, source.sizeBytes - at));
  }
}

/** What {@link passingChunks} reads at a time: it stays in the processor's cache until it is looked at. */
export const PASSING_BYTES = 1 << 18;

/** {@link chunks} for those who keep nothing: the bytes of a chunk are gone when the next one is asked for. */
export function* passingChunks(source: ByteSource): Generator<Uint8Array> {
  const { sizeBytes } = source;
  if (source.readInto === undefined) {
    yield* chunks(source);
    return;
  }
  const buffer = new Uint8Array(Math.min(PASSING_BYTES, sizeBytes));
  for (let at = 0; at < sizeBytes; at += PASSING_BYTES) {
    const chunk = buffer.subarray(0, Math.min(PASSING_BYTES, sizeBytes - at));
    source.readInto(at, chunk);
    yield chunk;
  }
}
