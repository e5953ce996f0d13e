import { usageError } from '../errors.ts';
import { typeOfHeader } from '../igvm/header-types.ts';
import { loadedMemory } from '../igvm/memory.ts';
import type { IgvmFile } from '../igvm/model.ts';
import type { Command, OptionValues } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { openIgvm } from './igvm-files.ts';
import { addressOption, platformsOption, PLATFORMS_OPTION } from './igvm-options.ts';
import { inFile } from './in-file.ts';
import { parseDecimal, requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: 'take memory or a payload out of an IGVM file',
  description:
    'Writes what the file loads from an address on, empty pages as zeros, up to the first page that it does not load or ' +
    'for --size bytes; or the payload of one header, by its number in cvm igvm dump.',
  arguments: [{ name: '<file>', description: 'IGVM file' }],
  options: [
    { flags: '--gpa <address>', description: 'guest physical address, as 0x…' },
    { flags: '--size <bytes>', description: 'with --gpa: how many bytes, as a number or 0x…' },
    { flags: '--header <number>', description: 'the payload of this header instead' },
    PLATFORMS_OPTION,
    { flags: '--output <path>', description: 'file to write', required: true },
  ],
  async run([path = ''], options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    const file = openIgvm(io, path);
    await writeFileWhole(
      output,
      inFile(path, () => extracted(file, options)),
    );
    return 0;
  },
};

function extracted(file: IgvmFile, options: OptionValues): Uint8Array[] {
  const gpa = addressOption(options, 'gpa');
  const number = textOption(options, 'header');
  if ((gpa === undefined) === (number === undefined)) {
    throw usageError('OPTION_CONFLICT', 'either --gpa or --header says what to take', {
      mend: 'give one of them; cvm igvm dump lists addresses and headers',
    });
  }
  if (gpa !== undefined)
    return loadedMemory(file, platformsOption(options, file), gpa, addressOption(options, 'size'));
  const index = parseDecimal(number ?? '', '--header', 0, file.headers.length - 1);
  const header = file.headers[index];
  const data = header !== undefined && 'data' in header ? header.data : undefined;
  if (data !== undefined) return [data];
  throw usageError('IGVM_NO_PAYLOAD', 'this header has no payload', {
    facts: [['header', header === undefined ? index : `${typeOfHeader(header).name} (number ${index})`]],
    mend: 'cvm igvm dump shows which headers have one',
  });
}
