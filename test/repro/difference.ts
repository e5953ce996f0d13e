/** Where two builds differ first. Pure. */
import { type ByteSource, asSource } from '../../tools/bytes/source.ts';
import { showRaw } from '../../tools/bytes/text.ts';
import { type TarMember, readTar } from '../../tools/tar/reader.ts';
import { isZstd } from '../../tools/zstd/frames.ts';
import { zstdSource } from '../../tools/zstd/source.ts';

/** What a build made: the sha256 of every artifact, by its path below bazel-bin. */
export interface Build {
  readonly name: string;
  readonly artifacts: ReadonlyMap<string, string>;
}

export interface Disagreement {
  readonly artifact: string;
  readonly one: Build;
  readonly other: Build;
}

/**
 * The first artifact, by name, of which there is not one sha256, and the first two builds that disagree about it. An
 * artifact that one build lacks is one about which they disagree.
 */
export function firstDisagreement(builds: readonly Build[]): Disagreement | undefined {
  const [one, ...others] = builds;
  if (one === undefined) return undefined;
  const names = new Set(builds.flatMap(({ artifacts }) => [...artifacts.keys()]));
  for (const artifact of [...names].sort()) {
    const other = others.find(({ artifacts }) => artifacts.get(artifact) !== one.artifacts.get(artifact));
    if (other !== undefined) return { artifact, one, other };
  }
  return undefined;
}

/** Bytes that are compared at a time. */
const WINDOW_BYTES = 1 << 20;

/** Offset of the first byte that differs; where the shorter one ends, if it is a beginning of the other. */
export function firstDifferingByte(one: ByteSource, other: ByteSource): number | undefined {
  const shared = Math.min(one.sizeBytes, other.sizeBytes);
  for (let at = 0; at < shared; at += WINDOW_BYTES) {
    const length = Math.min(WINDOW_BYTES, shared - at);
    const [a, b] = [one.read(at, length), other.read(at, length)];
    const difference = a.findIndex((byte, i) => byte !== b[i]);
    if (difference !== -1) return at + difference;
  }
  return one.sizeBytes === other.sizeBytes ? undefined : shared;
}

/** How deep archives within archives are followed. */
const DEPTH_LIMIT = 4;

/**
 * Says in words where two files differ first: through zstd and into the members of tar archives, as deep as they go.
 *
 * @returns undefined when they are equal
 */
export function describeDifference(
  one: Uint8Array | ByteSource,
  other: Uint8Array | ByteSource,
  depth = 0,
): string | undefined {
  const [a, b] = [asSource(one), asSource(other)];
  const at = firstDifferingByte(a, b);
  if (at === undefined) return undefined;
  const here = `byte ${at} of ${a.sizeBytes} and ${b.sizeBytes}`;
  if (depth === DEPTH_LIMIT) return here;
  return inside(a, b, depth) ?? here;
}

function inside(a: ByteSource, b: ByteSource, depth: number): string | undefined {
  // What cannot be read as an archive is compared as bytes: a damaged one is a difference like any other.
  try {
    if (isZstd(a) && isZstd(b)) {
      const [contentA, contentB] = [zstdSource(a), zstdSource(b)];
      if (contentA === undefined || contentB === undefined) return undefined;
      const found = describeDifference(contentA, contentB, depth + 1);
      return found === undefined ? 'compression: the contents are equal' : found;
    }
    return members(a, b, depth);
  } catch {
    return undefined;
  }
}

function members(a: ByteSource, b: ByteSource, depth: number): string | undefined {
  const [listA, listB] = [[...readTar(a)], [...readTar(b)]];
  for (let i = 0; i < Math.max(listA.length, listB.length); i++) {
    const [one, other] = [listA[i], listB[i]];
    if (one === undefined || other === undefined || one.name !== other.name) {
      return `member ${i + 1}: ${shown(one)} and ${shown(other)}`;
    }
    const field = FIELDS.find((name) => one[name] !== other[name]);
    if (field !== undefined) return `member ${shown(one)}: ${field} ${one[field]} and ${other[field]}`;
    const found = describeDifference(one.content, other.content, depth + 1);
    if (found !== undefined) return `member ${shown(one)}: ${found}`;
  }
  return undefined;
}

const shown = (member: TarMember | undefined): string =>
  member === undefined ? 'none' : showRaw(member.name);

const FIELDS = [
  'type',
  'linkName',
  'mode',
  'uid',
  'gid',
  'mtimeSec',
  'mtimeNsec',
  'major',
  'minor',
] as const satisfies readonly (keyof TarMember)[];
