import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareBytes } from '../../../tools/bytes/compare.ts';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { rawFromBytes, utf8FromBytes } from '../../../tools/bytes/text.ts';
import { decodeCbor } from '../../../tools/cbor/decode.ts';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import {
  certifiedPaths,
  lookup,
  lookupSubtree,
  readHashTree,
  rootHash,
  showLabel,
} from '../../../tools/nns/hash-tree.ts';
import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import { EMPTY, balanced, fork, labeled, leaf, prune, subtree, treeCbor } from '../../nns/signer.ts';

const read = (hex: string): HashTree => readHashTree(decodeCbor(hexToBytes(hex)));
const reread = (tree: HashTree): HashTree => readHashTree(decodeCbor(encodeCbor(treeCbor(tree))));

/** The answer in one word, or the value found. */
function ask(tree: HashTree, path: string): string {
  const result = lookup(path === '' ? [] : path.split('/'), tree);
  return result.status === 'found' ? utf8FromBytes(result.value) : result.status;
}

const ROOT = 'eb5c5b2195e62d996b84c9bcc8259d19a83786a2f59e0878cec84c811f669aa0';
const WHOLE =
  '8301830183024161830183018302417882034568656c6c6f810083024179820345776f726c6483024162820344676f6f64830183024163810083024164820' +
  '3476d6f726e696e67';
const PRUNED =
  '83018301830241618301820458201b4feff9bef8131788b0c9dc6dbad6e81e524249c879e9f10f71ce3749f5a63883024179820345776f726c64830241628' +
  '20458207b32ac0c6ba8ce35ac82c255fc7906f7fc130dab2a090f80fe12f9c2cae83ba6830182045820ec8324b8a1f1ac16bd2e806edba78006479c9877fe' +
  'd4eb464a25485465af601d830241648203476d6f726e696e67';

describe('the example of the interface specification', () => {
  test('has the published root hash, whole and pruned', () => {
    expect(bytesToHex(rootHash(read(WHOLE)))).toBe(ROOT);
    expect(bytesToHex(rootHash(read(PRUNED)))).toBe(ROOT);
  });

  test.each([
    ['a/x', 'hello'],
    ['a/y', 'world'],
    ['b', 'good'],
    ['d', 'morning'],
    ['c', 'absent'],
    ['a', 'error'],
    ['', 'error'],
    ['a/z', 'absent'],
    ['e', 'absent'],
    ['b/x', 'absent'],
  ])('whole: %s is %s', (path, answer) => {
    expect(ask(read(WHOLE), path)).toBe(answer);
  });

  test.each([
    ['a/a', 'unknown'],
    ['a/y', 'world'],
    ['aa', 'absent'],
    ['ax', 'absent'],
    ['b', 'unknown'],
    ['bb', 'unknown'],
    ['d', 'morning'],
    ['e', 'absent'],
    ['a/z', 'absent'],
  ])('pruned: %s is %s', (path, answer) => {
    expect(ask(read(PRUNED), path)).toBe(answer);
  });
});

describe('lookup', () => {
  const hidden = prune(leaf('hidden'));

  test('a label that extends its neighbour is between neighbours, not equal to one', () => {
    const tree = balanced([labeled('a', leaf('1')), labeled('ab', leaf('2')), labeled('b', leaf('3'))]);
    expect(['a', 'ab', 'abc', 'aa', 'b', 'A'].map((path) => ask(tree, path))).toEqual([
      '1',
      '2',
      'absent',
      'absent',
      '3',
      'absent',
    ]);
  });

  test('a pruned neighbour makes a place unknown, a pruned node elsewhere does not', () => {
    const tree = balanced([
      labeled('b', leaf('1')),
      labeled('d', leaf('2')),
      hidden,
      labeled('h', leaf('3')),
    ]);
    expect(['a', 'c', 'e', 'i'].map((path) => ask(tree, path))).toEqual([
      'absent',
      'absent',
      'unknown',
      'absent',
    ]);
  });

  test('empty subtrees between neighbours hide nothing', () => {
    const tree = balanced([labeled('a', leaf('1')), EMPTY, EMPTY, labeled('c', EMPTY), EMPTY]);
    expect(['b', 'c', 'd', 'c/x'].map((path) => ask(tree, path))).toEqual([
      'absent',
      'absent',
      'absent',
      'absent',
    ]);
  });

  test('a wholly pruned tree knows nothing, an empty one knows that nothing is there', () => {
    expect([ask(hidden, 'a'), ask(hidden, ''), ask(EMPTY, 'a'), ask(EMPTY, '')]).toEqual([
      'unknown',
      'unknown',
      'absent',
      'absent',
    ]);
  });

  test('below a leaf there is nothing', () => {
    expect(ask(subtree(['a', leaf('1')]), 'a/b')).toBe('absent');
  });

  test('a subtree is found whatever it is', () => {
    const tree = subtree(['a', hidden], ['b', EMPTY], ['c', leaf('1')]);
    const kinds = ['a', 'b', 'c'].map((label) => {
      const found = lookupSubtree([label], tree);
      return found.status === 'found' ? found.tree.kind : found.status;
    });
    expect(kinds).toEqual(['pruned', 'empty', 'leaf']);
    expect(lookupSubtree(['d'], tree).status).toBe('absent');
  });
});

describe('a malformed tree is refused', () => {
  const a = labeled('a', leaf('1'));
  const b = labeled('b', leaf('2'));

  test.each<[string, HashTree, string]>([
    ['labels that descend', balanced([b, a]), 'HASH_TREE_ORDER'],
    ['one label twice', balanced([a, a]), 'HASH_TREE_ORDER'],
    ['labels that descend around a pruned node', balanced([b, prune(a), a]), 'HASH_TREE_ORDER'],
    ['labels that descend in a deeper subtree', subtree(['x', balanced([b, a])]), 'HASH_TREE_ORDER'],
    [
      'a longer label before its own prefix',
      balanced([labeled('ab', EMPTY), labeled('a', EMPTY)]),
      'HASH_TREE_ORDER',
    ],
    ['a leaf beside a label', fork(a, leaf('1')), 'HASH_TREE_MIXED'],
    ['two leaves side by side', subtree(['x', fork(leaf('1'), leaf('2'))]), 'HASH_TREE_MIXED'],
    ['a leaf beside a pruned node', fork(leaf('1'), prune(a)), 'HASH_TREE_MIXED'],
  ])('%s', (_, tree, code) => {
    expect(() => reread(tree)).toThrow(expect.objectContaining({ kind: 'format', code }));
  });

  test.each([
    ['a node that is no array', '01', 'HASH_TREE_SHAPE'],
    ['a node of an unknown kind', '8105', 'HASH_TREE_SHAPE'],
    ['a node kind as text', '816130', 'HASH_TREE_SHAPE'],
    ['an array without a kind', '80', 'HASH_TREE_SHAPE'],
    ['an empty node with more', '820000', 'HASH_TREE_SHAPE'],
    ['a fork with one side', '82018100', 'HASH_TREE_SHAPE'],
    ['a fork with three sides', '8401810081008100', 'HASH_TREE_SHAPE'],
    ['a text as label', '830261618100', 'HASH_TREE_SHAPE'],
    ['a text as leaf', '82036161', 'HASH_TREE_SHAPE'],
    ['a leaf without value', '8103', 'HASH_TREE_SHAPE'],
    ['a digest of 31 bytes', `8204581f${'00'.repeat(31)}`, 'HASH_TREE_DIGEST'],
    ['a digest of 33 bytes', `82045821${'00'.repeat(33)}`, 'HASH_TREE_DIGEST'],
    ['a tree for a digest', '82048100', 'HASH_TREE_DIGEST'],
  ])('%s', (_, hex, code) => {
    expect(() => read(hex)).toThrow(expect.objectContaining({ kind: 'format', code }));
  });
});

test('certified paths are the leaves, in the order of the tree, and nothing pruned', () => {
  const tree = subtree(
    ['a', subtree(['x', leaf('1')], ['y', prune(leaf('2'))])],
    ['b', leaf('3')],
    ['c', EMPTY],
  );
  const paths = certifiedPaths(tree).map(
    ({ path, value }) => `${path.map(showLabel).join('/')}=${rawFromBytes(value)}`,
  );
  expect(paths).toEqual(['a/x=1', 'b=3']);
});

test('a label is shown as text only when it is harmless text', () => {
  expect(
    ['time', 'a/b', 'a b', '\u001b[2J', ''].map((label) => showLabel(new TextEncoder().encode(label))),
  ).toEqual(['time', '0x612f62', '0x612062', '0x1b5b324a', '0x']);
});

const labels = fc.uniqueArray(fc.uint8Array({ minLength: 1, maxLength: 3 }), {
  maxLength: 8,
  comparator: (a, b) => compareBytes(a, b) === 0,
});

test('pruning any children keeps the root hash, and never turns a found label into an absent one', () => {
  fc.assert(
    fc.property(labels, fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }), (names, hide) => {
      const sorted = [...names].sort(compareBytes);
      const children = sorted.map((name) => labeled(name, leaf(name)));
      const whole = balanced(children);
      const pruned = balanced(children.map((child, i) => (hide[i] === true ? prune(child) : child)));
      expect(rootHash(reread(pruned))).toEqual(rootHash(whole));
      for (const [i, name] of sorted.entries()) {
        expect(lookup([name], whole)).toEqual({ status: 'found', value: name });
        expect(lookup([name], pruned).status).toBe(hide[i] === true ? 'unknown' : 'found');
      }
    }),
  );
});

test('absent is said only of labels that are absent', () => {
  fc.assert(
    fc.property(
      labels,
      fc.uint8Array({ maxLength: 3 }),
      fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
      (names, sought, hide) => {
        const sorted = [...names].sort(compareBytes);
        const children = sorted.map((name) => labeled(name, leaf(name)));
        const tree = balanced(children.map((child, i) => (hide[i] === true ? prune(child) : child)));
        const there = sorted.some((name) => compareBytes(name, sought) === 0);
        const { status } = lookup([sought], tree);
        if (there) expect(status).not.toBe('absent');
        else expect(status).not.toBe('found');
        if (!there && !hide.includes(true)) expect(status).toBe('absent');
      },
    ),
  );
});
