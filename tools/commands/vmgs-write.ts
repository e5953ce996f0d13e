import { usageError } from '../errors.ts';
import { PROVISIONING_MARKER_ID, showFileId } from '../vmgs/file-ids.ts';
import { isEncryptedFile, isEncryptedStore, type Store } from '../vmgs/store.ts';
import { requireFileId, writeFile } from '../vmgs/update.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { flagOption } from './options.ts';
import { applyChange, secretsOf, withStore } from './vmgs-file.ts';
import {
  aliasedFlag,
  aliasedText,
  changeOptions,
  DATA_PATH_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_ID_OPTIONS,
  fileIdOf,
  KEY_OPTIONS,
  OVERWRITE_OPTIONS,
  print,
  required,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'write a file into a VMGS store',
  description:
    'Writes --data-path under a file id: encrypted with the key, plain without. Whatever stops it, the store holds the ' +
    `old file or the new one. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: changeOptions(
    ...DATA_PATH_OPTIONS('file to read'),
    ...FILE_ID_OPTIONS,
    ...KEY_OPTIONS,
    { flags: '--plain', description: 'with the key: store the file plain all the same' },
    ...OVERWRITE_OPTIONS,
  ),
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const id = fileIdOf(options);
    const path = resolvePath(io, required(aliasedText(options, 'dataPath', 'datapath'), '--data-path'));
    await withStore(io, args, options, async (store, vmgs) => {
      requireFileId(id);
      requireFree(store, id, aliasedFlag(options, 'allowOverwrite', 'allowoverwrite'));
      requireNotStale(store, id);
      const encrypt = store.unlocked !== undefined && !flagOption(options, 'plain');
      if (encrypt) requireNoMarker(id);
      const content = openFile(path);
      try {
        const change = writeFile(store, { id, content, encrypt }, secretsOf(io, options));
        applyChange(vmgs, change);
        const { sequence } = change.store.header;
        const json = { file: vmgs.path, id, sizeBytes: content.sizeBytes, sequence };
        await print(io, options, { ...json, encrypted: isEncryptedFile(change.store, id) }, '');
      } finally {
        content.close();
      }
    });
    return 0;
  },
};

/** As vmgstool has it, an empty file may be replaced. @throws CvmError usage VMGS_FILE_EXISTS */
export function requireFree(store: Store, id: number, isAllowed: boolean): void {
  const entry = store.files[id];
  if (isAllowed || entry === undefined || entry.sizeBytes === 0) return;
  throw usageError('VMGS_FILE_EXISTS', 'the store has a file of this id already', {
    facts: [
      ['file id', showFileId(id)],
      ['size', `${entry.sizeBytes} bytes`],
    ],
    mend: 'add --allow-overwrite to replace it',
  });
}

/** Refuses to encrypt what OpenHCL reads plain. @throws CvmError usage VMGS_MARKER_PLAIN */
export function requireNoMarker(id: number): void {
  if (id !== PROVISIONING_MARKER_ID) return;
  throw usageError('VMGS_MARKER_PLAIN', 'the provisioning marker is always plain', {
    facts: [['file id', showFileId(id)]],
    mend: 'it holds no secret: cvm vmgs marker write makes it, cvm vmgs write --plain takes its bytes',
  });
}

/**
 * Refuses what would become unreadable: the extended table of a locked store still calls the id encrypted.
 * @throws CvmError usage VMGS_LOCKED
 */
export function requireNotStale(store: Store, id: number): void {
  if (!isEncryptedStore(store) || store.unlocked !== undefined || !isEncryptedFile(store, id)) return;
  throw usageError('VMGS_LOCKED', 'an encrypted file cannot be replaced without the key', {
    facts: [['file id', showFileId(id)]],
    mend: 'add --key-path; with --plain the new file is stored plain',
  });
}
