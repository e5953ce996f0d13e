import { showText, utf8Bytes } from '../bytes/text.ts';
import { CvmError, usageError } from '../errors.ts';
import { openExt4 } from '../ext4/reader.ts';
import { readLaunchMeasurements } from '../guestos/measurements.ts';
import { refusalOf, validateGuestOs, verdictJson, type Verdict } from '../guestos/validate.ts';
import { verifyProposal } from '../proposal/verify.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import {
  CHIP_ID_OPTION,
  chipIdsOption,
  NETWORK_OPTION,
  networkOption,
  optionalFile,
  PLAN_OPTIONS,
  planOption,
  readSmallFile,
  readSmallText,
  rootHashOption,
} from './guestos-options.ts';
import { openImage } from './image-files.ts';
import { flagOption, requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: 'check measurements, root hash and chip against an executed proposal',
  description:
    'Verifies a proposal certificate and checks whatever else is given against it. Works on files alone; a part that is ' +
    'not given is skipped, and the verdict says so. Exit codes: 4 the proposal is not to be believed, 5 something does not fit it.',
  options: [
    { flags: '--proposal <file>', description: 'certificate of the proposal', required: true },
    { flags: '--request <file>', description: 'request that the certificate answers' },
    NETWORK_OPTION,
    { flags: '--measurements <file>', description: 'launch-measurements.json of the base release' },
    { flags: '--root-hash <hash>', description: 'verity root hash of the root partition, or a file with it' },
    CHIP_ID_OPTION,
    { flags: '--json', description: 'print the verdict as JSON' },
    { flags: '--output <file>', description: 'write the verdict as JSON' },
    {
      flags: '--boot <image>',
      description:
        'boot partition or update image that was measured: read only to explain why nothing is blessed',
    },
    ...PLAN_OPTIONS,
    {
      flags: '--record',
      description:
        'for build rules: a refusal is written to --output like any verdict, and the exit code is 0; images are refused by update-image',
    },
  ],
  async run(_args, options, io) {
    if (!flagOption(options, 'record')) return await validate(options, io);
    if (textOption(options, 'output') === undefined) {
      throw usageError('OPTION_MISSING', '--record needs --output', { mend: 'say where the verdict goes' });
    }
    try {
      return await validate(options, io);
    } catch (error) {
      if (!(error instanceof CvmError) || (error.kind !== 'mismatch' && error.kind !== 'trust')) throw error;
      const refusal = refusalOf(error, networkOption(options));
      await writeFileWhole(resolvePath(io, requiredText(options, 'output')), [
        utf8Bytes(verdictJson(refusal)),
      ]);
      return 0;
    }
  },
};

async function validate(options: OptionValues, io: Io): Promise<number> {
  const facts = verifyProposal({
    certificate: readSmallFile(io, requiredText(options, 'proposal'), 'the proposal certificate'),
    request: optionalFile(io, options, 'request', 'the request'),
    trust: { network: networkOption(options) },
  });
  const measurements = textOption(options, 'measurements');
  const rootHash = textOption(options, 'rootHash');
  const bootPath = textOption(options, 'boot');
  const plan = planOption(options);
  const boot = bootPath === undefined ? undefined : await openImage(resolvePath(io, bootPath), 'boot.img');
  let verdict: Verdict;
  try {
    verdict = validateGuestOs({
      facts,
      measurements:
        measurements === undefined
          ? undefined
          : readLaunchMeasurements(readSmallText(io, measurements, 'the launch measurements')),
      rootHash: rootHash === undefined ? undefined : rootHashOption(io, rootHash),
      chipIds: chipIdsOption(options),
      launch: boot === undefined ? undefined : { boot: openExt4(boot), plan },
    });
  } finally {
    boot?.close();
  }
  const output = textOption(options, 'output');
  if (output !== undefined) await writeFileWhole(resolvePath(io, output), [utf8Bytes(verdictJson(verdict))]);
  if (flagOption(options, 'json')) io.out(verdictJson(verdict));
  else if (output === undefined) io.out(showVerdict(verdict));
  return 0;
}

function showVerdict(verdict: Verdict): string {
  const rows = verdict.checks.map(
    ({ name, status, detail }) => `${status.padEnd(7)}  ${name.padEnd(12)}  ${showText(detail)}\n`,
  );
  return rows.join('');
}
