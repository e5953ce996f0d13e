import { equalBytes } from '../bytes/compare.ts';
import { digestSource } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import type { ByteSource } from '../bytes/source.ts';
import type { RawText } from '../bytes/text.ts';
import type { TreeEntry } from '../tree/entry.ts';
import { LIMITS } from './limits.ts';
import { textDifference, type TextDifference } from './text-difference.ts';

/** What one name of a tree leads to, as far as a reader wants to know. */
export interface TreeFact {
  readonly type: TreeEntry['type'];
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of files. */
  readonly sizeBytes: number | null;
  /** Of files: 64 hex digits. */
  readonly sha256: string | null;
  /** Of links. */
  readonly target: RawText | null;
}

export type Change = 'added' | 'removed' | 'changed' | 'same';

export interface TreeRow {
  /** Without a leading slash; the root is the empty string. */
  readonly path: RawText;
  readonly change: Change;
  /** Null when it is gone. */
  readonly now: TreeFact | null;
  /** Null when it is new, and without a base. */
  readonly base: TreeFact | null;
  /** Of what is on both sides: which of type, content, target, mode, owner, time, device and extended attributes differ. */
  readonly differences: readonly string[];
  /** Of small text files that are new, gone or changed. */
  readonly text: TextDifference | null;
}

export interface TreeDifference {
  /** Whether there was a base to compare with. */
  readonly compared: boolean;
  /** In byte order of the paths. */
  readonly rows: readonly TreeRow[];
}

/**
 * What became of a tree. Contents are compared by their SHA-256.
 * @param base undefined when there is none: then every row is `same`, which says nothing
 */
export function treeDifference(
  now: readonly TreeEntry[],
  base: readonly TreeEntry[] | undefined,
): TreeDifference {
  const nowSide = treeSide(now);
  if (base === undefined) {
    const rows = [...nowSide.entries.keys()].sort().map((path): TreeRow => ({
      path,
      change: 'same',
      now: nowSide.fact(path),
      base: null,
      differences: [],
      text: null,
    }));
    return { compared: false, rows };
  }
  const baseSide = treeSide(base);
  const paths = [...new Set([...nowSide.entries.keys(), ...baseSide.entries.keys()])].sort();
  let budget: number = LIMITS.treeDiffLines;
  const rows = paths.map((path): TreeRow => {
    const [is, was] = [nowSide.fact(path), baseSide.fact(path)];
    const differences = is === null || was === null ? [] : differencesOf(path, nowSide, baseSide);
    const change: Change =
      was === null ? 'added' : is === null ? 'removed' : differences.length > 0 ? 'changed' : 'same';
    const isText = change === 'added' || change === 'removed' || differences.includes('content');
    const text = isText ? contentDifference(baseSide.content(path), nowSide.content(path), budget) : null;
    budget -= text?.hunks.reduce((sum, hunk) => sum + hunk.lines.length, 0) ?? 0;
    return { path, change, now: is, base: was, differences, text };
  });
  return { compared: true, rows };
}

interface TreeSide {
  readonly entries: ReadonlyMap<RawText, TreeEntry>;
  fact(path: RawText): TreeFact | null;
  content(path: RawText): ByteSource | undefined;
}

function treeSide(list: readonly TreeEntry[]): TreeSide {
  const entries = new Map(list.map((entry) => [entry.path, entry]));
  const content = (path: RawText): ByteSource | undefined => {
    const entry = entries.get(path);
    const first = entry?.type === 'hardlink' ? entries.get(entry.linkPath) : entry;
    return first?.type === 'file' ? first.content : undefined;
  };
  const facts = new Map<RawText, TreeFact>();
  const fact = (path: RawText): TreeFact | null => {
    const entry = entries.get(path);
    if (entry === undefined) return null;
    const known = facts.get(path);
    if (known !== undefined) return known;
    const source = content(path);
    const found: TreeFact = {
      type: entry.type,
      mode: entry.mode,
      uid: entry.uid,
      gid: entry.gid,
      sizeBytes: source?.sizeBytes ?? null,
      sha256: source === undefined ? null : bytesToHex(digestSource('sha256', source)),
      target: entry.type === 'symlink' ? entry.target : entry.type === 'hardlink' ? entry.linkPath : null,
    };
    facts.set(path, found);
    return found;
  };
  return { entries, fact, content };
}

function differencesOf(path: RawText, nowSide: TreeSide, baseSide: TreeSide): string[] {
  const [is, was] = [nowSide.entries.get(path), baseSide.entries.get(path)];
  const [isFact, wasFact] = [nowSide.fact(path), baseSide.fact(path)];
  if (is === undefined || was === undefined) return [];
  const device = (entry: TreeEntry): string =>
    entry.type === 'char' || entry.type === 'block' ? `${entry.major}:${entry.minor}` : '';
  const found: [string, boolean][] = [
    ['type', is.type !== was.type],
    ['content', isFact?.sha256 !== wasFact?.sha256],
    ['target', isFact?.target !== wasFact?.target],
    ['mode', is.mode !== was.mode],
    ['owner', is.uid !== was.uid || is.gid !== was.gid],
    ['time', is.mtimeSec !== was.mtimeSec || is.mtimeNsec !== was.mtimeNsec],
    ['device', device(is) !== device(was)],
    ['extended attributes', !sameXattrs(is.xattrs, was.xattrs)],
  ];
  return found.flatMap(([name, differs]) => (differs ? [name] : []));
}

function sameXattrs(a: TreeEntry['xattrs'], b: TreeEntry['xattrs']): boolean {
  return (
    a.size === b.size &&
    [...a].every(([name, value]) => {
      const other = b.get(name);
      return other !== undefined && equalBytes(value, other);
    })
  );
}

function contentDifference(
  before: ByteSource | undefined,
  after: ByteSource | undefined,
  budget: number,
): TextDifference | null {
  if (before === undefined && after === undefined) return null;
  const sides = [before, after].map((source) =>
    source === undefined
      ? undefined
      : source.sizeBytes > LIMITS.textFileBytes
        ? null
        : source.read(0, source.sizeBytes),
  );
  const [was, is] = sides;
  if (was === null || is === null) return null;
  return textDifference(was, is, Math.min(budget, LIMITS.fileDiffLines)) ?? null;
}
