import { utf8Bytes } from '../bytes/text.ts';
import { NOT_FOR_PRODUCTION_TEXT } from '../guestos/notice.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: 'write the notice that stands beside images of the dev network',
  options: [{ flags: '--output <file>', description: 'update-img.NOT-FOR-PRODUCTION.txt', required: true }],
  async run(_args, options, io) {
    await writeFileWhole(resolvePath(io, requiredText(options, 'output')), [
      utf8Bytes(NOT_FOR_PRODUCTION_TEXT),
    ]);
    return 0;
  },
};
