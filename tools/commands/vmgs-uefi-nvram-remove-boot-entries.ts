import { showText } from '../bytes/text.ts';
import { formatError, usageError } from '../errors.ts';
import type { NvramVariable } from '../vmgs/uefi-nvram.ts';
import { EFI_GLOBAL_VARIABLE, parseBootOrder, variableContent } from '../vmgs/uefi-variables.ts';
import type { Command } from './command.ts';
import { flagOption } from './options.ts';
import { applyChange, requireUnlocked, withStore } from './vmgs-file.ts';
import { readNvram, writeNvram } from './vmgs-nvram.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  KEY_OPTIONS,
  print,
  SEED_OPTION,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'remove all boot entries from the UEFI variables of a VMGS store',
  description:
    'Removes BootOrder and the entries that it names, in one write: the firmware then tries all devices. With --dry-run ' +
    `they are only shown. An encrypted store needs its key. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [
    ...FILE_OPTIONS,
    ...KEY_OPTIONS,
    { flags: '-n, --dry-run', description: 'show the boot entries, remove nothing' },
    SEED_OPTION,
    ...COMMON_OPTIONS,
  ],
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const isDry = flagOption(options, 'dryRun');
    await withStore(io, args, options, async (store, vmgs) => {
      requireUnlocked(store);
      const variables = readNvram(store, vmgs);
      const order = bootOrder(variables);
      const entries = order.map((number) => entryOf(variables, number));
      if (!isDry) {
        const gone = new Set(['BootOrder', ...entries.map(({ name }) => name)]);
        const kept = variables.filter(
          ({ vendor, name }) => vendor !== EFI_GLOBAL_VARIABLE || !gone.has(name),
        );
        applyChange(vmgs, writeNvram(store, kept, options, io));
      }
      const text = entries
        .map(
          ({ name, description }, i) =>
            `${i}: ${name}: ${showText(description ?? 'there is no such entry')}\n`,
        )
        .join('');
      await print(io, options, { file: vmgs.path, removed: !isDry, entries }, text);
    });
    return 0;
  },
};

/** @throws CvmError usage NVRAM_NOT_FOUND; format NVRAM_BOOT_ORDER */
function bootOrder(variables: readonly NvramVariable[]): number[] {
  const variable = variables.find(
    ({ vendor, name }) => vendor === EFI_GLOBAL_VARIABLE && name === 'BootOrder',
  );
  if (variable === undefined) {
    throw usageError('NVRAM_NOT_FOUND', 'there is no BootOrder: no boot entries to remove', {
      facts: [['variables', variables.length]],
    });
  }
  const order = parseBootOrder(variable.data);
  if (order !== undefined) return order;
  throw formatError('NVRAM_BOOT_ORDER', 'BootOrder has an odd number of bytes', {
    facts: [['size', `${variable.data.length} bytes`]],
    mend: `remove it with cvm vmgs uefi-nvram remove-entry -n BootOrder -v ${EFI_GLOBAL_VARIABLE}`,
  });
}

interface Entry {
  readonly name: string;
  /** Null when BootOrder names an entry that is not there. */
  readonly description: string | null;
}

/** The specification writes the number in upper case; some firmware does not. */
function entryOf(variables: readonly NvramVariable[], number: number): Entry {
  const name = `Boot${number.toString(16).toUpperCase().padStart(4, '0')}`;
  const found = variables.find(
    (variable) =>
      variable.vendor === EFI_GLOBAL_VARIABLE && variable.name.toLowerCase() === name.toLowerCase(),
  );
  if (found === undefined) return { name, description: null };
  const content = variableContent(found.name, found.data);
  return {
    name: found.name,
    description: content.kind === 'load option' ? content.option.description : 'malformed',
  };
}
