import { describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { CvmError } from '../../../tools/errors.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import { treeFromListing } from '../../../tools/tree/listing.ts';

const init = sourceFromBytes(utf8Bytes('#!/bin/sh\n'));
const read = (text: string, names: readonly string[] = []): TreeEntry[] =>
  treeFromListing(text, new Map(names.map((name) => [name, init])));

/** The code of the error that a listing gives. */
function refused(text: string, names: readonly string[] = []): string {
  try {
    read(text, names);
  } catch (error) {
    if (error instanceof CvmError) return error.code;
    throw error;
  }
  return 'accepted';
}

test('every kind of line becomes an entry, in order, after the root', () => {
  const listing = [
    '# a comment',
    '',
    'dir /dev 0755 0 0',
    '  nod /dev/console 0600 0 5 c 5 1',
    'nod\t/dev/vda\t0660 0 6 b 254 16',
    'pipe /dev/initctl 0600 1 2',
    'sock /dev/log 0666 0 0',
    'slink /bin usr/bin 0777 0 0',
    'file /init start 04755 1000 100 /init2 /dev/init3',
  ].join('\n');
  const entries = read(listing, ['start']);
  expect(
    entries.map(({ type, path, mode, uid, gid }) => `${type} ${path} ${mode.toString(8)} ${uid} ${gid}`),
  ).toEqual([
    'dir  755 0 0',
    'dir dev 755 0 0',
    'char dev/console 600 0 5',
    'block dev/vda 660 0 6',
    'fifo dev/initctl 600 1 2',
    'socket dev/log 666 0 0',
    'symlink bin 777 0 0',
    'file init 4755 1000 100',
    'hardlink init2 4755 1000 100',
    'hardlink dev/init3 4755 1000 100',
  ]);
  expect(entries[3]).toMatchObject({ major: 254, minor: 16 });
  expect(entries[6]).toMatchObject({ target: 'usr/bin' });
  expect(entries[7]).toMatchObject({ content: init });
  expect(entries[8]).toMatchObject({ linkPath: 'init' });
});

test('times are zero, whatever the clock says', () => {
  for (const entry of read('dir /a 0755 0 0')) expect([entry.mtimeSec, entry.mtimeNsec]).toEqual([0, 0]);
});

test('a line may set the root folder, once', () => {
  expect(read('dir / 0700 7 8')).toMatchObject([{ path: '', mode: 0o700, uid: 7, gid: 8 }]);
  expect(refused('dir / 0700 0 0\ndir / 0700 0 0')).toBe('LISTING_DUPLICATE');
});

test('a name that is not ASCII is kept as its UTF-8 bytes', () => {
  expect(read('dir /é 0755 0 0')[1]?.path).toBe('\u00c3\u00a9');
});

describe('refuses', () => {
  test.each([
    ['an unknown kind', 'hard /a 0755 0 0', 'LISTING_LINE'],
    ['too few words', 'dir /a 0755 0', 'LISTING_LINE'],
    ['too many words', 'dir /a 0755 0 0 0', 'LISTING_LINE'],
    ['a mode that is not octal', 'dir /a 0788 0 0', 'LISTING_LINE'],
    ['a mode with file type bits', 'dir /a 040755 0 0', 'LISTING_LINE'],
    ['a negative id', 'dir /a 0755 -1 0', 'LISTING_LINE'],
    ['an id above 32 bits', 'dir /a 0755 4294967296 0', 'LISTING_LINE'],
    ['a hexadecimal id', 'dir /a 0755 0x10 0', 'LISTING_LINE'],
    ['a device that is neither b nor c', 'nod /a 0600 0 0 p 1 1', 'LISTING_LINE'],
    ['a major number above 12 bits', 'nod /a 0600 0 0 c 4096 1', 'LISTING_LINE'],
    ['a relative path', 'dir a 0755 0 0', 'LISTING_PATH'],
    ['a path with ..', 'dir /a/../b 0755 0 0', 'LISTING_PATH'],
    ['a path with .', 'dir /./b 0755 0 0', 'LISTING_PATH'],
    ['a path with an empty component', 'dir //b 0755 0 0', 'LISTING_PATH'],
    ['a path that ends in a slash', 'dir /b/ 0755 0 0', 'LISTING_PATH'],
    ['a name of 256 bytes', `dir /${'n'.repeat(256)} 0755 0 0`, 'LISTING_PATH'],
    ['a path that stands twice', 'dir /a 0755 0 0\ndir /a 0755 0 0', 'LISTING_DUPLICATE'],
    ['an entry before its folder', 'dir /a/b 0755 0 0\ndir /a 0755 0 0', 'LISTING_PARENT'],
    ['an entry below a symbolic link', 'slink /a b 0777 0 0\ndir /a/c 0755 0 0', 'LISTING_PARENT'],
    ['a source that was not given', 'file /a nothing 0644 0 0', 'LISTING_SOURCE_UNKNOWN'],
  ])('%s', (_, text, code) => {
    expect(refused(text)).toBe(code);
  });

  test('a file that the listing does not name', () => {
    expect(refused('dir /a 0755 0 0', ['extra'])).toBe('LISTING_SOURCE_UNUSED');
  });

  test('and says which line it was', () => {
    expect(() => read('dir /a 0755 0 0\n\nbad')).toThrow(
      expect.objectContaining({ facts: expect.arrayContaining([['line', 3]]) as unknown }) as Error,
    );
  });
});
