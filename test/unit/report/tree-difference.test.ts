import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { treeDifference, type TreeRow } from '../../../tools/report/tree-difference.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import { dirEntry, fileEntry } from '../../support/ext4-trees.ts';

const file = (path: string, content: string): TreeEntry => fileEntry(path, utf8Bytes(content));
const link = (path: string, target: string): TreeEntry => ({ ...dirEntry(path), type: 'symlink', target });
const hard = (path: string, linkPath: string): TreeEntry => ({
  ...dirEntry(path),
  type: 'hardlink',
  linkPath,
});
const device = (path: string, minor: number): TreeEntry => ({
  ...dirEntry(path),
  type: 'char',
  major: 1,
  minor,
});

const row = (now: readonly TreeEntry[], base: readonly TreeEntry[], path: string): TreeRow | undefined =>
  treeDifference(now, base).rows.find((found) => found.path === path);

describe('what became of an entry', () => {
  test.each<[string, TreeEntry | undefined, TreeEntry | undefined, string, string[]]>([
    ['nothing', file('f', 'a'), file('f', 'a'), 'same', []],
    ['it is new', undefined, file('f', 'a'), 'added', []],
    ['it is gone', file('f', 'a'), undefined, 'removed', []],
    ['another content', file('f', 'a'), file('f', 'b'), 'changed', ['content']],
    ['another mode', file('f', 'a'), { ...file('f', 'a'), mode: 0o600 }, 'changed', ['mode']],
    ['another owner', file('f', 'a'), { ...file('f', 'a'), uid: 7 }, 'changed', ['owner']],
    ['another group', file('f', 'a'), { ...file('f', 'a'), gid: 7 }, 'changed', ['owner']],
    ['another time', file('f', 'a'), { ...file('f', 'a'), mtimeSec: 7 }, 'changed', ['time']],
    ['another part of a second', file('f', 'a'), { ...file('f', 'a'), mtimeNsec: 7 }, 'changed', ['time']],
    [
      'another label',
      { ...file('f', 'a'), xattrs: new Map([['security.selinux', utf8Bytes('a')]]) },
      { ...file('f', 'a'), xattrs: new Map([['security.selinux', utf8Bytes('b')]]) },
      'changed',
      ['extended attributes'],
    ],
    [
      'a label that it had not',
      file('f', 'a'),
      { ...file('f', 'a'), xattrs: new Map([['security.selinux', utf8Bytes('b')]]) },
      'changed',
      ['extended attributes'],
    ],
    [
      'a label of another name',
      { ...file('f', 'a'), xattrs: new Map([['user.a', utf8Bytes('a')]]) },
      { ...file('f', 'a'), xattrs: new Map([['user.b', utf8Bytes('a')]]) },
      'changed',
      ['extended attributes'],
    ],
    ['another target', link('f', 'a'), link('f', 'b'), 'changed', ['target']],
    ['another device', device('f', 1), device('f', 2), 'changed', ['device']],
    ['another type', file('f', 'a'), { ...dirEntry('f'), mode: 0o644 }, 'changed', ['type', 'content']],
  ])('%s', (_, before, after, change, differences) => {
    const found = row(after === undefined ? [] : [after], before === undefined ? [] : [before], 'f');
    expect(found).toMatchObject({ change, differences });
    expect(found?.now === null).toBe(after === undefined);
    expect(found?.base === null).toBe(before === undefined);
  });

  test('a further name has the content of the first', () => {
    const now = [file('a', 'new'), hard('b', 'a')];
    const base = [file('a', 'old'), hard('b', 'a')];
    expect(row(now, base, 'b')).toMatchObject({ change: 'changed', differences: ['content'] });
    expect(row(now, now, 'b')).toMatchObject({ change: 'same', now: { sizeBytes: 3, target: 'a' } });
  });

  test('text is compared line by line, other content by its digest alone', () => {
    const binary = fileEntry('f', Uint8Array.of(0, 1));
    expect(row([file('f', 'b\n')], [file('f', 'a\n')], 'f')?.text).toMatchObject({ added: 1, removed: 1 });
    expect(row([file('f', 'b\n')], [], 'f')?.text).toMatchObject({ added: 1, removed: 0 });
    expect(row([binary], [file('f', 'a\n')], 'f')).toMatchObject({ change: 'changed', text: null });
    expect(row([{ ...file('f', 'a'), mode: 0 }], [file('f', 'a')], 'f')?.text).toBeNull();
    expect(row([dirEntry('f')], [], 'f')?.text).toBeNull();
  });

  test('a large file is not read to be shown', () => {
    const content = {
      ...sourceFromBytes(utf8Bytes('x')),
      sizeBytes: 1 << 20,
      read: () => new Uint8Array(1 << 20),
    };
    const large: TreeEntry = { ...fileEntry('f'), type: 'file', content };
    expect(row([large], [], 'f')).toMatchObject({ change: 'added', text: null, now: { sizeBytes: 1 << 20 } });
  });
});

test('all differences together show a bounded number of lines, and count the rest', () => {
  const many = Array.from({ length: 20 }, (_, i) => file(`f${i}`, 'line\n'.repeat(100)));
  const { rows } = treeDifference(many, []);
  const shown = rows.flatMap(({ text }) => text?.hunks ?? []).flatMap(({ lines }) => lines).length;
  const cut = rows.reduce((sum, { text }) => sum + (text?.cut ?? 0), 0);
  expect(shown).toBeLessThanOrEqual(400);
  expect(shown + cut).toBe(2000);
});

test('without a base nothing is compared, and it says so', () => {
  const found = treeDifference([file('f', 'a')], undefined);
  expect(found.compared).toBe(false);
  expect(found.rows).toMatchObject([{ path: 'f', change: 'same', base: null }]);
});

const anyTree = fc
  .uniqueArray(
    fc.record({
      path: fc.constantFrom('a', 'b', 'c', 'd/e'),
      content: fc.constantFrom('x', 'y'),
      mode: fc.constantFrom(0o644, 0o600),
    }),
    {
      selector: ({ path }) => path,
    },
  )
  .map((list) => list.map(({ path, content, mode }): TreeEntry => ({ ...file(path, content), mode })));

test('from one tree to the other is from the other to the one, reversed; to itself nothing differs', () => {
  fc.assert(
    fc.property(anyTree, anyTree, (a, b) => {
      const there = treeDifference(a, b).rows;
      const back = treeDifference(b, a).rows;
      const reverse = { added: 'removed', removed: 'added', changed: 'changed', same: 'same' } as const;
      expect(back.map(({ path, change }) => [path, change])).toEqual(
        there.map(({ path, change }) => [path, reverse[change]]),
      );
      expect(there.map(({ path }) => path)).toEqual(
        [...new Set([...a, ...b].map(({ path }) => path))].sort(),
      );
      expect(treeDifference(a, a).rows.every(({ change }) => change === 'same')).toBe(true);
    }),
    { seed: 8, numRuns: 300 },
  );
});
