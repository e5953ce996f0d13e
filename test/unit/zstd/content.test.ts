import * as zlib from 'node:zlib';
import { constants, zstdCompressSync, type ZstdOptions } from 'node:zlib';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes, type ByteSource } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { CvmError } from '../../../tools/errors.ts';
import { compressFrames, compressSlice, SLICE_BYTES } from '../../../tools/zstd/compress.ts';
import { decompress } from '../../../tools/zstd/decompress.ts';
import { walkFrames } from '../../../tools/zstd/frames.ts';
import { encoderSample, requirePinnedEncoder } from '../../../tools/zstd/pinned-encoder.ts';
import { zstdSource } from '../../../tools/zstd/source.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import { collectAsync } from '../../support/trees.ts';

/** What zstd 1.5.7 makes of the large content below: any other hash here is another encoder or another format. */
const PINNED_SHA256 = '60dbfe7148c39863bb783c0f57037f0ea04e82c5190d13b21bf004eaafa359bb';

const SKIPPABLE = hexToBytes('502a4d1803000000aabbcc');

/** Reproducible content that compresses a little. */
function content(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = (state >>> 20) & 0x1f;
  }
  return bytes;
}

function frame(bytes: Uint8Array, isSized = true): Uint8Array {
  return zstdCompressSync(bytes, {
    params: {
      [constants.ZSTD_c_checksumFlag]: 1,
      [constants.ZSTD_c_contentSizeFlag]: isSized ? 1 : 0,
    },
    ...(isSized ? { pledgedSrcSize: bytes.length } : {}),
  });
}

function* cut(bytes: Uint8Array, length: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function decoded(bytes: Uint8Array): Promise<Uint8Array> {
  return await collectAsync(decompress(sourceFromBytes(bytes)));
}

describe('compressing', () => {
  const large = content(2 * SLICE_BYTES + 12_345);

  test('the bytes do not depend on how the content is cut into chunks', async () => {
    const whole = await collectAsync(compressFrames([large]));
    for (const length of [1 << 20, 999_983, SLICE_BYTES, SLICE_BYTES + 1]) {
      const other = await collectAsync(compressFrames(cut(large, length)));
      expect(Buffer.compare(other, whole), `${length}`).toBe(0);
    }
  });

  test('a frame a slice, each with its size and a checksum', async () => {
    const found = [...walkFrames(sourceFromBytes(await collectAsync(compressFrames([large]))))];
    expect(found.map(({ contentBytes, hasChecksum }) => [contentBytes, hasChecksum])).toEqual([
      [SLICE_BYTES, true],
      [SLICE_BYTES, true],
      [12_345, true],
    ]);
  });

  test('a whole number of slices has no empty frame behind it', async () => {
    const bytes = await collectAsync(compressFrames([large.subarray(0, SLICE_BYTES)]));
    expect([...walkFrames(sourceFromBytes(bytes))]).toHaveLength(1);
  });

  test('nothing is one empty frame', async () => {
    for (const chunks of [[], [new Uint8Array(0)]]) {
      const bytes = await collectAsync(compressFrames(chunks));
      expect([...walkFrames(sourceFromBytes(bytes))]).toMatchObject([{ contentBytes: 0, hasChecksum: true }]);
      expect(await decoded(bytes)).toHaveLength(0);
    }
  });

  test('the bytes are those of the pinned encoder', async () => {
    const bytes = await collectAsync(compressFrames([large]));
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(PINNED_SHA256);
  });

  test('takes no more of the stream than a few slices ahead', async () => {
    let taken = 0;
    function* endless(): Generator<Uint8Array> {
      for (;;) {
        taken += SLICE_BYTES;
        yield new Uint8Array(SLICE_BYTES);
      }
    }
    const frames = compressFrames(endless());
    for (let i = 0; i < 3; i++) await frames.next();
    await frames.return(undefined);
    expect(taken).toBeLessThanOrEqual(8 * SLICE_BYTES);
  });

  test('an error of the stream is the error of the compression', async () => {
    function* failing(): Generator<Uint8Array> {
      yield new Uint8Array(3 * SLICE_BYTES);
      throw new CvmError('format', 'SOURCE_BROKE', 'broken');
    }
    await expectCvmRejection(() => collectAsync(compressFrames(failing())), 'SOURCE_BROKE');
  });

  test('rejects an encoder that makes other bytes than the pinned one', () => {
    const other = (bytes: Uint8Array): Uint8Array => frame(bytes, false);
    for (const level of [2, 3] as const)
      expectCvmError(() => requirePinnedEncoder(level, other), 'ZSTD_ENCODER', 'usage');
  });

  test('a runtime that gives the encoder less room than asked for makes no archive', () => {
    const runtime = {
      constants,
      zstdCompressSync: (bytes: Uint8Array, options: ZstdOptions) =>
        zstdCompressSync(bytes, { ...options, chunkSize: 1 << 16 }),
    } as unknown as typeof zlib;
    expect(() => compressSlice(runtime, large.subarray(0, 1 << 20), 2)).toThrow('less room');
    // Smaller content is within any window: nothing depends on the room there.
    const small = large.subarray(0, 1 << 18);
    expect(Buffer.compare(compressSlice(runtime, small, 2), compressSlice(zlib, small, 2))).toBe(0);
  });

  test('has levels of their own, each of which is known', async () => {
    const [fast, usual] = await Promise.all(
      [2, 3].map((level) => collectAsync(compressFrames([encoderSample()], level as 2 | 3))),
    );
    expect(fast!.length).toBeGreaterThan(usual!.length);
    requirePinnedEncoder(2, () => fast!);
    requirePinnedEncoder(3, () => usual!);
    expectCvmError(() => requirePinnedEncoder(2, () => usual!), 'ZSTD_ENCODER');
  });
});

describe('decompressing', () => {
  const a = content(100_000, 1);
  const b = content(300_000, 2);

  test('all frames, with and without sizes, skippable ones between', async () => {
    const bytes = concatBytes(
      SKIPPABLE,
      frame(a),
      SKIPPABLE,
      frame(b, false),
      frame(new Uint8Array(0)),
      SKIPPABLE,
    );
    expect(await decoded(bytes)).toEqual(concatBytes(a, b));
  });

  test('a large frame of unknown size is streamed in bounded pieces', async () => {
    const large = new Uint8Array(80 << 20);
    large.set(a, 70 << 20);
    let length = 0;
    let largest = 0;
    const hash = createHash('sha256');
    for await (const chunk of decompress(sourceFromBytes(frame(large, false)))) {
      length += chunk.length;
      largest = Math.max(largest, chunk.length);
      hash.update(chunk);
    }
    expect(length).toBe(large.length);
    expect(largest).toBeLessThanOrEqual(1 << 20);
    expect(hash.digest('hex')).toBe(createHash('sha256').update(large).digest('hex'));
  });

  test('a large frame may be left in the middle', async () => {
    for await (const chunk of decompress(sourceFromBytes(frame(new Uint8Array(80 << 20), false)))) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
  });

  test('rejects damage in a streamed frame', async () => {
    const damaged = new Uint8Array(frame(new Uint8Array(80 << 20), false));
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] as number) ^ 1;
    await expectCvmRejection(() => decoded(damaged), 'ZSTD_CORRUPT', 'format');
  });

  test('rejects a wrong checksum', async () => {
    const damaged = new Uint8Array(frame(a));
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] as number) ^ 1;
    await expectCvmRejection(() => decoded(damaged), 'ZSTD_CORRUPT', 'format');
  });

  test('rejects a frame that holds more or less than it says', async () => {
    // RLE of five bytes; the header says four, then six.
    await expectCvmRejection(() => decoded(hexToBytes('28b52ffd20042b000061')), 'ZSTD_BLOCK');
    await expectCvmRejection(() => decoded(hexToBytes('28b52ffd20062b000061')), 'ZSTD_CONTENT_SIZE');
    await expectCvmRejection(() => decoded(hexToBytes('28b52ffd8058040000002b000061')), 'ZSTD_CORRUPT');
  });

  test('a bomb gives what its header promised and not a byte more', async () => {
    // A window of 2 MiB, a content size of 100, and 128 KiB in an RLE block.
    const bomb = hexToBytes('28b52ffd805864000000' + '03001000');
    await expectCvmRejection(() => decoded(bomb), 'ZSTD_CORRUPT');
  });

  test('any flipped bit changes what is decoded or is refused', async () => {
    const text = utf8Bytes('the content, the content, and once more the content');
    const whole = new Uint8Array(frame(text));
    for (let bit = 0; bit < 8 * whole.length; bit++) {
      const damaged = new Uint8Array(whole);
      damaged[bit >>> 3] = (damaged[bit >>> 3] as number) ^ (1 << (bit & 7));
      try {
        expect(await decoded(damaged), `bit ${bit}`).toEqual(text);
        // Left as it is by the unused bit, or by a header that says the same in another way.
        expect(bit >>> 3).toBe(4);
      } catch (error) {
        expect(error, `bit ${bit}`).toBeInstanceOf(CvmError);
        expect((error as CvmError).kind).toBe('format');
      }
    }
  });
});

describe('random access', () => {
  const parts = [content(70_000, 1), content(1, 2), content(200_000, 3), content(30_000, 4)];
  const whole = concatBytes(...parts);
  const bytes = concatBytes(
    SKIPPABLE,
    ...parts.flatMap((part) => [frame(part), SKIPPABLE, frame(new Uint8Array(0))]),
  );

  test('any range, across frames too', () => {
    const source = zstdSource(sourceFromBytes(bytes)) as ByteSource;
    expect(source.sizeBytes).toBe(whole.length);
    fc.assert(
      fc.property(fc.nat(whole.length), fc.nat(whole.length), (x, y) => {
        const [from, to] = [Math.min(x, y), Math.max(x, y)];
        expect(Buffer.compare(source.read(from, to - from), whole.subarray(from, to))).toBe(0);
      }),
    );
  });

  test('rejects a range outside the content', () => {
    const source = zstdSource(sourceFromBytes(bytes)) as ByteSource;
    expectCvmError(() => source.read(whole.length, 1), 'SOURCE_BOUNDS');
    expectCvmError(() => source.read(-1, 1), 'SOURCE_BOUNDS');
  });

  test('each frame is decoded once for readers that walk side by side', () => {
    let reads = 0;
    const counted: ByteSource = {
      ...sourceFromBytes(bytes),
      read(offset, length) {
        reads += length > 20_000 ? 1 : 0;
        return bytes.subarray(offset, offset + length);
      },
    };
    const source = zstdSource(counted) as ByteSource;
    reads = 0;
    for (let at = 0; at + 100_010 <= whole.length; at += 1000) {
      source.read(at, 10);
      source.read(at + 100_000, 10);
    }
    expect(reads).toBeLessThanOrEqual(parts.length);
  });

  test('there is none when a frame is of unknown size or above 64 MiB', () => {
    expect(zstdSource(sourceFromBytes(concatBytes(frame(whole), frame(whole, false))))).toBeUndefined();
    expect(zstdSource(sourceFromBytes(frame(new Uint8Array((64 << 20) + 1))))).toBeUndefined();
  });

  test('damage shows when the frame is read', () => {
    const damaged = new Uint8Array(frame(whole));
    damaged[1000] = (damaged[1000] as number) ^ 1;
    const source = zstdSource(sourceFromBytes(damaged)) as ByteSource;
    expectCvmError(() => source.read(0, 1), 'ZSTD_CORRUPT', 'format');
  });

  test('damage of an empty frame, which nobody reads, shows at once', () => {
    expectCvmError(
      () => zstdSource(sourceFromBytes(hexToBytes('28b52ffd240001000099e9d850'))),
      'ZSTD_CORRUPT',
    );
  });

  test('a small read does not keep its frame', () => {
    const source = zstdSource(sourceFromBytes(frame(whole))) as ByteSource;
    expect(source.read(5, 10).buffer.byteLength).toBe(10);
  });
});

test('what is compressed is decompressed, in every way', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 5 }), async (chunks) => {
      const expected = concatBytes(...chunks);
      const compressed = await collectAsync(compressFrames(chunks));
      expect(await decoded(compressed)).toEqual(expected);
      const source = zstdSource(sourceFromBytes(compressed)) as ByteSource;
      expect(source.read(0, source.sizeBytes)).toEqual(expected);
    }),
  );
});
