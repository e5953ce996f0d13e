import type { Command } from './command.ts';
import { withStore } from './vmgs-file.ts';
import { fileRows, showRows, storeJson } from './vmgs-file-rows.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  KEY_OPTIONS,
  print,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'show the file table of a VMGS store',
  description: `The columns of vmgstool: id, name, allocated and valid bytes, encrypted. Never writes. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...KEY_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  run: async (args, options, io) =>
    withStore(io, args, options, async (store) => {
      const head = ['File ID', 'File Name', 'Allocated', 'Valid', 'Encrypted'];
      const rows = fileRows(store).map((file) => [
        file.id,
        file.name ?? `FileId(${file.id})`,
        file.allocatedBytes,
        file.sizeBytes,
        String(file.encrypted),
      ]);
      await print(io, options, storeJson(store), showRows([head, ...rows]));
      return 0;
    }),
};
