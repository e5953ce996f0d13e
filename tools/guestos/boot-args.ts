import { formatError, type CvmError, type Fact } from '../errors.ts';

/**
 * `boot_args` is read by two programs: the host parses it line by line and starts the guest with what it finds; grub
 * tooling and older measuring scripts source it as shell. Here the host's reading counts, since it is what the guest
 * is measured with, and a value on which the two would differ is refused where it is used.
 *
 * The host's reading (dfinity/ic rs/ic_os): `NAME=value` lines, the last of a name wins; the value is double-quoted,
 * single-quoted or bare; in double quotes a backslash escapes (`\n`, `\t`, else the character itself); `#` after the
 * value starts a comment. Other lines are skipped. The text between the quotes is kept to the character.
 */
export interface BootArg {
  readonly name: string;
  readonly value: string;
  /** From 1. */
  readonly line: number;
  /** Why the value must not be used, if so. */
  readonly doubt: string | undefined;
}

export type BootArgs = ReadonlyMap<string, BootArg>;

/** The slots whose command lines an SEV guest may start with, in the order of measurement. */
export const TEE_SLOTS = ['A', 'B'] as const;
export type Slot = (typeof TEE_SLOTS)[number];

export interface SlotCommandLine {
  readonly slot: Slot;
  readonly cmdline: string;
}

const ASSIGNMENT = /^[ \t]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s;

/** What a shell takes from a backslash in double quotes as the host does. */
const SHELL_ESCAPES = '$`"\\';

export function parseBootArgs(text: string): BootArgs {
  const args = new Map<string, BootArg>();
  for (const [index, line] of text.split('\n').entries()) {
    const [, name, rest] = ASSIGNMENT.exec(line) ?? [];
    if (name === undefined || rest === undefined) continue;
    args.set(name, { name, line: index + 1, ...readValue(rest) });
  }
  return args;
}

interface ReadValue {
  readonly value: string;
  readonly doubt: string | undefined;
}

function readValue(rest: string): ReadValue {
  const quote = rest[0];
  if (quote === '"') return readDoubleQuoted(rest);
  if (quote === "'") {
    const end = rest.indexOf("'", 1);
    if (end < 0) return { value: rest.slice(1), doubt: 'the single quote is not closed on its line' };
    return withTail(rest.slice(1, end), rest.slice(end + 1), undefined);
  }
  const value = /^[^\s#]*/.exec(rest)?.[0] ?? '';
  const special = /["'`$\\;&|<>()*?[\]~{}]/.exec(value);
  const doubt = special === null ? undefined : `a shell reads the bare ${special[0]} in another way`;
  return withTail(value, rest.slice(value.length), doubt);
}

function readDoubleQuoted(rest: string): ReadValue {
  let value = '';
  let doubt: string | undefined;
  for (let at = 1; at < rest.length; at++) {
    const unit = rest[at] as string;
    if (unit === '"') return withTail(value, rest.slice(at + 1), doubt);
    if (unit === '$' || unit === '`') doubt ??= `a shell expands the ${unit}`;
    if (unit !== '\\') {
      value += unit;
      continue;
    }
    at++;
    const escaped = rest[at];
    if (escaped === undefined) break;
    if (!SHELL_ESCAPES.includes(escaped)) doubt ??= `a shell keeps the backslash of \\${escaped}`;
    value += escaped === 'n' ? '\n' : escaped === 't' ? '\t' : escaped;
  }
  return { value, doubt: 'the double quote is not closed on its line' };
}

/** What may follow a value: nothing, or blanks and a comment. */
function withTail(value: string, tail: string, doubt: string | undefined): ReadValue {
  if (value.includes('\0')) return { value, doubt: 'a NUL byte would end the command line' };
  if (/^([ \t]+#.*|[ \t]*)$/s.test(tail)) return { value, doubt };
  return { value, doubt: doubt ?? 'more text follows the value on its line' };
}

/** @throws CvmError format BOOT_ARGS_MISSING | BOOT_ARGS_AMBIGUOUS */
export function bootArg(args: BootArgs, name: string): string {
  const arg = args.get(name);
  if (arg === undefined) throw missing('BOOT_ARGS_MISSING', `boot_args has no ${name}`, args);
  if (arg.doubt !== undefined) {
    throw formatError('BOOT_ARGS_AMBIGUOUS', `${name} in boot_args can be read in two ways`, {
      facts: [
        ['line', arg.line],
        ['why', arg.doubt],
        ['value', shorten(arg.value)],
      ],
      mend: 'measure nothing from this file: get the release again, or fix its boot_args template',
    });
  }
  return arg.value;
}

/**
 * The command lines of both slots of an SEV guest. Releases from before SEV have none, and an absent line must never be
 * measured as an empty one.
 * @throws CvmError format BOOT_ARGS_TEE_MISSING | BOOT_ARGS_AMBIGUOUS
 */
export function teeCommandLines(args: BootArgs): SlotCommandLine[] {
  return TEE_SLOTS.map((slot) => {
    const name = `BOOT_ARGS_TEE_${slot}`;
    if (!args.has(name) || bootArg(args, name).trim() === '') {
      throw missing('BOOT_ARGS_TEE_MISSING', `boot_args has no ${name}, so no SEV guest can start`, args);
    }
    return { slot, cmdline: bootArg(args, name) };
  });
}

/** All command lines there are, with and without SEV, by name. */
export function commandLines(args: BootArgs): ReadonlyMap<string, string> {
  const names = TEE_SLOTS.flatMap((slot) => [`BOOT_ARGS_${slot}`, `BOOT_ARGS_TEE_${slot}`]);
  return new Map(names.filter((name) => args.has(name)).map((name) => [name, bootArg(args, name)]));
}

/** The values of all `root_hash=` words of a command line. */
export function rootHashesOf(cmdline: string): string[] {
  return words(cmdline)
    .filter((word) => word.startsWith('root_hash='))
    .map((word) => word.slice('root_hash='.length));
}

/** The slot that a command line starts, by its `dfinity.system=` word. */
export function slotOf(cmdline: string): string | undefined {
  return words(cmdline)
    .find((word) => word.startsWith('dfinity.system='))
    ?.slice('dfinity.system='.length);
}

export function words(cmdline: string): string[] {
  return cmdline.split(/[ \t\n]+/).filter((word) => word !== '');
}

const PLACEHOLDER = 'ROOT_HASH';

/**
 * A release's `boot_args` from its template: each `ROOT_HASH` becomes the verity root hash.
 * @param rootHash 64 lower-case hex digits
 * @throws CvmError format BOOT_ARGS_TEMPLATE when there is nothing to replace, or the result lacks a TEE command line
 *   or names another root hash
 */
export function fillBootArgs(template: string, rootHash: string): string {
  if (!template.includes(PLACEHOLDER)) {
    throw formatError('BOOT_ARGS_TEMPLATE', `the template has no ${PLACEHOLDER} to replace`, {
      mend: `write root_hash=${PLACEHOLDER} in every command line`,
    });
  }
  const filled = template.replaceAll(PLACEHOLDER, rootHash);
  const args = parseBootArgs(filled);
  teeCommandLines(args);
  for (const [name, cmdline] of commandLines(args)) {
    const found = rootHashesOf(cmdline);
    if (found.length === 1 && found[0] === rootHash) continue;
    throw formatError('BOOT_ARGS_TEMPLATE', `${name} does not name the root hash exactly once`, {
      facts: [['root_hash= words', found.join(' ') || 'none']],
      mend: `write root_hash=${PLACEHOLDER} once in every command line`,
    });
  }
  return filled;
}

function missing(code: string, message: string, args: BootArgs): CvmError {
  const facts: Fact[] = [['names found', [...args.keys()].join(', ') || 'none']];
  const isOld = code === 'BOOT_ARGS_TEE_MISSING' && args.has('BOOT_ARGS_A') && !args.has('BOOT_ARGS_TEE_A');
  return formatError(code, message, {
    facts,
    ...(isOld ? { nearest: 'BOOT_ARGS_A is there: a release from before SEV command lines' } : {}),
    mend: 'take a base release whose boot_args has BOOT_ARGS_TEE_A and BOOT_ARGS_TEE_B',
  });
}

function shorten(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}… (${text.length} characters)`;
}
