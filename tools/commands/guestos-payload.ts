import { utf8Bytes } from '../bytes/text.ts';
import { readLaunchMeasurements } from '../guestos/measurements.ts';
import { summariseProposalPayload, writeProposalPayload } from '../guestos/payload.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole, requireDistinctOutputs } from './files.ts';
import { chipIdsOption, readRootHashFile, readSmallText } from './guestos-options.ts';
import { requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: 'write what a proposer submits to bless a recovery image',
  description:
    'Writes proposal-payload.json: root hash, base measurements and chips in the field names of ' +
    'BlessAlternativeGuestOsVersion. Without --output it is printed.',
  options: [
    {
      flags: '--root-hash-file <file>',
      description: 'verity root hash of the new root partition',
      required: true,
    },
    {
      flags: '--measurements <file>',
      description: 'launch-measurements.json of the base release',
      required: true,
    },
    {
      flags: '--chip-id <hex>',
      description: 'chip to name, 128 hex digits; may be repeated',
      repeatable: true,
    },
    { flags: '--output <file>', description: 'proposal-payload.json' },
    { flags: '--summary-output <file>', description: 'the same for people' },
  ],
  async run(_args, options, io) {
    requireDistinctOutputs(io, textOption(options, 'output'), textOption(options, 'summaryOutput'));
    const payload = {
      rootHash: readRootHashFile(io, requiredText(options, 'rootHashFile')),
      measurements: readLaunchMeasurements(
        readSmallText(io, requiredText(options, 'measurements'), 'the launch measurements'),
      ),
      chipIds: chipIdsOption(options),
    };
    const write = async (path: string | undefined, text: string): Promise<boolean> => {
      if (path !== undefined) await writeFileWhole(resolvePath(io, path), [utf8Bytes(text)]);
      return path !== undefined;
    };
    await write(textOption(options, 'summaryOutput'), summariseProposalPayload(payload));
    const json = writeProposalPayload(payload);
    if (!(await write(textOption(options, 'output'), json))) io.out(json);
    return 0;
  },
};
