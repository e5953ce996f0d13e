import { chunks } from '../bytes/source.ts';
import { rawFromUtf8, showText } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { openExt4 } from '../ext4/reader.ts';
import type { Command } from './command.ts';
import { aboutFile } from './error-path.ts';
import { MEMBER_OPTION, openNamedImage } from './ext4-options.ts';
import { resolvePath, writeFileWhole, writeSourceWhole } from './files.ts';
import { textOption } from './options.ts';

export const command: Command = {
  summary: 'write one file of an ext4 image',
  description:
    'Writes the content of a regular file to standard output, or to --output with its holes. Symbolic links are followed ' +
    'inside the image. Of a partition .tzst or an update image only the frames that are needed are decompressed.',
  arguments: [
    { name: '<img>', description: 'ext4 image, partition .tzst or update-img.tar.zst' },
    { name: '<path>', description: 'the file, in the image' },
  ],
  options: [{ flags: '--output <file>', description: 'where the content goes' }, MEMBER_OPTION],
  async run([image = '', path = ''], options, io) {
    const output = textOption(options, 'output');
    const target = output === undefined ? undefined : resolvePath(io, output);
    const source = await openNamedImage(resolvePath(io, image), options, target);
    try {
      await aboutFile(source.path, async () => {
        const entry = openExt4(source).lookup(rawFromUtf8(path));
        if (entry?.type !== 'file') {
          throw usageError('EXT4_NO_FILE', 'the image has no regular file of this path', {
            facts: [
              ['image', source.path],
              ['path', showText(path)],
              ['found', entry?.type ?? 'nothing'],
            ],
            mend: 'list the image: cvm ext4 list IMG',
          });
        }
        if (target === undefined) await writeFileWhole('/dev/stdout', chunks(entry.content));
        else await writeSourceWhole(target, entry.content);
      });
    } finally {
      source.close();
    }
    return 0;
  },
};
