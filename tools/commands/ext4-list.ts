import { checkContentSize } from '../ext4/content-limit.ts';
import { jsonLine, textLine } from '../ext4/listing.ts';
import { openExt4 } from '../ext4/reader.ts';
import type { Command } from './command.ts';
import { resolvePath } from './files.ts';
import { flagOption } from './options.ts';
import { aboutFile } from './error-path.ts';
import { MEMBER_OPTION, openNamedImage } from './ext4-options.ts';

export const command: Command = {
  summary: 'list the files of an ext4 image',
  description:
    'One line for each name, depth first, in byte order: permissions, links, owner, group, size, time (UTC), path. ' +
    'With --json, an array of objects that also hold the sha256 of contents and all extended attributes. ' +
    'Every checksum of the file system is verified; IMG may be raw, .tzst or an update image.',
  arguments: [{ name: '<img>', description: 'ext4 image, partition .tzst or update-img.tar.zst' }],
  options: [{ flags: '--json', description: 'print JSON, with content digests' }, MEMBER_OPTION],
  async run([image = ''], options, io) {
    const source = await openNamedImage(resolvePath(io, image), options);
    try {
      const text = await aboutFile(source.path, () => {
        const tree = openExt4(source);
        tree.verifyBitmaps();
        const nodes = [...tree.nodes()];
        if (!flagOption(options, 'json')) return nodes.map((node) => `${textLine(node)}\n`);
        checkContentSize(nodes);
        return [`[\n${nodes.map(jsonLine).join(',\n')}\n]\n`];
      });
      // All before the first line is printed: a damaged file must not leave half a listing behind.
      for (const part of text) io.out(part);
    } finally {
      source.close();
    }
    return 0;
  },
};
