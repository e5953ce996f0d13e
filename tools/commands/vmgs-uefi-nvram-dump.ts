import type { Command } from './command.ts';
import { resolvePath } from './files.ts';
import { requireOtherFile, withStore } from './vmgs-file.ts';
import { OUTPUT_OPTIONS, putVariables, readNvram } from './vmgs-nvram.ts';
import {
  aliasedText,
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  KEY_OPTIONS,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'show the UEFI variables of a VMGS store',
  description: `Shows file 1; boot entries and signature lists are taken apart. Never writes to the store. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...KEY_OPTIONS, ...OUTPUT_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  run: async (args, options, io) =>
    withStore(io, args, options, async (store, vmgs) => {
      const output = aliasedText(options, 'outputPath', 'outpath');
      if (output !== undefined) requireOtherFile(vmgs, resolvePath(io, output));
      await putVariables(readNvram(store, vmgs), options, io);
      return 0;
    }),
};
