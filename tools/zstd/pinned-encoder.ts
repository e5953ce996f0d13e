import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { usageError } from '../errors.ts';

/** The encoder whose bytes are promised. Others compress as well, to other bytes. */
export const PINNED_ENCODER_VERSION = '1.5.7';

const SAMPLE_BYTES = 256 << 10;

/** What the pinned encoder makes of the sample at each level, in one frame with checksum and content size. */
const SAMPLE_FRAME_SHA256 = {
  2: '34138f4bf497f229048be881028995503c255eac7a5801ea541f3e43af450b84',
  3: '029e77f933321a276c9f547b8b951d46b529097894bf371cd5565c5e310b9c9c',
} as const;

/** The levels that something is compressed with: each is code of its own in the encoder. */
export type ZstdLevel = keyof typeof SAMPLE_FRAME_SHA256;

/**
 * Refuses an encoder that would make other bytes than the pinned one, by what it does and not by what it says of
 * itself: a version can be patched, and a format module knows of no runtime.
 *
 * @param level the one that `compress` compresses with
 * @param compress the encoder as archives are made with it
 * @throws CvmError usage ZSTD_ENCODER
 */
export function requirePinnedEncoder(level: ZstdLevel, compress: (content: Uint8Array) => Uint8Array): void {
  const found = bytesToHex(digestBytes('sha256', compress(encoderSample())));
  if (found === SAMPLE_FRAME_SHA256[level]) return;
  throw usageError('ZSTD_ENCODER', 'the zstd encoder of this runtime makes other bytes than the pinned one', {
    facts: [
      ['pinned', `zstd ${PINNED_ENCODER_VERSION}, level ${level}`],
      ['sample expected', SAMPLE_FRAME_SHA256[level]],
      ['sample found', found],
    ],
    mend: 'run the tool with the Node.js of package-lock.json',
  });
}

/** Noise of few symbols and copies of various lengths and distances: work for every part of an encoder. */
export function encoderSample(): Uint8Array {
  const bytes = new Uint8Array(SAMPLE_BYTES);
  let state = 1;
  for (let at = 0; at < SAMPLE_BYTES;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const end = Math.min(SAMPLE_BYTES, at + 1 + (state >>> 27));
    const distance = 1 + ((state >>> 8) & 0xffff);
    const isCopy = state >>> 31 === 1 && distance <= at;
    for (const start = at; at < end; at++) {
      bytes[at] = isCopy ? (bytes[at - distance] as number) : (state >>> ((at - start) % 24)) & 0x3f;
    }
  }
  return bytes;
}
