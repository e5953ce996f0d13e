import type { Command, OptionSpec, OptionValues } from './command.ts';

/** The arguments and options of a call. */
export interface PlainCall {
  readonly args: readonly string[];
  readonly options: OptionValues;
}

/**
 * Reads the words of a call that has nothing special: known options, each once, each value a word of its own or behind
 * `=`, as many arguments as the command takes. For all else, help and mistakes above all, the answer is undefined, and
 * commander is asked, which takes longer to load than many commands to run. What is answered is what commander answers.
 */
export function plainCall(command: Command, words: readonly string[]): PlainCall | undefined {
  const specs = (command.options ?? []).map(readFlags);
  const options: Record<string, string | boolean | readonly string[]> = {};
  for (const spec of specs) {
    if (spec === undefined) return undefined;
    if (spec.defaultValue !== undefined) options[spec.key] = spec.defaultValue;
  }
  const given = new Set<string>();
  const args: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (!word.startsWith('-')) {
      args.push(word);
      continue;
    }
    const equals = word.startsWith('--') ? word.indexOf('=') : -1;
    const name = equals < 0 ? word : word.slice(0, equals);
    const spec = specs.find((candidate) => candidate?.names.includes(name));
    if (spec === undefined || (given.has(spec.key) && !spec.repeatable)) return undefined;
    if (!spec.hasValue) {
      if (equals >= 0) return undefined;
      options[spec.key] = true;
    } else {
      const value = equals < 0 ? words[++i] : word.slice(equals + 1);
      if (value === undefined || value === '' || value.startsWith('-')) return undefined;
      const before = given.has(spec.key) ? (options[spec.key] as readonly string[]) : [];
      options[spec.key] = spec.repeatable ? [...before, value] : value;
    }
    given.add(spec.key);
  }
  if (specs.some((spec) => spec?.required === true && !given.has(spec.key))) return undefined;
  const takes = command.arguments ?? [];
  const needed = takes.filter(({ name }) => name.startsWith('<')).length;
  const isVariadic = takes.some(({ name }) => name.includes('...'));
  return isVariadic || args.length < needed || args.length > takes.length ? undefined : { args, options };
}

interface Flags {
  readonly names: readonly string[];
  /** Camel-cased, as commander names its values. */
  readonly key: string;
  readonly hasValue: boolean;
  readonly repeatable: boolean;
  readonly required: boolean;
  readonly defaultValue: string | undefined;
}

/** `-f, --file-path <path>`; undefined for flags that commander treats in ways of its own. */
function readFlags({ flags, repeatable, required, defaultValue }: OptionSpec): Flags | undefined {
  const [, short, long = '', value] = /^(?:(-[A-Za-z]), )?(--[a-z][a-z0-9-]*)( <[^>.]+>)?$/.exec(flags) ?? [];
  if (long === '' || long.startsWith('--no-')) return undefined;
  return {
    names: short === undefined ? [long] : [short, long],
    key: long.slice(2).replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
    hasValue: value !== undefined,
    repeatable: repeatable === true,
    required: required === true,
    defaultValue,
  };
}
