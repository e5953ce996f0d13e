import { showText } from '../bytes/text.ts';
import { markerFields } from '../vmgs/marker.ts';
import type { Command } from './command.ts';
import { withStore } from './vmgs-file.ts';
import { readMarker } from './vmgs-marker-file.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  print,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'show who formatted a VMGS store, and why',
  description:
    'Shows the fields of the provisioning marker, and in what it differs from what OpenHCL writes. The name of the ' +
    `version in drafts, hcl_version, is read, too. Never writes. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  run: async (args, options, io) =>
    withStore(io, args, options, async (store, vmgs) => {
      const { marker, deviations } = readMarker(store, vmgs);
      const fields = Object.entries(markerFields(marker));
      const width = Math.max(...fields.map(([name]) => name.length));
      let text = '';
      for (const [name, value] of fields) text += `${name.padEnd(width)}  ${showText(String(value))}\n`;
      for (const deviation of deviations) text += `${'note'.padEnd(width)}  ${showText(deviation)}\n`;
      await print(io, options, { marker: Object.fromEntries(fields), deviations }, text);
      return 0;
    }),
};
