import { isEncryptedFile } from '../vmgs/store.ts';
import { moveFile } from '../vmgs/update.ts';
import type { Command } from './command.ts';
import { requireUnlocked } from './vmgs-file.ts';
import { EXIT_CODES_TEXT } from './vmgs-options.ts';
import { pairCommand } from './vmgs-pair.ts';
import { requireNoMarker } from './vmgs-write.ts';

export const command: Command = pairCommand(
  {
    summary: 'give a file of a VMGS store another id',
    description: `Changes the tables alone; an encrypted store needs its key. ${EXIT_CODES_TEXT}`,
  },
  (store, _vmgs, { from, to }, secrets) => {
    requireUnlocked(store);
    if (isEncryptedFile(store, from)) requireNoMarker(to);
    return moveFile(store, from, to, secrets());
  },
);
