import { buildMiniatureTdxFirmware } from '../miniature/tdx-firmware.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: 'make a TDX firmware image with what is measured',
  description:
    'Writes a stand-in for a TDX firmware of 2 MiB: TDVF descriptor and empty variable store. It does not boot.',
  options: [{ flags: '--output <file>', description: 'the image', required: true }],
  async run(_args, options, io) {
    await writeFileWhole(resolvePath(io, requiredText(options, 'output')), [buildMiniatureTdxFirmware()]);
    return 0;
  },
};
