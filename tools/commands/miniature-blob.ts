import { chunks } from '../bytes/source.ts';
import { fillerSource } from '../miniature/filler.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { parseDecimal, requiredText } from './options.ts';

const MOST_BYTES = 2 ** 40;

export const command: Command = {
  summary: 'make deterministic filler',
  description:
    'Writes bytes that do not compress and depend on size and seed alone: the bulk of a file system to try things with. ' +
    'Block i of 64 KiB is SHAKE256(seed || i as 8 bytes, little-endian).',
  options: [
    { flags: '--size <bytes>', description: 'how many, decimal', required: true },
    { flags: '--seed <text>', description: 'what they are derived from', required: true },
    { flags: '--output <file>', description: 'the file', required: true },
  ],
  async run(_args, options, io) {
    const sizeBytes = parseDecimal(requiredText(options, 'size'), '--size', 0, MOST_BYTES);
    const output = resolvePath(io, requiredText(options, 'output'));
    await writeFileWhole(output, chunks(fillerSource(requiredText(options, 'seed'), sizeBytes)));
    return 0;
  },
};
