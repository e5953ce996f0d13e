import { readU32 } from '../bytes/little-endian.ts';
import type { RawText } from '../bytes/text.ts';

/** What an indexed directory sorts its names by, then by the name itself. */
export interface NameHash {
  /** Even: bit 0 is free for the index to say "continued". */
  readonly major: number;
  readonly minor: number;
}

const INITIAL_STATE: readonly number[] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
const CHUNK_BYTES = 32;
const STATE_WORDS = 4;
const CHUNK_WORDS = 8;
/** The hash that stands for the end of a directory in the kernel, and must not be a name's. */
const END_OF_DIRECTORY = 0xfffffffe;

type Mix = (b: number, c: number, d: number) => number;

interface Round {
  readonly mix: Mix;
  readonly constant: number;
  /** Which word of the chunk each step adds. */
  readonly order: readonly number[];
  readonly rotations: readonly number[];
}

const ROUNDS: readonly Round[] = [
  {
    mix: (b, c, d) => d ^ (b & (c ^ d)),
    constant: 0,
    order: [0, 1, 2, 3, 4, 5, 6, 7],
    rotations: [3, 7, 11, 19],
  },
  {
    mix: (b, c, d) => ((b & c) + ((b ^ c) & d)) | 0,
    constant: 0x5a827999,
    order: [1, 3, 5, 7, 0, 2, 4, 6],
    rotations: [3, 5, 9, 13],
  },
  {
    mix: (b, c, d) => b ^ c ^ d,
    constant: 0x6ed9eba1,
    order: [3, 7, 2, 6, 1, 5, 0, 4],
    rotations: [3, 9, 11, 15],
  },
];

/**
 * ext4's half-MD4 in its signed form (hash version 1 with superblock flag 1).
 * Source: Linux fs/ext4/hash.c, e2fsprogs lib/ext2fs/dirhash.c.
 *
 * @param seed 16 bytes, the superblock's; all zero stands for MD4's own start
 */
export function hashName(name: RawText, seed: Uint8Array): NameHash {
  const given = [0, 4, 8, 12].map((at) => readU32(seed, at));
  let state: readonly number[] = given.every((word) => word === 0) ? INITIAL_STATE : given;
  for (let at = 0; at < name.length; at += CHUNK_BYTES) state = transform(state, chunkWords(name, at));
  const major = ((state[1] ?? 0) & ~1) >>> 0;
  return {
    major: major === END_OF_DIRECTORY ? END_OF_DIRECTORY - 2 : major,
    minor: (state[2] ?? 0) >>> 0,
  };
}

/** Eight words of the next 32 bytes, padded with a word of the remaining length's low byte. */
function chunkWords(name: RawText, from: number): number[] {
  const padding = Math.imul(name.length - from, 0x01010101);
  const end = Math.min(name.length, from + CHUNK_BYTES);
  const words: number[] = [];
  let word = padding;
  for (let at = from; at < end; at++) {
    const byte = name.charCodeAt(at);
    const signed = byte < 0x80 ? byte : byte - 0x100;
    word = ((word << 8) + signed) | 0;
    if ((at - from) % 4 !== 3) continue;
    words.push(word);
    word = padding;
  }
  if (words.length < CHUNK_WORDS) words.push(word);
  while (words.length < CHUNK_WORDS) words.push(padding);
  return words;
}

function transform(state: readonly number[], words: readonly number[]): number[] {
  let [a = 0, b = 0, c = 0, d = 0] = state;
  for (const { mix, constant, order, rotations } of ROUNDS) {
    for (let step = 0; step < order.length; step++) {
      const sum = (a + mix(b, c, d) + (words[order[step] ?? 0] ?? 0) + constant) | 0;
      const rotation = rotations[step % STATE_WORDS] ?? 0;
      [a, b, c, d] = [d, (sum << rotation) | (sum >>> (32 - rotation)), b, c];
    }
  }
  return [a, b, c, d].map((word, i) => ((state[i] ?? 0) + word) >>> 0);
}
