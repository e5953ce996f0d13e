import { isEncryptedFile, readFile } from '../vmgs/store.ts';
import { writeFile } from '../vmgs/update.ts';
import type { Command } from './command.ts';
import { EXIT_CODES_TEXT } from './vmgs-options.ts';
import { pairCommand } from './vmgs-pair.ts';
import { requireNoMarker, requireNotStale } from './vmgs-write.ts';

export const command: Command = pairCommand(
  {
    summary: 'copy a file of a VMGS store to another id',
    description:
      'The copy of an encrypted file is encrypted, under a key of its own, and that takes the key; the copy of a plain ' +
      `file is plain. ${EXIT_CODES_TEXT}`,
  },
  (store, vmgs, { from, to }, secrets) => {
    const content = readFile(vmgs.source, store, from);
    requireNotStale(store, to);
    const encrypt = isEncryptedFile(store, from);
    if (encrypt) requireNoMarker(to);
    return writeFile(store, { id: to, content, encrypt }, secrets());
  },
);
