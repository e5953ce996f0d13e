import { rawFromUtf8, showRaw, showText, utf8Bytes, type RawText } from '../bytes/text.ts';
import { CvmError, formatError } from '../errors.ts';
import type { TreeEntry } from '../tree/entry.ts';
import { compilePathRegex, type PathRegex } from './path-regex.ts';

/** The types a line can be limited to; a hard link has the type of what it names. */
export type LabelledType = Exclude<TreeEntry['type'], 'hardlink'>;

/** What a policy says about paths. */
export interface FileContexts {
  /**
   * @param path absolute: `/` or `/etc/passwd`
   * @returns the label, without a NUL; undefined when no line matches, or the one that does says `<<none>>`
   */
  labelFor(path: RawText, type: LabelledType): string | undefined;
}

/** The extended attribute that holds a label and a NUL. */
export const SELINUX_XATTR = 'security.selinux';

const NONE = '<<none>>';
const TYPES: ReadonlyMap<string, LabelledType> = new Map([
  ['--', 'file'],
  ['-d', 'dir'],
  ['-l', 'symlink'],
  ['-c', 'char'],
  ['-b', 'block'],
  ['-p', 'fifo'],
  ['-s', 'socket'],
]);
/** What makes a path a pattern, for libselinux too, unless a backslash stands before it. */
const META = /[.^$?*+|[(){\\]/;

interface Spec {
  readonly order: number;
  readonly type: LabelledType | undefined;
  readonly label: string;
}

interface RegexSpec extends Spec {
  readonly regex: PathRegex;
}

/**
 * Reads a `file_contexts` file: lines of path pattern, optional type (`--` file, `-d`, `-l`, `-c`, `-b`, `-p`, `-s`)
 * and label. As in libselinux the last line that matches wins, and a path without pattern signs wins over every
 * pattern, wherever it stands.
 * Source: SELinux userspace libselinux/src/label_file.{c,h}.
 *
 * @throws CvmError format SELINUX_CONTEXTS_LINE | SELINUX_REGEX, with the line's number
 */
export function parseFileContexts(text: string): FileContexts {
  const exact = new Map<RawText, Spec[]>();
  const regexes: RegexSpec[] = [];
  text.split('\n').forEach((line, i) => {
    const fields = line.trim().split(/[ \t\r]+/);
    if (fields[0] === '' || fields[0]?.startsWith('#') === true) return;
    try {
      addLine(fields, i, exact, regexes);
    } catch (cause) {
      throw cause instanceof CvmError
        ? new CvmError(cause.kind, cause.code, cause.message, {
            facts: [['line', i + 1], ...cause.facts],
            ...(cause.mend === undefined ? {} : { mend: cause.mend }),
            cause,
          })
        : cause;
    }
  });
  const lastRegex = lastMatch(regexes);
  return {
    labelFor(path, type) {
      const isFor = (spec: Spec): boolean => spec.type === undefined || spec.type === type;
      const found = exact.get(path)?.findLast(isFor) ?? lastRegex(path, isFor);
      return found === undefined || found.label === NONE ? undefined : found.label;
    },
  };
}

function addLine(
  fields: readonly string[],
  order: number,
  exact: Map<RawText, Spec[]>,
  regexes: RegexSpec[],
): void {
  const [pattern = '', second = '', third] = fields;
  const type = third === undefined ? undefined : TYPES.get(second);
  const label = third ?? second;
  const isLabel = label === NONE || /^[^\s\0:]+:[^\s\0:]+:[^\s\0:]+(:[^\s\0]+)?$/.test(label);
  if (fields.length < 2 || fields.length > 3 || (third !== undefined && type === undefined) || !isLabel) {
    throw formatError('SELINUX_CONTEXTS_LINE', 'a line of file_contexts cannot be read', {
      facts: [['line reads', showText(fields.join(' ').slice(0, 200))]],
      mend: 'write a path pattern, an optional type such as -d, and a label user:role:type:level or <<none>>',
    });
  }
  const raw = rawFromUtf8(pattern);
  const spec = { order, type, label };
  const path = exactPath(raw);
  if (path === undefined) regexes.push({ ...spec, regex: compilePathRegex(raw) });
  else exact.set(path, [...(exact.get(path) ?? []), spec]);
}

/** The path that a pattern without pattern signs stands for. */
function exactPath(pattern: RawText): RawText | undefined {
  const withoutEscapes = pattern.replace(/\\[^0-9A-Za-z]/g, '');
  return META.test(withoutEscapes) ? undefined : pattern.replace(/\\(.)/gs, '$1');
}

/**
 * The last of the lines that match. Lines are found by what every path of theirs begins with, so that for one path a
 * few out of thousands are looked at.
 */
function lastMatch(
  regexes: readonly RegexSpec[],
): (path: RawText, isFor: (spec: Spec) => boolean) => Spec | undefined {
  const byPrefix = new Map<RawText, RegexSpec[]>();
  for (const spec of regexes) {
    const { prefix } = spec.regex;
    const specs = byPrefix.get(prefix);
    if (specs === undefined) byPrefix.set(prefix, [spec]);
    else specs.push(spec);
  }
  const lengths = [...new Set(Array.from(byPrefix.keys(), (prefix) => prefix.length))];
  return (path, isFor) =>
    lengths
      .flatMap((length) => (length > path.length ? [] : (byPrefix.get(path.slice(0, length)) ?? [])))
      .sort((a, b) => b.order - a.order)
      .find((spec) => isFor(spec) && spec.regex.matches(path));
}

/**
 * The lines for a file system that is mounted at `base`, as toolchains/sysimage/build_ext4_image.py of dfinity/ic
 * cuts them: lines that begin with the base lose it, all others go, and so do lines with `<<none>>`. A line for the
 * base itself becomes one for the root.
 */
export function limitFileContexts(text: string, base: string): string {
  return text
    .split('\n')
    .filter((line) => line.startsWith(base) && !line.includes(NONE))
    .map((line) => line.slice(base.length).replace(/^(?=\s)/, '/'))
    .join('\n');
}

export interface LabelOptions {
  /** Where the tree's root will be mounted: `/boot`. Without it `/`. */
  readonly prefix?: string;
}

/**
 * Gives every entry for which the policy has a label that label, in place of one it may have; other entries stay as
 * they are. Further names of a file repeat what it got under its first.
 */
export function applyFileContexts(
  entries: readonly TreeEntry[],
  contexts: FileContexts,
  { prefix = '' }: LabelOptions = {},
): TreeEntry[] {
  if (prefix !== '' && (!prefix.startsWith('/') || prefix.endsWith('/'))) {
    throw formatError(
      'SELINUX_PREFIX',
      'the mount point of labels begins with a slash and ends without one',
      {
        facts: [['prefix', showText(prefix)]],
      },
    );
  }
  const mount = rawFromUtf8(prefix);
  const labelled = new Map<RawText, TreeEntry['xattrs']>();
  for (const entry of entries) {
    if (entry.type === 'hardlink') continue;
    const path = entry.path === '' ? mount || '/' : `${mount}/${entry.path}`;
    const label = contexts.labelFor(path, entry.type);
    labelled.set(
      entry.path,
      label === undefined
        ? entry.xattrs
        : new Map([...entry.xattrs, [SELINUX_XATTR, utf8Bytes(`${label}\0`)]]),
    );
  }
  return entries.map((entry) => {
    const xattrs = labelled.get(entry.type === 'hardlink' ? entry.linkPath : entry.path);
    if (xattrs !== undefined) return { ...entry, xattrs };
    throw formatError('SELINUX_HARDLINK', 'a hard link names something that is not in the tree', {
      facts: [['path', `/${showRaw(entry.path)}`]],
    });
  });
}
