import { jsonText } from '../bytes/text.ts';
import { EXIT_CODES } from '../errors.ts';
import { diffIgvm, diffText } from '../igvm/diff.ts';
import type { Command } from './command.ts';
import { openIgvm } from './igvm-files.ts';
import { flagOption } from './options.ts';

export const command: Command = {
  summary: 'show in what two IGVM files differ',
  description:
    'Compares two files by address and platform: which pages, registers and parameters differ, are in one alone, or ' +
    'come in another order. Where the bytes lie in the files does not matter. Prints nothing when both load and ' +
    'measure alike. Exit codes: 0 no difference, 5 differences.',
  arguments: [
    { name: '<a>', description: 'IGVM file' },
    { name: '<b>', description: 'IGVM file' },
  ],
  options: [{ flags: '--json', description: 'one JSON object' }],
  run([a = '', b = ''], options, io) {
    const differences = diffIgvm(openIgvm(io, a), openIgvm(io, b));
    const equal = differences.length === 0;
    io.out(
      flagOption(options, 'json') ? `${jsonText({ ok: true, equal, differences })}\n` : diffText(differences),
    );
    return equal ? 0 : EXIT_CODES.mismatch;
  },
};
