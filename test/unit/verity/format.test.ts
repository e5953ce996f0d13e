import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { digestSource } from '../../../tools/bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { digestBlocks, knownDigests } from '../../../tools/verity/block-digest.ts';
import { formatVerity } from '../../../tools/verity/format.ts';
import type { VerityParameters } from '../../../tools/verity/parameters.ts';
import { readVeritySuperblock, writeVeritySuperblock } from '../../../tools/verity/superblock.ts';
import { hashAreaBytes, treeShape } from '../../../tools/verity/tree-shape.ts';
import { expectCvmError } from '../../support/errors.ts';

const BASE: VerityParameters = {
  hashType: 1,
  algorithm: 'sha256',
  dataBlockBytes: 4096,
  hashBlockBytes: 4096,
  dataBlocks: 1,
  salt: new Uint8Array(),
  uuid: hexToBytes('0123456789abcdef0123456789abcdef'),
};
const COUNTING_SALT = Uint8Array.from({ length: 32 }, (_, i) => i);
const GUESTOS_SALT = hexToBytes('89bc06702975f10b41dd53e26eb9aef0adde93bc13d73e8f26b496dddefe2483');

const zeros = (blocks: number): ByteSource => sparseSource(blocks * 4096, []);
const rootOf = (data: ByteSource, more: Partial<VerityParameters> = {}): string =>
  bytesToHex(formatVerity(data, { ...BASE, dataBlocks: data.sizeBytes / 4096, ...more }).rootHash);

describe('vectors of the references', () => {
  test.each([
    [1, 'ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7'],
    [2, '90b10db56173e2e7c847f6ff3ed85a3aebb140bc0064ec9a156ae5b2e71db988'],
    [129, '3e5d285ca1f11edfca6327028471f08b75634ff3361264b88d79ee2e95cacb84'],
  ])('%i zero blocks', (blocks, root) => {
    expect(rootOf(zeros(blocks))).toBe(root);
  });

  test('129 zero blocks with a salt: root hash and hash file', () => {
    const { rootHash, hashArea } = formatVerity(zeros(129), {
      ...BASE,
      dataBlocks: 129,
      salt: COUNTING_SALT,
    });
    expect(bytesToHex(rootHash)).toBe('9a7282df904b2431259deaaa8e86a9a3bc00a44eb5d6353feb2c28cdc696c0e1');
    expect(bytesToHex(digestSource('sha256', hashArea))).toBe(
      '9dd75d8421f0f201fdb8f40a39bcfd11a7f103ba00d4415a7e392c5931d06a40',
    );
  });

  test('two zero blocks and 300 counted blocks with the salt of GuestOS', () => {
    expect(rootOf(zeros(2), { salt: GUESTOS_SALT })).toBe(
      '2cef9b31740847f3377f0ae6479885c3b9920a6c8571ca8a410f6fcc3017ac94',
    );
    const counted = new Uint8Array(300 * 4096).map((_, at) => at >> 12);
    expect(rootOf(sourceFromBytes(counted), { salt: GUESTOS_SALT })).toBe(
      'a1c66a67509bbc919e37c20787ce1d119a09aa67cfcef90566b8b857c47b8270',
    );
  });

  test('3 GiB: 6144, 48 and 1 blocks, and the length of root.img', () => {
    const parameters = { ...BASE, dataBlocks: 786_432, salt: GUESTOS_SALT };
    expect(treeShape(parameters).levels).toEqual([6144, 48, 1]);
    expect(10_603_200_512 + hashAreaBytes(parameters, 10_603_200_512)).toBe(10_628_571_136);
  });

  test('1 GiB: 2048, 16 and 1 blocks', () => {
    expect(treeShape({ ...BASE, dataBlocks: 262_144 }).levels).toEqual([2048, 16, 1]);
  });
});

describe('holes', () => {
  test('blocks outside the extents are never read', () => {
    const piece = new Uint8Array(5000).fill(9);
    const sparse = sparseSource(400 * 4096, [{ offset: 300 * 4096 + 100, source: sourceFromBytes(piece) }]);
    const strict: ByteSource = {
      ...sparse,
      read(offset, length) {
        expect(offset).toBeGreaterThanOrEqual(300 * 4096);
        expect(offset + length).toBeLessThanOrEqual(302 * 4096);
        return sparse.read(offset, length);
      },
    };
    expect(rootOf(strict)).toBe(rootOf(sourceFromBytes(sparse.read(0, sparse.sizeBytes))));
  });

  test('zeros that are stored give the same tree as holes', () => {
    expect(rootOf(sourceFromBytes(new Uint8Array(200 * 4096)))).toBe(rootOf(zeros(200)));
  });

  test('extents that begin and end inside one block make it one block', () => {
    const two = sparseSource(3 * 4096, [
      { offset: 4100, source: sourceFromBytes(Uint8Array.of(1)) },
      { offset: 4200, source: sourceFromBytes(Uint8Array.of(2)) },
    ]);
    expect(rootOf(two)).toBe(rootOf(sourceFromBytes(two.read(0, two.sizeBytes))));
  });

  test('data past the last whole block is not covered', () => {
    const data = sourceFromBytes(new Uint8Array(2 * 4096 + 100).fill(3));
    const whole = sourceFromBytes(new Uint8Array(2 * 4096).fill(3));
    expect(bytesToHex(formatVerity(data, { ...BASE, dataBlocks: 2 }).rootHash)).toBe(rootOf(whole));
  });
});

describe('the superblock', () => {
  test('is read as it was written', () => {
    const parameters: VerityParameters = {
      hashType: 0,
      algorithm: 'sha512',
      dataBlockBytes: 1024,
      hashBlockBytes: 65536,
      dataBlocks: 2 ** 33 + 5,
      salt: new Uint8Array(256).fill(7),
      uuid: BASE.uuid,
    };
    expect(readVeritySuperblock(sourceFromBytes(writeVeritySuperblock(parameters)), 0)).toEqual(parameters);
  });

  test('every flipped bit is refused or read as another value', () => {
    const bytes = writeVeritySuperblock({ ...BASE, salt: COUNTING_SALT, dataBlocks: 129 });
    const before = readVeritySuperblock(sourceFromBytes(bytes), 0);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      let after: unknown;
      try {
        after = readVeritySuperblock(sourceFromBytes(flipped), 0);
      } catch (error) {
        if (!(error instanceof CvmError)) throw error;
        expect(error.kind).toBe('format');
        expect(error.code).toMatch(/^VERITY_(NO_)?SUPERBLOCK$/);
      }
      expect(after).not.toEqual(before);
    }
  });

  test.each([
    ['before its end', 512, 0],
    ['at an offset that is no multiple of 512', 1024, 100],
    ['past the end', 512, 1024],
  ])('is not found in an image that ends %s', (_, size, offset) => {
    const image = sourceFromBytes(new Uint8Array(size).subarray(0, size - 1));
    expectCvmError(() => readVeritySuperblock(image, offset), 'VERITY_NO_SUPERBLOCK', 'format');
  });
});

describe('parameters', () => {
  const cases: readonly (readonly [string, Partial<VerityParameters>])[] = [
    ['a data block of 256 bytes', { dataBlockBytes: 256 }],
    ['a data block of 1 MiB', { dataBlockBytes: 1 << 20 }],
    ['a hash block of 3000 bytes', { hashBlockBytes: 3000 }],
    ['no data', { dataBlocks: 0 }],
    ['half a block', { dataBlocks: 1.5 }],
    ['a salt of 257 bytes', { salt: new Uint8Array(257) }],
    ['a UUID of 15 bytes', { uuid: new Uint8Array(15) }],
  ];
  test.each(cases)('refuses %s', (_, more) => {
    expectCvmError(() => formatVerity(zeros(4), { ...BASE, ...more }), 'VERITY_PARAMETER', 'usage');
  });

  test('refuses to cover more than there is', () => {
    expectCvmError(() => formatVerity(zeros(4), { ...BASE, dataBlocks: 5 }), 'VERITY_DATA_SIZE', 'usage');
  });

  test.each([100, -512, 0.5])('refuses the hash offset %d', (offset) => {
    expectCvmError(
      () => formatVerity(zeros(4), { ...BASE, dataBlocks: 4 }, offset),
      'VERITY_HASH_OFFSET',
      'usage',
    );
  });
});

describe('digests that are known already', () => {
  /** Runs of whole blocks, ascending, not touching, of at most 600 blocks. */
  const anyRuns = fc
    .array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 60 })), { maxLength: 6 })
    .map((pairs) => {
      let at = 0;
      return pairs.map(([gap, count]) => {
        const run = { offset: (at + gap) * 4096, length: count * 4096 };
        at += gap + count;
        return run;
      });
    });

  test('make the tree that reading the data makes, however few come at a time', () => {
    fc.assert(
      fc.property(
        anyRuns,
        fc.integer({ min: 1, max: 700 }),
        fc.integer({ min: 1, max: 9 }),
        (runs, dataBlocks, most) => {
          const content = (offset: number): Uint8Array =>
            new Uint8Array(4096).fill(1 + ((offset / 4096) % 251));
          const blocks = runs.flatMap(({ offset, length }) =>
            Array.from({ length: length / 4096 }, (_, i) => offset + i * 4096),
          );
          const data = sparseSource(
            700 * 4096,
            blocks.map((offset) => ({ offset, source: sourceFromBytes(content(offset)) })),
          );
          const parameters = { ...BASE, dataBlocks, salt: COUNTING_SALT };
          const digests = (first: number, count: number): Uint8Array =>
            digestBlocks(
              { hash },
              concatBytes(...blocks.slice(first, first + Math.min(count, most)).map(content)),
              4096,
              parameters,
            );
          const known = formatVerity(data, parameters, 0, {
            digests: knownDigests(runs, parameters, digests),
          });
          const read = formatVerity(data, parameters);
          expect(bytesToHex(known.rootHash)).toBe(bytesToHex(read.rootHash));
          expect(digestSource('sha256', known.hashArea)).toEqual(digestSource('sha256', read.hashArea));
        },
      ),
      { numRuns: 60, seed: 8 },
    );
  });
});
