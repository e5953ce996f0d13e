import { writeExt4 } from '../ext4/writer.ts';
import type { Command } from './command.ts';
import { resolvePath } from './files.ts';
import { FILESYSTEM_OPTIONS, filesystemOptions, LABEL_OPTIONS, labelOption } from './filesystem-options.ts';
import { writeImage } from './image-output.ts';
import { openImageTree, TREE_OPTIONS } from './image-tree.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: 'write an ext4 image from a tar archive, a listing or another image',
  description:
    'Writes an ext4 file system that depends on the tree and the options alone: no clock, user or folder order enters ' +
    'it. 4 KiB blocks, metadata checksums, backups; no journal unless asked for. Owners, modes, times, links, devices ' +
    'and extended attributes come from the tree; holes that it records stay holes. An output called *.tzst is written as ' +
    'zstd of sparse tar. Without --uuid and --hash-seed both are made from label and size.',
  options: [
    ...TREE_OPTIONS,
    ...FILESYSTEM_OPTIONS,
    ...LABEL_OPTIONS,
    { flags: '--output <file>', description: 'the image: raw, or *.tzst', required: true },
  ],
  async run(_args, options, io) {
    const ext4 = filesystemOptions(options);
    const output = resolvePath(io, requiredText(options, 'output'));
    const tree = await openImageTree(options, io, labelOption(options));
    try {
      await writeImage(output, writeExt4(tree.entries, ext4));
    } finally {
      tree.close();
    }
    return 0;
  },
};
