import { digestSource } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { jsonText, showText } from '../bytes/text.ts';
import { readPackit } from '../packit/archive.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { inFile } from './in-file.ts';
import { flagOption } from './options.ts';

export const command: Command = {
  summary: 'list the files of a packit archive',
  description: 'Prints size, sha256 and name of every file, in the order of the archive.',
  arguments: [{ name: '<archive>', description: 'packit archive: the file-system image of COCONUT-SVSM' }],
  options: [{ flags: '--json', description: 'one JSON object a file, one a line: at, name, size, sha256' }],
  run([path = ''], options, io) {
    const json = flagOption(options, 'json');
    const archive = openFile(resolvePath(io, path));
    try {
      inFile(path, () => {
        for (const { at, name, content } of readPackit(archive)) {
          const sha256 = bytesToHex(digestSource('sha256', content));
          io.out(
            json
              ? `${jsonText({ at, name, size: content.sizeBytes, sha256 })}\n`
              : `${`${content.sizeBytes}`.padStart(10)}  ${sha256}  ${showText(name)}\n`,
          );
        }
      });
    } finally {
      archive.close();
    }
    return 0;
  },
};
