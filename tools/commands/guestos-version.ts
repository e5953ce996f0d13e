import { utf8Bytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { archiveVersion } from '../guestos/packing.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { readSmallFile } from './guestos-options.ts';
import { requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: "write a version with a suffix, for an image's twin",
  arguments: [{ name: '<version-file>', description: 'a version, one line' }],
  options: [
    { flags: '--suffix <text>', description: 'what to append, for example --suffix=-test', required: true },
    { flags: '--output <file>', description: 'the new version file; standard output when left out' },
  ],
  async run([path = ''], options, io) {
    const suffix = requiredText(options, 'suffix');
    if (!/^[-+._0-9A-Za-z]{1,32}$/.test(suffix)) {
      throw usageError('OPTION_SUFFIX', '--suffix is not a short text of letters, digits and . _ + -', {
        facts: [['found', suffix]],
      });
    }
    const version = archiveVersion(readSmallFile(io, path, 'the version file'), 'mainnet').trimEnd();
    const text = `${version}${suffix}\n`;
    const output = textOption(options, 'output');
    if (output === undefined) io.out(text);
    else await writeFileWhole(resolvePath(io, output), [utf8Bytes(text)]);
    return 0;
  },
};
