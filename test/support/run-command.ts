import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command, Io, OptionValues } from '../../tools/commands/command.ts';

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A folder of the test's own. */
export function scratchFolder(): string {
  return mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'cvm-'));
}

/** The camel-cased names under which a command's option values arrive. */
export function optionNames(command: Command): string[] {
  return (command.options ?? []).map(({ flags }) => {
    const long = /--([a-z][a-z0-9-]*)/.exec(flags)?.[1] ?? '';
    return long.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  });
}

/** What a command finds around it; by default nothing. */
export interface Surroundings {
  readonly env?: Io['env'];
  readonly isTerminal?: boolean;
}

/** Runs a command with option values as the command line would hand them over; defaults are filled in. */
export async function runCommand(
  command: Command,
  cwd: string,
  args: readonly string[],
  options: OptionValues,
  { env = {}, isTerminal = false }: Surroundings = {},
): Promise<Outcome> {
  const names = optionNames(command);
  const unknown = Object.keys(options).filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`the command has no option ${unknown.join(', ')}`);
  const defaults = Object.fromEntries(
    (command.options ?? []).flatMap(({ defaultValue }, i) =>
      defaultValue === undefined ? [] : [[names[i] as string, defaultValue]],
    ),
  );
  let out = '';
  let err = '';
  const io: Io = {
    out: (content) => {
      out += typeof content === 'string' ? content : Buffer.from(content).toString('latin1');
    },
    err: (text) => {
      err += text;
    },
    cwd,
    env,
    isTerminal,
  };
  const code = await command.run(args, { ...defaults, ...options }, io);
  return { code, out, err };
}
