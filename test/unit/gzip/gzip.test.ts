import { createDeflateRaw, gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { gzip, requirePinnedGzip } from '../../../tools/gzip/compress.ts';
import { gunzip, isGzip } from '../../../tools/gzip/decompress.ts';
import { encoderSample } from '../../../tools/zstd/pinned-encoder.ts';
import { expectCvmRejection } from '../../support/errors.ts';

async function collect(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part);
  return new Uint8Array(Buffer.concat(all));
}
const packed = async (...parts: Uint8Array[]): Promise<Uint8Array> => await collect(gzip(parts));
const unpacked = async (bytes: Uint8Array): Promise<Uint8Array> =>
  await collect(gunzip(sourceFromBytes(bytes)));

describe('compression', () => {
  test('depends on the content alone, not on its chunks, and says nothing of time, name and system', async () => {
    const content = new Uint8Array(Buffer.concat(Array.from({ length: 12 }, () => encoderSample())));
    const whole = await packed(content);
    expect(Array.from(whole.subarray(0, 10))).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    const cuts = [1, 7, 4096, 1 << 20, (1 << 20) + 1, 2_000_000];
    for (const cut of cuts) {
      expect(
        await packed(content.subarray(0, cut), new Uint8Array(0), content.subarray(cut)),
        `cut at ${cut}`,
      ).toEqual(whole);
    }
    expect(new Uint8Array(gunzipSync(whole))).toEqual(content);
  });

  test('is refused with an encoder that makes other bytes', async () => {
    async function* other(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      const deflate = createDeflateRaw({ level: 5 });
      for (const chunk of chunks) deflate.write(chunk);
      deflate.end();
      for await (const part of deflate) yield part as Buffer;
    }
    await expectCvmRejection(() => requirePinnedGzip(other), 'GZIP_ENCODER', 'usage');
  });

  test('passes on what its input throws', async () => {
    function* broken(): Generator<Uint8Array> {
      yield new Uint8Array(5 << 20);
      throw new Error('the source failed');
    }
    await expect(collect(gzip(broken()))).rejects.toThrow('the source failed');
  });
});

describe('decompression', () => {
  test('of anything that was compressed, in any number of members', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 2000 }), { minLength: 1, maxLength: 5 }),
        async (members) => {
          const bytes = Buffer.concat(members.map((member) => gzipSync(member)));
          expect(isGzip(sourceFromBytes(bytes))).toBe(true);
          expect(await unpacked(bytes)).toEqual(new Uint8Array(Buffer.concat(members)));
        },
      ),
      { seed: 7, numRuns: 50 },
    );
  });

  test('of a member larger than a chunk, with another behind it', async () => {
    const content = new Uint8Array(3 << 20).map((_, i) => (i * i) >> 7);
    const bytes = Buffer.concat([gzipSync(content), gzipSync(Buffer.from('end'))]);
    expect(Buffer.from(await unpacked(bytes)).equals(Buffer.concat([content, Buffer.from('end')]))).toBe(
      true,
    );
  });

  test('of a header with all its optional parts', async () => {
    const plain = gzipSync(Buffer.from('content'));
    const header = Buffer.from([0x1f, 0x8b, 8, 2 + 4 + 8 + 16, 1, 2, 3, 4, 0, 3]);
    const parts = [header, Buffer.from([3, 0, 1, 2, 3]), Buffer.from('name\0comment\0'), Buffer.from([0, 0])];
    expect(Buffer.from(await unpacked(Buffer.concat([...parts, plain.subarray(10)]))).toString()).toBe(
      'content',
    );
  });

  const good = gzipSync(encoderSample());
  const changed = (at: number): Buffer => {
    const bytes = Buffer.from(good);
    bytes[at < 0 ? bytes.length + at : at] = (bytes.at(at) ?? 0) ^ 0xff;
    return bytes;
  };
  test.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(0), 'GZIP_HEADER'],
    ['another format', Buffer.from('not gzip at all'), 'GZIP_HEADER'],
    ['an unknown method', changed(2), 'GZIP_HEADER'],
    ['reserved flags', changed(3), 'GZIP_HEADER'],
    [
      'a name without end',
      Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3]), Buffer.from('name')]),
      'GZIP_HEADER',
    ],
    [
      'an extra field past the end',
      Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 3, 255, 255]),
      'GZIP_TRUNCATED',
    ],
    ['half a header', good.subarray(0, 5), 'GZIP_TRUNCATED'],
    ['half a stream', good.subarray(0, 1000), 'GZIP_TRUNCATED'],
    ['half a trailer', good.subarray(0, -4), 'GZIP_TRUNCATED'],
    ['no trailer', good.subarray(0, -8), 'GZIP_TRUNCATED'],
    ['another checksum', changed(-8), 'GZIP_CHECKSUM'],
    ['another length', changed(-1), 'GZIP_CHECKSUM'],
    ['a stream that is none', Buffer.concat([good.subarray(0, 10), Buffer.alloc(100, 0xff)]), 'GZIP_CORRUPT'],
    ['something behind', Buffer.concat([good, Buffer.from('x'.repeat(30))]), 'GZIP_TRAILING'],
    ['zeros behind', Buffer.concat([good, Buffer.alloc(512)]), 'GZIP_TRAILING'],
    ['half a second member', Buffer.concat([good, good.subarray(0, 100)]), 'GZIP_TRUNCATED'],
  ])('is refused: %s', async (_, bytes, code) => {
    await expectCvmRejection(() => unpacked(bytes), code, 'format');
  });

  test('any changed byte is noticed, or changes no content', async () => {
    const content = Buffer.from('what is compressed, what is compressed');
    const bytes = gzipSync(content);
    for (let at = 0; at < bytes.length; at++) {
      for (const flip of [1, 0x80]) {
        const other = new Uint8Array(bytes);
        other[at] = (other[at] ?? 0) ^ flip;
        try {
          expect(Buffer.from(await unpacked(other)).equals(content), `byte ${at}`).toBe(true);
        } catch (error) {
          expect((error as { code?: string }).code).toMatch(/^GZIP_/);
        }
      }
    }
  });
});
