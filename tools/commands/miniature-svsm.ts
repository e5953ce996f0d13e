import { buildMiniatureSvsm } from '../miniature/svsm.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: 'make an ELF file that an SVSM image builder lays out',
  description:
    'Writes a stand-in for the component svsm: three segments, memory of zeros, a symbol table. It halts where it starts.',
  options: [{ flags: '--output <file>', description: 'the ELF file', required: true }],
  async run(_args, options, io) {
    await writeFileWhole(resolvePath(io, requiredText(options, 'output')), [buildMiniatureSvsm()]);
    return 0;
  },
};
