import { describe, expect, test } from 'vitest';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { writeExt4, type Ext4Options } from '../../../tools/ext4/writer.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import {
  COMMON,
  dirEntry,
  EXT4_OPTIONS,
  fileEntry,
  hardlinkEntry,
  linkEntry,
} from '../../support/ext4-trees.ts';

function refusal(entries: readonly TreeEntry[], options: Partial<Ext4Options> = {}): CvmError {
  try {
    writeExt4(entries, { ...EXT4_OPTIONS, ...options });
  } catch (error) {
    if (error instanceof CvmError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

const facts = (error: CvmError): Record<string, unknown> => Object.fromEntries(error.facts);
const full = (sizeBytes: number): ByteSource => ({
  sizeBytes,
  extents: [{ offset: 0, length: sizeBytes }],
  read: (_, length) => new Uint8Array(length).fill(1),
});

describe('trees that ext4 cannot hold', () => {
  const cases: readonly (readonly [string, readonly TreeEntry[], string])[] = [
    ['a path given twice', [fileEntry('a'), dirEntry('a')], 'EXT4_TREE_DUPLICATE'],
    ['a root given twice', [dirEntry(''), dirEntry('')], 'EXT4_TREE_DUPLICATE'],
    ['a file whose directory has no entry', [fileEntry('a/b')], 'EXT4_TREE_PARENT'],
    ['a file below a file', [fileEntry('a'), fileEntry('a/b')], 'EXT4_TREE_PARENT'],
    ['a file below a symlink', [linkEntry('a', '/'), fileEntry('a/b')], 'EXT4_TREE_PARENT'],
    ['a leading slash', [fileEntry('/a')], 'EXT4_TREE_PATH'],
    ['a trailing slash', [dirEntry('a/')], 'EXT4_TREE_PATH'],
    ['a double slash', [dirEntry('a'), fileEntry('a//b')], 'EXT4_TREE_PARENT'],
    ['a dot', [dirEntry('.')], 'EXT4_TREE_PATH'],
    ['two dots', [dirEntry('a'), fileEntry('a/..')], 'EXT4_TREE_PATH'],
    ['a NUL in a name', [fileEntry('a\0b')], 'EXT4_TREE_NAME'],
    ['a name that is text and not bytes', [fileEntry('\u0100')], 'EXT4_TREE_NAME'],
    ['a name of 256 bytes', [fileEntry('n'.repeat(256))], 'EXT4_TREE_NAME'],
    ['a root that is a file', [fileEntry('')], 'EXT4_TREE_ROOT'],
    ['a lost+found that is a symlink', [linkEntry('lost+found', '/tmp')], 'EXT4_TREE_ROOT'],
    ['a hard link to nothing', [hardlinkEntry('a', 'b')], 'EXT4_TREE_HARDLINK'],
    ['a hard link to itself', [hardlinkEntry('a', 'a')], 'EXT4_TREE_HARDLINK'],
    ['hard links in a ring', [hardlinkEntry('a', 'b'), hardlinkEntry('b', 'a')], 'EXT4_TREE_HARDLINK'],
    ['a hard link to a directory', [hardlinkEntry('a', 'd'), dirEntry('d')], 'EXT4_TREE_HARDLINK'],
    ['a mode with a type', [fileEntry('a', new Uint8Array(), { mode: 0o100644 })], 'EXT4_TREE_VALUE'],
    ['a negative uid', [fileEntry('a', new Uint8Array(), { uid: -1 })], 'EXT4_TREE_VALUE'],
    ['a gid of 33 bits', [fileEntry('a', new Uint8Array(), { gid: 2 ** 32 })], 'EXT4_TREE_VALUE'],
    ['half a second as seconds', [fileEntry('a', new Uint8Array(), { mtimeSec: 0.5 })], 'EXT4_TREE_VALUE'],
    [
      'a whole second as nanoseconds',
      [fileEntry('a', new Uint8Array(), { mtimeNsec: 1e9 })],
      'EXT4_TREE_VALUE',
    ],
    ['an empty symlink', [linkEntry('a', '')], 'EXT4_TREE_VALUE'],
    ['a symlink with a NUL', [linkEntry('a', 'b\0c')], 'EXT4_TREE_VALUE'],
    ['a symlink of a whole block', [linkEntry('a', 'x'.repeat(4096))], 'EXT4_TREE_VALUE'],
    [
      'a device major of 13 bits',
      [{ ...COMMON, type: 'char', path: 'a', major: 4096, minor: 0 }],
      'EXT4_TREE_VALUE',
    ],
    [
      'a device minor of 21 bits',
      [{ ...COMMON, type: 'block', path: 'a', major: 0, minor: 1 << 20 }],
      'EXT4_TREE_VALUE',
    ],
    ['a file of 16 TiB', [fileEntry('a', sparseSource(2 ** 44, []))], 'EXT4_TREE_VALUE'],
  ];
  test.each(cases)('refuses %s', (_, entries, code) => {
    expect(refusal(entries)).toMatchObject({ kind: 'format', code });
  });

  test('refuses 65,001 names of one file, and takes 65,000', () => {
    const names = Array.from({ length: 65_000 }, (_, i) => hardlinkEntry(`n${i}`, 'f'));
    const options = { sizeBytes: 64 << 20 };
    const error = refusal([fileEntry('f'), ...names], options);
    expect(error.code).toBe('EXT4_TREE_LINKS');
    expect(facts(error)).toMatchObject({ found: 65_001, most: 65_000 });
    writeExt4([fileEntry('f'), ...names.slice(1)], { ...EXT4_OPTIONS, ...options });
  });

  test('refuses a root of 64,999 subdirectories', () => {
    const directories = Array.from({ length: 64_998 }, (_, i) => dirEntry(`d${i}`));
    const error = refusal(directories, { sizeBytes: 1024 ** 3 });
    expect(error.code).toBe('EXT4_TREE_LINKS');
    expect(facts(error)).toMatchObject({ found: 64_999, most: 64_998 });
  });

  test('walks a path of 8,000 components without the stack of the engine', () => {
    const tree: TreeEntry[] = [];
    for (let depth = 1; depth <= 8000; depth++) tree.push(dirEntry(Array(depth).fill('d').join('/')));
    expect(writeExt4(tree, { ...EXT4_OPTIONS, sizeBytes: 128 << 20 }).sizeBytes).toBe(128 << 20);
  });
});

describe('extended attributes that ext4 cannot hold', () => {
  const withXattr = (name: string, value = new Uint8Array()): TreeEntry[] => [
    fileEntry('a', new Uint8Array(), { xattrs: new Map([[name, value]]) }),
  ];
  test.each([
    'user.',
    'trusted.',
    'nothing',
    'foo.bar',
    'system.data',
    'user.a\0b',
    `user.${'n'.repeat(256)}`,
    '',
  ])('refuses the name %j', (name) => {
    expect(refusal(withXattr(name)).code).toBe('EXT4_XATTR_NAME');
  });

  test('takes a value that fills the block, and refuses one of four bytes more', () => {
    const room = 4096 - 36 - 16 - 4;
    writeExt4(withXattr('user.a', new Uint8Array(room)), EXT4_OPTIONS);
    const error = refusal(withXattr('user.a', new Uint8Array(room + 1)));
    expect(error.code).toBe('EXT4_XATTR_SPACE');
    expect(facts(error)).toMatchObject({ path: '/a' });
  });

  test.each(['', '02', '0100000001000600ffffffff', '0200000003000600ffffffff', '020000000100060000'])(
    'refuses the access control list %j',
    (hex) => {
      const value = new Uint8Array(Buffer.from(hex, 'hex'));
      expect(refusal(withXattr('system.posix_acl_access', value)).code).toBe('ACL_INVALID');
    },
  );
});

describe('options', () => {
  const cases: readonly (readonly [string, Partial<Ext4Options>, string])[] = [
    ['a UUID of 15 bytes', { uuid: new Uint8Array(15) }, 'EXT4_OPTION'],
    ['a hash seed of zeros', { hashSeed: new Uint8Array(16) }, 'EXT4_OPTION'],
    ['a label of 17 bytes', { label: 'é'.repeat(8) + 'x' }, 'EXT4_OPTION'],
    ['a label with a NUL', { label: 'a\0' }, 'EXT4_OPTION'],
    ['a negative epoch', { epochSec: -1 }, 'EXT4_OPTION'],
    ['an epoch of 33 bits', { epochSec: 2 ** 32 }, 'EXT4_OPTION'],
    ['no size', { sizeBytes: 0 }, 'EXT4_SIZE'],
    ['a negative size', { sizeBytes: -4096 }, 'EXT4_SIZE'],
    ['half a byte', { sizeBytes: 1e6 + 0.5 }, 'EXT4_SIZE'],
    ['a size of six blocks', { sizeBytes: 6 * 4096 }, 'EXT4_SIZE'],
    ['a size above 16 TiB', { sizeBytes: 2 ** 44 + 4096 }, 'EXT4_SIZE'],
    ['ten inodes', { inodeCount: 10 }, 'EXT4_INODE_COUNT'],
    ['more inodes than a bitmap has bits', { inodeCount: 32_769 }, 'EXT4_INODE_COUNT'],
  ];
  test.each(cases)('refuses %s', (_, options, code) => {
    expect(refusal([], options)).toMatchObject({ kind: 'usage', code });
  });

  test('takes 7 blocks: five of tables, two directories', () => {
    expect(writeExt4([], { ...EXT4_OPTIONS, sizeBytes: 7 * 4096, inodeCount: 11 }).sizeBytes).toBe(28_672);
  });
});

describe('trees that do not fit', () => {
  test('says how many blocks are missing, and fits when they are added', () => {
    const tree = [fileEntry('f', full(1 << 20)), fileEntry('g', sourceFromBytes(Uint8Array.of(1)))];
    const error = refusal(tree, { inodeCount: 64 });
    // 256 blocks: 8 of tables, 2 directories; 257 of files.
    expect(error.code).toBe('EXT4_FULL');
    expect(facts(error)).toMatchObject({ missing: '11 blocks' });
    writeExt4(tree, { ...EXT4_OPTIONS, inodeCount: 64, sizeBytes: (1 << 20) + 11 * 4096 });
    expect(refusal(tree, { inodeCount: 64, sizeBytes: (1 << 20) + 10 * 4096 }).code).toBe('EXT4_FULL');
  });

  test('says how many inodes are missing, and fits when they are asked for', () => {
    const tree = Array.from({ length: 30 }, (_, i) => fileEntry(`f${i}`));
    const error = refusal(tree, { inodeCount: 32 });
    expect(error.code).toBe('EXT4_FULL');
    expect(facts(error)).toMatchObject({ missing: '9 inodes' });
    writeExt4(tree, { ...EXT4_OPTIONS, inodeCount: 41 });
  });
});
