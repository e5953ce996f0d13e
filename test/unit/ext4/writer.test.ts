import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { equalBytes, isZero } from '../../../tools/bytes/compare.ts';
import { digestSource } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { openExt4 } from '../../../tools/ext4/reader.ts';
import { writeExt4 } from '../../../tools/ext4/writer.ts';
import {
  anyTree,
  canonical,
  combSource,
  dirEntry,
  EXT4_OPTIONS,
  fileEntry,
  hardlinkEntry,
  linkEntry,
  plain,
} from '../../support/ext4-trees.ts';

const VECTOR_OPTIONS = { ...EXT4_OPTIONS, inodeCount: 64 };
const BIG = { ...EXT4_OPTIONS, sizeBytes: 64 << 20 };

const VECTOR_TREE = [
  fileEntry('hello.txt', utf8Bytes('hello world\n'), {
    uid: 1000,
    gid: 1000,
    mtimeNsec: 123_456_789,
    xattrs: new Map([['security.selinux', utf8Bytes('system_u:object_r:etc_t:s0\0')]]),
  }),
  dirEntry('sub'),
  linkEntry('sub/ln', '../hello.txt'),
];

const sha256 = (source: Parameters<typeof digestSource>[1]): string =>
  bytesToHex(digestSource('sha256', source));

describe('vectors of the reference', () => {
  test('an empty file system', () => {
    expect(sha256(writeExt4([], VECTOR_OPTIONS))).toBe(
      '77c0f0d4962eefb535886f935f05bca77e187fea51be250af036d8907476344b',
    );
  });

  test('a file with a label, a directory and a symlink', () => {
    const image = writeExt4(VECTOR_TREE, VECTOR_OPTIONS);
    expect(sha256(image)).toBe('93fe449554491d7adf6e4ab7c95be269ff123601ebfb5ed5a214eda25e1d6e5e');
    expect(bytesToHex(image.read(1024 + 0x3fc, 4))).toBe('bf13665a');
    expect(bytesToHex(image.read(4096, 64))).toBe(
      `020000000300000004000000f4003200030004000000000037fc6abf32009e06${'00'.repeat(24)}344e150f00000000`,
    );
  });
});

describe('determinism', () => {
  test('the order of the list has no part in the image', () => {
    fc.assert(
      fc.property(
        anyTree.chain((tree) =>
          fc.tuple(fc.constant(tree), fc.shuffledSubarray(tree, { minLength: tree.length })),
        ),
        ([tree, shuffled]) => {
          expect(sha256(writeExt4(shuffled, BIG))).toBe(sha256(writeExt4(tree, BIG)));
        },
      ),
      { numRuns: 30 },
    );
  });

  test('reading in any portions gives the same bytes', () => {
    const image = writeExt4([...VECTOR_TREE, fileEntry('comb', combSource(7))], VECTOR_OPTIONS);
    const whole = image.read(0, image.sizeBytes);
    fc.assert(
      fc.property(fc.nat(image.sizeBytes), fc.nat(20_000), (offset, wanted) => {
        const length = Math.min(wanted, image.sizeBytes - offset);
        expect(bytesToHex(image.read(offset, length))).toBe(
          bytesToHex(whole.subarray(offset, offset + length)),
        );
      }),
    );
  });

  test('holes are those that the source knows, on the grid of blocks; zeros that it stores are stored', () => {
    const known = sparseSource(100_000, [
      { offset: 50_000, source: sourceFromBytes(Uint8Array.of(1)) },
      { offset: 57_344, source: sourceFromBytes(Uint8Array.of(2)) },
      { offset: 61_439, source: sourceFromBytes(Uint8Array.of(3, 4)) },
    ]);
    const extentsOf = (content: ByteSource): unknown => {
      const [, file] = openExt4(writeExt4([fileEntry('f', content)], EXT4_OPTIONS)).entries();
      expect(file?.type === 'file' && bytesToHex(file.content.read(0, 100_000))).toBe(
        bytesToHex(known.read(0, 100_000)),
      );
      return file?.type === 'file' && file.content.extents;
    };
    expect(extentsOf(known)).toEqual([
      { offset: 49_152, length: 4096 },
      { offset: 57_344, length: 8192 },
    ]);
    expect(extentsOf(sourceFromBytes(known.read(0, 100_000)))).toEqual([{ offset: 0, length: 100_000 }]);
  });

  test('the layout does not depend on what contents hold: none is read for it', () => {
    const unread: ByteSource = {
      sizeBytes: 70_000,
      extents: [
        { offset: 0, length: 1 },
        { offset: 20_000, length: 50_000 },
      ],
      read: () => {
        throw new Error('read');
      },
    };
    const image = writeExt4([fileEntry('f', unread)], EXT4_OPTIONS);
    const [, file] = openExt4(image).entries();
    expect(file).toMatchObject({
      content: {
        sizeBytes: 70_000,
        extents: [
          { offset: 0, length: 4096 },
          { offset: 16_384, length: 53_616 },
        ],
      },
    });
    expect(() => file?.type === 'file' && file.content.read(0, 1)).toThrow('read');
  });

  test('what a tree gives for the root and lost+found replaces what is made without it', () => {
    const made = writeExt4([], VECTOR_OPTIONS);
    const given = writeExt4([dirEntry('lost+found', { mode: 0o700 }), dirEntry('')], VECTOR_OPTIONS);
    expect(sha256(given)).toBe(sha256(made));
    const other = writeExt4([dirEntry('', { mode: 0o1777, uid: 7 })], VECTOR_OPTIONS);
    expect(openExt4(other).entries()[0]).toMatchObject({ path: '', mode: 0o1777, uid: 7 });
  });
});

describe('read(write(x)) = x', () => {
  test('for any tree', () => {
    fc.assert(
      fc.property(anyTree, (tree) => {
        const image = openExt4(writeExt4(tree, BIG));
        image.verifyBitmaps();
        expect(image.entries().map(plain)).toEqual(canonical(tree).map(plain));
      }),
      { numRuns: 100 },
    );
  });

  test('for names of an inode in several directories, files in lost+found, and links to links', () => {
    const tree = [
      hardlinkEntry('a/early', 'z'),
      dirEntry('a'),
      hardlinkEntry('b', 'a/early'),
      dirEntry('lost+found', { mode: 0o700 }),
      hardlinkEntry('lost+found/saved', 'b'),
      dirEntry('lost+found/dir'),
      fileEntry('lost+found/dir/f', utf8Bytes('x')),
      fileEntry('z', utf8Bytes('content')),
    ];
    expect(openExt4(writeExt4(tree, EXT4_OPTIONS)).entries().map(plain)).toEqual(canonical(tree).map(plain));
  });

  test.each([0, 1, 4, 5, 340, 341, 1360, 1361, 4000])('for a file of %i extents', (count) => {
    const content = combSource(count);
    const image = openExt4(writeExt4([fileEntry('comb', content)], BIG));
    const entry = image.lookup('comb');
    if (entry?.type !== 'file') throw new Error('not found');
    expect(sha256(entry.content)).toBe(sha256(content));
    expect(entry.content.extents).toHaveLength(count);
  });

  test('for a file that goes over the tables of three groups', () => {
    const sizeBytes = 300 << 20;
    const content: ByteSource = {
      sizeBytes,
      extents: [{ offset: 0, length: sizeBytes }],
      read: (offset, length) => new Uint8Array(length).fill(1 + ((offset >> 20) % 255)),
    };
    const image = openExt4(writeExt4([fileEntry('f', content)], { ...EXT4_OPTIONS, sizeBytes: 400 << 20 }));
    const entry = image.lookup('f');
    if (entry?.type !== 'file') throw new Error('not found');
    for (let at = 0; at < sizeBytes; at += 1 << 20) {
      expect(equalBytes(entry.content.read(at, 1 << 20), content.read(at, 1 << 20)), `${at}`).toBe(true);
    }
  });

  test('for times at the edges, and the nearest ones for times outside', () => {
    const times = [-(2 ** 31), -5, 0, 2 ** 31, 2 ** 32 + 1, 15_032_385_535];
    const tree = times.map((mtimeSec, i) => fileEntry(`f${i}`, new Uint8Array(), { mtimeSec, mtimeNsec: 7 }));
    const read = openExt4(
      writeExt4(
        [
          ...tree,
          fileEntry('before', new Uint8Array(), { mtimeSec: -(2 ** 31) - 1, mtimeNsec: 7 }),
          fileEntry('later', new Uint8Array(), { mtimeSec: 2 ** 40, mtimeNsec: 7 }),
        ],
        EXT4_OPTIONS,
      ),
    );
    times.forEach((mtimeSec, i) => {
      expect(read.lookup(`f${i}`)).toMatchObject({ mtimeSec, mtimeNsec: 7 });
    });
    expect(read.lookup('before')).toMatchObject({ mtimeSec: -(2 ** 31), mtimeNsec: 0 });
    expect(read.lookup('later')).toMatchObject({ mtimeSec: 15_032_385_535, mtimeNsec: 0 });
  });

  test.each([2, 3, 2000, 60_000])('for a directory of %i long names', (count) => {
    const tree = Array.from({ length: count }, (_, i) => fileEntry(`${'n'.repeat(200)}-${i}`));
    const image = openExt4(writeExt4(tree, { ...EXT4_OPTIONS, sizeBytes: 256 << 20 }));
    expect(image.entries().map(({ path }) => path)).toEqual(canonical(tree).map(({ path }) => path));
  });
});

describe('what holds nothing is zero', () => {
  test('free blocks, unused slots, padding behind superblock, descriptors and the file system', () => {
    const options = { ...EXT4_OPTIONS, sizeBytes: (130 << 20) + 12_345, inodeCount: 4096 };
    const image = writeExt4(VECTOR_TREE, options);
    expect(isZero(image.read(0, 1024))).toBe(true);
    expect(isZero(image.read(2048, 2048))).toBe(true);
    const block = (n: number): Uint8Array => image.read(n * 4096, 4096);
    for (const start of [0, 32768]) {
      const inodesPerGroup = 2048;
      expect(isZero(block(start + 1).subarray(2 * 64))).toBe(true);
      const table = start + 4;
      const usedSlots = start === 0 ? 14 : 0;
      const slots = image.read(table * 4096 + usedSlots * 256, (inodesPerGroup - usedSlots) * 256);
      expect(isZero(slots)).toBe(true);
      const bitmap = block(start + 2);
      const end = Math.min(start + 32768, 33282);
      for (let n = start; n < end; n++) {
        const isFree = ((bitmap[(n - start) >> 3] ?? 0) & (1 << ((n - start) & 7))) === 0;
        if (isFree) expect(isZero(block(n)), `block ${n}`).toBe(true);
      }
    }
    expect(isZero(image.read(33280 * 4096, options.sizeBytes - 33280 * 4096))).toBe(true);
  });

  test('an image of 3 GiB with a small tree names less than a megabyte of data', () => {
    const image = writeExt4(VECTOR_TREE, { ...EXT4_OPTIONS, sizeBytes: 3 * 1024 ** 3 });
    const data = image.extents.reduce((sum, { length }) => sum + length, 0);
    expect(data).toBeLessThan(1 << 20);
  });
});

describe('sizes', () => {
  test.each([64 << 10, 1 << 20, (128 << 20) + 4096, (128 << 20) + (4 << 20), 300 << 20, 10 * 1024 ** 3])(
    'an image of %i bytes can be read back',
    (sizeBytes) => {
      const written = writeExt4(VECTOR_TREE, { ...EXT4_OPTIONS, sizeBytes, inodeCount: 64 });
      expect(written.sizeBytes).toBe(sizeBytes);
      const image = openExt4(written);
      image.verifyBitmaps();
      expect(image.entries()).toHaveLength(5);
    },
  );
});
