import { constants, zstdCompressSync } from 'node:zlib';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, describe, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { sourceFromBytes, type ByteSource } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { openImage, writeTzst } from '../../../tools/commands/image-files.ts';
import { writeSparseTar } from '../../../tools/tar/sparse.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { END, member } from '../../support/tar-blocks.ts';
import { collect, piecesSource } from '../../support/trees.ts';

const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'cvm-images-'));
const scratchFolder = mkdtempSync(join(folder, 'scratch-'));
let count = 0;

function written(bytes: Uint8Array): string {
  const path = join(folder, `${count++}`);
  writeFileSync(path, bytes);
  return path;
}

function foreign(bytes: Uint8Array): Uint8Array {
  return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_contentSizeFlag]: 0 } });
}

const pattern = (seed: number): Uint8Array => new Uint8Array(20_000).map((_, i) => ((i * seed) >>> 3) | 1);

/** A partition as large as a real one: 10 GiB apparent, few bytes of data. */
const ROOT = piecesSource(10 * 2 ** 30, [
  [8192, pattern(3)],
  [10_603_200_512, pattern(5)],
]);
const BOOT = piecesSource(2 ** 30, [[1024, pattern(7)]]);
const VERSION = sourceFromBytes(utf8Bytes('0123\n'));

const UPDATE = collect(
  writeSparseTar([
    { name: './boot.img', source: BOOT },
    { name: 'root.img', source: ROOT },
    { name: 'VERSION.TXT', source: VERSION },
  ]),
);

function expectSame(found: ByteSource, expected: ByteSource): void {
  expect(found.sizeBytes).toBe(expected.sizeBytes);
  for (const { offset, length } of expected.extents) {
    expect(Buffer.compare(found.read(offset, length), expected.read(offset, length))).toBe(0);
    expect(found.read(offset + length, 10)).toEqual(new Uint8Array(10));
  }
  const known = found.extents.reduce((sum, { length }) => sum + length, 0);
  expect(known).toBeLessThan(1 << 20);
}

describe('an image is found in', () => {
  const wrappings: [string, (bytes: Uint8Array) => Uint8Array][] = [
    ['a plain tar', (bytes) => bytes],
    ['zstd of known size', (bytes) => zstdCompressSync(bytes, { pledgedSrcSize: bytes.length })],
    ['zstd of unknown size, through a spool file', foreign],
    [
      'several frames, one of unknown size',
      (bytes) => concatBytes(foreign(bytes.subarray(0, 777)), zstdCompressSync(bytes.subarray(777))),
    ],
  ];
  test.each(wrappings)('%s', async (_, wrap) => {
    const path = written(wrap(UPDATE));
    for (const [name, expected] of [
      ['boot.img', BOOT],
      ['root.img', ROOT],
    ] as const) {
      const image = await openImage(path, name, { scratchFolder });
      expectSame(image, expected);
      image.close();
    }
    expect(readdirSync(scratchFolder)).toEqual([]);
  });

  test('a partition file, whichever image is asked for', async () => {
    const path = join(folder, 'partition-root.tzst');
    await writeTzst(path, ROOT);
    for (const name of ['root.img', 'partition.img', undefined] as const) {
      const image = await openImage(path, name);
      expectSame(image, ROOT);
      image.close();
    }
    await writeTzst(`${path}.again`, ROOT);
    expect(Buffer.compare(readFileSync(path), readFileSync(`${path}.again`))).toBe(0);
  });

  test('itself, raw or compressed', async () => {
    const raw = concatBytes(new Uint8Array(1024), pattern(9));
    for (const bytes of [raw, zstdCompressSync(raw), foreign(raw)]) {
      const image = await openImage(written(bytes), 'boot.img');
      expect(Buffer.compare(image.read(0, image.sizeBytes), raw)).toBe(0);
      image.close();
    }
  });

  test('a spool file that knows its holes', async () => {
    const raw = new Uint8Array(5 << 20);
    raw.set(pattern(11), 3 << 20);
    const image = await openImage(written(foreign(raw)), undefined, { scratchFolder });
    expect(image.sizeBytes).toBe(raw.length);
    const known = image.extents.reduce((sum, { length }) => sum + length, 0);
    expect(known).toBeLessThanOrEqual(24_576);
    expect(Buffer.compare(image.read(0, raw.length), raw)).toBe(0);
    image.close();
  });
});

describe('refusals', () => {
  test('several images and none named', async () => {
    await expectCvmRejection(() => openImage(written(UPDATE)), 'IMAGE_MEMBER_NEEDED', 'usage');
  });

  test('an archive without the image, or with another one alone', async () => {
    const version = collect(writeSparseTar([{ name: 'VERSION.TXT', source: VERSION }]));
    await expectCvmRejection(() => openImage(written(version)), 'IMAGE_MEMBER_MISSING', 'format');
    const boot = collect(writeSparseTar([{ name: 'boot.img', source: BOOT }]));
    await expectCvmRejection(() => openImage(written(boot), 'root.img'), 'IMAGE_MEMBER_MISSING');
    const folderOfThatName = concatBytes(member({ name: 'boot.img/', typeFlag: '5' }), END);
    await expectCvmRejection(() => openImage(written(folderOfThatName), 'boot.img'), 'IMAGE_MEMBER_MISSING');
  });

  test('two images of one name', async () => {
    const twice = collect(
      writeSparseTar([
        { name: 'boot.img', source: BOOT },
        { name: 'old/boot.img', source: BOOT },
      ]),
    );
    await expectCvmRejection(() => openImage(written(twice), 'boot.img'), 'IMAGE_MEMBER_TWICE', 'format');
  });

  test('a truncated archive in every wrapping, with nothing left in the scratch folder', async () => {
    const cut = UPDATE.subarray(0, UPDATE.length - 600);
    await expectCvmRejection(() => openImage(written(cut), 'boot.img'), 'TAR_TRUNCATED', 'format');
    const whole = foreign(UPDATE);
    await expectCvmRejection(
      () => openImage(written(whole.subarray(0, -1)), 'boot.img', { scratchFolder }),
      'ZSTD_TRUNCATED',
      'format',
    );
    const damaged = new Uint8Array(whole);
    damaged.fill(0xff, damaged.length >> 1, (damaged.length >> 1) + 8);
    await expect(openImage(written(damaged), 'boot.img', { scratchFolder })).rejects.toMatchObject({
      kind: 'format',
    });
    expect(readdirSync(scratchFolder)).toEqual([]);
  });

  test('a scratch folder that is not there', async () => {
    await expectCvmRejection(
      () => openImage(written(foreign(UPDATE)), 'boot.img', { scratchFolder: join(folder, 'absent') }),
      'FILE_NOT_FOUND',
      'usage',
    );
  });

  test('no file', async () => {
    await expectCvmRejection(() => openImage(join(folder, 'absent')), 'FILE_NOT_FOUND', 'usage');
  });
});
