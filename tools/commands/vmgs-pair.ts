/** What `vmgs copy` and `vmgs move` share: a file of the store goes to another id. */
import { usageError } from '../errors.ts';
import { parseFileId, showFileId } from '../vmgs/file-ids.ts';
import type { Secrets } from '../vmgs/secrets.ts';
import { fileEntry, type Store } from '../vmgs/store.ts';
import { requireFileId, type Change } from '../vmgs/update.ts';
import type { Command, OptionSpec, OptionValues } from './command.ts';
import { applyAndPrint, secretsOf, withStore, type VmgsFile } from './vmgs-file.ts';
import {
  aliasedFlag,
  aliasedText,
  changeOptions,
  FILE_ARGUMENT,
  KEY_OPTIONS,
  OVERWRITE_OPTIONS,
  required,
  vmgsExitCode,
} from './vmgs-options.ts';

const SOURCE_AND_TARGET_OPTIONS: readonly OptionSpec[] = [
  { flags: '--src-file-id <id>', description: 'the file that is there: a number or a name' },
  { flags: '--src <id>', description: '--src-file-id' },
  { flags: '--dst-file-id <id>', description: 'its new id' },
  { flags: '--dst <id>', description: '--dst-file-id' },
];

/** Two ids that differ: one of a file that is there, one that is free or may be replaced. */
export interface Pair {
  readonly from: number;
  readonly to: number;
}

/** @param secrets are asked for last: a call that is refused reads no seed */
export function pairCommand(
  texts: Pick<Command, 'summary' | 'description'>,
  changeOf: (store: Store, vmgs: VmgsFile, pair: Pair, secrets: () => Secrets) => Change,
): Command {
  return {
    ...texts,
    arguments: [FILE_ARGUMENT],
    options: changeOptions(...SOURCE_AND_TARGET_OPTIONS, ...KEY_OPTIONS, ...OVERWRITE_OPTIONS),
    exitCode: vmgsExitCode,

    async run(args, options, io) {
      const pair = sourceAndTarget(options);
      await withStore(io, args, options, async (store, vmgs) => {
        checkPair(store, pair, options);
        const change = changeOf(store, vmgs, pair, () => secretsOf(io, options));
        await applyAndPrint(io, options, vmgs, change, pair);
      });
      return 0;
    },
  };
}

/** @throws CvmError usage OPTION_MISSING | OPTION_FILE_ID | OPTION_CONFLICT */
function sourceAndTarget(options: OptionValues): Pair {
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
function checkPair(store: Store, { from, to }: Pair, options: OptionValues): void {
  requireFileId(from);
  requireFileId(to);
  fileEntry(store, from);
  if (store.files[to] === undefined || aliasedFlag(options, 'allowOverwrite', 'allowoverwrite')) return;
  throw usageError('VMGS_FILE_EXISTS', 'the store has a file of the new id already', {
    facts: [['file id', showFileId(to)]],
    mend: 'add --allow-overwrite to replace it',
  });
}
