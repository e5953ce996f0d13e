import { expect, test } from 'vitest';
import { writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { INODE } from '../../../tools/ext4/layout.ts';
import { expectRefusal, open, Patch } from './image-patch.ts';

/** Records in a directory block of the default vector: `.` at 0, `..` at 12, a third at 24. */
const THIRD = 24;

interface Damage {
  readonly directory: Patch;
  readonly block: Uint8Array;
}

/** Damages the block of /etc/deep, which holds one name (`a`), and puts the right checksum over it. */
function damaged(change: (damage: Damage) => void): Patch {
  const patch = new Patch('default-4k');
  const inode = patch.inodeNumber('/etc/deep');
  const number = patch.firstBlock(inode);
  change({ directory: patch, block: patch.block(number) });
  patch.sealDirectoryBlock(inode, number);
  return patch;
}

const DAMAGE: readonly (readonly [what: string, code: string, change: (damage: Damage) => void])[] = [
  ['a record of length 0', 'EXT4_DIRECTORY', ({ block }) => writeU16(block, THIRD + 4, 0)],
  ['a record of length 4', 'EXT4_DIRECTORY', ({ block }) => writeU16(block, THIRD + 4, 4)],
  ['a record of odd length', 'EXT4_DIRECTORY', ({ block }) => writeU16(block, THIRD + 4, 4059)],
  ['a record that crosses the block', 'EXT4_DIRECTORY', ({ block }) => writeU16(block, THIRD + 4, 4076)],
  [
    'a record without a place for the checksum',
    'EXT4_DIRECTORY',
    ({ block }) => writeU16(block, THIRD + 4, 4072),
  ],
  ['a record of 65535 bytes', 'EXT4_DIRECTORY', ({ block }) => writeU16(block, THIRD + 4, 65535)],
  [
    'a name longer than its record',
    'EXT4_DIRECTORY',
    ({ block }) => {
      writeU16(block, THIRD + 4, 12);
      block[THIRD + 6] = 5;
      block.set([0, 0, 0, 0, 4048 & 0xff, 4048 >> 8, 0, 0], THIRD + 12);
    },
  ],
  ['an empty name', 'EXT4_DIRECTORY', ({ block }) => block.set([0], THIRD + 6)],
  ['a name with a slash', 'EXT4_DIRECTORY', ({ block }) => block.set([3, 2, 0x61, 0x2f, 0x62], THIRD + 6)],
  ['a name with a NUL', 'EXT4_DIRECTORY', ({ block }) => block.set([3, 2, 0x61, 0, 0x62], THIRD + 6)],
  ['a third record named .', 'EXT4_DIRECTORY', ({ block }) => block.set([1, 2, 0x2e], THIRD + 6)],
  ['a third record named ..', 'EXT4_DIRECTORY', ({ block }) => block.set([2, 2, 0x2e, 0x2e], THIRD + 6)],
  ['a . that leads elsewhere', 'EXT4_DIRECTORY', ({ block }) => writeU32(block, 0, 2)],
  ['a .. that leads elsewhere', 'EXT4_DIRECTORY', ({ block }) => writeU32(block, 12, 2)],
  ['a first record that is not .', 'EXT4_DIRECTORY', ({ block }) => block.set([0x78], 8)],
  ['a name of a reserved inode', 'EXT4_DIRECTORY_ENTRY', ({ block }) => block.set([8, 0, 0, 0], THIRD)],
  ['a name of an inode past the last', 'EXT4_INODE_NUMBER', ({ block }) => writeU32(block, THIRD, 8193)],
  ['a name of an inode not in use', 'EXT4_INODE_UNUSED', ({ block }) => writeU32(block, THIRD, 8000)],
  ['a name that says file of a directory', 'EXT4_DIRECTORY_ENTRY', ({ block }) => block.set([1], THIRD + 7)],
  ['the root as a child', 'EXT4_DIRECTORY_LOOP', ({ block }) => writeU32(block, THIRD, 2)],
  [
    'its own ancestor as a child',
    'EXT4_DIRECTORY_LOOP',
    ({ directory, block }) => writeU32(block, THIRD, directory.inodeNumber('/etc')),
  ],
  [
    'one name twice',
    'EXT4_DIRECTORY_ENTRY',
    ({ block }) => {
      block.set(block.slice(THIRD, THIRD + 12), THIRD + 12);
      writeU16(block, THIRD + 4, 12);
      writeU16(block, THIRD + 12 + 4, 4048);
    },
  ],
];

for (const [what, code, change] of DAMAGE) {
  test(`rejects a directory with ${what}, though its checksum is right`, () => {
    const patch = damaged(change);
    expectRefusal(code, () => open(patch.bytes).entries());
  });
}

test('an undamaged directory with its checksum put on anew is read', () => {
  expect(open(damaged(() => undefined).bytes).entries().length).toBe(441);
});

const INODES: readonly (readonly [what: string, code: string, change: (slot: Uint8Array) => void])[] = [
  ['a size of part of a block', 'EXT4_DIRECTORY', (slot) => writeU32(slot, INODE.sizeLow, 4095)],
  ['size 0', 'EXT4_DIRECTORY', (slot) => writeU32(slot, INODE.sizeLow, 0)],
  ['a hole at its end', 'EXT4_DIRECTORY', (slot) => writeU32(slot, INODE.sizeLow, 8192)],
  [
    'a size of more than the file system',
    'EXT4_DIRECTORY',
    (slot) => writeU32(slot, INODE.sizeLow, 0xfffff000),
  ],
  ['only a hole', 'EXT4_DIRECTORY', (slot) => writeU16(slot, INODE.blockArea + 2, 0)],
];

for (const [what, code, change] of INODES) {
  test(`rejects a directory inode with ${what}`, () => {
    const patch = new Patch('default-4k');
    const inode = patch.inodeNumber('/etc/deep');
    change(patch.slot(inode));
    patch.sealInode(inode);
    expectRefusal(code, () => open(patch.bytes).entries());
  });
}

test('rejects directories that share blocks until they have more together than there are', () => {
  const patch = new Patch('ext2-1k-i128');
  const bin = patch.slot(patch.inodeNumber('/bin'));
  const dev = patch.slot(patch.inodeNumber('/dev'));
  const empty = 12000;
  patch.block(empty).fill(0).set([0, 4], 4);
  // A block of pointers to the empty block, and one of pointers to that.
  for (let i = 0; i < 256; i++) {
    writeU32(patch.block(empty + 1), 4 * i, empty);
    writeU32(patch.block(empty + 2), 4 * i, empty + 1);
  }
  const grow = (slot: Uint8Array, blocks: number): void => {
    for (let i = 1; i < 14; i++) writeU32(slot, INODE.blockArea + 4 * i, i < 12 ? empty : empty + i - 11);
    writeU32(slot, INODE.sizeLow, blocks * 1024);
  };
  grow(bin, 6200);
  expect(open(patch.bytes).entries().length).toBe(441);
  grow(dev, 6200);
  expectRefusal('EXT4_BLOCKS_SHARED', () => open(patch.bytes).entries());
});

test('rejects an inline directory that names another parent', () => {
  const patch = new Patch('inline-4k');
  const inode = patch.inodeNumber('/empty-dir');
  writeU32(patch.slot(inode), INODE.blockArea, 11);
  patch.sealInode(inode);
  expectRefusal('EXT4_DIRECTORY', () => open(patch.bytes).entries());
});

test('rejects an inline directory shorter than its parent field', () => {
  const patch = new Patch('inline-4k');
  const inode = patch.inodeNumber('/empty-dir');
  writeU32(patch.slot(inode), INODE.sizeLow, 3);
  patch.sealInode(inode);
  expectRefusal('EXT4_DIRECTORY', () => open(patch.bytes).entries());
});

test('rejects a directory of more names than a tree may have, before it holds them all', () => {
  const patch = new Patch('default-4k');
  const bin = patch.inodeNumber('/bin');
  const file = patch.inodeNumber('/bin/run.sh');
  const first = 3000;
  const count = 3500;
  let name = 0;
  for (let i = 0; i < count; i++) {
    const block = patch.block(first + i).fill(0);
    for (let at = 0; at < 4080; at += 12) {
      const dots = i === 0 && at < 24;
      const length = at + 12 === 4080 ? 16 : 12;
      writeU32(block, at, dots ? (at === 0 ? bin : 2) : file);
      block.set([length, 0, dots ? at / 12 + 1 : 4, dots ? 2 : 1], at + 4);
      if (dots) block.set([0x2e, 0x2e].slice(0, at / 12 + 1), at + 8);
      else {
        block.set(
          [0x41 + (name & 31), 0x41 + ((name >> 5) & 31), 0x41 + ((name >> 10) & 31), 0x80 + (name >> 15)],
          at + 8,
        );
        name += 1;
      }
    }
    block.set([0, 0, 0, 0, 12, 0, 0, 0xde], 4084);
    patch.sealDirectoryBlock(bin, first + i);
  }
  const slot = patch.slot(bin);
  writeU32(slot, INODE.sizeLow, count * 4096);
  writeU16(slot, INODE.blockArea + 12 + 4, count);
  writeU32(slot, INODE.blockArea + 12 + 8, first);
  patch.sealInode(bin);
  expect(name).toBeGreaterThan(1 << 20);
  expectRefusal('EXT4_TREE_TOO_LARGE', () => open(patch.bytes).entries());
}, 60_000);
