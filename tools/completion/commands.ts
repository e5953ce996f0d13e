/** What a shell has to know of a command line to complete it, whatever the shell. */
export interface CompletableCommand {
  /** Noun and verb, which may be two words. */
  readonly words: readonly string[];
  readonly summary: string;
  readonly options: readonly CompletableOption[];
  /** Whether words that belong to no option are file names. */
  readonly takesFiles: boolean;
}

export interface CompletableOption {
  /** `-f` and `--file-path`. */
  readonly names: readonly string[];
  readonly description: string;
  /** Undefined when it takes no value. */
  readonly value?: CompletableValue;
  readonly isRepeatable: boolean;
}

export interface CompletableValue {
  /** What stands between the angle brackets. */
  readonly name: string;
  readonly isFile: boolean;
  /** All words that it takes; none when it takes others, too. */
  readonly words: readonly string[];
}

/** Placeholders that stand for a path. */
const FILE_NAMES =
  /^(a|archive|b|bundle|certificate|dir|file|firmware|image|img|path|pem|recipe|report|version-file)$/;

/** @param placeholder `file`, `recipe...`: as it stands between the brackets */
export function completableValue(placeholder: string, words: readonly string[] = []): CompletableValue {
  const name = placeholder.replace(/\.\.\.$/, '');
  return {
    name,
    isFile: words.length === 0 && FILE_NAMES.test(name),
    words: words.length === 0 && name.includes('|') ? name.split('|') : words,
  };
}

/** Every text once, in order. */
export const each = (texts: readonly string[]): readonly string[] => [...new Set(texts)];

/** A text as one word of a POSIX shell. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Verbs of two words, by noun and first word: what may follow them, and what that does. */
export function secondWords(
  commands: readonly CompletableCommand[],
): ReadonlyMap<string, readonly CompletableCommand[]> {
  const found = new Map<string, CompletableCommand[]>();
  for (const command of commands.filter(({ words }) => words.length === 3)) {
    const first = command.words.slice(0, 2).join(' ');
    found.set(first, [...(found.get(first) ?? []), command]);
  }
  return found;
}
