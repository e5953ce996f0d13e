import { createHash } from 'node:crypto';
import { compareBytes, concatBytes } from '../bytes/compare.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { cborKind, isCborArray } from '../cbor/value.ts';
import type { CborValue } from '../cbor/value.ts';
import { formatError } from '../errors.ts';
import type { CvmError } from '../errors.ts';

/**
 * A hash tree of the Internet Computer: a labelled tree of which parts may be replaced by their digests. Source:
 * Internet Computer interface specification, sections "Certificate" and "Lookup".
 */
export type HashTree =
  | { readonly kind: 'empty' }
  | { readonly kind: 'fork'; readonly left: HashTree; readonly right: HashTree }
  | { readonly kind: 'labeled'; readonly label: Uint8Array; readonly subtree: HashTree }
  | { readonly kind: 'leaf'; readonly value: Uint8Array }
  | { readonly kind: 'pruned'; readonly digest: Uint8Array };

/** A path element: bytes, or text that stands for its UTF-8 bytes. */
export type Label = Uint8Array | string;

/**
 * What a tree says about a path. `absent` is proven by visible neighbours; `unknown` means that a pruned part may
 * hold it; `error` that the path ends above the leaves.
 */
export type LookupResult =
  | { readonly status: 'found'; readonly value: Uint8Array }
  | { readonly status: 'absent' | 'unknown' | 'error' };

export type SubtreeResult =
  { readonly status: 'found'; readonly tree: HashTree } | { readonly status: 'absent' | 'unknown' };

/** Every leaf that a tree shows, as its labels from the top and its bytes. */
export interface CertifiedPath {
  readonly path: readonly Uint8Array[];
  readonly value: Uint8Array;
}

export const DIGEST_BYTES = 32;

const MEND = 'no replica makes such a tree: fetch the certificate again';

/**
 * A decoded CBOR value as a hash tree: `[0]` empty, `[1, left, right]` fork, `[2, label, subtree]` labeled,
 * `[3, value]` leaf, `[4, digest]` pruned. The tree comes out well formed as the specification defines it: visible labels of one
 * subtree strictly ascend bytewise, and no leaf stands beside other nodes.
 * The depth is that of the CBOR value, which its decoder bounds.
 * @throws CvmError format HASH_TREE_SHAPE | HASH_TREE_DIGEST | HASH_TREE_ORDER | HASH_TREE_MIXED
 */
export function readHashTree(value: CborValue): HashTree {
  const tree = readNode(value);
  checkWellFormed(tree);
  return tree;
}

function readNode(value: CborValue): HashTree {
  if (!isCborArray(value)) throw badShape(`a node is ${cborKind(value)}, not an array`);
  const [tag, first, second] = value;
  const arity = (count: number, name: string): void => {
    if (value.length !== count) throw badShape(`a ${name} node has ${value.length} elements, not ${count}`);
  };
  switch (tag) {
    case 0n:
      arity(1, 'empty');
      return { kind: 'empty' };
    case 1n:
      arity(3, 'fork');
      return { kind: 'fork', left: readNode(first), right: readNode(second) };
    case 2n:
      arity(3, 'labeled');
      if (!(first instanceof Uint8Array)) throw badShape(`a label is ${cborKind(first)}, not a byte string`);
      return { kind: 'labeled', label: first, subtree: readNode(second) };
    case 3n:
      arity(2, 'leaf');
      if (!(first instanceof Uint8Array)) throw badShape(`a leaf is ${cborKind(first)}, not a byte string`);
      return { kind: 'leaf', value: first };
    case 4n:
      arity(2, 'pruned');
      if (!(first instanceof Uint8Array) || first.length !== DIGEST_BYTES) {
        throw formatError('HASH_TREE_DIGEST', 'a pruned node of the hash tree does not hold a digest', {
          facts: [
            ['expected', `a byte string of ${DIGEST_BYTES} bytes`],
            ['found', cborKind(first)],
          ],
          mend: MEND,
        });
      }
      return { kind: 'pruned', digest: first };
    default:
      throw badShape(`a node starts with ${tag === undefined ? 'nothing' : cborKind(tag)}, not with 0 to 4`);
  }
}

function badShape(problem: string): CvmError {
  return formatError('HASH_TREE_SHAPE', 'the hash tree is malformed', {
    facts: [['problem', problem]],
    mend: MEND,
  });
}

function checkWellFormed(tree: HashTree): void {
  if (tree.kind === 'leaf') return;
  let previous: Uint8Array | undefined;
  for (const node of flattenForks(tree)) {
    if (node.kind === 'leaf') {
      throw formatError('HASH_TREE_MIXED', 'the hash tree has a leaf beside other nodes of a subtree', {
        facts: [['leaf', `${node.value.length} bytes`]],
        mend: MEND,
      });
    }
    if (node.kind !== 'labeled') continue;
    if (previous !== undefined && compareBytes(previous, node.label) >= 0) {
      throw formatError('HASH_TREE_ORDER', 'the hash tree has labels that do not ascend', {
        facts: [
          ['label', showLabel(previous)],
          ['followed by', showLabel(node.label)],
        ],
        mend: MEND,
      });
    }
    previous = node.label;
    checkWellFormed(node.subtree);
  }
}

/** The nodes of one subtree from left to right: forks opened, empty ones dropped. */
function* flattenForks(tree: HashTree): Generator<Exclude<HashTree, { kind: 'fork' | 'empty' }>> {
  if (tree.kind === 'fork') {
    yield* flattenForks(tree.left);
    yield* flattenForks(tree.right);
  } else if (tree.kind !== 'empty') {
    yield tree;
  }
}

const separator = (name: string): Uint8Array => concatBytes(Uint8Array.of(name.length), utf8Bytes(name));

const EMPTY_SEPARATOR = separator('ic-hashtree-empty');
const FORK_SEPARATOR = separator('ic-hashtree-fork');
const LABELED_SEPARATOR = separator('ic-hashtree-labeled');
const LEAF_SEPARATOR = separator('ic-hashtree-leaf');

/** The digest that a signature over the tree covers: 32 bytes, the same for every pruning of one tree. */
export function rootHash(tree: HashTree): Uint8Array {
  switch (tree.kind) {
    case 'empty':
      return sha256(EMPTY_SEPARATOR);
    case 'fork':
      return sha256(FORK_SEPARATOR, rootHash(tree.left), rootHash(tree.right));
    case 'labeled':
      return sha256(LABELED_SEPARATOR, tree.label, rootHash(tree.subtree));
    case 'leaf':
      return sha256(LEAF_SEPARATOR, tree.value);
    case 'pruned':
      return tree.digest;
  }
}

function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const state = createHash('sha256');
  for (const part of parts) state.update(part);
  return new Uint8Array(state.digest());
}

/** What the tree says about the leaf at `path`. */
export function lookup(path: readonly Label[], tree: HashTree): LookupResult {
  const below = lookupSubtree(path, tree);
  if (below.status !== 'found') return below;
  switch (below.tree.kind) {
    case 'leaf':
      return { status: 'found', value: below.tree.value };
    case 'empty':
      return { status: 'absent' };
    case 'pruned':
      return { status: 'unknown' };
    default:
      return { status: 'error' };
  }
}

/** The part of the tree below `path`. What is found may itself be empty, a leaf, or pruned. */
export function lookupSubtree(path: readonly Label[], tree: HashTree): SubtreeResult {
  let at = tree;
  for (const element of path) {
    const found = findLabel(typeof element === 'string' ? utf8Bytes(element) : element, at);
    if (found.status !== 'found') return found;
    at = found.tree;
  }
  return { status: 'found', tree: at };
}

/**
 * Absence is proven where the neighbours on both sides of the place are visible labels or the edge of the subtree;
 * a pruned neighbour may hide the label. Below a leaf, and in an empty subtree, there is nothing.
 */
function findLabel(label: Uint8Array, tree: HashTree): SubtreeResult {
  if (tree.kind === 'leaf') return { status: 'absent' };
  let pruned = false;
  for (const node of flattenForks(tree)) {
    if (node.kind !== 'labeled') {
      pruned = true;
      continue;
    }
    const order = compareBytes(node.label, label);
    if (order === 0) return { status: 'found', tree: node.subtree };
    if (order > 0) break;
    // Only what lies between the last smaller label and the first greater one can hide this label.
    pruned = false;
  }
  return { status: pruned ? 'unknown' : 'absent' };
}

/** The labels directly below a subtree that are visible, ascending, each with what it holds. */
export function visibleChildren(
  tree: HashTree,
): { readonly label: Uint8Array; readonly subtree: HashTree }[] {
  const children: { label: Uint8Array; subtree: HashTree }[] = [];
  for (const node of flattenForks(tree)) {
    if (node.kind === 'labeled') children.push({ label: node.label, subtree: node.subtree });
  }
  return children;
}

/** Everything that the tree proves to be there, in the order of the tree. */
export function certifiedPaths(tree: HashTree): CertifiedPath[] {
  const paths: CertifiedPath[] = [];
  const walk = (node: HashTree, above: readonly Uint8Array[]): void => {
    if (node.kind === 'leaf') paths.push({ path: above, value: node.value });
    else for (const child of visibleChildren(node)) walk(child.subtree, [...above, child.label]);
  };
  walk(tree, []);
  return paths;
}

/**
 * A label for people: its text when that is visible ASCII without `/`, else `0x` and hex. Text that starts with `0x`
 * is shown in hex too, so that no two labels look alike.
 */
export function showLabel(label: Uint8Array): string {
  const printable = label.length > 0 && label.every((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x2f);
  const text = printable ? Buffer.from(label).toString('latin1') : '';
  return printable && !text.startsWith('0x') ? text : `0x${bytesToHex(label)}`;
}

/**
 * A label as {@link showLabel} writes it: `0x` and hex, or text that stands for its UTF-8 bytes.
 * @throws CvmError format HEX_INVALID
 */
export function parseLabel(text: string): Uint8Array {
  return text.startsWith('0x') ? hexToBytes(text.slice(2), 'the label') : utf8Bytes(text);
}
