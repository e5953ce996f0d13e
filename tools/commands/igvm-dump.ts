import { jsonText, showText } from '../bytes/text.ts';
import { dumpJson, dumpText } from '../igvm/dump.ts';
import type { Command } from './command.ts';
import { openIgvm } from './igvm-files.ts';
import { flagOption } from './options.ts';

export const command: Command = {
  summary: 'list the headers of an IGVM file',
  description:
    'Prints every header in file order, by name and platform: pages that follow one another as one line, start states ' +
    'register by register, payloads as digests. Headers of unknown types are shown as hex.',
  arguments: [{ name: '<file>', description: 'IGVM file' }],
  options: [{ flags: '--json', description: 'one JSON object, every header by itself' }],
  run([path = ''], options, io) {
    const file = openIgvm(io, path);
    io.out(
      flagOption(options, 'json')
        ? `${jsonText({ ok: true, ...dumpJson(file) })}\n`
        : dumpText(file).split('\n').map(showText).join('\n'),
    );
    return 0;
  },
};
