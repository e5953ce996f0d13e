import { buildMiniatureKernel, DEFAULT_RELEASE } from '../miniature/kernel.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: 'make a kernel that prints its command line and powers off',
  description:
    'Writes a complete bzImage of about 3 KiB. Started by any loader of Linux kernels (QEMU -kernel), it prints its ' +
    'release, its command line, and size, address and CRC-32 of its initrd on the first serial port, and powers off: ' +
    'a way to see what a direct boot hands over, and to try measured boot without a real kernel.',
  options: [
    {
      flags: '--release <text>',
      description: 'kernel release, as in vmlinuz-<release>',
      defaultValue: DEFAULT_RELEASE,
    },
    { flags: '--output <file>', description: 'the bzImage', required: true },
  ],
  async run(_args, options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    const kernel = buildMiniatureKernel(textOption(options, 'release') ?? DEFAULT_RELEASE);
    await writeFileWhole(output, [kernel]);
    return 0;
  },
};
