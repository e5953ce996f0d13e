import { putFile } from '../ext4/put-file.ts';
import type { Command } from './command.ts';
import { aboutFile } from './error-path.ts';
import { MEMBER_OPTION, openNamedImage } from './ext4-options.ts';
import { openFile, resolvePath, writeChangedWhole } from './files.ts';
import { writeImage } from './image-output.ts';
import { mtimeOption, MTIME_OPTION, parseAdd } from './image-tree.ts';
import { textOption } from './options.ts';

export const command: Command = {
  summary: 'put a file into an existing ext4 image',
  description:
    'Adds a regular file, or gives one that is there new content and mode, and keeps every other byte it can: no block ' +
    'moves. The directory must exist; links are not followed; a file with an access control list keeps its mode. The image ' +
    'is replaced whole or not at all. A hash tree over the image is no longer true afterwards: make it anew with verity format.',
  arguments: [
    {
      name: '<img>',
      description: 'ext4 image: raw, or with --output also a partition .tzst or update-img.tar.zst',
    },
    {
      name: '<src:dst:mode[:uid:gid]>',
      description: 'the file, its absolute path in the image, octal mode, owner',
    },
  ],
  options: [
    { ...MTIME_OPTION, description: 'modification time of the file; 0 when absent' },
    { flags: '--output <file>', description: 'write the changed image there: raw, or *.tzst' },
    MEMBER_OPTION,
  ],
  async run([image = '', place = ''], options, io) {
    const { source, hasOwner, ...file } = parseAdd(place);
    const path = resolvePath(io, image);
    const output = textOption(options, 'output');
    const volume =
      output === undefined ? openFile(path) : await openNamedImage(path, options, resolvePath(io, output));
    try {
      const content = openFile(resolvePath(io, source));
      try {
        const { uid, gid, ...rest } = file;
        const changed = await aboutFile(path, () =>
          putFile(volume, {
            ...rest,
            ...(hasOwner ? { uid, gid } : {}),
            content,
            mtimeSec: mtimeOption(options) ?? 0,
          }),
        );
        if (output === undefined) await writeChangedWhole(path, path, changed, changed.changes);
        else await writeImage(resolvePath(io, output), changed);
      } finally {
        content.close();
      }
    } finally {
      volume.close();
    }
    return 0;
  },
};
