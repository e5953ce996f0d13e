import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes, sparseSource, type ByteSource, type Extent } from '../../../tools/bytes/source.ts';
import { dataRuns } from '../../../tools/bytes/zero-blocks.ts';
import { openImage } from '../../../tools/commands/image-files.ts';
import { writePartition, type PartitionPlan } from '../../../tools/commands/partition-writer.ts';
import { SliceThreads } from '../../../tools/commands/slice-threads.ts';
import { CvmError } from '../../../tools/errors.ts';
import { writeExt4, type Ext4Options } from '../../../tools/ext4/writer.ts';
import { ROOT_VERITY } from '../../../tools/guestos/partitions.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import { formatVerity } from '../../../tools/verity/format.ts';
import type { VerityParameters } from '../../../tools/verity/parameters.ts';
import { hashAreaBytes } from '../../../tools/verity/tree-shape.ts';
import { SLICE_BYTES } from '../../../tools/zstd/compress.ts';
import { walkFrames } from '../../../tools/zstd/frames.ts';
import { zstdSource } from '../../../tools/zstd/source.ts';
import { dirEntry, EXT4_OPTIONS, fileEntry, linkEntry } from '../../support/ext4-trees.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import { noise } from '../../support/noise.ts';

const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'partition-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const SIZE = 24 << 20;
const EXT4 = { ...EXT4_OPTIONS, sizeBytes: SIZE };

/** Every kind of content that the engine treats by itself. */
const TREE: readonly TreeEntry[] = [
  fileEntry('empty'),
  fileEntry('one-byte', Uint8Array.of(1)),
  fileEntry('zeros', new Uint8Array(50_000)),
  fileEntry('odd', noise(70_001)),
  fileEntry('batches', noise((4 << 20) + 12_345, 2)),
  fileEntry('exactly-one-batch', noise(4 << 20, 3)),
  fileEntry(
    'holes',
    sparseSource(3_000_000, [
      { offset: 700, source: sourceFromBytes(noise(10)) },
      { offset: 5000, source: sourceFromBytes(noise(3)) },
      { offset: 1_000_000, source: sourceFromBytes(noise(9000)) },
    ]),
  ),
  fileEntry(
    'sectors',
    Uint8Array.from({ length: 65_536 }, (_, i) => (Math.floor(i / 512) % 3 === 0 ? 1 : 0)),
  ),
  linkEntry('long', 'l'.repeat(700)),
  dirEntry('many'),
  ...Array.from({ length: 300 }, (_, i) => fileEntry(`many/file-${i}`, noise(i * 7, i + 9))),
];

/** Of the file 'holes': the blocks of its pieces, two of which share none. */
const HOLES_READ = [
  { offset: 0, length: 8192 },
  { offset: 999_424, length: 12_288 },
];

function write(output: string, entries: readonly TreeEntry[], plan: PartitionPlan) {
  const open = () => Promise.resolve({ entries, close: () => undefined });
  return writePartition(output, { inputBytes: 0, open }, plan);
}

const verity = (over: Partial<VerityParameters> = {}): VerityParameters => ({
  ...ROOT_VERITY,
  dataBlocks: SIZE / 4096,
  ...over,
});

/** What the parts make one after the other. */
function inParts(parameters: VerityParameters | undefined, offset: number) {
  const image = writeExt4(TREE, EXT4);
  if (parameters === undefined) return { image, rootHash: undefined };
  const { rootHash, hashArea } = formatVerity(image, parameters, offset);
  const whole = sparseSource(offset + hashArea.sizeBytes, [
    { offset: 0, source: image },
    { offset, source: hashArea },
  ]);
  return { image: whole, rootHash };
}

describe('one pass makes the image that the parts make one after the other', () => {
  for (const [what, parameters, offset] of [
    ['without a hash tree', undefined, 0],
    ['with one right behind', verity(), SIZE],
    ['with one far behind', verity(), 3 * 2 ** 30 + 512],
    ['of sha512 without salt', verity({ algorithm: 'sha512', salt: new Uint8Array() }), SIZE],
    ['of hash type 0', verity({ hashType: 0 }), SIZE],
    ['over part of it', verity({ dataBlocks: 1000 }), SIZE],
  ] as const) {
    test(`${what}, with the same bytes from any number of threads`, async () => {
      const parts = inParts(parameters, offset);
      const verityPlan = parameters === undefined ? {} : { verity: { parameters, hashOffset: offset } };
      const made: Buffer[] = [];
      for (const jobs of [1, 2, 5]) {
        const path = join(folder, `whole-${jobs}`);
        const rootHash = await write(path, TREE, { ext4: EXT4, jobs, ...verityPlan });
        expect(rootHash && bytesToHex(rootHash)).toBe(parts.rootHash && bytesToHex(parts.rootHash));
        made.push(readFileSync(path));
      }
      expect(made.map((bytes) => bytes.equals(made[0] as Buffer))).toEqual([true, true, true]);
      const opened = await openImage(join(folder, 'whole-1'));
      expect(opened.sizeBytes).toBe(parts.image.sizeBytes);
      expect([...dataRuns(opened, 512)]).toEqual([...dataRuns(parts.image, 512)]);
      expect(digestOfData(opened)).toBe(digestOfData(parts.image));
      opened.close();
    });
  }

  test('a file system that is full to its end and the hash tree behind it are one piece of the map', async () => {
    // Where nothing is free, the last block is stored: that of a group that a file fills.
    const sizeBytes = 1 << 20;
    const ext4 = { ...EXT4_OPTIONS, sizeBytes, inodeCount: 32 };
    const room = await freeBlocks(ext4);
    const entries = [fileEntry('f', noise(room * 4096))];
    const last = writeExt4(entries, ext4).extents.at(-1) as Extent;
    expect(last.offset + last.length).toBe(sizeBytes);
    const parameters = verity({ dataBlocks: sizeBytes / 4096 });
    const path = join(folder, 'full');
    await write(path, entries, { ext4, verity: { parameters, hashOffset: sizeBytes } });
    const header = zstdSource(sourceFromBytes(readFileSync(path)))?.read(0, 512) as Uint8Array;
    const numbers = Array.from({ length: 8 }, (_, i) =>
      Number.parseInt(Buffer.from(header.subarray(386 + 12 * i, 398 + 12 * i)).toString('latin1') || '0', 8),
    ).filter((number) => !Number.isNaN(number));
    expect(numbers.slice(-2)).toEqual([last.offset, last.length + hashAreaBytes(parameters, sizeBytes)]);
  });

  test('frames begin where the map ends and where the hash tree begins', async () => {
    const plan = { ext4: EXT4, verity: { parameters: verity(), hashOffset: SIZE } };
    await write(join(folder, 'frames'), TREE, plan);
    const frames = [...walkFrames(sourceFromBytes(readFileSync(join(folder, 'frames'))))];
    const stored = (source: ByteSource): number => {
      const blocks = new Set<number>();
      for (const { offset, length } of source.extents)
        for (let at = offset; at < offset + length; at += 4096 - (at % 4096))
          blocks.add(Math.floor(at / 4096));
      return blocks.size * 4096;
    };
    const data = stored(writeExt4(TREE, EXT4));
    const [map, ...others] = frames.map(({ contentBytes }) => contentBytes as number);
    expect((map as number) % 512).toBe(0);
    const slices = Array.from({ length: Math.ceil(data / SLICE_BYTES) }, (_, i) =>
      Math.min(SLICE_BYTES, data - i * SLICE_BYTES),
    );
    expect(others).toEqual([...slices, hashAreaBytes(verity(), SIZE) + 1024]);
  });
});

/** Blocks that a tree of one file may fill. */
async function freeBlocks(ext4: Ext4Options): Promise<number> {
  const full = [
    fileEntry('f', sparseSource(2 ** 32, [{ offset: 0, source: sourceFromBytes(noise(ext4.sizeBytes)) }])),
  ];
  const error = await Promise.resolve()
    .then(() => writeExt4(full, ext4))
    .catch((thrown: unknown) => thrown);
  const missing = Number(/^([0-9]+) blocks$/.exec(String((error as CvmError).facts[2]?.[1]))?.[1]);
  return ext4.sizeBytes / 4096 - missing;
}

/** Of what is stored, with its places: most of an image is a hole. */
function digestOfData(source: ByteSource): string {
  const digest = createHash('sha256');
  for (const { offset, length } of dataRuns(source, 4096))
    digest.update(`${offset} ${length}\n`).update(source.read(offset, length));
  return digest.digest('hex');
}

/** A source that keeps what was read of it. */
function watched(source: ByteSource): { readonly source: ByteSource; readonly reads: Extent[] } {
  const reads: Extent[] = [];
  const read = (offset: number, length: number): Uint8Array => {
    reads.push({ offset, length });
    return source.read(offset, length);
  };
  return { source: { sizeBytes: source.sizeBytes, extents: source.extents, read }, reads };
}

describe('one pass', () => {
  for (const jobs of [1, 2]) {
    test(`reads every byte of a content once and in order, and no holes, with ${jobs} jobs`, async () => {
      const contents = TREE.flatMap((entry) =>
        entry.type === 'file' ? [{ entry, ...watched(entry.content) }] : [],
      );
      const others = TREE.filter(({ type }) => type !== 'file');
      const entries = [...others, ...contents.map(({ entry, source }) => ({ ...entry, content: source }))];
      const plan = { ext4: EXT4, jobs, verity: { parameters: verity(), hashOffset: SIZE } };
      await write(join(folder, 'once'), entries, plan);
      for (const { entry, reads, source } of contents) {
        const merged: Extent[] = [];
        for (const { offset, length } of reads) {
          const last = merged.at(-1);
          if (last !== undefined && last.offset + last.length === offset)
            merged[merged.length - 1] = { offset: last.offset, length: last.length + length };
          else merged.push({ offset, length });
        }
        const blocks = source.extents.map(({ offset, length }) => {
          const from = offset - (offset % 4096);
          const end = Math.min(source.sizeBytes, Math.ceil((offset + length) / 4096) * 4096);
          return { offset: from, length: end - from };
        });
        expect(merged, entry.path).toEqual(entry.path === 'holes' ? HOLES_READ : blocks);
      }
    });
  }

  test('takes no more memory in slices than there are threads for, and two', async () => {
    const threads = new SliceThreads(2);
    const taken = Array.from({ length: threads.slices }, () => threads.takeBuffer());
    expect(threads.slices).toBe(4);
    expectCvmError(() => threads.takeBuffer(), 'INTERNAL', 'bug');
    threads.release(taken[0] as Uint8Array);
    expect(threads.takeBuffer().buffer).toBe(taken[0]?.buffer);
    await threads.close();
  });
});

describe('what goes wrong while a thread packs', () => {
  const plan = { ext4: EXT4, jobs: 2 };

  test('a full disk is an error of the output', async () => {
    await expectCvmRejection(() => write('/dev/full', TREE, plan), 'FILE_ACCESS', 'usage');
  });

  test('an error of a content is that error, and no file is left', async () => {
    const base = sourceFromBytes(noise(9000));
    const broken: ByteSource = {
      ...base,
      read() {
        throw new CvmError('format', 'SOURCE_BROKE', 'broken');
      },
    };
    const target = mkdtempSync(join(folder, 'broken-'));
    const entries = [...TREE.filter(({ path }) => path < 'z'), fileEntry('z', broken)];
    await expectCvmRejection(() => write(join(target, 'out'), entries, plan), 'SOURCE_BROKE');
    expect(readdirSync(target)).toEqual([]);
  });
});

test('a hash tree inside the file system is refused, and nothing is written', async () => {
  const plan = { ext4: EXT4, verity: { parameters: verity(), hashOffset: SIZE - 4096 } };
  const error = await write(join(folder, 'none'), TREE, plan).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'VERITY_OVERLAP', kind: 'usage' });
  expect(() => readFileSync(join(folder, 'none'))).toThrow();
});

test.each([
  ['off the grid', verity(), SIZE + 1, 'VERITY_HASH_OFFSET'],
  ['over smaller blocks', verity({ dataBlockBytes: 1024 }), SIZE, 'INTERNAL'],
  ['over more than there is', verity({ dataBlocks: SIZE / 4096 + 1 }), SIZE, 'VERITY_DATA_SIZE'],
] as const)('a hash tree %s is refused before anything is read', async (_, parameters, hashOffset, code) => {
  const { source, reads } = watched(sourceFromBytes(noise(9000)));
  const plan = { ext4: EXT4, jobs: 1, verity: { parameters, hashOffset } };
  await expectCvmRejection(() => write(join(folder, 'none'), [fileEntry('f', source)], plan), code);
  expect(reads).toEqual([]);
});

test('what a content throws comes through, with threads and without, and nothing is written', async () => {
  const broken: ByteSource = {
    sizeBytes: 1 << 20,
    extents: [{ offset: 0, length: 1 << 20 }],
    read() {
      throw new Error('the disk is gone');
    },
  };
  for (const jobs of [1, 3]) {
    const writing = write(join(folder, 'none'), [fileEntry('f', broken)], { ext4: EXT4, jobs });
    await expect(writing).rejects.toThrow('the disk is gone');
    expect(() => readFileSync(join(folder, 'none'))).toThrow();
  }
});
