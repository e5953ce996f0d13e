import { usageError } from '../errors.ts';
import { editIgvm, type MemoryEdit } from '../igvm/edit.ts';
import { IGVM_LIMIT_BYTES } from '../igvm/fixed-header.ts';
import { writeIgvm } from '../igvm/writer.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { openIgvm, readSmallFile } from './igvm-files.ts';
import { parseAddress, platformsOption, PLATFORMS_OPTION } from './igvm-options.ts';
import { inFile } from './in-file.ts';
import { flagOption, parseIntegerLiteral, requiredText, textOption, textsOption } from './options.ts';

export const command: Command = {
  summary: 'replace or add memory of an IGVM file, or set its policy',
  description:
    'Writes a new file; the old one stays as it is. Memory is given as ADDRESS=FILE and padded with zeros to whole pages. ' +
    'New pages go before the first page or VMSA of a higher address. Every edit changes the launch digest, except that of ' +
    'the policy: a file that holds a signed digest is refused unless --drop-signatures.',
  arguments: [{ name: '<file>', description: 'IGVM file' }],
  options: [
    { flags: '--replace <address=path>', description: 'for pages that the file has', repeatable: true },
    { flags: '--add <address=path>', description: 'for pages that it has not', repeatable: true },
    { flags: '--policy <value>', description: 'the guest policy, 64 bits' },
    PLATFORMS_OPTION,
    { flags: '--drop-signatures', description: 'take ID blocks and VBS measurements out' },
    { flags: '--output <path>', description: 'file to write', required: true },
  ],
  async run([path = ''], options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    const replace = memoryEdits(io, options, 'replace');
    const add = memoryEdits(io, options, 'add');
    const policyText = textOption(options, 'policy');
    const policy = policyText === undefined ? undefined : parseIntegerLiteral(policyText, '--policy', 64);
    const dropSignatures = flagOption(options, 'dropSignatures');
    if (replace.length + add.length === 0 && policy === undefined && !dropSignatures) {
      throw usageError('IGVM_NO_EDIT', 'there is nothing to edit', {
        mend: 'give --replace, --add, --policy or --drop-signatures',
      });
    }
    const file = openIgvm(io, path);
    const mask = platformsOption(options, file);
    const edited = inFile(path, () =>
      writeIgvm(editIgvm(file, { replace, add, policy, mask, dropSignatures })),
    );
    await writeFileWhole(output, [edited]);
    return 0;
  },
};

function memoryEdits(io: Pick<Io, 'cwd'>, options: OptionValues, name: string): MemoryEdit[] {
  return textsOption(options, name).map((text) => {
    const at = text.indexOf('=');
    if (at > 0) {
      const gpa = parseAddress(text.slice(0, at), `--${name}`);
      return { gpa, data: readSmallFile(io, text.slice(at + 1), IGVM_LIMIT_BYTES) };
    }
    throw usageError('OPTION_EDIT', `--${name} is not an address and a file`, {
      facts: [['found', text]],
      mend: `write --${name} 0x800000=FILE`,
    });
  });
}
