import { showRaw, type RawText } from '../bytes/text.ts';
import { formatError, type CvmError } from '../errors.ts';

export type RegexNode =
  | { readonly kind: 'bytes'; readonly bytes: ReadonlySet<number> }
  | { readonly kind: 'sequence'; readonly parts: readonly RegexNode[] }
  | { readonly kind: 'choice'; readonly parts: readonly RegexNode[] }
  | {
      readonly kind: 'repeat';
      readonly part: RegexNode;
      readonly min: number;
      readonly max: number | undefined;
    };

const MAX_DEPTH = 50;
const MAX_REPEAT = 255;

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);
const codes = (text: string): number[] => Array.from(text, (unit) => unit.charCodeAt(0));

const ALL = range(0, 255);
const DIGITS = range(0x30, 0x39);
const UPPER = range(0x41, 0x5a);
const LOWER = range(0x61, 0x7a);
const SPACE = codes(' \t\n\v\f\r');
const PUNCTUATION = range(0x21, 0x7e).filter((byte) => ![...DIGITS, ...UPPER, ...LOWER].includes(byte));

const POSIX_CLASSES: ReadonlyMap<string, readonly number[]> = new Map([
  ['alnum', [...DIGITS, ...UPPER, ...LOWER]],
  ['alpha', [...UPPER, ...LOWER]],
  ['blank', codes(' \t')],
  ['cntrl', [...range(0, 0x1f), 0x7f]],
  ['digit', DIGITS],
  ['graph', range(0x21, 0x7e)],
  ['lower', LOWER],
  ['print', range(0x20, 0x7e)],
  ['punct', PUNCTUATION],
  ['space', SPACE],
  ['upper', UPPER],
  ['word', [...DIGITS, ...UPPER, ...LOWER, 0x5f]],
  ['xdigit', [...DIGITS, ...codes('abcdefABCDEF')]],
]);

const ESCAPED_CLASSES: ReadonlyMap<string, readonly number[]> = new Map([
  ['d', DIGITS],
  ['w', POSIX_CLASSES.get('word') ?? []],
  ['s', SPACE],
]);

/**
 * Parses the part of PCRE that SELinux policies use: literals, `.`, escapes, classes (also POSIX ones), groups,
 * alternatives, `* + ? {m} {m,} {m,n}`, and `^` and `$` at the ends, where they change nothing: a pattern always
 * stands for the whole path.
 *
 * @throws CvmError format SELINUX_REGEX
 */
export function parsePathRegex(pattern: RawText): RegexNode {
  const text = pattern.replace(/^\^/, '');
  let at = 0;
  const fail = (what: string): CvmError =>
    formatError('SELINUX_REGEX', 'a path pattern cannot be read', {
      facts: [
        ['pattern', showRaw(pattern.slice(0, 200))],
        ['at', at],
        ['problem', what],
      ],
      mend: 'use literals, classes, groups, alternatives and the quantifiers * + ? {m,n}',
    });

  const parseChoice = (depth: number): RegexNode => {
    if (depth > MAX_DEPTH) throw fail('groups are nested too deeply');
    const parts = [parseSequence(depth)];
    while (text[at] === '|') {
      at++;
      parts.push(parseSequence(depth));
    }
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : { kind: 'choice', parts };
  };

  const parseSequence = (depth: number): RegexNode => {
    const parts: RegexNode[] = [];
    while (at < text.length && text[at] !== '|' && text[at] !== ')') {
      if (text[at] === '$' && at === text.length - 1) {
        at++;
        break;
      }
      parts.push(parseQuantified(depth));
    }
    return { kind: 'sequence', parts };
  };

  const parseQuantified = (depth: number): RegexNode => {
    let part = parseAtom(depth);
    for (;;) {
      const quantifier = /^(?:[*+?]|\{(\d{1,4})(?:(,)(\d{1,4})?)?\})/.exec(text.slice(at, at + 12));
      if (quantifier === null) return part;
      const [whole, least, comma, most] = quantifier;
      at += whole.length;
      const min = whole === '+' ? 1 : Number(least ?? 0);
      let max = whole === '?' ? 1 : undefined;
      if (least !== undefined)
        max = comma === undefined ? min : most === undefined ? undefined : Number(most);
      if (min > MAX_REPEAT || (max ?? 0) > MAX_REPEAT) throw fail(`a repetition above ${MAX_REPEAT}`);
      if (max !== undefined && max < min) throw fail('a repetition that ends before it begins');
      if (text[at] === '+') throw fail('a possessive quantifier');
      // A lazy quantifier finds the same paths: the whole path has to match either way.
      if (text[at] === '?') at++;
      part = { kind: 'repeat', part, min, max };
    }
  };

  const parseAtom = (depth: number): RegexNode => {
    const unit = text[at++] ?? '';
    switch (unit) {
      case '.':
        return { kind: 'bytes', bytes: new Set(ALL) };
      case '[':
        return { kind: 'bytes', bytes: parseClass() };
      case '\\':
        return { kind: 'bytes', bytes: new Set(parseEscape()) };
      case '(': {
        if (text.startsWith('?:', at)) at += 2;
        else if (text[at] === '?' || text[at] === '*') throw fail('a special group');
        const inner = parseChoice(depth + 1);
        if (text[at] !== ')') throw fail('a group without its end');
        at++;
        return inner;
      }
      case '*':
      case '+':
      case '?':
        throw fail('a quantifier without anything to repeat');
      case '^':
      case '$':
        throw fail('an anchor inside the pattern');
      default:
        return { kind: 'bytes', bytes: new Set([unit.charCodeAt(0)]) };
    }
  };

  /** Behind a backslash: a class, or any sign that is no letter and no digit, as itself. */
  const parseEscape = (): readonly number[] => {
    const unit = text[at++];
    if (unit === undefined) throw fail('a backslash at the end');
    const lower = ESCAPED_CLASSES.get(unit.toLowerCase());
    if (lower !== undefined) {
      return unit === unit.toLowerCase() ? lower : ALL.filter((byte) => !lower.includes(byte));
    }
    if (/[0-9A-Za-z]/.test(unit)) throw fail(`the escape \\${unit}`);
    return [unit.charCodeAt(0)];
  };

  const parseClass = (): ReadonlySet<number> => {
    const isNegated = text[at] === '^';
    if (isNegated) at++;
    const bytes = new Set<number>();
    for (let isFirst = true; isFirst || text[at] !== ']'; isFirst = false) {
      if (at >= text.length) throw fail('a class without its end');
      const posix = /^\[:(\^?)([a-z]+):\]/.exec(text.slice(at, at + 16));
      if (posix !== null) {
        const named = POSIX_CLASSES.get(posix[2] ?? '');
        if (named === undefined) throw fail('an unknown POSIX class');
        at += posix[0].length;
        const members = posix[1] === '' ? named : ALL.filter((byte) => !named.includes(byte));
        for (const byte of members) bytes.add(byte);
        continue;
      }
      const members = classMember();
      const [from] = members;
      const isRange =
        members.length === 1 && text[at] === '-' && at + 1 < text.length && text[at + 1] !== ']';
      if (!isRange || from === undefined) {
        for (const byte of members) bytes.add(byte);
        continue;
      }
      at++;
      const [to, ...more] = classMember();
      if (to === undefined || more.length > 0 || to < from) throw fail('a range that ends before it begins');
      for (const byte of range(from, to)) bytes.add(byte);
    }
    at++;
    return isNegated ? new Set(ALL.filter((byte) => !bytes.has(byte))) : bytes;
  };

  const classMember = (): readonly number[] => {
    const unit = text[at++];
    if (unit === undefined) throw fail('a class without its end');
    return unit === '\\' ? parseEscape() : [unit.charCodeAt(0)];
  };

  const node = parseChoice(0);
  if (at < text.length) throw fail('a group that was never opened');
  return node;
}
