import { bytesToHex } from '../bytes/hex.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { mismatchError, usageError, type Fact } from '../errors.ts';
import { readLaunchMeasurements, type LaunchMeasurement } from '../guestos/measurements.ts';
import type { Command } from './command.ts';
import { requiredText, textsOption } from './options.ts';
import { parseLaunchDigest, readSmall } from './snp-options.ts';

/** Differences that are shown. */
const SHOWN = 8;

export const command: Command = {
  summary: 'compare launch measurements with those that are expected',
  description:
    'Ends with 0 when launch-measurements.json holds the expected digests, all of them and no others, in any order; with 5 otherwise. ' +
    'What the rule measurement_test runs.',
  options: [
    { flags: '--measurements <file>', description: 'launch-measurements.json', required: true },
    {
      flags: '--expected <digest>',
      description: 'launch digest: 96 hex digits or base64; may be repeated',
      repeatable: true,
    },
    { flags: '--json', description: 'print errors as one JSON object' },
  ],
  run(_args, options, io) {
    const path = requiredText(options, 'measurements');
    const expected = textsOption(options, 'expected').map((text) =>
      bytesToHex(parseLaunchDigest(text, '--expected')),
    );
    if (expected.length === 0) {
      throw usageError('OPTION_MISSING', '--expected is required', {
        mend: 'give the digests that were measured when all was well',
      });
    }
    const measured = readLaunchMeasurements(utf8FromBytes(readSmall(io, path, path), path));
    const digests = measured.map(({ measurement }) => bytesToHex(measurement));
    const surplus = measured.filter((_, i) => !expected.includes(digests[i] ?? ''));
    const missing = expected.filter((digest) => !digests.includes(digest));
    if (surplus.length + missing.length > 0) {
      throw mismatchError('SNP_MEASUREMENTS_DIFFER', 'the launch measurements are not those expected', {
        facts: [
          ...missing.slice(0, SHOWN).map((digest): Fact => ['expected, not measured', digest]),
          ...surplus.slice(0, SHOWN).map((entry): Fact => ['measured, not expected', describe(entry)]),
          ['in common', measured.length - surplus.length],
        ],
        mend:
          'if the change is meant, take over the new digests; if not, build --output_groups=explain on both sides and compare with ' +
          'cvm snp explain --against, or ask cvm snp search --expected',
      });
    }
    io.out(`${measured.length} launch measurement${measured.length === 1 ? '' : 's'}, as expected\n`);
    return 0;
  },
};

function describe({ measurement, vcpuType, kernelCmdline }: LaunchMeasurement): string {
  const parts = [vcpuType, kernelCmdline === null ? null : JSON.stringify(kernelCmdline)].filter(
    (part) => part !== null,
  );
  return `${bytesToHex(measurement)}${parts.length === 0 ? '' : ` (${parts.join(', ')})`}`;
}
