import { usageError } from '../errors.ts';
import { parseFileId, showFileId } from '../vmgs/file-ids.ts';
import { fileEntry, type Store } from '../vmgs/store.ts';
import { moveFile, requireFileId } from '../vmgs/update.ts';
import type { Command, OptionSpec, OptionValues } from './command.ts';
import { applyChange, requireUnlocked, secretsOf, withStore } from './vmgs-file.ts';
import {
  aliasedFlag,
  aliasedText,
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  KEY_OPTIONS,
  OVERWRITE_OPTIONS,
  print,
  required,
  SEED_OPTION,
  vmgsExitCode,
} from './vmgs-options.ts';

export const SOURCE_AND_TARGET_OPTIONS: readonly OptionSpec[] = [
  { flags: '--src-file-id <id>', description: 'the file that is there: a number or a name' },
  { flags: '--src <id>', description: '--src-file-id' },
  { flags: '--dst-file-id <id>', description: 'its new id' },
  { flags: '--dst <id>', description: '--dst-file-id' },
];

export const command: Command = {
  summary: 'give a file of a VMGS store another id',
  description: `Changes the tables alone; an encrypted store needs its key. ${EXIT_CODES_TEXT}`,
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
      requireUnlocked(store);
      const change = moveFile(store, from, to, secretsOf(io, options));
      applyChange(vmgs, change);
      await print(io, options, { file: vmgs.path, from, to, sequence: change.store.header.sequence }, '');
    });
    return 0;
  },
};

/** @throws CvmError usage OPTION_MISSING | OPTION_FILE_ID | OPTION_CONFLICT */
export function sourceAndTarget(options: OptionValues): { readonly from: number; readonly to: number } {
  const from = parseFileId(required(aliasedText(options, 'srcFileId', 'src'), '--src-file-id'));
  const to = parseFileId(required(aliasedText(options, 'dstFileId', 'dst'), '--dst-file-id'));
  if (from === to) {
    throw usageError('OPTION_CONFLICT', 'source and target are one file id', {
      facts: [['file id', showFileId(from)]],
    });
  }
  return { from, to };
}

/** @throws CvmError usage VMGS_TABLE_ID | VMGS_NOT_FOUND | VMGS_FILE_EXISTS */
export function checkPair(store: Store, from: number, to: number, options: OptionValues): void {
  requireFileId(from);
  requireFileId(to);
  fileEntry(store, from);
  if (store.files[to] === undefined || aliasedFlag(options, 'allowOverwrite', 'allowoverwrite')) return;
  throw usageError('VMGS_FILE_EXISTS', 'the store has a file of the new id already', {
    facts: [['file id', showFileId(to)]],
    mend: 'add --allow-overwrite to replace it',
  });
}
