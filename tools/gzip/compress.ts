import { once } from 'node:events';
import { constants, crc32, createDeflateRaw, type DeflateRaw } from 'node:zlib';
import { CHUNK_BYTES } from '../bytes/source.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { digestBytes } from '../bytes/digest.ts';
import { usageError } from '../errors.ts';
import { encoderSample } from '../zstd/pinned-encoder.ts';

/** zlib's own default, gzip's too. Part of what is promised: changing it changes every archive. */
const LEVEL = 6;

/** What the pinned encoder makes of the sample: the whole member. */
const SAMPLE_MEMBER_SHA256 = '2e90eeb92ed460c75163fdcc7f557b941139a44737e9c7fd701486796853be4d';

/**
 * The fixed header: deflate, no name, no time, no flags, "unknown" system, so that neither clock nor platform shows.
 * RFC 1952, section 2.3.
 */
const HEADER = Uint8Array.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);

/**
 * Compresses a stream to one gzip member. The bytes depend on the content alone, not on how it was cut into chunks, and
 * an encoder that would make other bytes is refused: zlib has variants for processors and vendors that compress as well,
 * to other bytes. Nothing but a few chunks is held.
 *
 * @throws CvmError usage GZIP_ENCODER, and whatever `chunks` throws
 */
export async function* gzip(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  await requirePinnedGzip(gzipUnchecked);
  yield* gzipUnchecked(chunks);
}

type Encoder = (chunks: Iterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/**
 * Looks at what the encoder does, not at what it says of itself.
 * @throws CvmError usage GZIP_ENCODER
 */
export async function requirePinnedGzip(encoder: Encoder): Promise<void> {
  const parts: Uint8Array[] = [];
  for await (const part of encoder([encoderSample()])) parts.push(part);
  const found = bytesToHex(digestBytes('sha256', Buffer.concat(parts)));
  if (found === SAMPLE_MEMBER_SHA256) return;
  throw usageError('GZIP_ENCODER', 'the gzip encoder of this runtime makes other bytes than the pinned one', {
    facts: [
      ['sample expected', SAMPLE_MEMBER_SHA256],
      ['sample found', found],
    ],
    mend: 'run the tool with the Node.js of package-lock.json, or make the folder alone, which needs no encoder',
  });
}

async function* gzipUnchecked(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const deflate = createDeflateRaw({
    level: LEVEL,
    memLevel: 8,
    windowBits: 15,
    strategy: constants.Z_DEFAULT_STRATEGY,
    chunkSize: CHUNK_BYTES,
  });
  const sum = { crc: 0, sizeBytes: 0 };
  const feeding = feed(deflate, chunks, sum);
  // Awaited below; a failure meanwhile must not count as unhandled.
  feeding.catch(
    (error: unknown) => void deflate.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  yield HEADER;
  for await (const part of deflate) yield new Uint8Array(part as Buffer);
  await feeding;
  const trailer = new Uint8Array(8);
  const view = new DataView(trailer.buffer);
  view.setUint32(0, sum.crc, true);
  view.setUint32(4, sum.sizeBytes % 2 ** 32, true);
  yield trailer;
}

async function feed(
  deflate: DeflateRaw,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  sum: { crc: number; sizeBytes: number },
): Promise<void> {
  for await (const slice of slices(chunks)) {
    sum.crc = crc32(slice, sum.crc);
    sum.sizeBytes += slice.length;
    if (!deflate.write(slice)) await once(deflate, 'drain');
  }
  deflate.end();
}

/** The encoder gets slices of one size, so that it cannot matter how the content came. */
async function* slices(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let slice = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const count = Math.min(CHUNK_BYTES - filled, chunk.length - at);
      slice.set(chunk.subarray(at, at + count), filled);
      filled += count;
      at += count;
      if (filled === CHUNK_BYTES) {
        yield slice;
        slice = new Uint8Array(CHUNK_BYTES);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield slice.subarray(0, filled);
}
