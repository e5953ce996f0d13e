import { expect, test } from 'vitest';
import { readU32, writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { checkContentSize } from '../../../tools/ext4/content-limit.ts';
import { INODE } from '../../../tools/ext4/layout.ts';
import { expectRefusal, open, Patch, readEverything } from './image-patch.ts';

/** Reads all contents and all extents. */
function readAllWays(image: Uint8Array): void {
  for (const entry of open(image).entries())
    if (entry.type === 'file') entry.content.extents.forEach(() => undefined);
  readEverything(image);
}

const ROOT = INODE.blockArea;
const FIRST = INODE.blockArea + 12;

const EXTENT_ROOTS: readonly (readonly [what: string, change: (slot: Uint8Array) => void])[] = [
  ['another magic', (slot) => writeU16(slot, ROOT, 0xf30b)],
  ['more entries than fit the inode', (slot) => slot.set([5, 0, 5, 0], ROOT + 2)],
  ['more entries than it has room for', (slot) => writeU16(slot, ROOT + 2, 5)],
  ['no room', (slot) => slot.set([0, 0, 0, 0], ROOT + 2)],
  ['depth 6', (slot) => writeU16(slot, ROOT + 6, 6)],
  ['an extent of length 0', (slot) => writeU16(slot, FIRST + 4, 0)],
  ['an extent past the end of the file system', (slot) => writeU32(slot, FIRST + 8, 8191)],
  ['an extent far past it', (slot) => writeU16(slot, FIRST + 6, 0xffff)],
  ['an extent at block 0, where the superblock is', (slot) => writeU32(slot, FIRST + 8, 0)],
  ['an extent that ends past the last file block', (slot) => writeU32(slot, FIRST, 0xffffffff)],
  [
    'overlapping extents',
    (slot) => {
      writeU16(slot, ROOT + 2, 2);
      slot.set(slot.slice(FIRST, FIRST + 12), FIRST + 12);
    },
  ],
  [
    'descending extents',
    (slot) => {
      writeU16(slot, ROOT + 2, 2);
      slot.set(slot.slice(FIRST, FIRST + 12), FIRST + 12);
      writeU32(slot, FIRST, 1000);
    },
  ],
];

for (const [what, change] of EXTENT_ROOTS) {
  test(`rejects an extent tree with ${what}, though the inode's checksum is right`, () => {
    const patch = new Patch('default-4k');
    const inode = patch.inodeNumber('/etc/numbers.txt');
    change(patch.slot(inode));
    patch.sealInode(inode);
    expectRefusal('EXT4_EXTENT_TREE', () => readAllWays(patch.bytes));
  });
}

/** /etc/sparse-holes has a tree of depth 1: one index entry in the inode, 12 extents in a block. */
function treeOfDepthOne(): {
  patch: Patch;
  inode: number;
  slot: Uint8Array;
  blockNumber: number;
  block: Uint8Array;
} {
  const patch = new Patch('default-4k');
  const inode = patch.inodeNumber('/etc/sparse-holes');
  const slot = patch.slot(inode);
  const blockNumber = readU32(slot, FIRST + 4);
  return { patch, inode, slot, blockNumber, block: patch.block(blockNumber) };
}

test('rejects an extent index that leads to itself: depth must fall', () => {
  const { patch, inode, blockNumber, block } = treeOfDepthOne();
  writeU16(block, 6, 1);
  writeU32(block, 12 + 4, blockNumber);
  patch.sealExtentBlock(inode, blockNumber);
  expectRefusal('EXT4_EXTENT_TREE', () => readAllWays(patch.bytes));
});

test('rejects an extent block that speaks about file blocks before its index entry', () => {
  const { patch, inode, slot } = treeOfDepthOne();
  writeU32(slot, FIRST, 1);
  patch.sealInode(inode);
  expectRefusal('EXT4_EXTENT_TREE', () => readAllWays(patch.bytes));
});

test('rejects an extent block outside the file system', () => {
  const { patch, inode, slot } = treeOfDepthOne();
  writeU32(slot, FIRST + 4, 8192);
  patch.sealInode(inode);
  expectRefusal('EXT4_BLOCK_BOUNDS', () => readAllWays(patch.bytes));
});

test('rejects an index node without entries', () => {
  const { patch, inode, slot } = treeOfDepthOne();
  writeU16(slot, ROOT + 2, 0);
  patch.sealInode(inode);
  expectRefusal('EXT4_EXTENT_TREE', () => readAllWays(patch.bytes));
});

test('rejects an extent block with more entries than a block holds', () => {
  const { patch, block } = treeOfDepthOne();
  writeU16(block, 4, 341);
  expectRefusal('EXT4_EXTENT_TREE', () => readAllWays(patch.bytes));
});

test('an unwritten extent reads as zero and is no extent of the content', () => {
  const { patch, inode, blockNumber, block } = treeOfDepthOne();
  writeU16(block, 12 + 4, 32768 + 1);
  patch.sealExtentBlock(inode, blockNumber);
  const entry = open(patch.bytes).lookup('etc/sparse-holes');
  if (entry?.type !== 'file') throw new Error('not a file');
  expect(entry.content.extents.length).toBe(11);
  expect(entry.content.read(0, 4096)).toEqual(new Uint8Array(4096));
  expect(entry.content.read(65536, 1)).toEqual(Uint8Array.of(66));
});

test('an extent tree of depth 5 is followed, one of empty leaves does not keep a reader busy', () => {
  const { patch, inode, slot, blockNumber, block } = treeOfDepthOne();
  // Four levels of one entry each between the inode and the leaf.
  const levels = [7000, 7001, 7002, 7003];
  levels.forEach((number, i) => {
    const node = patch.block(number).fill(0);
    node.set([0x0a, 0xf3, 1, 0, 84, 1, 4 - i, 0]);
    writeU32(node, 12 + 4, levels[i + 1] ?? blockNumber);
    patch.sealExtentBlock(inode, number);
  });
  const before = open(patch.bytes).lookup('etc/sparse-holes');
  writeU16(slot, ROOT + 6, 5);
  writeU32(slot, FIRST + 4, 7000);
  patch.sealInode(inode);
  const after = open(patch.bytes).lookup('etc/sparse-holes');
  if (before?.type !== 'file' || after?.type !== 'file') throw new Error('not a file');
  expect(after.content.extents).toEqual(before.content.extents);
  expect(after.content.read(0, 800_000)).toEqual(before.content.read(0, 800_000));

  // An empty leaf may stand under many index entries. Here every level has 340 of them.
  writeU16(block, 2, 0);
  patch.sealExtentBlock(inode, blockNumber);
  levels.forEach((number, i) => {
    const node = patch.block(number);
    const span = 340 ** (3 - i);
    const fan = i === 3 ? 340 : 1;
    writeU16(node, 2, fan);
    for (let k = 0; k < fan; k++) {
      writeU32(node, 12 + 12 * k, k * span);
      writeU32(node, 12 + 12 * k + 4, levels[i + 1] ?? blockNumber);
    }
    patch.sealExtentBlock(inode, number);
  });
  const entry = open(patch.bytes).lookup('etc/sparse-holes');
  if (entry?.type !== 'file') throw new Error('not a file');
  expect(entry.content.extents).toEqual([]);
});

/** A file of the ext2 vector whose triple indirect pointer leads to `block`; the rest is a hole. */
function mappedThrough(block: number): Patch {
  const patch = new Patch('ext2-1k-i128');
  const slot = patch.slot(patch.inodeNumber('/etc/numbers.txt'));
  slot.fill(0, INODE.blockArea, INODE.blockArea + 60);
  writeU32(slot, INODE.blockArea + 14 * 4, block);
  writeU32(slot, INODE.sizeLow, 0x7fffffff);
  writeU32(slot, INODE.sizeHigh, 3);
  return patch;
}

test('rejects a block map that leads back to itself: a file has no more blocks than there are', () => {
  const patch = mappedThrough(12000);
  for (let i = 0; i < 256; i++) writeU32(patch.block(12000), 4 * i, 12000);
  const entry = open(patch.bytes).lookup('etc/numbers.txt');
  if (entry?.type !== 'file') throw new Error('not a file');
  const { content } = entry;
  expectRefusal('EXT4_BLOCKS_SHARED', () => content.extents);
});

test('rejects a block map of shared empty blocks, which maps nothing and would take hours to find that out', () => {
  const patch = mappedThrough(12000);
  patch.block(12002).fill(0);
  for (let i = 0; i < 256; i++) {
    writeU32(patch.block(12000), 4 * i, 12001);
    writeU32(patch.block(12001), 4 * i, 12002);
  }
  const entry = open(patch.bytes).lookup('etc/numbers.txt');
  if (entry?.type !== 'file') throw new Error('not a file');
  const { content } = entry;
  expectRefusal('EXT4_BLOCKS_SHARED', () => content.extents);
});

test('rejects pointers outside the file system, direct and indirect', () => {
  for (const index of [0, 12, 13, 14]) {
    const patch = mappedThrough(0);
    writeU32(patch.slot(patch.inodeNumber('/etc/numbers.txt')), INODE.blockArea + 4 * index, 12288);
    const entry = open(patch.bytes).lookup('etc/numbers.txt');
    if (entry?.type !== 'file') throw new Error('not a file');
    const { content } = entry;
    expectRefusal(index === 0 ? 'EXT4_BLOCK_MAP' : 'EXT4_BLOCK_BOUNDS', () => content.extents);
  }
});

test('rejects a size that a block map cannot hold', () => {
  const patch = mappedThrough(0);
  writeU32(patch.slot(patch.inodeNumber('/etc/numbers.txt')), INODE.sizeHigh, 5);
  expectRefusal('EXT4_FILE_SIZE', () => open(patch.bytes).entries());
});

test('rejects a size that file block numbers cannot reach', () => {
  const patch = new Patch('default-4k');
  const inode = patch.inodeNumber('/etc/numbers.txt');
  writeU32(patch.slot(inode), INODE.sizeHigh, 0x1001);
  patch.sealInode(inode);
  expectRefusal('EXT4_FILE_SIZE', () => open(patch.bytes).entries());
});

test('holes of terabytes cost nothing to claim: a reader of all contents refuses them', () => {
  const patch = new Patch('default-4k');
  const inode = patch.inodeNumber('/etc/numbers.txt');
  writeU32(patch.slot(inode), INODE.sizeHigh, 0xfff);
  patch.sealInode(inode);
  const tree = open(patch.bytes);
  expectRefusal('EXT4_CONTENT_TOO_LARGE', () => checkContentSize(tree.nodes()));
});

const SLOTS: readonly (readonly [what: string, code: string, change: (slot: Uint8Array) => void])[] = [
  ['an extra size that is odd', 'EXT4_INODE_EXTRA_SIZE', (slot) => writeU16(slot, INODE.extraSize, 33)],
  ['an extra size past the slot', 'EXT4_INODE_EXTRA_SIZE', (slot) => writeU16(slot, INODE.extraSize, 132)],
  ['no links', 'EXT4_INODE_UNUSED', (slot) => writeU16(slot, INODE.linksCount, 0)],
  ['no mode', 'EXT4_INODE_UNUSED', (slot) => writeU16(slot, INODE.mode, 0)],
  ['an unknown type', 'EXT4_INODE_TYPE', (slot) => writeU16(slot, INODE.mode, 0xf1a4)],
  [
    'a type that its name does not have',
    'EXT4_DIRECTORY_ENTRY',
    (slot) => writeU16(slot, INODE.mode, 0x11a4),
  ],
  ['the encrypted flag', 'EXT4_ENCRYPTED', (slot) => writeU32(slot, INODE.flags, 0x80800)],
  ['the flag of attribute values', 'EXT4_DIRECTORY_ENTRY', (slot) => writeU32(slot, INODE.flags, 0x280000)],
  [
    'a second of more than 10^9 nanoseconds',
    'EXT4_INODE_TIME',
    (slot) => writeU32(slot, INODE.modificationTimeExtra, 0xfffffffc),
  ],
];

for (const [what, code, change] of SLOTS) {
  test(`rejects an inode with ${what}, though its checksum is right`, () => {
    const patch = new Patch('default-4k');
    const inode = patch.inodeNumber('/etc/numbers.txt');
    change(patch.slot(inode));
    patch.sealInode(inode);
    expectRefusal(code, () => open(patch.bytes).entries());
  });
}

test('times before 1970 and after 2038 are exact, to the nanosecond', () => {
  const cases = [
    [-5, 7, -5, 7 << 2],
    [2 ** 31 + 5, 999_999_999, (2 ** 31 + 5) | 0, ((999_999_999 << 2) | 1) >>> 0],
    [15032385535, 0, 0x7fffffff, 3],
  ] as const;
  for (const [mtimeSec, mtimeNsec, base, extra] of cases) {
    const patch = new Patch('default-4k');
    const inode = patch.inodeNumber('/etc/empty');
    writeU32(patch.slot(inode), INODE.modificationTime, base);
    writeU32(patch.slot(inode), INODE.modificationTimeExtra, extra);
    patch.sealInode(inode);
    expect(open(patch.bytes).lookup('etc/empty')).toMatchObject({ mtimeSec, mtimeNsec });
  }
});
