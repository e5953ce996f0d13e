import type { Io, OptionSpec, OptionValues } from '../../tools/commands/command.ts';
import { chipIdsOption, readRootHashFile, readSmallText } from '../../tools/commands/guestos-options.ts';
import { parseIntegerLiteral, requiredText, textOption } from '../../tools/commands/options.ts';
import { readLaunchMeasurements } from '../../tools/guestos/measurements.ts';
import type { DevProposal } from './proposal-reply.ts';
import { STATUS } from './proposal-reply.ts';

/** What a dev proposal is made of, on the command line. */
export const PROPOSAL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--proposal-id <id>', description: 'number of the proposal', required: true },
  {
    flags: '--root-hash-file <file>',
    description: 'partition-root-hash of the root to bless',
    required: true,
  },
  { flags: '--measurements <file>', description: 'launch-measurements.json of the base', required: true },
  {
    flags: '--chip-id <hex>',
    description: 'chip to bless, 128 hex digits',
    repeatable: true,
    required: true,
  },
  {
    flags: '--title <text>',
    description: 'title',
    defaultValue: 'Bless a recovery GuestOS of the dev network',
  },
  { flags: '--summary <text>', description: 'summary', defaultValue: 'Signed by the development NNS.' },
];

/** @throws CvmError usage or format for what is missing or malformed */
export function proposalOption(options: OptionValues, io: Io): DevProposal {
  const chipIds = chipIdsOption(options);
  const measurements = readLaunchMeasurements(
    readSmallText(io, requiredText(options, 'measurements'), 'the launch measurements'),
  );
  const rootfsHash = readRootHashFile(io, requiredText(options, 'rootHashFile'));
  return {
    proposalId: parseIntegerLiteral(requiredText(options, 'proposalId'), '--proposal-id', 64),
    title: textOption(options, 'title') ?? null,
    summary: textOption(options, 'summary') ?? '',
    url: '',
    status: STATUS.executed,
    chipIds,
    rootfsHash,
    measurements: measurements.map(({ measurement, kernelCmdline, vcpuType }) => ({
      measurement,
      ...(kernelCmdline === null ? {} : { kernelCmdline }),
      ...(vcpuType === null ? {} : { vcpuType }),
    })),
  };
}
