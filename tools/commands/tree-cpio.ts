import { writeCpio } from '../cpio/writer.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { LISTING_OPTIONS, withListedTree } from './listing-options.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: 'make an initial RAM disk from a listing',
  description: 'Writes a newc cpio archive. Owners and modes come from the listing, times are zero.',
  options: LISTING_OPTIONS,
  async run(_args, options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    await withListedTree(options, io, async (entries) => {
      await writeFileWhole(output, writeCpio(entries));
    });
    return 0;
  },
};
