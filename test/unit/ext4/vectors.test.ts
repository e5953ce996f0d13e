import { expect, test } from 'vitest';
import { readInto } from '../../../tools/bytes/source.ts';
import { readAll } from '../../../tools/bytes/source.ts';
import { rawFromUtf8 } from '../../../tools/bytes/text.ts';
import { CHUNK_BYTES, type ByteSource } from '../../../tools/bytes/source.ts';
import { textLine } from '../../../tools/ext4/listing.ts';
import { open, readEverything, vectorImage, vectorListing, VECTORS } from './image-patch.ts';

for (const name of VECTORS) {
  test(`the listing of ${name} is, byte for byte, what the kernel's driver showed`, () => {
    expect(readEverything(vectorImage(name))).toBe(vectorListing(name));
  });
}

function contentOf(name: (typeof VECTORS)[number], path: string): ByteSource {
  const entry = open(vectorImage(name)).lookup(path);
  if (entry?.type !== 'file') throw new Error(`${path} is not a file`);
  return entry.content;
}

test('holes of a file with an extent tree are not extents, whichever way they are read', () => {
  const content = contentOf('default-4k', '/etc/sparse-holes');
  const expected = Array.from({ length: 12 }, (_, i) => ({ offset: i * 65536, length: 4096 }));
  expect(content.extents).toEqual(expected);
  const bytes = readAll(content, CHUNK_BYTES, 'the file');
  for (let i = 0; i < 12; i++) {
    expect(bytes.subarray(i * 65536, i * 65536 + 4096).every((byte) => byte === 65 + i)).toBe(true);
    expect(bytes.subarray(i * 65536 + 4096, (i + 1) * 65536).every((byte) => byte === 0)).toBe(true);
  }
});

test('a block map is followed through single, double and triple indirection', () => {
  const content = contentOf('ext2-1k-i128', '/etc/sparse-70m');
  expect(content.extents.map((extent) => extent.offset)).toEqual([
    4096,
    300 * 1024,
    20 * 1024 * 1024,
    70 * 1024 * 1024,
  ]);
  const text = (offset: number, length: number): string =>
    Buffer.from(content.read(offset, length)).toString();
  expect(text(5000, 3)).toBe('low');
  expect(text(300 * 1024, 3)).toBe('ind');
  expect(text(20 * 1024 * 1024, 4)).toBe('dind');
  expect(text(content.sizeBytes - 4, 4)).toBe('tind');
  expect(content.read(30 * 1024 * 1024, 1000).every((byte) => byte === 0)).toBe(true);
});

test('the last extent ends with the file, not with its last block', () => {
  const content = contentOf('default-4k', '/etc/f4097');
  expect(content.extents).toEqual([{ offset: 0, length: 4097 }]);
  expect(content.read(4090, 7)).toEqual(new Uint8Array(7).fill(0x67));
  expect(content.read(4097, 0)).toEqual(new Uint8Array(0));
});

test('a read that starts and ends anywhere equals that part of the whole', () => {
  for (const name of VECTORS) {
    const content = contentOf(name, '/etc/numbers.txt');
    const whole = content.read(0, content.sizeBytes);
    for (const [offset, length] of [
      [0, 1],
      [1023, 2],
      [4095, 8194],
      [100_001, 200_000],
      [content.sizeBytes - 1, 1],
    ] as const) {
      expect(Buffer.compare(content.read(offset, length), whole.subarray(offset, offset + length))).toBe(0);
    }
    expect(() => content.read(content.sizeBytes, 1)).toThrow('outside');
  }
});

test('a read into a used buffer equals a read, in holes, across them and at the end', () => {
  for (const name of VECTORS) {
    for (const path of ['/etc/sparse-holes', '/etc/numbers.txt', '/etc/f59', '/etc/sparse-70m']) {
      const content = contentOf(name, path);
      for (const [offset, length] of [
        [0, 59],
        [0, content.sizeBytes],
        [Math.floor(content.sizeBytes / 3), Math.floor(content.sizeBytes / 2)],
        [content.sizeBytes - 1, 1],
        [0, 0],
      ] as const) {
        const target = new Uint8Array(length).fill(0xaa);
        readInto(content, offset, target);
        expect(Buffer.compare(target, content.read(offset, length)), `${name} ${path} ${offset}`).toBe(0);
      }
      expect(() => readInto(content, content.sizeBytes, new Uint8Array(1))).toThrow('outside');
    }
  }
});

test('further names of an inode are hard links to the first in order, and look up as what they name', () => {
  const tree = open(vectorImage('default-4k'));
  const links = tree.entries().filter((entry) => entry.type === 'hardlink');
  expect(links.map((link) => [link.path, link.linkPath])).toEqual([
    ['etc/hello-hard', 'bin/hello-hard2'],
    ['etc/hello.txt', 'bin/hello-hard2'],
  ]);
  expect(tree.lookup('etc/hello-hard')?.type).toBe('file');
});

test('entries come parents first, siblings in byte order, the root at the start', () => {
  const entries = open(vectorImage('inline-4k')).entries();
  expect(entries[0]).toMatchObject({ path: '', type: 'dir', mode: 0o755 });
  const seen = new Set<string>(['']);
  for (const entry of entries.slice(1)) {
    expect(seen.has(entry.path.includes('/') ? entry.path.slice(0, entry.path.lastIndexOf('/')) : '')).toBe(
      true,
    );
    seen.add(entry.path);
  }
  expect(entries.map((entry) => entry.path)).toContain('lost+found');
});

test('a lookup follows links in the middle, at the end, upwards and from the root', () => {
  const tree = open(vectorImage('default-4k'));
  expect(tree.lookup('')?.type).toBe('dir');
  expect(tree.lookup('/')?.path).toBe('');
  expect(tree.lookup('etc/fast')?.path).toBe('etc/hello.txt');
  expect(tree.lookup('/etc/deep/a/../../../bin//./run.sh')?.path).toBe('bin/run.sh');
  expect(tree.lookup('../../etc/hello.txt')?.path).toBe('etc/hello.txt');
  expect(tree.lookup(rawFromUtf8('etc/café'))?.path).toBe(rawFromUtf8('etc/café'));
  expect(tree.lookup('etc/bad\xffutf8')?.type).toBe('file');
});

test('a lookup of what is not there is undefined: no name, a dangling link, a file taken for a folder', () => {
  const tree = open(vectorImage('default-4k'));
  for (const path of [
    'nothing',
    'etc/nothing',
    'etc/fast59',
    'etc/slow800',
    'etc/hello.txt/x',
    'etc/hello.txt/',
  ]) {
    expect(tree.lookup(path)).toBeUndefined();
  }
});

test('what the superblock says about the file system', () => {
  expect(open(vectorImage('ext2-1k-i128')).info).toMatchObject({
    sizeBytes: 12 << 20,
    blockSize: 1024,
    inodeSize: 128,
    label: 'ext2style',
    creationTimeSec: 1_700_000_000,
    clean: true,
  });
  expect(open(vectorImage('inline-4k')).info.features).toContain('inline_data');
});

test('the listing for people', () => {
  const lines = [...open(vectorImage('default-4k')).nodes()].map(textLine);
  const line = (end: string): string | undefined => lines.find((text) => text.endsWith(end));
  expect(line('/bin/run.sh')).toBe('-rwsr-xr-x   1     0     0          18 2020-09-13 12:26:40 /bin/run.sh');
  expect(line('/empty-dir')).toBe('drwxrwxrwt   2     0     0        4096 2020-09-13 12:26:40 /empty-dir');
  expect(line('/many')).toMatch(/^drwxr-s---/);
  expect(line('/dev/blk')).toBe('brw-r--r--   1     0     0   259,70000 2020-09-13 12:26:40 /dev/blk');
  expect(line('-> hello.txt')).toMatch(/^lrwxrwxrwx .* 65534 65534 .* \/etc\/fast -> hello\.txt$/);
  expect(line('/etc/hello-hard = /bin/hello-hard2')).toMatch(/^-rw-r--r--   3/);
  expect(line('utf8')).toMatch(/\/etc\/bad\\xffutf8$/);
});
