import { buildMiniatureFirmware, DEFAULT_FIRMWARE_PAGES } from '../miniature/firmware.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: 'make a firmware image with the tables that are measured',
  description:
    `Writes a stand-in for OVMF_SEV.fd of ${DEFAULT_FIRMWARE_PAGES} pages: GUIDed table, SEV metadata with a page for ` +
    'kernel hashes, SEV-ES reset block. Launch digests can be computed from it; it does not boot: its reset vector prints ' +
    'a line that says so on the first serial port and halts.',
  options: [{ flags: '--output <file>', description: 'the firmware image', required: true }],
  async run(_args, options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    await writeFileWhole(output, [buildMiniatureFirmware()]);
    return 0;
  },
};
