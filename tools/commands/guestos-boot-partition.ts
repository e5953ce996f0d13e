import { BOOT_PARTITION_BYTES } from '../guestos/layout.ts';
import { guestOsExt4 } from '../guestos/partitions.ts';
import type { Command } from './command.ts';
import { resolvePath } from './files.ts';
import {
  ADD_OPTION,
  MTIME_OPTION,
  inputBytes,
  openImageTree,
  STRIP_OPTION,
  SUBTREE_OPTION,
  TAR_OPTION,
  type ImageTree,
} from './image-tree.ts';
import { flagOption, parseDecimal, requiredText, textOption } from './options.ts';
import { writePartition } from './partition-writer.ts';

export const command: Command = {
  summary: 'write a boot partition from a tree',
  description:
    'Writes ext4 of 1 GiB. Owners, modes, times and extended attributes are those of the tree: a recovery image keeps ' +
    'what its base release has. With --file-contexts-from-tree everything is labelled by the file_contexts of the whole ' +
    'tree instead, of which with --subtree boot only the lines for /boot count.',
  options: [
    TAR_OPTION,
    SUBTREE_OPTION,
    ADD_OPTION,
    STRIP_OPTION,
    MTIME_OPTION,
    {
      flags: '--file-contexts-from-tree',
      description: 'label by etc/selinux/default/contexts/files/file_contexts',
    },
    {
      flags: '--size <bytes>',
      description: 'size of the partition',
      defaultValue: `${BOOT_PARTITION_BYTES}`,
    },
    { flags: '--output <file>', description: 'the partition: zstd of sparse tar (*.tzst)', required: true },
  ],
  async run(_args, options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    const size = textOption(options, 'size') ?? `${BOOT_PARTITION_BYTES}`;
    const sizeBytes = parseDecimal(size, '--size', 1, BOOT_PARTITION_BYTES);
    const labels = flagOption(options, 'fileContextsFromTree') ? 'tree' : 'keep';
    const open = (): Promise<ImageTree> => openImageTree(options, io, { kind: labels });
    await writePartition(
      output,
      { inputBytes: inputBytes(options, io), open },
      { ext4: guestOsExt4(sizeBytes) },
    );
    return 0;
  },
};
