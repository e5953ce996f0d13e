/**
 * Walks zstd frames by their headers, decoding nothing. Little-endian. Source: RFC 8878, section 3.1.
 *
 *   frame            magic FD2FB528, frame header, blocks, checksum (4 bytes, when the descriptor says so)
 *   frame header     descriptor (1 byte), window descriptor (0 or 1), dictionary id (0, 1, 2, 4), content size (0, 1, 2, 4, 8)
 *   descriptor       bits 7-6 content size code, 5 single segment, 4 unused, 3 reserved (0), 2 checksum, 1-0 dictionary id code
 *   block            header of 3 bytes (bit 0 last, bits 2-1 type, bits 23-3 size), then the content: `size` bytes when
 *                    raw or compressed, one byte when RLE
 *   skippable frame  magic 184D2A50 to 184D2A5F, u32 size, that many bytes
 */
import { readU16, readU32, readU8 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';
import { formatError, type CvmError } from '../errors.ts';

export const ZSTD_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;

/** Blocks hold at most this much, whatever the window (RFC 8878, section 3.1.1.2.4). */
export const BLOCK_LIMIT_BYTES = 128 << 10;

/** The largest window that is decoded: what zstd itself takes without `--long`. */
export const WINDOW_LIMIT_BYTES = 128 << 20;

/** Headers stand up to 128 KiB apart, or, in runs of tiny blocks, four bytes. */
const READ_AHEAD_BYTES = 4096;

const BLOCK_RAW = 0;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

export interface ZstdFrame {
  readonly kind: 'data' | 'skippable';
  /** Where the frame's magic stands, in bytes from the start of the source. */
  readonly offset: number;
  /** The frame with its header and checksum. */
  readonly lengthBytes: number;
  /** What it decodes to, as its header says; undefined when the header is silent. 0 for a skippable frame. */
  readonly contentBytes: number | undefined;
  /** No content is larger: from the blocks' number and kinds. Never smaller than `contentBytes` in a valid frame. */
  readonly contentLimitBytes: number;
  readonly windowBytes: number;
  readonly hasChecksum: boolean;
}

/** Whether bytes begin as a zstd frame does, skippable or not. */
export function isZstd(source: ByteSource): boolean {
  if (source.sizeBytes < 4) return false;
  const magic = readU32(source.read(0, 4), 0);
  return magic === ZSTD_MAGIC || isSkippable(magic);
}

function isSkippable(magic: number): boolean {
  return magic >>> 4 === SKIPPABLE_MAGIC >>> 4;
}

/**
 * All frames in order, to the end of the source.
 * @throws CvmError format ZSTD_MAGIC | ZSTD_HEADER | ZSTD_DICTIONARY | ZSTD_WINDOW | ZSTD_BLOCK | ZSTD_TRUNCATED |
 *   ZSTD_CONTENT_SIZE | ZSTD_EMPTY
 */
export function* walkFrames(source: ByteSource): Generator<ZstdFrame> {
  if (source.sizeBytes === 0) throw zstdError('ZSTD_EMPTY', 'there are no bytes to decompress', 0);
  const window = new ReadAhead(source);
  for (let at = 0; at < source.sizeBytes;) {
    const frame = readFrame(window, at);
    yield frame;
    at += frame.lengthBytes;
  }
}

function readFrame(input: ReadAhead, offset: number): ZstdFrame {
  const magic = readU32(input.bytes(offset, 4), 0);
  if (isSkippable(magic)) {
    const lengthBytes = 8 + readU32(input.bytes(offset + 4, 4), 0);
    input.require(offset, lengthBytes);
    return {
      kind: 'skippable',
      offset,
      lengthBytes,
      contentBytes: 0,
      contentLimitBytes: 0,
      windowBytes: 0,
      hasChecksum: false,
    };
  }
  if (magic !== ZSTD_MAGIC) {
    throw zstdError('ZSTD_MAGIC', 'no zstd frame begins here', offset, [
      ['found', magic.toString(16).padStart(8, '0')],
    ]);
  }
  const header = readHeader(input, offset);
  let at = offset + header.lengthBytes;
  let limit = 0;
  for (let last = false; !last;) {
    const block = input.bytes(at, 3);
    const word = readU16(block, 0) | (readU8(block, 2) << 16);
    last = (word & 1) === 1;
    const type = (word >>> 1) & 3;
    const size = word >>> 3;
    if (type === BLOCK_RESERVED || size > header.blockLimitBytes) {
      throw zstdError('ZSTD_BLOCK', 'a block has a reserved type or is larger than blocks may be', at, [
        ['type', type],
        ['size', `${size} bytes`],
        ['limit', `${header.blockLimitBytes} bytes`],
      ]);
    }
    // A compressed block names its size before decompression only.
    limit += type === BLOCK_RAW || type === BLOCK_RLE ? size : header.blockLimitBytes;
    at += 3 + (type === BLOCK_RLE ? 1 : size);
    input.require(offset, at - offset);
  }
  if (header.hasChecksum) at += 4;
  input.require(offset, at - offset);
  if (header.contentBytes !== undefined && header.contentBytes > limit) {
    throw zstdError('ZSTD_CONTENT_SIZE', 'a frame promises more content than its blocks can hold', offset, [
      ['promised', `${header.contentBytes} bytes`],
      ['at most', `${limit} bytes`],
    ]);
  }
  return {
    kind: 'data',
    offset,
    lengthBytes: at - offset,
    contentBytes: header.contentBytes,
    contentLimitBytes: header.contentBytes ?? limit,
    windowBytes: header.windowBytes,
    hasChecksum: header.hasChecksum,
  };
}

interface FrameHeader {
  readonly lengthBytes: number;
  readonly contentBytes: number | undefined;
  readonly windowBytes: number;
  readonly blockLimitBytes: number;
  readonly hasChecksum: boolean;
}

function readHeader(input: ReadAhead, offset: number): FrameHeader {
  const descriptor = readU8(input.bytes(offset + 4, 1), 0);
  if ((descriptor & 0x08) !== 0) {
    throw zstdError('ZSTD_HEADER', 'a reserved bit of the frame header is set', offset + 4);
  }
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] as number;
  const windowAt = 5;
  const dictionaryAt = windowAt + (isSingleSegment ? 0 : 1);
  const sizeAt = dictionaryAt + dictionaryBytes;
  const header = input.bytes(offset, sizeAt + sizeBytes);
  if (header.subarray(dictionaryAt, sizeAt).some((byte) => byte !== 0)) {
    throw zstdError('ZSTD_DICTIONARY', 'a frame needs a dictionary', offset + dictionaryAt);
  }
  const contentBytes = readContentSize(header, sizeAt, sizeBytes, offset);
  let windowBytes = contentBytes ?? 0;
  if (!isSingleSegment) {
    const window = readU8(header, windowAt);
    const base = 2 ** (10 + (window >>> 3));
    windowBytes = base + (base / 8) * (window & 7);
  }
  if (windowBytes > WINDOW_LIMIT_BYTES) {
    throw zstdError('ZSTD_WINDOW', 'a frame needs more memory than is given to decoding', offset, [
      ['window', `${windowBytes} bytes`],
      ['limit', `${WINDOW_LIMIT_BYTES} bytes`],
    ]);
  }
  return {
    lengthBytes: header.length,
    contentBytes,
    windowBytes,
    blockLimitBytes: Math.min(windowBytes, BLOCK_LIMIT_BYTES),
    hasChecksum: (descriptor & 0x04) !== 0,
  };
}

function readContentSize(header: Uint8Array, at: number, length: number, offset: number): number | undefined {
  switch (length) {
    case 0:
      return undefined;
    case 1:
      return readU8(header, at);
    case 2:
      return readU16(header, at) + 256;
    case 4:
      return readU32(header, at);
    default: {
      const size = readU32(header, at) + readU32(header, at + 4) * 2 ** 32;
      if (Number.isSafeInteger(size)) return size;
      throw zstdError('ZSTD_CONTENT_SIZE', 'a frame promises an impossible size', offset + at);
    }
  }
}

/** Reads of a few bytes out of reads of a few thousand. */
class ReadAhead {
  readonly #source: ByteSource;
  #start = 0;
  #held: Uint8Array = new Uint8Array(0);

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** A few bytes. @throws CvmError format ZSTD_TRUNCATED */
  bytes(offset: number, length: number): Uint8Array {
    this.require(offset, length);
    if (offset < this.#start || offset + length > this.#start + this.#held.length) {
      this.#start = offset;
      this.#held = this.#source.read(offset, Math.min(READ_AHEAD_BYTES, this.#source.sizeBytes - offset));
    }
    return this.#held.subarray(offset - this.#start, offset - this.#start + length);
  }

  require(offset: number, length: number): void {
    if (offset + length <= this.#source.sizeBytes) return;
    throw zstdError('ZSTD_TRUNCATED', 'the compressed bytes end inside a frame', this.#source.sizeBytes, [
      ['needed', `${length} bytes from ${offset}`],
    ]);
  }
}

/** @internal A format error of this folder, with the place among its facts. */
export function zstdError(
  code: string,
  message: string,
  at: number,
  facts: readonly (readonly [string, string | number])[] = [],
): CvmError {
  return formatError(code, message, {
    facts: [['at byte', at], ...facts],
    mend: 'fetch or make the compressed file again and compare its sha256',
  });
}
