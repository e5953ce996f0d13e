import { checkRange, type ByteSource } from '../bytes/source.ts';
import { decodeFrame, fitsWhole } from './decompress.ts';
import { walkFrames, type ZstdFrame } from './frames.ts';

/** Decoded frames kept: what two readers that walk side by side need, and a bound on memory. */
const CACHE_BYTES = 64 << 20;

/** More frames than this are streamed: a table of them would be large, and random access of no use. */
const FRAMES_LIMIT = 1 << 20;

/** Reads up to this size are copied, so that keeping one does not keep its whole frame. */
const COPY_LIMIT_BYTES = 64 << 10;

interface PlacedFrame {
  readonly frame: ZstdFrame;
  readonly contentOffset: number;
  readonly contentBytes: number;
}

/**
 * The decoded content as a source with random access by frame, or undefined when it has none to offer: a frame
 * without content size, or one above 64 MiB. A frame is decoded when it is read and kept for a
 * while; a corrupt one is noticed then.
 *
 * @throws CvmError format, those of `walkFrames`; reads throw ZSTD_CORRUPT | ZSTD_CONTENT_SIZE
 */
export function zstdSource(source: ByteSource): ByteSource | undefined {
  const placed: PlacedFrame[] = [];
  let sizeBytes = 0;
  for (const frame of walkFrames(source)) {
    if (frame.kind === 'skippable') continue;
    if (frame.contentBytes === undefined || !fitsWhole(frame)) return undefined;
    if (frame.contentBytes === 0) {
      // Nobody will ever read it, so whatever is wrong with it shows now.
      decodeFrame(source, frame);
      continue;
    }
    if (placed.length === FRAMES_LIMIT) return undefined;
    placed.push({ frame, contentOffset: sizeBytes, contentBytes: frame.contentBytes });
    sizeBytes += frame.contentBytes;
  }
  if (!Number.isSafeInteger(sizeBytes)) return undefined;
  const cache = new Map<number, Uint8Array>();
  let cachedBytes = 0;

  function contentOf(index: number): Uint8Array {
    let content = cache.get(index);
    if (content === undefined) {
      content = decodeFrame(source, (placed[index] as PlacedFrame).frame);
      cachedBytes += content.length;
    } else {
      cache.delete(index);
    }
    cache.set(index, content);
    for (const [oldest, bytes] of cache) {
      if (cachedBytes <= CACHE_BYTES || oldest === index) break;
      cache.delete(oldest);
      cachedBytes -= bytes.length;
    }
    return content;
  }

  return {
    sizeBytes,
    extents: sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }],
    read(offset, length) {
      checkRange(sizeBytes, offset, length);
      if (length === 0) return new Uint8Array(0);
      let index = frameAt(placed, offset);
      const first = placed[index] as PlacedFrame;
      const within = offset - first.contentOffset;
      if (within + length <= first.contentBytes) {
        const content = contentOf(index);
        return length <= COPY_LIMIT_BYTES
          ? new Uint8Array(content.subarray(within, within + length))
          : content.subarray(within, within + length);
      }
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length; index++) {
        const { contentOffset, contentBytes } = placed[index] as PlacedFrame;
        const from = offset + done - contentOffset;
        const count = Math.min(contentBytes - from, length - done);
        bytes.set(contentOf(index).subarray(from, from + count), done);
        done += count;
      }
      return bytes;
    },
  };
}

/** The frame that holds byte `offset`, which lies inside the content. */
function frameAt(placed: readonly PlacedFrame[], offset: number): number {
  let low = 0;
  let high = placed.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((placed[middle] as PlacedFrame).contentOffset <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
