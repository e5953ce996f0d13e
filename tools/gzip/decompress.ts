import { crc32, createInflateRaw } from 'node:zlib';
import { CHUNK_BYTES, type ByteSource } from '../bytes/source.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';

const FIXED_HEADER_BYTES = 10;
/** Name, comment and extra field of one member. */
const HEADER_LIMIT_BYTES = 1 << 18;
const TRAILER_BYTES = 8;
const MEMBERS_LIMIT = 1 << 20;

const FLAG = { headerCrc: 2, extra: 4, name: 8, comment: 16, reserved: 0xe0 } as const;

export function isGzip(source: ByteSource): boolean {
  if (source.sizeBytes < FIXED_HEADER_BYTES) return false;
  const [first, second, method] = source.read(0, 3);
  return first === 0x1f && second === 0x8b && method === 8;
}

/**
 * Decompresses all members in order, to the last byte: a reader that stops after the first member, or overlooks what
 * follows the last, would see another content than its neighbour. Checks every member's CRC-32 and length.
 *
 * Source: RFC 1952.
 * @throws CvmError format GZIP_HEADER | GZIP_CORRUPT | GZIP_TRUNCATED | GZIP_CHECKSUM | GZIP_TRAILING | GZIP_MEMBERS
 */
export async function* gunzip(source: ByteSource): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (let member = 0; member === 0 || at < source.sizeBytes; member++) {
    if (member >= MEMBERS_LIMIT) throw gzipError('GZIP_MEMBERS', 'more members than are read', at);
    const dataAt = headerEnd(source, at, member);
    const sum = { crc: 0, sizeBytes: 0 };
    const state = { end: dataAt };
    for await (const part of inflate(source, dataAt, state)) {
      sum.crc = crc32(part, sum.crc);
      sum.sizeBytes += part.length;
      yield part;
    }
    if (state.end + TRAILER_BYTES > source.sizeBytes) {
      throw gzipError('GZIP_TRUNCATED', 'the file ends before the checksum', state.end);
    }
    const trailer = new DataView(source.read(state.end, TRAILER_BYTES).slice().buffer);
    if (trailer.getUint32(0, true) !== sum.crc || trailer.getUint32(4, true) !== sum.sizeBytes % 2 ** 32) {
      throw gzipError('GZIP_CHECKSUM', "a member's content does not have its checksum", state.end, [
        ['CRC-32 stated', trailer.getUint32(0, true).toString(16)],
        ['CRC-32 found', sum.crc.toString(16)],
        ['length stated', trailer.getUint32(4, true)],
        ['length found', sum.sizeBytes],
      ]);
    }
    at = state.end + TRAILER_BYTES;
  }
}

/** Where the deflate stream of the member at `at` begins. */
function headerEnd(source: ByteSource, at: number, member: number): number {
  const bytes = source.read(at, Math.min(HEADER_LIMIT_BYTES, source.sizeBytes - at));
  const isMember = bytes[0] === 0x1f && bytes[1] === 0x8b;
  if (!isMember && member > 0) {
    throw gzipError('GZIP_TRAILING', 'something that is no gzip member follows the last one', at);
  }
  if (!isMember) throw gzipError('GZIP_HEADER', 'the file is not gzip', at);
  if (bytes.length < FIXED_HEADER_BYTES)
    throw gzipError('GZIP_TRUNCATED', 'the file ends inside a header', at);
  const flags = bytes[3] as number;
  if (bytes[2] !== 8 || (flags & FLAG.reserved) !== 0) {
    throw gzipError('GZIP_HEADER', 'a header has an unknown method or reserved flags', at);
  }
  let end = FIXED_HEADER_BYTES;
  if ((flags & FLAG.extra) !== 0) end += 2 + (bytes[end] ?? 0) + 256 * (bytes[end + 1] ?? 0);
  for (const flag of [FLAG.name, FLAG.comment]) {
    if ((flags & flag) === 0) continue;
    const zero = bytes.indexOf(0, end);
    if (zero < 0) throw gzipError('GZIP_HEADER', 'a name or comment in a header does not end', at);
    end = zero + 1;
  }
  if ((flags & FLAG.headerCrc) !== 0) end += 2;
  if (end > bytes.length) throw gzipError('GZIP_TRUNCATED', 'the file ends inside a header', at);
  return at + end;
}

/** One deflate stream from `start`; afterwards `state.end` is the byte behind it. */
async function* inflate(
  source: ByteSource,
  start: number,
  state: { end: number },
): AsyncGenerator<Uint8Array> {
  const stream = createInflateRaw({ chunkSize: CHUNK_BYTES });
  const fed = { at: start };
  // Pulled one chunk at a time: what lies behind the stream's end is handed over once at most.
  const next = (): void => {
    if (stream.writableEnded || stream.destroyed) return;
    const length = Math.min(CHUNK_BYTES, source.sizeBytes - fed.at);
    if (length === 0) {
      stream.end();
      return;
    }
    const chunk = source.read(fed.at, length);
    fed.at += length;
    stream.write(chunk, (error) => {
      if (error === null || error === undefined) next();
    });
  };
  next();
  try {
    for await (const part of stream) yield new Uint8Array(part as Buffer);
  } catch (cause) {
    const isShort = (cause as { code?: unknown }).code === 'Z_BUF_ERROR';
    throw isShort
      ? gzipError('GZIP_TRUNCATED', 'the file ends inside a member', fed.at)
      : gzipError('GZIP_CORRUPT', 'a member cannot be decompressed', start, [
          ['problem', cause instanceof Error ? cause.message : String(cause)],
        ]);
  } finally {
    stream.destroy();
  }
  state.end = start + stream.bytesWritten;
}

function gzipError(code: string, message: string, at: number, facts: readonly Fact[] = []): CvmError {
  return formatError(code, `gzip: ${message}`, {
    facts: [['at byte', at], ...facts],
    mend: 'fetch the archive again and compare its sha256',
  });
}
