import { CHUNK_BYTES, readInto, type ByteSource, type Extent } from '../bytes/source.ts';
import { rawFromUtf8, type RawText } from '../bytes/text.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import { usageError } from '../errors.ts';
import {
  BLOCK_BYTES,
  END_OF_ARCHIVE_BYTES,
  NAME_BYTES,
  paddingAfter,
  sealHeader,
  writeHeader,
  writeNumber,
} from './header.ts';
import { EXTENSION_PAIRS, HEADER_PAIRS, NUMBER_BYTES, PAIR_BYTES, REAL_SIZE_AT } from './sparse-map.ts';

export interface SparseMember {
  readonly name: string;
  readonly source: ByteSource;
  /** Permission bits; 0644 when absent. */
  readonly mode?: number;
}

export interface SparseTarOptions {
  /** What is yielded may change when the next chunk is asked for: for readers that copy. */
  readonly reuseBuffer?: boolean;
}

/** The deterministic time of the Rust tar crate, which the GuestOS builds write. Nothing reads it; it is part of the bytes. */
const MTIME_SEC = 1_153_704_088;

const DEFAULT_MODE = 0o644;

/**
 * Writes the tar archives in which GuestOS images travel, as dflate makes them (dfinity/ic, rs/ic_os/build_tools/dflate):
 * every member, small or large, is an old GNU sparse entry with magic `ustar  `, ids 0, no owner names and one fixed
 * time; two zero blocks end the archive, without further padding.
 *
 * Every 512-byte block of zeros is a hole and neighbouring blocks of data are one piece, so the archive depends on the
 * content alone. A member that ends in a hole has a last piece (size, 0); an empty one has no piece. Numbers from
 * 8 GiB on are base-256.
 *
 * Each content is read twice: for the map, which stands before the data, and for the data.
 * Memory holds one map.
 *
 * @throws CvmError usage TAR_MEMBER_NAME
 */
export function* writeSparseTar(
  members: readonly SparseMember[],
  { reuseBuffer = false }: SparseTarOptions = {},
): Generator<Uint8Array> {
  const names = members.map(({ name }) => memberName(name));
  const shared = reuseBuffer ? new Uint8Array(CHUNK_BYTES) : undefined;
  for (const [i, { source, mode = DEFAULT_MODE }] of members.entries()) {
    const data = [...dataRuns(source, BLOCK_BYTES)];
    yield* sparseMap(names[i] as RawText, mode, source.sizeBytes, data);
    for (const { offset, length } of data) {
      for (let done = 0; done < length; done += CHUNK_BYTES) {
        const count = Math.min(CHUNK_BYTES, length - done);
        if (shared === undefined) {
          yield source.read(offset + done, count);
        } else {
          readInto(source, offset + done, shared.subarray(0, count));
          yield shared.subarray(0, count);
        }
      }
    }
    const padding = paddingAfter(storedBytes(data));
    if (padding > 0) yield new Uint8Array(padding);
  }
  yield new Uint8Array(END_OF_ARCHIVE_BYTES);
}

/**
 * What stands before the data of an archive's only member, for those who write the data themselves, with
 * {@link SPARSE_TAR_END_BYTES} zeros behind it.
 * @param runs what is stored: ascending, not touching each other, multiples of 512 bytes
 */
export function sparseTarStart(
  name: string,
  sizeBytes: number,
  runs: readonly Extent[],
): Generator<Uint8Array> {
  return sparseMap(memberName(name), DEFAULT_MODE, sizeBytes, runs);
}

/** Zeros that end the archive. */
export const SPARSE_TAR_END_BYTES = END_OF_ARCHIVE_BYTES;

function storedBytes(runs: readonly Extent[]): number {
  return runs.reduce((sum, { length }) => sum + length, 0);
}

function* sparseMap(
  name: RawText,
  mode: number,
  sizeBytes: number,
  runs: readonly Extent[],
): Generator<Uint8Array> {
  const last = runs.at(-1);
  const end = last === undefined ? 0 : last.offset + last.length;
  const pieces = end === sizeBytes ? runs : [...runs, { offset: sizeBytes, length: 0 }];
  yield sparseHeader(name, mode, storedBytes(runs), sizeBytes, pieces);
  yield* extensionBlocks(pieces);
}

function memberName(name: string): RawText {
  const raw = rawFromUtf8(name);
  if (raw !== '' && raw.length <= NAME_BYTES && !raw.includes('\0') && !raw.endsWith('/')) return raw;
  throw usageError('TAR_MEMBER_NAME', `a member name has 1 to ${NAME_BYTES} bytes and no slash at its end`, {
    facts: [['name', name]],
  });
}

function sparseHeader(
  name: RawText,
  mode: number,
  storedBytes: number,
  realSizeBytes: number,
  pieces: readonly Extent[],
): Uint8Array {
  const block = writeHeader({
    dialect: 'gnu',
    typeFlag: 'S',
    name,
    mode,
    uid: 0,
    gid: 0,
    sizeBytes: storedBytes,
    mtimeSec: MTIME_SEC,
  });
  writePairs(block, HEADER_PAIRS, pieces, 0);
  writeNumber(block, REAL_SIZE_AT, NUMBER_BYTES, realSizeBytes);
  return sealHeader(block);
}

function* extensionBlocks(pieces: readonly Extent[]): Generator<Uint8Array> {
  for (let first = HEADER_PAIRS.count; first < pieces.length; first += EXTENSION_PAIRS.count) {
    const block = new Uint8Array(BLOCK_BYTES);
    writePairs(block, EXTENSION_PAIRS, pieces, first);
    yield block;
  }
}

/** The pieces from index `first` that fit, and whether there are more. */
function writePairs(
  block: Uint8Array,
  layout: typeof HEADER_PAIRS | typeof EXTENSION_PAIRS,
  pieces: readonly Extent[],
  first: number,
): void {
  for (let i = 0; i < layout.count && first + i < pieces.length; i++) {
    const { offset, length } = pieces[first + i] as Extent;
    const pairAt = layout.at + i * PAIR_BYTES;
    writeNumber(block, pairAt, NUMBER_BYTES, offset);
    writeNumber(block, pairAt + NUMBER_BYTES, NUMBER_BYTES, length);
  }
  block[layout.extendedAt] = first + layout.count < pieces.length ? 1 : 0;
}
