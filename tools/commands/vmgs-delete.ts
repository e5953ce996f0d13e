import { fileEntry, isEncryptedFile, isEncryptedStore } from '../vmgs/store.ts';
import { deleteFile, requireFileId } from '../vmgs/update.ts';
import type { Command } from './command.ts';
import { applyAndPrint, secretsOf, withStore } from './vmgs-file.ts';
import {
  changeOptions,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_ID_OPTIONS,
  fileIdOf,
  KEY_OPTIONS,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'take a file out of a VMGS store',
  description:
    'Changes the tables alone: the bytes stay in free blocks until they are used again. Without the key of an encrypted ' +
    `store its extended table keeps a stale entry, as with vmgstool; a warning says so. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: changeOptions(...FILE_ID_OPTIONS, ...KEY_OPTIONS),
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const id = fileIdOf(options);
    await withStore(io, args, options, async (store, vmgs) => {
      requireFileId(id);
      fileEntry(store, id);
      if (isEncryptedStore(store) && store.unlocked === undefined && isEncryptedFile(store, id)) {
        io.err(
          `warning: deleted without the key: until a write with the key, do not write file ${id} without it\n`,
        );
      }
      const change = deleteFile(store, id, secretsOf(io, options));
      await applyAndPrint(io, options, vmgs, change, { id });
    });
    return 0;
  },
};
