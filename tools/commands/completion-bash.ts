import { bashCompletion } from '../completion/bash.ts';
import type { Command } from './command.ts';
import { completableCommands } from './completion-words.ts';

export const command: Command = {
  summary: 'print the completion script for bash',
  description:
    'Prints a script that completes nouns, verbs, flags and, where they are few, values. ' +
    'It is made from the commands themselves and holds all it offers: pressing Tab starts no program.',

  async run(_args, _options, io) {
    const { COMMANDS } = await import('./table.ts');
    io.out(bashCompletion('cvm', await completableCommands(COMMANDS)));
    return 0;
  },
};
