import { describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { addFile, findEntry, stripContents, subtree } from '../../../tools/tree/edit.ts';
import type { FileEntry, TreeEntry } from '../../../tools/tree/entry.ts';
import { expectCvmError } from '../../support/errors.ts';
import { dirEntry, fileEntry, hardlinkEntry, linkEntry, plain } from '../../support/ext4-trees.ts';

const bytes = Uint8Array.of(1, 2, 3);
const TREE: readonly TreeEntry[] = [
  dirEntry(''),
  dirEntry('a'),
  fileEntry('a/first', bytes),
  dirEntry('a-b'),
  hardlinkEntry('a-b/second', 'a/first'),
  hardlinkEntry('third', 'a/first'),
  linkEntry('link', 'a'),
];
const added = (path: string): FileEntry => ({
  ...(fileEntry(path) as FileEntry),
  content: sourceFromBytes(Uint8Array.of(9)),
});
const shown = (entries: readonly TreeEntry[]): unknown[] => entries.map(plain);

describe('stripContents', () => {
  test('the next name of a file takes over, and later ones name that', () => {
    expect(shown(stripContents(TREE, ['a']))).toEqual(
      shown([
        dirEntry(''),
        dirEntry('a'),
        dirEntry('a-b'),
        fileEntry('a-b/second', bytes),
        hardlinkEntry('third', 'a-b/second'),
        linkEntry('link', 'a'),
      ]),
    );
  });

  test('a name that only begins alike stays', () => {
    expect(stripContents(TREE, ['a']).map(({ path }) => path)).toContain('a-b/second');
  });

  test('the root keeps only itself', () => {
    expect(shown(stripContents(TREE, ['']))).toEqual(shown([dirEntry('')]));
  });

  test('what is no directory goes itself', () => {
    const paths = stripContents(TREE, ['link', 'third', 'nowhere']).map(({ path }) => path);
    expect(paths).toEqual(['', 'a', 'a/first', 'a-b', 'a-b/second']);
  });
});

describe('subtree', () => {
  test('brings files in whose first name is outside', () => {
    expect(shown(subtree(TREE, 'a-b'))).toEqual(shown([dirEntry(''), fileEntry('second', bytes)]));
  });

  test.each(['link', 'third', 'nowhere', 'a/'])('refuses %j', (path) => {
    expectCvmError(() => subtree(TREE, path), 'TREE_NO_DIRECTORY', 'usage');
  });
});

describe('addFile', () => {
  test('over a first name: the other names keep the old content', () => {
    const result = addFile(TREE, added('a/first'));
    expect(findEntry(result, 'a/first')).toMatchObject({ content: { sizeBytes: 1 } });
    expect(findEntry(result, 'a-b/second')).toMatchObject({ type: 'file', content: { sizeBytes: 3 } });
    expect(findEntry(result, 'third')).toMatchObject({ path: 'a-b/second' });
  });

  test('makes directories from the top down, also a root that the list lacks', () => {
    const result = addFile([], added('x/y/z'));
    expect(result.map(({ path, type }) => `${type} ${path}`)).toEqual([
      'dir ',
      'dir x',
      'dir x/y',
      'file x/y/z',
    ]);
  });

  test.each(['a', '', 'link/x', 'third/x/y'])('refuses %j', (path) => {
    expectCvmError(() => addFile(TREE, added(path)), 'TREE_ADD', 'usage');
  });
});
