import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { jsonText } from '../bytes/text.ts';
import { parseJsonObject } from '../dstack/strict-json.ts';
import { mismatchError, usageError } from '../errors.ts';
import { COMPARED_REGISTERS } from '../tdx/compare.ts';
import { REGISTER_BYTES } from '../tdx/register.ts';
import { readSmallFile } from './bundle-files.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { requiredText, textOption } from './options.ts';

const REGISTERS_LIMIT_BYTES = 1 << 16;

export const command: Command = {
  summary: 'compare computed TDX registers with those they must be',
  description:
    'Reads what tdx measure --output wrote. With --output, writes a verdict and succeeds whatever it says, for tests that fail ' +
    'later; without, a difference is an error.',
  options: [
    { flags: '--registers <file>', description: 'JSON with mrtd, rtmr0, rtmr1 and rtmr2', required: true },
    ...COMPARED_REGISTERS.map((name) => ({
      flags: `--${name} <hex>`,
      description: `what ${name.toUpperCase()} must be`,
    })),
    { flags: '--output <file>', description: 'the verdict as JSON' },
    { flags: '--json', description: 'print the verdict as JSON; also errors' },
  ],
  async run(_args, options, io) {
    const wanted = COMPARED_REGISTERS.flatMap((name) => {
      const text = textOption(options, name);
      return text === undefined
        ? []
        : [[name, bytesToHex(hexToBytes(text, `--${name}`, REGISTER_BYTES))] as const];
    });
    if (wanted.length === 0) {
      throw usageError('OPTION_MISSING', 'no register is compared', {
        mend: 'give --mrtd, --rtmr0, --rtmr1 or --rtmr2',
      });
    }
    const path = resolvePath(io, requiredText(options, 'registers'));
    const registers = parseJsonObject(
      readSmallFile(path, REGISTERS_LIMIT_BYTES, 'the registers'),
      'the registers',
    );
    const rows = wanted.map(([register, expected]) => {
      const value = registers[register];
      const found = typeof value === 'string' ? value : 'cannot be precomputed';
      return { register, ok: found === expected, expected, found };
    });
    const wrong = rows.filter((row) => !row.ok);
    const output = textOption(options, 'output');
    const verdict = jsonText({ ok: wrong.length === 0, registers: rows }, 2);
    if (output !== undefined) {
      await writeFileWhole(resolvePath(io, output), [Buffer.from(`${verdict}\n`)]);
      return 0;
    }
    if (wrong.length > 0) {
      throw mismatchError(
        'TDX_REGISTERS',
        wrong.map(({ register }) => `${register.toUpperCase()} mismatch`).join(', '),
        {
          facts: wrong.flatMap(({ register, expected, found }) => [
            [`${register} expected`, expected] as const,
            [`${register} found`, found] as const,
          ]),
          mend: 'the explain output of tdx measure says what went into each event',
        },
      );
    }
    io.out(
      options['json'] === true ? `${verdict}\n` : `ok: ${rows.map(({ register }) => register).join(', ')}\n`,
    );
    return 0;
  },
};
