import { guidFromBytes, guidToBytes } from '../bytes/guid.ts';
import { usageError } from '../errors.ts';
import type { Command } from './command.ts';
import { requiredText } from './options.ts';
import { applyChange, requireUnlocked, withStore } from './vmgs-file.ts';
import { readNvram, writeNvram } from './vmgs-nvram.ts';
import {
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  KEY_OPTIONS,
  print,
  SEED_OPTION,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'remove a UEFI variable from a VMGS store',
  description: `Writes file 1 anew without the variable; an encrypted store needs its key. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [
    ...FILE_OPTIONS,
    ...KEY_OPTIONS,
    { flags: '-n, --name <name>', description: 'name of the variable' },
    { flags: '-v, --vendor <guid>', description: 'its vendor GUID' },
    SEED_OPTION,
    { flags: '--json', description: 'one JSON object on standard output, also for errors' },
  ],
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const name = requiredText(options, 'name');
    const vendor = parseVendor(requiredText(options, 'vendor'));
    await withStore(io, args, options, async (store, vmgs) => {
      requireUnlocked(store);
      const variables = readNvram(store, vmgs);
      const kept = variables.filter((variable) => variable.name !== name || variable.vendor !== vendor);
      if (kept.length === variables.length) {
        const vendors = variables
          .filter((variable) => variable.name === name)
          .map((variable) => variable.vendor);
        throw usageError('NVRAM_NOT_FOUND', 'there is no such UEFI variable', {
          facts: [
            ['name', name],
            ['vendor', vendor],
          ],
          ...(vendors.length === 0 ? {} : { nearest: `the same name of vendor ${vendors.join(', ')}` }),
        });
      }
      const change = writeNvram(store, kept, options, io);
      applyChange(vmgs, change);
      await print(io, options, { file: vmgs.path, name, vendor, left: kept.length }, '');
    });
    return 0;
  },
};

/** @throws CvmError usage OPTION_GUID */
function parseVendor(text: string): string {
  try {
    return guidFromBytes(guidToBytes(text.replace(/^\{(.*)\}$/, '$1')));
  } catch (cause) {
    throw usageError('OPTION_GUID', '--vendor is no GUID', { facts: [['found', text]], cause });
  }
}
