import { gzip } from '../gzip/compress.ts';
import { treeToTar } from '../tar/tree.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { LISTING_OPTIONS, withListedTree } from './listing-options.ts';
import { flagOption, requiredText } from './options.ts';

export const command: Command = {
  summary: 'make a tar archive from a listing',
  description: 'Writes a pax tar archive. Owners and modes come from the listing, times are zero.',
  options: [
    ...LISTING_OPTIONS,
    { flags: '--gzip', description: 'compress it: one gzip member without name and time' },
  ],
  async run(_args, options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    await withListedTree(options, io, async (entries) => {
      const archive = treeToTar(entries);
      await writeFileWhole(output, flagOption(options, 'gzip') ? gzip(archive) : archive);
    });
    return 0;
  },
};
