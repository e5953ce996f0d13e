/**
 * Maps of sparse members: which pieces of a file are stored, in four notations (GNU tar manual, "Storing Sparse Files").
 * In the archive the pieces stand back to back.
 */
import { isZero } from '../bytes/compare.ts';
import { checkRange, type ByteSource, type Extent } from '../bytes/source.ts';
import { rawFromBytes, type RawText } from '../bytes/text.ts';
import { BLOCK_BYTES, readNumber, tarError, unsigned } from './header.ts';
import { paxInteger, paxValueError, type PaxRecord } from './pax.ts';

/** More pieces than any image has: 2 GiB of alternating blocks. */
const PIECES_LIMIT = 1 << 22;

export const PAIR_BYTES = 24;
export const NUMBER_BYTES = 12;
export const HEADER_PAIRS = { at: 386, count: 4, extendedAt: 482 } as const;
export const EXTENSION_PAIRS = { at: 0, count: 21, extendedAt: 504 } as const;
export const REAL_SIZE_AT = 483;

export interface SparseMap {
  /** Ascending, apart from each other, none empty. */
  readonly pieces: readonly Extent[];
  readonly realSizeBytes: number;
  /** Bytes from the start of the member's stored bytes to the first piece. */
  readonly mapBytes: number;
}

/** Collects pieces and refuses whatever is not an ascending map inside the file. */
class MapBuilder {
  readonly pieces: Extent[] = [];
  readonly #at: number;
  readonly #realSizeBytes: number;
  #end = 0;
  #count = 0;

  constructor(realSizeBytes: number, at: number) {
    this.#realSizeBytes = realSizeBytes;
    this.#at = at;
  }

  add(offset: number, length: number): void {
    this.#count++;
    if (
      this.#count > PIECES_LIMIT ||
      offset < this.#end ||
      length < 0 ||
      offset + length > this.#realSizeBytes
    ) {
      throw tarError(
        'TAR_SPARSE_MAP',
        'the pieces of a sparse member do not ascend inside its size',
        this.#at,
        [
          ['piece', `${length} bytes at ${offset}`],
          ['pieces before end at', this.#end],
          ['size', `${this.#realSizeBytes} bytes`],
        ],
      );
    }
    this.#end = offset + length;
    if (length === 0) return;
    const last = this.pieces.at(-1);
    if (last !== undefined && last.offset + last.length === offset) {
      this.pieces[this.pieces.length - 1] = { offset: last.offset, length: last.length + length };
    } else {
      this.pieces.push({ offset, length });
    }
  }
}

/**
 * Old GNU format, type `S`: pairs of (offset, length), 12 bytes each, at 386 of the header, then, while byte 482 (504 in
 * extensions) says so, in blocks of 21 pairs; real size at 483. The extensions stand before the stored bytes and are
 * not counted by the size field.
 *
 * @param at where the header stands; extensions follow it
 * @throws CvmError format TAR_SPARSE_MAP | TAR_NUMBER | TAR_RANGE | SOURCE_BOUNDS
 */
export function readOldGnuMap(source: ByteSource, header: Uint8Array, at: number): SparseMap {
  const realSizeBytes = unsigned(
    readNumber(header.subarray(REAL_SIZE_AT, REAL_SIZE_AT + NUMBER_BYTES), at, 'real size'),
    at,
    'real size',
  );
  const builder = new MapBuilder(realSizeBytes, at);
  let isMore = readPairs(builder, header, HEADER_PAIRS, at);
  let mapBytes = 0;
  while (isMore) {
    const blockAt = at + BLOCK_BYTES + mapBytes;
    isMore = readPairs(builder, source.read(blockAt, BLOCK_BYTES), EXTENSION_PAIRS, blockAt);
    mapBytes += BLOCK_BYTES;
  }
  return { pieces: builder.pieces, realSizeBytes, mapBytes };
}

/** @returns whether an extension block follows */
function readPairs(
  builder: MapBuilder,
  block: Uint8Array,
  layout: { readonly at: number; readonly count: number; readonly extendedAt: number },
  at: number,
): boolean {
  const extended = block[layout.extendedAt] as number;
  for (let i = 0; i < layout.count; i++) {
    const pairAt = layout.at + i * PAIR_BYTES;
    const pair = block.subarray(pairAt, pairAt + PAIR_BYTES);
    if (pair[NUMBER_BYTES] === 0) {
      // The list ends at the first unused pair.
      if (extended === 0 && isZero(block.subarray(pairAt, layout.at + layout.count * PAIR_BYTES)))
        return false;
      throw tarError('TAR_SPARSE_MAP', 'the list of pieces goes on after its end', at);
    }
    builder.add(
      readNumber(pair.subarray(0, NUMBER_BYTES), at, 'piece offset'),
      readNumber(pair.subarray(NUMBER_BYTES), at, 'piece length'),
    );
  }
  if (extended > 1) throw tarError('TAR_SPARSE_MAP', 'the mark of further pieces is neither 0 nor 1', at);
  return extended === 1;
}

/** Pax formats 0.0, 0.1 and 1.0, or undefined when the records speak of no sparse file. */
export interface PaxSparse {
  readonly name: RawText | undefined;
  /** @param stored the member's stored bytes, which in format 1.0 begin with the map */
  map(stored: ByteSource): SparseMap;
}

/**
 * @param records the member's own records, in order: format 0.0 repeats its keys
 * @throws CvmError format TAR_PAX_VALUE | TAR_SPARSE_MAP | TAR_SPARSE_VERSION
 */
export function paxSparse(records: readonly PaxRecord[], at: number): PaxSparse | undefined {
  const own = records.filter(({ key }) => key.startsWith('GNU.sparse.'));
  if (own.length === 0) return undefined;
  const texts = new Map(own.map(({ key, value }) => [key, rawFromBytes(value)]));
  const integer = (key: RawText): number => paxInteger(texts.get(key) ?? '', key, at);
  const name = texts.get('GNU.sparse.name');
  if (texts.has('GNU.sparse.major') || texts.has('GNU.sparse.minor')) {
    const version = `${integer('GNU.sparse.major')}.${integer('GNU.sparse.minor')}`;
    if (version !== '1.0') {
      throw tarError('TAR_SPARSE_VERSION', 'a sparse member has an unknown version', at, [
        ['version', version],
      ]);
    }
    const realSizeBytes = integer('GNU.sparse.realsize');
    return { name, map: (stored) => readMap10(stored, realSizeBytes, at) };
  }
  const builder = new MapBuilder(integer('GNU.sparse.size'), at);
  const blocks = integer('GNU.sparse.numblocks');
  const pairs = texts.has('GNU.sparse.map') ? pairs01(texts.get('GNU.sparse.map') ?? '') : pairs00(own);
  if (pairs.length !== 2 * blocks) {
    throw tarError('TAR_SPARSE_MAP', 'the list of pieces has another length than it says', at, [
      ['pieces', blocks],
      ['numbers', pairs.length],
    ]);
  }
  for (let i = 0; i < pairs.length; i += 2) {
    builder.add(
      paxInteger(pairs[i] ?? '', 'GNU.sparse.offset', at),
      paxInteger(pairs[i + 1] ?? '', 'GNU.sparse.numbytes', at),
    );
  }
  const map = { pieces: builder.pieces, realSizeBytes: integer('GNU.sparse.size'), mapBytes: 0 };
  return { name, map: () => map };

  function pairs01(text: RawText): string[] {
    return text === '' ? [] : text.split(',');
  }

  function pairs00(list: readonly PaxRecord[]): string[] {
    const keys = ['GNU.sparse.offset', 'GNU.sparse.numbytes'];
    const numbers = list.filter(({ key }) => keys.includes(key));
    numbers.forEach(({ key, value }, i) => {
      if (key !== keys[i % 2]) throw paxValueError(key, rawFromBytes(value), at);
    });
    return numbers.map(({ value }) => rawFromBytes(value));
  }
}

/** Format 1.0: decimal lines (count, then offset and length of each piece), padded to a block, then the pieces. */
function readMap10(stored: ByteSource, realSizeBytes: number, at: number): SparseMap {
  const lines = new DecimalLines(stored, at);
  const count = lines.next();
  const builder = new MapBuilder(realSizeBytes, at);
  for (let i = 0; i < count; i++) builder.add(lines.next(), lines.next());
  return { pieces: builder.pieces, realSizeBytes, mapBytes: Math.ceil(lines.at / BLOCK_BYTES) * BLOCK_BYTES };
}

/** Decimal numbers, each ended by a line feed, read a block at a time. */
class DecimalLines {
  at = 0;
  readonly #source: ByteSource;
  readonly #errorAt: number;
  #block: Uint8Array = new Uint8Array(0);

  constructor(source: ByteSource, errorAt: number) {
    this.#source = source;
    this.#errorAt = errorAt;
  }

  next(): number {
    let value = 0;
    for (let digits = 0; ; digits++) {
      const byte = this.#byte();
      if (byte === 0x0a && digits > 0) return value;
      value = value * 10 + (byte - 0x30);
      if (byte < 0x30 || byte > 0x39 || !Number.isSafeInteger(value) || digits > 16) {
        throw tarError('TAR_SPARSE_MAP', 'the map of a sparse member is not lines of numbers', this.#errorAt);
      }
    }
  }

  #byte(): number {
    const within = this.at % BLOCK_BYTES;
    if (within === 0) {
      if (this.at + BLOCK_BYTES > this.#source.sizeBytes) {
        throw tarError('TAR_SPARSE_MAP', 'the map of a sparse member does not end', this.#errorAt);
      }
      this.#block = this.#source.read(this.at, BLOCK_BYTES);
    }
    this.at++;
    return this.#block[within] as number;
  }
}

/**
 * The file a map describes, over its stored pieces. Extents are the pieces, less what the archive itself knows as zero.
 * @param data the pieces back to back
 * @throws CvmError format TAR_SPARSE_SIZE when the pieces' lengths do not add up to `data`
 */
export function sparseContent(map: SparseMap, data: ByteSource, at: number): ByteSource {
  const { pieces, realSizeBytes } = map;
  /** Where each piece begins in `data`. */
  const starts = new Float64Array(pieces.length);
  let total = 0;
  pieces.forEach(({ length }, i) => {
    starts[i] = total;
    total += length;
  });
  if (total !== data.sizeBytes) {
    throw tarError('TAR_SPARSE_SIZE', 'the pieces of a sparse member are not as long as what is stored', at, [
      ['pieces', `${total} bytes`],
      ['stored', `${data.sizeBytes} bytes`],
    ]);
  }
  let extents: readonly Extent[] | undefined;
  return {
    sizeBytes: realSizeBytes,
    get extents() {
      return (extents ??= storedExtents(pieces, starts, data.extents));
    },
    read(offset, length) {
      checkRange(realSizeBytes, offset, length);
      let i = firstEndingAfter(pieces, offset);
      const only = pieces[i];
      if (only !== undefined && only.offset <= offset && offset + length <= only.offset + only.length) {
        return data.read((starts[i] as number) + offset - only.offset, length);
      }
      const bytes = new Uint8Array(length);
      for (; i < pieces.length; i++) {
        const piece = pieces[i] as Extent;
        const from = Math.max(piece.offset, offset);
        const to = Math.min(piece.offset + piece.length, offset + length);
        if (from >= to) break;
        bytes.set(data.read((starts[i] as number) + from - piece.offset, to - from), from - offset);
      }
      return bytes;
    },
  };
}

/** The parts of `pieces` that lie in extents of the stored data, in one pass over both. */
function storedExtents(
  pieces: readonly Extent[],
  starts: Float64Array,
  stored: readonly Extent[],
): readonly Extent[] {
  const end = pieces.length === 0 ? 0 : (starts.at(-1) as number) + (pieces.at(-1) as Extent).length;
  if (stored.length === 1 && stored[0]?.offset === 0 && stored[0].length === end) return pieces;
  const found: Extent[] = [];
  for (let i = 0, j = 0; i < pieces.length && j < stored.length;) {
    const piece = pieces[i] as Extent;
    const extent = stored[j] as Extent;
    const start = starts[i] as number;
    const from = Math.max(start, extent.offset);
    const to = Math.min(start + piece.length, extent.offset + extent.length);
    if (from < to) found.push({ offset: piece.offset + from - start, length: to - from });
    if (start + piece.length <= extent.offset + extent.length) i++;
    else j++;
  }
  return found;
}

function firstEndingAfter(pieces: readonly Extent[], offset: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const piece = pieces[middle] as Extent;
    if (piece.offset + piece.length <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}
