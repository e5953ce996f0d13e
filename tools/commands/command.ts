import type { CvmError } from '../errors.ts';

/** The shape of a command. `tools/cvm.ts` turns it into a command line; docs and completions read the same table. */
export interface OptionSpec {
  /** As commander reads it: `--size <bytes>`, `--json`, `--add <spec>`. */
  readonly flags: string;
  readonly description: string;
  readonly required?: boolean;
  /** May be given more than once; the value is then an array of strings. */
  readonly repeatable?: boolean;
  readonly defaultValue?: string;
  /** The words that it takes, where it takes no others: what a shell offers. */
  readonly values?: readonly string[];
}

export interface ArgumentSpec {
  /** `<image>` when it must be given, `[image]` when it may be. */
  readonly name: string;
  readonly description: string;
}

/** Raw texts as they were given; camel-cased long names (`--hash-offset` is `hashOffset`). */
export type OptionValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

/** Everything outside that a command may touch, besides files. */
export interface Io {
  /** Text, or bytes as they are. */
  out(content: string | Uint8Array): void;
  err(text: string): void;
  /** The folder that relative paths are resolved against. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether standard error is a terminal (progress bars, colours). */
  readonly isTerminal: boolean;
}

export interface Command {
  readonly summary: string;
  readonly description?: string;
  readonly arguments?: readonly ArgumentSpec[];
  readonly options?: readonly OptionSpec[];
  /** The words after the verb in full, where the command stands in for a peer that lets them be abbreviated. */
  expandWords?(words: readonly string[]): readonly string[];
  /** The exit code of an error, where the command stands in for a peer that has codes of its own. */
  exitCode?(error: CvmError): number;
  /** @returns the exit code */
  run(args: readonly string[], options: OptionValues, io: Io): Promise<number> | number;
}

/** How a peer that a command stands in for was called once; scripts that still do so work. */
export interface FormerWords {
  /** In the verb's place, in lower case; any case is taken. */
  readonly words: readonly string[];
  /** A flag of that time, in lower case, and today's. */
  readonly flags: Readonly<Record<string, string>>;
}

/** A command that stays unloaded until it is called: start-up time is a feature. */
export interface CommandEntry {
  readonly noun: string;
  /** One word, or several: `marker write`. */
  readonly verb: string;
  readonly summary: string;
  readonly formerly?: FormerWords;
  load(): Promise<{ readonly command: Command }>;
}
