import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ByteSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { checkContentSize } from '../../../tools/ext4/content-limit.ts';
import { open, vectorImage, VECTORS } from './image-patch.ts';

/** More than any honest file of the vectors; keeps a flipped size bit from hashing a terabyte of zeros. */
const READ_LIMIT_BYTES = 1 << 20;

/** Extents ascend, do not touch and stay inside, however damaged the image. */
function checkExtents({ extents, sizeBytes }: ByteSource): void {
  let end = -1;
  for (const { offset, length } of extents) {
    if (offset <= end || length <= 0 || offset + length > sizeBytes) throw new Error('extents out of order');
    end = offset + length;
  }
}

/** Opens, lists, maps and reads a little of everything. @returns the error, if any */
function read(image: Uint8Array): unknown {
  try {
    const tree = open(image);
    tree.verifyBitmaps();
    const nodes = [...tree.nodes()];
    checkContentSize(nodes);
    for (const { entry } of nodes) {
      if (entry.type !== 'file') continue;
      checkExtents(entry.content);
      entry.content.read(0, Math.min(entry.content.sizeBytes, READ_LIMIT_BYTES));
    }
    tree.lookup('etc/slow800');
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Where metadata stands: the first blocks hold superblock, descriptors, bitmaps, inode tables and directories. */
const METADATA_BYTES = 3 << 20;

for (const name of VECTORS) {
  test(`damage anywhere in ${name} is read over or refused as a format error, never anything else`, () => {
    const image = vectorImage(name);
    const damage = fc.record({
      at: fc.oneof(fc.nat({ max: 16384 }), fc.nat({ max: METADATA_BYTES })),
      value: fc.oneof(fc.constantFrom(0, 0xff, 0x80, 1), fc.nat({ max: 255 })),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(damage, { minLength: 1, maxLength: 8, selector: ({ at }) => at }),
        (places) => {
          const before = places.map(({ at }) => image[at] ?? 0);
          for (const { at, value } of places) image[at] = value;
          const error = read(image);
          places.forEach(({ at }, i) => (image[at] = before[i] ?? 0));
          if (error !== undefined) {
            expect(error).toBeInstanceOf(CvmError);
            expect((error as CvmError).kind).toBe('format');
          }
        },
      ),
      { numRuns: 60 },
    );
  });
}

test('without checksums, damage in inodes and directories is found by structure alone', () => {
  const image = vectorImage('ext2-1k-i128');
  // The inode table of group 0 and the first directories of the ext2 vector.
  const from = 40 * 1024;
  const to = 600 * 1024;
  const codes = new Set<string>();
  fc.assert(
    fc.property(fc.integer({ min: from, max: to }), fc.nat({ max: 255 }), (at, value) => {
      const before = image[at] ?? 0;
      image[at] = value;
      const error = read(image);
      image[at] = before;
      if (error === undefined) return;
      expect(error).toBeInstanceOf(CvmError);
      codes.add((error as CvmError).code);
    }),
    { numRuns: 150 },
  );
  expect([...codes].every((code) => /^(EXT4_|TEXT_|ACL_)/.test(code))).toBe(true);
});
