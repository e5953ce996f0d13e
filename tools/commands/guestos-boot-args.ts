import { utf8Bytes } from '../bytes/text.ts';
import { fillBootArgs } from '../guestos/boot-args.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { readRootHashFile, readSmallText } from './guestos-options.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: 'put a root hash into the kernel command lines of a release',
  options: [
    { flags: '--template <file>', description: 'boot_args with the text ROOT_HASH', required: true },
    { flags: '--root-hash-file <file>', description: 'verity root hash, 64 hex digits', required: true },
    { flags: '--output <file>', description: 'boot_args', required: true },
  ],
  async run(_args, options, io) {
    const template = readSmallText(io, requiredText(options, 'template'), 'the boot_args template');
    const rootHash = readRootHashFile(io, requiredText(options, 'rootHashFile'));
    const output = resolvePath(io, requiredText(options, 'output'));
    await writeFileWhole(output, [utf8Bytes(fillBootArgs(template, rootHash))]);
    return 0;
  },
};
