import { expect, test } from 'vitest';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { writeU32 } from '../../../tools/bytes/little-endian.ts';
import { INODE } from '../../../tools/ext4/layout.ts';
import { expectRefusal, open, Patch } from './image-patch.ts';

function changed(path: string, change: (slot: Uint8Array, patch: Patch) => void): Patch {
  const patch = new Patch('default-4k');
  const inode = patch.inodeNumber(path);
  change(patch.slot(inode), patch);
  patch.sealInode(inode);
  return patch;
}

/** A short link to `target`. */
function retarget(patch: Patch, path: string, target: string): void {
  const inode = patch.inodeNumber(path);
  const slot = patch.slot(inode);
  const bytes = utf8Bytes(target);
  slot.fill(0, INODE.blockArea, INODE.blockArea + 60);
  slot.set(bytes, INODE.blockArea);
  writeU32(slot, INODE.sizeLow, bytes.length);
  patch.sealInode(inode);
}

test('rejects a symbolic link without a target', () => {
  const patch = changed('/etc/fast', (slot) => writeU32(slot, INODE.sizeLow, 0));
  expectRefusal('EXT4_SYMLINK', () => open(patch.bytes).entries());
});

test('rejects a short target that is longer than its place', () => {
  const patch = changed('/etc/fast', (slot) => writeU32(slot, INODE.sizeLow, 60));
  expectRefusal('EXT4_SYMLINK', () => open(patch.bytes).entries());
});

test('rejects a long target that does not fit one block', () => {
  const patch = changed('/etc/slow800', (slot) => writeU32(slot, INODE.sizeLow, 4096));
  expectRefusal('EXT4_SYMLINK', () => open(patch.bytes).entries());
});

test('rejects a target with a NUL byte', () => {
  const patch = changed('/etc/fast', (slot) => slot.set([0], INODE.blockArea + 3));
  expectRefusal('EXT4_SYMLINK', () => open(patch.bytes).entries());
});

test('rejects an inline target longer than what the inode holds', () => {
  const patch = new Patch('inline-4k');
  const inode = patch.inodeNumber('/etc/slow60');
  writeU32(patch.slot(inode), INODE.sizeLow, 200);
  patch.sealInode(inode);
  expectRefusal('EXT4_FILE_SIZE', () => open(patch.bytes).entries());
});

test('a link to itself ends the lookup, and does not disturb the list of entries', () => {
  const patch = new Patch('default-4k');
  retarget(patch, '/etc/fast', 'fast');
  const tree = open(patch.bytes);
  expectRefusal('EXT4_SYMLINK_LOOP', () => tree.lookup('etc/fast'));
  expect(tree.entries().find((entry) => entry.path === 'etc/fast')).toMatchObject({ target: 'fast' });
});

test('two links that lead to each other end the lookup, also in the middle of a path', () => {
  const patch = new Patch('default-4k');
  retarget(patch, '/etc/fast', '/etc/fast59/x');
  retarget(patch, '/etc/fast59', '../etc/fast');
  expectRefusal('EXT4_SYMLINK_LOOP', () => open(patch.bytes).lookup('/etc/fast59/a/b'));
});

test('an absolute target starts at the root of the image, and climbing stops there', () => {
  const patch = new Patch('default-4k');
  retarget(patch, '/etc/fast', '/bin');
  retarget(patch, '/etc/fast59', '../../../../bin/run.sh');
  const tree = open(patch.bytes);
  expect(tree.lookup('etc/fast/run.sh')?.path).toBe('bin/run.sh');
  expect(tree.lookup('etc/fast59')?.path).toBe('bin/run.sh');
});
