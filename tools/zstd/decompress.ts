import { once } from 'node:events';
import {
  constants,
  createZstdDecompress,
  zstdDecompress,
  zstdDecompressSync,
  type ZstdOptions,
} from 'node:zlib';
import { CHUNK_BYTES, type ByteSource } from '../bytes/source.ts';
import { bug, CvmError, formatError } from '../errors.ts';
import { walkFrames, WINDOW_LIMIT_BYTES, zstdError, type ZstdFrame } from './frames.ts';

/** Frames up to this size are decoded in one call; larger ones are streamed. */
export const WHOLE_FRAME_LIMIT_BYTES = 64 << 20;

/** What such a frame may take compressed: content that does not compress, with its headers. */
const WHOLE_FRAME_COMPRESSED_LIMIT_BYTES = WHOLE_FRAME_LIMIT_BYTES + (1 << 20);

/** Whether a frame may be held in memory, as it is and decoded: blocks may be empty, so neither size bounds the other. */
export function fitsWhole(frame: ZstdFrame): boolean {
  return (
    frame.contentLimitBytes <= WHOLE_FRAME_LIMIT_BYTES &&
    frame.lengthBytes <= WHOLE_FRAME_COMPRESSED_LIMIT_BYTES
  );
}

/**
 * Decodes one frame that {@link fitsWhole}: never more than its header promised,
 * and the checksum, when there is one, is verified.
 * @throws CvmError format ZSTD_CORRUPT | ZSTD_CONTENT_SIZE
 */
export function decodeFrame(source: ByteSource, frame: ZstdFrame): Uint8Array {
  if (frame.kind === 'skippable') return new Uint8Array(0);
  const compressed = source.read(frame.offset, frame.lengthBytes);
  try {
    return checkedContent(frame, zstdDecompressSync(compressed, wholeFrameOptions(frame)));
  } catch (cause) {
    throw decodeError(frame, cause);
  }
}

/**
 * Decodes all frames in order. Memory is bounded whatever the headers say: small frames are decoded whole, large
 * ones and those of unknown size are streamed.
 *
 * Node's decoder drops whatever follows the first frame of its input without an error, so it gets one at a time.
 *
 * @throws CvmError format, those of `walkFrames`, ZSTD_CORRUPT, ZSTD_CONTENT_SIZE
 */
export async function* decompress(source: ByteSource): AsyncGenerator<Uint8Array> {
  for (const frame of walkFrames(source)) {
    if (frame.kind === 'skippable') continue;
    if (fitsWhole(frame)) {
      const content = await decodeWhole(source, frame);
      if (content.length > 0) yield content;
    } else {
      yield* streamFrame(source, frame);
    }
  }
}

function decodeWhole(source: ByteSource, frame: ZstdFrame): Promise<Uint8Array> {
  const compressed = source.read(frame.offset, frame.lengthBytes);
  return new Promise((resolve, reject) => {
    zstdDecompress(compressed, wholeFrameOptions(frame), (error, content) => {
      try {
        if (error !== null) throw error;
        resolve(checkedContent(frame, content));
      } catch (cause) {
        reject(decodeError(frame, cause));
      }
    });
  });
}

async function* streamFrame(source: ByteSource, frame: ZstdFrame): AsyncGenerator<Uint8Array> {
  const decoder = createZstdDecompress({ params: decoderParams(), chunkSize: CHUNK_BYTES });
  let failure: unknown;
  // Fed by hand, one piece a turn: what is decoded but not taken stays within two chunks.
  const feeding = (async () => {
    for (let done = 0; done < frame.lengthBytes; done += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, frame.lengthBytes - done);
      if (!decoder.write(source.read(frame.offset + done, length))) await once(decoder, 'drain');
    }
    decoder.end();
  })().catch((error: unknown) => {
    failure = error;
    decoder.destroy();
  });
  let contentBytes = 0;
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      contentBytes += chunk.length;
      if (contentBytes > frame.contentLimitBytes) break;
      yield plainBytes(chunk);
    }
  } catch (cause) {
    throw decodeError(frame, failure ?? cause);
  } finally {
    decoder.destroy();
    await feeding;
  }
  checkContentSize(frame, contentBytes);
}

function decoderParams(): NonNullable<ZstdOptions['params']> {
  return { [constants.ZSTD_d_windowLogMax]: Math.log2(WINDOW_LIMIT_BYTES) };
}

function wholeFrameOptions(frame: ZstdFrame): ZstdOptions {
  return {
    params: decoderParams(),
    maxOutputLength: Math.max(1, frame.contentLimitBytes),
    // One byte more than there is: the decoder then ends in its first call.
    chunkSize: Math.max(64, (frame.contentBytes ?? CHUNK_BYTES) + 1),
  };
}

function checkedContent(frame: ZstdFrame, content: Buffer): Uint8Array {
  checkContentSize(frame, content.length);
  return plainBytes(content);
}

/** Without Buffer's methods: its `slice` does not copy. */
function plainBytes(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

function checkContentSize(frame: ZstdFrame, contentBytes: number): void {
  if (
    frame.contentBytes === undefined
      ? contentBytes <= frame.contentLimitBytes
      : contentBytes === frame.contentBytes
  ) {
    return;
  }
  throw zstdError(
    'ZSTD_CONTENT_SIZE',
    'a frame holds another number of bytes than its header says',
    frame.offset,
    [
      ['promised', `${frame.contentBytes ?? `at most ${frame.contentLimitBytes}`} bytes`],
      ['decoded', `${contentBytes} bytes`],
    ],
  );
}

function decodeError(frame: ZstdFrame, cause: unknown): Error {
  if (!(cause instanceof Error)) return bug('the zstd decoder failed without an error', { cause });
  if (cause instanceof CvmError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  if (!/^(ZSTD_error_|Z_|ERR_BUFFER_TOO_LARGE|ERR_STREAM_PREMATURE_CLOSE)/.test(code)) return cause;
  return formatError('ZSTD_CORRUPT', 'a zstd frame cannot be decoded', {
    facts: [
      ['frame at byte', frame.offset],
      ['length', `${frame.lengthBytes} bytes`],
      ['decoder', code],
    ],
    mend: 'fetch the file again and compare its sha256',
    cause,
  });
}
