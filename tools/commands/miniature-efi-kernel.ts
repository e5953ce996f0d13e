import { buildMiniatureEfiKernel } from '../miniature/efi-kernel.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: 'make a kernel with the EFI headers that are measured',
  description:
    'Writes a stand-in for a kernel with an EFI stub: PE headers and setup header. It does not boot.',
  options: [{ flags: '--output <file>', description: 'the image', required: true }],
  async run(_args, options, io) {
    await writeFileWhole(resolvePath(io, requiredText(options, 'output')), [buildMiniatureEfiKernel()]);
    return 0;
  },
};
