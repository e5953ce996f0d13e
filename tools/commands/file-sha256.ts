import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { chunks } from '../bytes/source.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath, writeFileWhole } from './files.ts';
import { textOption } from './options.ts';

export const command: Command = {
  summary: 'write the sha256 of a file',
  description:
    'One line that `sha256sum --check` takes: the digest, two spaces, the file name without its folder.',
  arguments: [{ name: '<file>', description: 'the file' }],
  options: [
    { flags: '--output <file>', description: 'where to write the line; standard output when absent' },
  ],
  async run([path = ''], options, io) {
    const file = openFile(resolvePath(io, path));
    const name = basename(file.path);
    if (/[\n\r\\]/.test(name)) {
      file.close();
      throw usageError(
        'FILE_NAME',
        'a name with a line break or a backslash has no plain line in a sum file',
        {
          facts: [['name', name]],
        },
      );
    }
    const hash = createHash('sha256');
    try {
      for (const chunk of chunks(file)) hash.update(chunk);
    } finally {
      file.close();
    }
    const line = `${hash.digest('hex')}  ${name}\n`;
    const output = textOption(options, 'output');
    if (output === undefined) io.out(line);
    else await writeFileWhole(resolvePath(io, output), [utf8Bytes(line)]);
    return 0;
  },
};
