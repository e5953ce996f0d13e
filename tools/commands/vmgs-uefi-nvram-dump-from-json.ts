import { readAll } from '../bytes/source.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { parseNvramJson } from '../vmgs/uefi-json.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { OUTPUT_OPTIONS, putVariables } from './vmgs-nvram.ts';
import { COMMON_OPTIONS, EXIT_CODES_TEXT, filePathOf, vmgsExitCode } from './vmgs-options.ts';

const JSON_LIMIT_BYTES = 16 * 2 ** 20;

export const command: Command = {
  summary: 'show the UEFI variables of a JSON file made from a VMGS store of version 1',
  description: `Reads what HvGuestState makes of a store of version 1. ${EXIT_CODES_TEXT}`,
  arguments: [{ name: '[file]', description: 'the JSON file; or give it with -f' }],
  options: [
    { flags: '-f, --file-path <path>', description: 'the JSON file' },
    { flags: '--filepath <path>', description: '--file-path' },
    ...OUTPUT_OPTIONS,
    ...COMMON_OPTIONS,
  ],
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const path = resolvePath(io, filePathOf(args, options));
    const file = openFile(path);
    let text: string;
    try {
      text = utf8FromBytes(readAll(file, JSON_LIMIT_BYTES, path), path);
    } finally {
      file.close();
    }
    await putVariables(parseNvramJson(text), options, io);
    return 0;
  },
};
