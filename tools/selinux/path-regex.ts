import { showRaw, type RawText } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { parsePathRegex, type RegexNode } from './path-regex-parser.ts';

/** A pattern over whole paths, byte by byte. */
export interface PathRegex {
  /** What every matching path begins with; may be empty. */
  readonly prefix: RawText;
  matches(path: RawText): boolean;
}

/** States of one automaton: more than any policy needs, few enough to walk for every path. */
const MAX_STATES = 2000;
const MATCH = -1;

/** Reads one byte of its set and goes on, or (without a set) goes on in up to two ways without reading. */
interface State {
  readonly bytes: ReadonlySet<number> | undefined;
  readonly next: number;
  readonly other: number;
}

/**
 * Compiles the part of PCRE that file_contexts is written in to an automaton whose matching time is linear in the
 * path: no pattern can make it hang.
 *
 * @throws CvmError format SELINUX_REGEX
 */
export function compilePathRegex(pattern: RawText): PathRegex {
  const states: State[] = [];
  let work = 0;
  const add = (state: State): number => {
    states.push(state);
    return states.length - 1;
  };
  // Built from the end to the start: every part is given the state that follows it.
  const build = (node: RegexNode, next: number): number => {
    if (++work > MAX_STATES || states.length > MAX_STATES) {
      throw formatError('SELINUX_REGEX', 'a path pattern is too large', {
        facts: [
          ['pattern', showRaw(pattern.slice(0, 200))],
          ['most', `${MAX_STATES} states`],
        ],
      });
    }
    switch (node.kind) {
      case 'bytes':
        return add({ bytes: node.bytes, next, other: next });
      case 'sequence':
        return node.parts.reduceRight((after, part) => build(part, after), next);
      case 'choice':
        return node.parts
          .map((part) => build(part, next))
          .reduceRight((other, first) => add({ bytes: undefined, next: first, other }));
      case 'repeat':
        return buildRepeat(node, next);
    }
  };
  const buildRepeat = ({ part, min, max }: RegexNode & { kind: 'repeat' }, next: number): number => {
    let start = next;
    if (max === undefined) {
      const loop = add({ bytes: undefined, next, other: next });
      states[loop] = { bytes: undefined, next: build(part, loop), other: next };
      start = loop;
    } else {
      for (let i = min; i < max; i++)
        start = add({ bytes: undefined, next: build(part, start), other: next });
    }
    for (let i = 0; i < min; i++) start = build(part, start);
    return start;
  };
  const tree = parsePathRegex(pattern);
  const start = build(tree, MATCH);
  const prefix = literalPrefix(tree);
  return { prefix, matches: (path) => path.startsWith(prefix) && run(states, start, path) };
}

function literalPrefix(tree: RegexNode): RawText {
  let prefix = '';
  for (const part of tree.kind === 'sequence' ? tree.parts : []) {
    if (part.kind !== 'bytes' || part.bytes.size !== 1) break;
    for (const byte of part.bytes) prefix += String.fromCharCode(byte);
  }
  return prefix;
}

function run(states: readonly State[], start: number, path: RawText): boolean {
  let current = new Set<number>();
  enter(states, start, current);
  for (let at = 0; at < path.length && current.size > 0; at++) {
    const byte = path.charCodeAt(at);
    const following = new Set<number>();
    for (const index of current) {
      const state = states[index];
      if (state?.bytes?.has(byte) === true) enter(states, state.next, following);
    }
    current = following;
  }
  return current.has(MATCH);
}

/** Adds a state and all that can be reached from it without reading. */
function enter(states: readonly State[], index: number, into: Set<number>): void {
  const waiting = [index];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (into.has(at)) continue;
    into.add(at);
    const state = states[at];
    if (state === undefined || state.bytes !== undefined) continue;
    waiting.push(state.other, state.next);
  }
}
