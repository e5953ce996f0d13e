import { join } from 'node:path';
import { chunks } from '../bytes/source.ts';
import { openExt4 } from '../ext4/reader.ts';
import { bootFile, requireBootVersion } from '../guestos/boot-partition.ts';
import { BOOT_FILES } from '../guestos/layout.ts';
import { treeToTar } from '../tar/tree.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { openImage } from './image-files.ts';
import { checkImageSize, IMAGE_SIZE_OPTION } from './image-size.ts';
import { requiredText, textOption } from './options.ts';

/** What direct boot measures, and the release's version: every release has them all. */
const FILES = [
  BOOT_FILES.bootArgs,
  BOOT_FILES.kernel,
  BOOT_FILES.initrd,
  BOOT_FILES.firmware,
  BOOT_FILES.version,
] as const;

export const command: Command = {
  summary: 'take the boot partition of an image apart',
  description:
    'Writes boot.tar (the whole tree with owners, modes, times and extended attributes) and, symlinks resolved, boot_args, ' +
    'vmlinuz, initrd.img, OVMF_SEV.fd and version.txt. IMAGE is an update image, a partition .tzst or raw ext4.',
  arguments: [{ name: '<image>', description: 'update-img.tar.zst, partition-boot.tzst or boot.img' }],
  options: [
    { flags: '--output <dir>', description: 'folder for the files', required: true },
    IMAGE_SIZE_OPTION,
    { flags: '--expect-version <text>', description: 'refuse a partition whose version.txt says otherwise' },
  ],
  async run([image = ''], options, io) {
    const path = resolvePath(io, image);
    checkImageSize(path, options);
    const folder = resolvePath(io, requiredText(options, 'output'));
    const source = await openImage(path, 'boot.img');
    try {
      const tree = openExt4(source);
      const expectedVersion = textOption(options, 'expectVersion');
      if (expectedVersion !== undefined) requireBootVersion(tree, expectedVersion);
      const files = FILES.map((name) => [name, bootFile(tree, name)] as const);
      await writeFileWhole(join(folder, 'boot.tar'), treeToTar(tree.entries()));
      for (const [name, content] of files) await writeFileWhole(join(folder, name), chunks(content));
    } finally {
      source.close();
    }
    return 0;
  },
};
