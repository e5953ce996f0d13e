import { notEncrypted } from '../vmgs/store.ts';
import { updateKey } from '../vmgs/update.ts';
import type { Command } from './command.ts';
import { applyAndPrint, readKey, secretsOf, withStore } from './vmgs-file.ts';
import {
  aliasedText,
  ALGORITHM_OPTIONS,
  changeOptions,
  checkAlgorithm,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  KEY_OPTIONS,
  keyPathOf,
  required,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'exchange the key of an encrypted VMGS store',
  description:
    'Adds the new key, then takes the old one away; files are not touched. While both slots are used, the other key goes ' +
    'first. Cut off in between, either key opens the store, and the command can be repeated with either. ' +
    EXIT_CODES_TEXT,
  arguments: [FILE_ARGUMENT],
  options: changeOptions(
    ...KEY_OPTIONS,
    { flags: '-n, --new-key-path <path>', description: 'file of the new key: 32 raw bytes' },
    { flags: '--newkeypath <path>', description: '--new-key-path' },
    ...ALGORITHM_OPTIONS,
  ),
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    checkAlgorithm(options);
    required(keyPathOf(options), '--key-path');
    const newKey = readKey(io, required(aliasedText(options, 'newKeyPath', 'newkeypath'), '--new-key-path'));
    await withStore(io, args, options, async (store, vmgs) => {
      if (store.unlocked === undefined || newKey === undefined) throw notEncrypted();
      const change = updateKey(store, newKey, secretsOf(io, options));
      const keySlot = change.store.unlocked?.keySlot ?? null;
      await applyAndPrint(io, options, vmgs, change, { keySlot });
    });
    return 0;
  },
};
