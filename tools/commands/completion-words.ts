import type { CompletableCommand } from '../completion/commands.ts';
import { completableValue } from '../completion/commands.ts';
import type { CommandEntry, OptionSpec } from './command.ts';

/** The commands of a table as a shell completes them. */
export async function completableCommands(table: readonly CommandEntry[]): Promise<CompletableCommand[]> {
  const commands: CompletableCommand[] = [];
  for (const entry of table) {
    const { noun, verb, summary } = entry;
    const { command } = await entry.load();
    commands.push({
      words: [noun, ...verb.split(' ')],
      summary,
      options: (command.options ?? []).map(completableOption),
      takesFiles: (command.arguments ?? []).some(
        ({ name }) => completableValue(name.replaceAll(/[<>[\]]/g, '')).isFile,
      ),
    });
  }
  return commands;
}

function completableOption({
  flags,
  description,
  repeatable,
  values,
}: OptionSpec): CompletableCommand['options'][number] {
  const placeholder = /<(.+)>$/.exec(flags)?.[1];
  return {
    names: flags.split(/,? /).filter((word) => word.startsWith('-')),
    description,
    isRepeatable: repeatable === true,
    ...(placeholder === undefined ? {} : { value: completableValue(placeholder, values) }),
  };
}
