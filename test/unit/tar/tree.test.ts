import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sourceFromBytes, sparseSource } from '../../../tools/bytes/source.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import { treeFromTar, treeToTar, type TarOptions } from '../../../tools/tar/tree.ts';
import { expectCvmError } from '../../support/errors.ts';
import { archive, header, member, membersOf } from '../../support/tar-blocks.ts';
import { collect, common, fileEntry, folderEntry, holeSource, plainTree } from '../../support/trees.ts';

function treeOf(...parts: readonly Uint8Array[]): TreeEntry[] {
  return treeFromTar(archive(...parts));
}

function pathsOf(...parts: readonly Uint8Array[]): string[] {
  return treeOf(...parts).map(({ path, type }) => `${type}:${path}`);
}

const folder = (name: string, mode = 0o755): Uint8Array => header({ typeFlag: '5', name, mode });
const file = (name: string, content = ''): Uint8Array => member({ name }, content);
const link = (name: string, linkName: string): Uint8Array => header({ typeFlag: '1', name, linkName });
const symlink = (name: string, linkName: string): Uint8Array => header({ typeFlag: '2', name, linkName });

describe('reading a tree', () => {
  test('names lose leading slashes, dots and doubled slashes', () => {
    expect(pathsOf(folder('./'), folder('.//a/./'), file('/a//b'), file('./c'))).toEqual([
      'dir:',
      'dir:a',
      'file:a/b',
      'file:c',
    ]);
  });

  test('folders that are missing are made: 0755, root, epoch', () => {
    expect(treeOf(file('a/b/c'))[1]).toEqual({ ...common('a', { mode: 0o755 }), type: 'dir' });
    expect(pathsOf(file('a/b/c'))).toEqual(['dir:', 'dir:a', 'dir:a/b', 'file:a/b/c']);
  });

  test('a folder that comes after its content brings its metadata', () => {
    expect(treeOf(file('d/f'), folder('d/', 0o700)).find(({ path }) => path === 'd')?.mode).toBe(0o700);
    expect(treeOf(folder('./', 0o711))[0]?.mode).toBe(0o711);
  });

  test('depth first, names in byte order, whatever the order of the archive', () => {
    expect(pathsOf(file('a-b'), file('a/c'), file('a.'), file('Z'), file('a/C/x'))).toEqual([
      'dir:',
      'file:Z',
      'dir:a',
      'dir:a/C',
      'file:a/C/x',
      'file:a/c',
      'file:a-b',
      'file:a.',
    ]);
  });

  test('a later member replaces an earlier one of the same path', () => {
    const entries = treeOf(file('f', 'old'), file('./f', 'new'), symlink('g', 'x'), file('g', 'file'));
    expect(plainTree(entries).slice(1)).toMatchObject([
      { path: 'f', content: Buffer.from('new').toString('hex') },
      { path: 'g', type: 'file' },
    ]);
  });

  test('the first name in order carries the content, whichever the archive has first', () => {
    const entries = treeOf(file('z', 'content'), link('m', './z'), link('a', 'm'));
    expect(plainTree(entries).slice(1)).toMatchObject([
      { path: 'a', type: 'file', content: Buffer.from('content').toString('hex') },
      { path: 'm', type: 'hardlink', linkPath: 'a' },
      { path: 'z', type: 'hardlink', linkPath: 'a' },
    ]);
  });

  test('a link keeps what it was made to when its first name is replaced', () => {
    const entries = treeOf(file('a', 'one'), link('b', 'a'), file('a', 'two'));
    expect(plainTree(entries).slice(1)).toMatchObject([
      { path: 'a', type: 'file', content: Buffer.from('two').toString('hex') },
      { path: 'b', type: 'file', content: Buffer.from('one').toString('hex') },
    ]);
  });

  test.each<[string, readonly Uint8Array[], string]>([
    ['a path that goes up', [file('a/../../etc/passwd')], 'TAR_PATH'],
    ['a path that goes up and down again', [file('a/../b')], 'TAR_PATH'],
    ['a hard link that goes up', [file('a'), link('b', '../a')], 'TAR_PATH'],
    ['a file as root', [file('./.')], 'TAR_PATH'],
    ['a member below a symbolic link', [symlink('a', '/etc'), file('a/passwd')], 'TAR_PARENT'],
    ['a member below a file', [file('a'), file('a/b/c')], 'TAR_PARENT'],
    ['a folder with content that becomes a link', [file('d/f'), symlink('d', '/etc')], 'TAR_REPLACED'],
    ['a hard link to nothing', [link('a', 'b')], 'TAR_HARDLINK'],
    ['a hard link to what comes later', [link('a', 'b'), file('b')], 'TAR_HARDLINK'],
    ['a hard link to a folder', [folder('d/'), link('a', 'd')], 'TAR_HARDLINK'],
    ['a hard link to a folder that was only implied', [file('d/f'), link('a', 'd')], 'TAR_HARDLINK'],
    ['a hard link to itself', [link('a', 'a')], 'TAR_HARDLINK'],
  ])('rejects %s', (_, parts, code) => {
    expectCvmError(() => treeOf(...parts), code, 'format');
  });

  test('an empty folder may become something else', () => {
    expect(pathsOf(folder('d/'), symlink('d', 'x'))).toEqual(['dir:', 'symlink:d']);
  });

  test('a folder of a hundred thousand parents is refused as a path, not by a full stack', () => {
    expectCvmError(
      () => treeOf(member({ typeFlag: 'L', dialect: 'gnu' }, 'a/'.repeat(100_000)), file('f')),
      'TAR_NAME',
    );
  });
});

describe('writing a tree', () => {
  test('the order of the entries does not matter', () => {
    const entries = [fileEntry('a-b', '1'), folderEntry('a'), fileEntry('a/c', '2'), folderEntry('')];
    expect(collect(treeToTar(entries))).toEqual(collect(treeToTar(entries.toReversed())));
    const names = membersOf(collect(treeToTar(entries)).subarray(0, -1024)).map(({ name }) => name);
    expect(names).toEqual(['./', 'a/', 'a/c', 'a-b']);
  });

  test('a header that holds everything has no extended header before it', () => {
    expect(collect(treeToTar([fileEntry('f', 'x', { uid: 0o7777777, mtimeSec: 8 ** 11 - 1 })])).length).toBe(
      2048,
    );
    expect(collect(treeToTar([fileEntry('f', 'x', { uid: 0o10000000 })])).length).toBe(3072);
    expect(collect(treeToTar([fileEntry('n'.repeat(100), '')])).length).toBe(1536);
    expect(collect(treeToTar([fileEntry('n'.repeat(101), '')])).length).toBe(2560);
  });

  test('nanoseconds are dropped, and one time for all when it is given', () => {
    const entries = [
      fileEntry('f', '', { mtimeSec: 5, mtimeNsec: 999_999_999 }),
      fileEntry('g', '', { mtimeSec: -1 }),
    ];
    const times = (bytes: Uint8Array): number[] =>
      treeFromTar(sourceFromBytes(bytes))
        .slice(1)
        .map(({ mtimeSec }) => mtimeSec);
    expect(times(collect(treeToTar(entries)))).toEqual([5, -1]);
    expect(times(collect(treeToTar(entries, { epochSec: 7 })))).toEqual([7, 7]);
  });

  test('a hard link that sorts before its file takes the content', () => {
    const entries: TreeEntry[] = [
      fileEntry('z', 'content', { mode: 0o600 }),
      { ...common('a'), type: 'hardlink', linkPath: 'z' },
    ];
    expect(membersOf(collect(treeToTar(entries)).subarray(0, -1024))).toMatchObject([
      { name: 'a', type: 'file', mode: 0o600 },
      { name: 'z', type: 'hardlink', linkName: 'a' },
    ]);
  });

  test('a content above 8 GiB has its size in a record', () => {
    const first = [];
    for (const chunk of treeToTar([{ ...common('big'), type: 'file', content: holeSource(8 ** 11) }])) {
      first.push(chunk);
      if (first.length > 3) break;
    }
    expect(Buffer.from(first[1] as Uint8Array).toString()).toBe('19 size=8589934592\n');
    expect(Buffer.from((first[3] as Uint8Array).subarray(124, 136)).toString()).toBe('00000000000\0');
  });

  test('rejects a socket', () => {
    expectCvmError(() => collect(treeToTar([{ ...common('s'), type: 'socket' }])), 'TAR_SOCKET', 'usage');
  });

  test('a hard link to nothing is a bug of the caller', () => {
    expectCvmError(
      () => collect(treeToTar([{ ...common('a'), type: 'hardlink', linkPath: 'b' }])),
      'INTERNAL',
      'bug',
    );
  });
});

const component = fc
  .stringMatching(/^[a-cé\n]{1,3}$|^[a-c]{60}$/)
  .filter((name) => name !== '.' && name !== '..');
const fields = fc.record({
  mode: fc.nat(0o7777),
  uid: fc.oneof(fc.nat(3000), fc.nat(0xffff_ffff)),
  gid: fc.oneof(fc.nat(3000), fc.nat(0xffff_ffff)),
  mtimeSec: fc.oneof(fc.constant(0), fc.integer({ min: -(2 ** 40), max: 2 ** 40 })),
  xattrs: fc
    .dictionary(fc.stringMatching(/^user\.[a-c=%é]{1,4}$/), fc.uint8Array({ maxLength: 20 }), { maxKeys: 3 })
    .map((values) => new Map(Object.entries(values))),
});
const leaf = fc.oneof(
  fc
    .uint8Array({ maxLength: 1500 })
    .map((bytes) => ({ type: 'file' as const, content: sourceFromBytes(bytes) })),
  fc.stringMatching(/^[a-c/]{1,120}$/).map((target) => ({ type: 'symlink' as const, target })),
  fc.record({
    type: fc.constantFrom('char' as const, 'block' as const),
    major: fc.nat(4095),
    minor: fc.nat(1_048_575),
  }),
  fc.constant({ type: 'fifo' as const }),
);

/** Trees in normal form: every parent present, depth first. */
const tree = fc
  .array(fc.tuple(fc.array(component, { minLength: 1, maxLength: 4 }), fields, leaf), { maxLength: 12 })
  .chain((items) => fc.tuple(fc.constant(items), fields))
  .map(([items, root]) => {
    const entries = new Map<string, TreeEntry>([['', { ...common('', root), type: 'dir' }]]);
    for (const [parts, itemFields, kind] of items) {
      const path = parts.join('/');
      const blocked = parts.some((_, i) => {
        const found = entries.get(parts.slice(0, i).join('/'));
        return i > 0 && found !== undefined && found.type !== 'dir';
      });
      if (blocked || entries.has(path)) continue;
      for (let i = 1; i < parts.length; i++) {
        const parent = parts.slice(0, i).join('/');
        if (!entries.has(parent)) entries.set(parent, { ...common(parent, itemFields), type: 'dir' });
      }
      entries.set(path, { ...common(path, itemFields), ...kind });
    }
    return [...entries.values()];
  });

test('a tree that is written and read back is the same, and written again has the same bytes', () => {
  fc.assert(
    fc.property(tree, (entries) => {
      const bytes = collect(treeToTar(entries));
      const read = treeFromTar(sourceFromBytes(bytes));
      const byPath = (list: unknown[]): unknown[] =>
        (list as { path: string }[]).toSorted((a, b) => (a.path < b.path ? -1 : 1));
      expect(byPath(plainTree(read))).toEqual(byPath(plainTree(entries)));
      expect(collect(treeToTar(read))).toEqual(bytes);
    }),
  );
});

describe('files with holes, stored without them', () => {
  const data = sourceFromBytes(new Uint8Array(700).fill(7));
  const holes = (...offsets: readonly number[]) =>
    sparseSource(
      5_000_001,
      offsets.map((offset) => ({ offset, source: data })),
    );

  for (const [what, content] of [
    ['data at the start', holes(0)],
    ['data at odd places', holes(1, 1000, 2_000_001)],
    ['data at the end', holes(5_000_001 - 700)],
    ['nothing but a hole', holes()],
  ] as const) {
    test(`${what}: read back the same, and much smaller`, () => {
      const bytes = collect(
        treeToTar([folderEntry(''), { ...fileEntry('d/f', ''), content }, folderEntry('d')], {
          sparse: true,
        }),
      );
      expect(bytes.length).toBeLessThan(12_000);
      const found = treeFromTar(sourceFromBytes(bytes)).find(({ path }) => path === 'd/f');
      if (found?.type !== 'file') throw new Error('not a file');
      expect(Buffer.compare(found.content.read(0, 5_000_001), content.read(0, 5_000_001))).toBe(0);
      expect(collect(treeToTar(treeFromTar(sourceFromBytes(bytes)), { sparse: true }))).toEqual(bytes);
    });
  }

  test('a file without holes, or of less than its map, is stored as it is', () => {
    const entries = [
      { ...fileEntry('full', ''), content: data },
      { ...fileEntry('small', ''), content: sparseSource(900, [{ offset: 0, source: data }]) },
    ];
    expect(collect(treeToTar(entries, { sparse: true }))).toEqual(collect(treeToTar(entries)));
  });
});

test('a file that only begins like an archive of nothing is refused: an image of a file system does', () => {
  const empty = (length: number): TreeEntry[] => treeFromTar(sourceFromBytes(new Uint8Array(length)));
  expect(empty(1024).map(({ path }) => path)).toEqual(['']);
  expect(empty(10_240).map(({ path }) => path)).toEqual(['']);
  expectCvmError(() => empty(10_241), 'TAR_EMPTY', 'format');
  const image = new Uint8Array(1 << 16);
  image.set([0x53, 0xef], 1080);
  expectCvmError(() => treeFromTar(sourceFromBytes(image)), 'TAR_EMPTY', 'format');
  // A root alone is something.
  const root = collect(treeToTar([folderEntry('')]));
  expect(treeFromTar(sourceFromBytes(Uint8Array.from([...root, ...new Uint8Array(20_000)])))).toHaveLength(1);
});

test('fractions of a second are kept where they are asked for', () => {
  const times = [
    [0, 1],
    [-1, 500_000_000],
    [-2, 0],
    [1_796_032_812, 999_083_860],
    [5_000_000_000, 999_999_999],
    [8 ** 11, 120_000_000],
  ] as const;
  const entries = [
    folderEntry(''),
    ...times.map(([mtimeSec, mtimeNsec], i) => ({ ...fileEntry(`f${i}`, 'x'), mtimeSec, mtimeNsec })),
  ];
  const timesOf = (options: TarOptions): unknown =>
    treeFromTar(sourceFromBytes(collect(treeToTar(entries, options))))
      .slice(1)
      .map(({ mtimeSec, mtimeNsec }) => [mtimeSec, mtimeNsec]);
  expect(timesOf({ fractions: true })).toEqual(times);
  expect(timesOf({})).toEqual(times.map(([sec]) => [sec, 0]));
  expect(timesOf({ fractions: true, epochSec: 7 })).toEqual(times.map(() => [7, 0]));
});

describe('reading an archive and all its contents', () => {
  const data = Uint8Array.from({ length: 70_001 }, (_, i) => 1 + (i % 255));
  const entries: readonly TreeEntry[] = [
    folderEntry(''),
    fileEntry('plain', 'content'),
    fileEntry('n'.repeat(250), 'of a long name'),
    { ...fileEntry('large', ''), content: sourceFromBytes(data) },
    { ...fileEntry('labelled', 'x'), xattrs: new Map([['security.selinux', new Uint8Array(6000).fill(97)]]) },
    {
      ...fileEntry('holes', ''),
      content: sparseSource(9 << 20, [{ offset: 5000, source: sourceFromBytes(data) }]),
    },
    { ...fileEntry('timed', 'y'), mtimeNsec: 5 },
  ];

  test.each([false, true])('takes every byte once at most, and all but padding (sparse: %s)', (sparse) => {
    const bytes = collect(
      treeToTar(sparse ? entries : entries.filter(({ path }) => path !== 'holes'), { sparse }),
    );
    const times = new Uint8Array(bytes.length);
    const source = {
      sizeBytes: bytes.length,
      extents: [{ offset: 0, length: bytes.length }],
      read(offset: number, length: number) {
        for (let at = offset; at < offset + length; at++) times[at] = (times[at] as number) + 1;
        return bytes.subarray(offset, offset + length);
      },
    };
    for (const entry of treeFromTar(source)) {
      if (entry.type !== 'file') continue;
      for (const { offset, length } of entry.content.extents) entry.content.read(offset, length);
    }
    expect(Math.max(...times)).toBe(1);
    // Contents end where blocks do not.
    const unread = bytes.filter((_, at) => times[at] === 0);
    expect(unread.length).toBeLessThan(512 * entries.length);
    expect(unread.every((byte) => byte === 0)).toBe(true);
  });
});
