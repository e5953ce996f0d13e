import { createHash } from 'node:crypto';
import { bytesToHex } from '../bytes/hex.ts';
import { usageError } from '../errors.ts';

/** The encoder whose bytes are promised. Others compress as well, to other bytes. */
export const PINNED_ENCODER_VERSION = '1.5.7';

const SAMPLE_BYTES = 256 << 10;

/** What the pinned encoder makes of the sample at each level, in one frame with checksum and content size. */
const SAMPLE_FRAME_SHA256 = {
  2: 'fc377df41f58f8acc27fc8a6ad0293b86b22c8ef3d84a2341f5214154a9f025f',
  3: 'be59f532434051adbab84f46e432cdb91d5be90d68cac0b5de2a93b013a52f18',
} as const;

/** The levels that something is compressed with: each is code of its own in the encoder. */
export type ZstdLevel = keyof typeof SAMPLE_FRAME_SHA256;

/**
 * Refuses an encoder that would make other bytes than the pinned one, by what it does and not by what it says of
 * itself: a version can be patched, and a format module knows of no runtime.
 *
 * @param level the one that `compress` compresses with
 * @param compress the encoder as archives are made with it: one frame, in pieces
 * @throws CvmError usage ZSTD_ENCODER
 */
export async function requirePinnedEncoder(
  level: ZstdLevel,
  compress: (content: Uint8Array) => Promise<readonly Uint8Array[]>,
): Promise<void> {
  const digest = createHash('sha256');
  for (const piece of await compress(encoderSample())) digest.update(piece);
  const found = bytesToHex(digest.digest());
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
