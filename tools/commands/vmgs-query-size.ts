import { fileEntry } from '../vmgs/store.ts';
import type { Command } from './command.ts';
import { withStore } from './vmgs-file.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_ID_OPTIONS,
  FILE_OPTIONS,
  fileIdOf,
  print,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'print the size of a file of a VMGS store',
  description: `Prints a decimal number of bytes and a newline. Never writes. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...FILE_ID_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  run: async (args, options, io) => {
    const id = fileIdOf(options);
    return withStore(io, args, options, async (store) => {
      const { sizeBytes } = fileEntry(store, id);
      await print(io, options, { id, sizeBytes }, `${sizeBytes}\n`);
      return 0;
    });
  },
};
