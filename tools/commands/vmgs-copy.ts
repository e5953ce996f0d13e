import { isEncryptedFile, readFile } from '../vmgs/store.ts';
import { writeFile } from '../vmgs/update.ts';
import type { Command } from './command.ts';
import { applyChange, secretsOf, withStore } from './vmgs-file.ts';
import { checkPair, SOURCE_AND_TARGET_OPTIONS, sourceAndTarget } from './vmgs-move.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  KEY_OPTIONS,
  OVERWRITE_OPTIONS,
  print,
  SEED_OPTION,
  vmgsExitCode,
} from './vmgs-options.ts';
import { requireNotStale } from './vmgs-write.ts';

export const command: Command = {
  summary: 'copy a file of a VMGS store to another id',
  description:
    'The copy of an encrypted file is encrypted, under a key of its own, and that takes the key; the copy of a plain ' +
    `file is plain. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [
    ...FILE_OPTIONS,
    ...SOURCE_AND_TARGET_OPTIONS,
    ...KEY_OPTIONS,
    ...OVERWRITE_OPTIONS,
    SEED_OPTION,
    ...COMMON_OPTIONS,
  ],
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const { from, to } = sourceAndTarget(options);
    await withStore(io, args, options, async (store, vmgs) => {
      checkPair(store, from, to, options);
      const content = readFile(vmgs.source, store, from);
      requireNotStale(store, to);
      const file = { id: to, content, encrypt: isEncryptedFile(store, from) };
      const change = writeFile(store, file, secretsOf(io, options));
      applyChange(vmgs, change);
      await print(io, options, { file: vmgs.path, from, to, sequence: change.store.header.sequence }, '');
    });
    return 0;
  },
};
