import { KEY_PROTECTOR_ID, VM_UNIQUE_ID_ID } from '../vmgs/file-ids.ts';
import { isEncryptedStore, type Store } from '../vmgs/store.ts';
import type { Command } from './command.ts';
import { withStore } from './vmgs-file.ts';
import { COMMON_OPTIONS, FILE_ARGUMENT, FILE_OPTIONS, print, vmgsExitCode } from './vmgs-options.ts';

/** Where the key of a store comes from, judged by the files that are there, and the exit code that says so. */
const ANSWERS = {
  GspKey: { code: 0, text: 'encrypted; the key comes from the host: GspKey' },
  NotEncrypted: { code: 2, text: 'not encrypted' },
  GspById: { code: 6, text: 'encrypted; the key comes from the host by id: GspById' },
  GspUnknown: { code: 7, text: 'encrypted; nothing tells where the key comes from' },
} as const;

export const command: Command = {
  summary: 'tell whether a VMGS store is encrypted, and by which scheme',
  description:
    'The exit code is the answer: 0 GspKey, 2 not encrypted, 6 GspById, 7 encrypted by an unknown scheme; 1 any other ' +
    'error, 3 the store is empty, 5 version 1, 64 a wrong call. Never writes.',
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  run: async (args, options, io) =>
    withStore(io, args, options, async (store) => {
      const scheme = schemeOf(store);
      const { code, text } = ANSWERS[scheme];
      await print(io, options, { encrypted: isEncryptedStore(store), scheme, exitCode: code }, `${text}\n`);
      return code;
    }),
};

function schemeOf(store: Store): keyof typeof ANSWERS {
  if (!isEncryptedStore(store)) return 'NotEncrypted';
  if (store.files[KEY_PROTECTOR_ID] !== undefined) return 'GspKey';
  return store.files[VM_UNIQUE_ID_ID] === undefined ? 'GspUnknown' : 'GspById';
}
