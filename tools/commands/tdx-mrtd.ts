import { bytesToHex } from '../bytes/hex.ts';
import { jsonText } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { mrtd, PAGE_ADD_ORDERS } from '../tdx/mrtd.ts';
import { parseTdvf } from '../tdx/tdvf.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { flagOption } from './options.ts';

export const command: Command = {
  summary: 'compute MRTD of a TDX firmware',
  description:
    'Prints MRTD, 96 hex digits. Without a choice, both values with their names: QEMU 8 adds pages in two passes, QEMU 9 ' +
    'and newer in one.',
  arguments: [{ name: '<firmware>', description: 'TDX firmware image' }],
  options: [
    { flags: '--two-pass', description: 'all pages of a section first, then their contents' },
    { flags: '--single-pass', description: 'each page with its content' },
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],
  run([path = ''], options, io) {
    const wanted = PAGE_ADD_ORDERS.filter((order) =>
      flagOption(options, order === 'two-pass' ? 'twoPass' : 'singlePass'),
    );
    if (wanted.length === 2) {
      throw usageError('OPTION_CONTRADICTION', '--two-pass and --single-pass exclude each other', {
        mend: 'give one, or neither to see both',
      });
    }
    const orders = wanted.length === 0 ? PAGE_ADD_ORDERS : wanted;
    const firmware = openFile(resolvePath(io, path));
    try {
      const sections = parseTdvf(firmware);
      const values = orders.map((order) => [order, bytesToHex(mrtd(firmware, sections, order))] as const);
      if (flagOption(options, 'json'))
        io.out(`${jsonText({ ok: true, mrtd: Object.fromEntries(values) })}\n`);
      else if (wanted.length === 1) io.out(`${values.map(([, value]) => value).join('')}\n`);
      else for (const [order, value] of values) io.out(`${order.padEnd(11)}  ${value}\n`);
    } finally {
      firmware.close();
    }
    return 0;
  },
};
