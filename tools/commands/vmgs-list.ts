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
  summary: 'list the files of a VMGS store',
  description:
    'Lists file ids, names, sizes, places, and what is encrypted. Without a key that is what the file table shows. Never ' +
    `writes. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...KEY_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  run: async (args, options, io) =>
    withStore(io, args, options, async (store) => {
      const head = ['id', 'name', 'bytes', 'block', 'blocks', 'encrypted'];
      const rows = fileRows(store).map((file) => [
        file.id,
        file.name ?? '-',
        file.sizeBytes,
        file.firstBlock,
        file.blocks,
        file.encrypted ? 'yes' : 'no',
      ]);
      await print(io, options, storeJson(store), showRows([head, ...rows]));
      return 0;
    }),
};
