import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { dataRuns } from '../../../tools/bytes/zero-blocks.ts';
import { writeTzst } from '../../../tools/commands/image-files.ts';
import { writePartition } from '../../../tools/commands/partition-writer.ts';
import { CvmError } from '../../../tools/errors.ts';
import { planExt4, writeExt4 } from '../../../tools/ext4/writer.ts';
import { ROOT_VERITY } from '../../../tools/guestos/partitions.ts';
import { scanBlocks } from '../../../tools/partition/block-scan.ts';
import { ContentIndex } from '../../../tools/partition/content-index.ts';
import { sectorRuns } from '../../../tools/partition/image-scan.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import { blockDigest } from '../../../tools/verity/block-digest.ts';
import { formatVerity } from '../../../tools/verity/format.ts';
import type { VerityParameters } from '../../../tools/verity/parameters.ts';
import { anyTree, dirEntry, EXT4_OPTIONS, fileEntry, linkEntry } from '../../support/ext4-trees.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';

const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'partition-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const SIZE = 24 << 20;
const EXT4 = { ...EXT4_OPTIONS, sizeBytes: SIZE };

/** Bytes without a pattern that an encoder would find, from a seed. */
function noise(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

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

const verity = (over: Partial<VerityParameters> = {}): VerityParameters => ({
  ...ROOT_VERITY,
  dataBlocks: SIZE / 4096,
  ...over,
});

/** What the parts make one after the other. */
async function inParts(
  entries: readonly TreeEntry[],
  parameters: VerityParameters | undefined,
  offset: number,
) {
  const image = writeExt4(entries, EXT4);
  if (parameters === undefined) {
    await writeTzst(join(folder, 'parts'), image);
    return { bytes: readFileSync(join(folder, 'parts')), rootHash: undefined };
  }
  const { rootHash, hashArea } = formatVerity(image, parameters, offset);
  const whole = sparseSource(offset + hashArea.sizeBytes, [
    { offset: 0, source: image },
    { offset, source: hashArea },
  ]);
  await writeTzst(join(folder, 'parts'), whole);
  return { bytes: readFileSync(join(folder, 'parts')), rootHash };
}

describe('one pass makes the bytes that the parts make one after the other', () => {
  for (const [what, parameters, offset] of [
    ['without a hash tree', undefined, 0],
    ['with one right behind', verity(), SIZE],
    ['with one far behind', verity(), 3 * 2 ** 30 + 512],
    ['of sha512 without salt', verity({ algorithm: 'sha512', salt: new Uint8Array() }), SIZE],
    ['over part of it', verity({ dataBlocks: 1000 }), SIZE],
  ] as const) {
    for (const jobs of [1, 2, 5]) {
      test(`${what}, ${jobs} jobs`, async () => {
        const parts = await inParts(TREE, parameters, offset);
        const plan = {
          ext4: EXT4,
          jobs,
          ...(parameters === undefined ? {} : { verity: { parameters, hashOffset: offset } }),
        };
        const rootHash = await writePartition(join(folder, 'whole'), TREE, plan);
        expect(rootHash && bytesToHex(rootHash)).toBe(parts.rootHash && bytesToHex(parts.rootHash));
        expect(readFileSync(join(folder, 'whole')).equals(parts.bytes)).toBe(true);
      });
    }
  }
});

describe('what goes wrong while a thread packs', () => {
  const plan = { ext4: EXT4, jobs: 2 };

  test('a full disk is an error of the output', async () => {
    await expectCvmRejection(() => writePartition('/dev/full', TREE, plan), 'FILE_ACCESS', 'usage');
  });

  test('an error of a content is that error, and no file is left', async () => {
    const base = sourceFromBytes(noise(9000));
    let reads = 0;
    const broken: ByteSource = {
      ...base,
      read(offset, length) {
        // Once to be looked at, once to be compressed.
        if (++reads > 1) throw new CvmError('format', 'SOURCE_BROKE', 'broken');
        return base.read(offset, length);
      },
    };
    const target = mkdtempSync(join(folder, 'broken-'));
    const entries = [...TREE.filter(({ path }) => path < 'z'), fileEntry('z', broken)];
    await expectCvmRejection(() => writePartition(join(target, 'out'), entries, plan), 'SOURCE_BROKE');
    expect(readdirSync(target)).toEqual([]);
  });
});

test('a hash tree inside the file system is refused, and nothing is written', async () => {
  const plan = { ext4: EXT4, verity: { parameters: verity(), hashOffset: SIZE - 4096 } };
  const error = await writePartition(join(folder, 'none'), TREE, plan).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'VERITY_OVERLAP', kind: 'usage' });
  expect(() => readFileSync(join(folder, 'none'))).toThrow();
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
    const write = writePartition(join(folder, 'none'), [fileEntry('f', broken)], { ext4: EXT4, jobs });
    await expect(write).rejects.toThrow('the disk is gone');
    expect(() => readFileSync(join(folder, 'none'))).toThrow();
  }
});

function indexOf(entries: readonly TreeEntry[]): ContentIndex {
  const kept: Uint8Array[] = [];
  const store = {
    append: (bytes: Uint8Array) => kept.push(bytes) - 1,
    read: (at: number, length: number) => (kept[at] as Uint8Array).subarray(0, length),
  };
  const index = new ContentIndex(store, 32);
  const contents = entries.flatMap((entry) => (entry.type === 'file' ? [entry.content] : []));
  for (const { index: number, bytes } of index.batches(contents, () => new Uint8Array(4 << 20))) {
    index.add(number, scanBlocks(bytes, ROOT_VERITY));
  }
  return index;
}

describe('the index of contents', () => {
  test('knows the zeros of any tree as reading it would find them', () => {
    fc.assert(
      fc.property(anyTree, (entries) => {
        const index = indexOf(entries);
        for (const entry of entries) {
          if (entry.type !== 'file') continue;
          expect([...index.runs(entry.content)]).toEqual([...dataRuns(entry.content, 4096)]);
        }
        const { image, pieces } = planExt4(entries, EXT4, (content) => index.runs(content));
        expect(sectorRuns(pieces, index)).toEqual([...dataRuns(image, 512)]);
      }),
      { numRuns: 60, seed: 5 },
    );
  });

  test('knows the digest of every block', () => {
    const index = indexOf(TREE);
    const digest = blockDigest(ROOT_VERITY, 4096);
    for (const entry of TREE) {
      if (entry.type !== 'file') continue;
      for (const { offset, length } of index.runs(entry.content)) {
        const blocks = Math.ceil(length / 4096);
        for (let done = 0; done < blocks;) {
          const digests = index.digests(entry.content, offset / 4096 + done, blocks - done);
          expect(digests.length).toBeGreaterThan(0);
          for (let i = 0; i < digests.length / 32; i++, done++) {
            const at = offset + done * 4096;
            const block = new Uint8Array(4096);
            block.set(entry.content.read(at, Math.min(4096, entry.content.sizeBytes - at)));
            expect(bytesToHex(digests.subarray(32 * i, 32 * i + 32))).toBe(bytesToHex(digest(block)));
          }
          expect(done).toBeLessThanOrEqual(blocks);
        }
      }
    }
  });

  test('a block that was not looked at is a bug, not a zero', () => {
    const index = indexOf([]);
    expectCvmError(() => [...index.runs(sourceFromBytes(noise(10)))], 'INTERNAL', 'bug');
  });
});
