import fc from 'fast-check';
import { expect, test } from 'vitest';
import { expectRefusal, open, Patch, readEverything, vectorListing } from './image-patch.ts';
import { readU32, writeU16 } from '../../../tools/bytes/little-endian.ts';
import { oldDescriptorChecksum } from '../../../tools/ext4/checksum.ts';
import { GD, INODE, RO_COMPAT, SB } from '../../../tools/ext4/layout.ts';

/** Every place of the default vector that a checksum covers. */
const COVERED: readonly {
  readonly what: string;
  readonly code: string;
  readonly place: (patch: Patch) => Uint8Array;
  /** A byte of the place that says how its checksum is computed. */
  readonly except?: number;
}[] = [
  {
    what: 'the superblock',
    code: 'EXT4_SUPERBLOCK_CHECKSUM',
    place: (patch) => patch.superblock.subarray(0x78),
    except: SB.checksumType - 0x78,
  },
  { what: 'a group descriptor', code: 'EXT4_DESCRIPTOR_CHECKSUM', place: (patch) => patch.descriptor(0) },
  {
    what: 'the block bitmap',
    code: 'EXT4_BLOCK_BITMAP_CHECKSUM',
    place: (patch) => patch.block(readU32(patch.descriptor(0), GD.blockBitmapLow)),
  },
  {
    what: 'the inode bitmap, as far as the group has inodes',
    code: 'EXT4_INODE_BITMAP_CHECKSUM',
    place: (patch) => patch.block(readU32(patch.descriptor(0), GD.inodeBitmapLow)).subarray(0, 1024),
  },
  {
    what: 'an inode slot',
    code: 'EXT4_INODE_CHECKSUM',
    place: (patch) => patch.slot(patch.inodeNumber('/etc/numbers.txt')),
  },
  {
    what: 'a directory block, behind the records',
    code: 'EXT4_DIRECTORY_CHECKSUM',
    place: (patch) => patch.block(patch.firstBlock(patch.inodeNumber('/empty-dir'))).subarray(4084 + 8),
  },
  {
    what: 'an extent tree block',
    code: 'EXT4_EXTENT_CHECKSUM',
    place: (patch) => {
      const slot = patch.slot(patch.inodeNumber('/etc/sparse-holes'));
      return patch.block(readU32(slot, INODE.blockArea + 12 + 4)).subarray(12, 12 + 340 * 12 + 4);
    },
  },
];

for (const { what, code, place, except } of COVERED) {
  test(`any flipped bit of ${what} gives ${code}`, () => {
    const patch = new Patch('default-4k');
    const bytes = place(patch);
    expect(bytes.length).toBeGreaterThan(0);
    fc.assert(
      fc.property(fc.nat({ max: bytes.length * 8 - 1 }), (bit) => {
        const at = bit >> 3;
        fc.pre(at !== except);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
        try {
          expectRefusal(code, () => readEverything(patch.bytes));
        } finally {
          bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
        }
      }),
      { numRuns: 25 },
    );
  });
}

test('a superblock whose checksum is of another type is refused', () => {
  const patch = new Patch('default-4k');
  for (const type of [0, 2, 3, 0x81]) {
    patch.superblock[SB.checksumType] = type;
    expectRefusal('EXT4_SUPERBLOCK', () => readEverything(patch.bytes));
  }
});

test('an attribute block is checked together with its own place', () => {
  const patch = withXattrBlock();
  expect(open(patch.bytes).lookup('etc/numbers.txt')?.xattrs.get('user.a')).toEqual(Uint8Array.of(7, 8, 9));
  const block = patch.block(readU32(patch.slot(patch.inodeNumber('/etc/numbers.txt')), INODE.xattrBlockLow));
  block[2000] = 1;
  expectRefusal('EXT4_XATTR_CHECKSUM', () => readEverything(patch.bytes));
});

test('with uninit_bg descriptors carry a CRC-16 over their group number too: two of them cannot change places', () => {
  const patch = new Patch('ext2-1k-i128');
  patch.superblock[SB.featureRoCompat] = (patch.superblock[SB.featureRoCompat] ?? 0) | RO_COMPAT.gdtChecksum;
  expectRefusal('EXT4_DESCRIPTOR_CHECKSUM', () => open(patch.bytes));
  const uuid = patch.superblock.subarray(SB.uuid, SB.uuid + 16);
  for (const group of [0, 1]) {
    const bytes = patch.descriptor(group);
    writeU16(bytes, GD.checksum, oldDescriptorChecksum(uuid, group, bytes));
  }
  expect(readEverything(patch.bytes)).toBe(vectorListing('ext2-1k-i128'));
  const first = patch.descriptor(0).slice();
  patch.descriptor(0).set(patch.descriptor(1));
  patch.descriptor(1).set(first);
  expectRefusal('EXT4_DESCRIPTOR_CHECKSUM', () => open(patch.bytes));
});

test('without checksum features damage is found by what it means', () => {
  const patch = new Patch('ext2-1k-i128');
  writeU16(patch.slot(patch.inodeNumber('/etc/hello.txt')), INODE.mode, 0x3000);
  expectRefusal('EXT4_INODE_TYPE', () => readEverything(patch.bytes));
});

test('a checksum type that does not exist is refused, though the checksum is right', () => {
  const patch = new Patch('default-4k');
  patch.superblock[SB.checksumType] = 2;
  patch.sealSuperblock();
  expectRefusal('EXT4_SUPERBLOCK', () => open(patch.bytes));
});

/** The default vector with an attribute block for /etc/numbers.txt, which had none. */
function withXattrBlock(): Patch {
  const patch = new Patch('default-4k');
  const inode = patch.inodeNumber('/etc/numbers.txt');
  const free = 8000;
  const block = patch.block(free);
  block.set([0, 0, 2, 0xea, 1, 0, 0, 0, 1, 0, 0, 0]);
  block.set([1, 1, 4092 & 0xff, 4092 >> 8, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0x61], 32);
  block.set([7, 8, 9], 4092);
  patch.sealXattrBlock(free);
  patch.slot(inode).set([free & 0xff, free >> 8, 0, 0], INODE.xattrBlockLow);
  patch.sealInode(inode);
  return patch;
}
