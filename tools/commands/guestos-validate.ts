import { showText, utf8Bytes } from '../bytes/text.ts';
import { readLaunchMeasurements } from '../guestos/measurements.ts';
import { validateGuestOs, verdictJson, type Verdict } from '../guestos/validate.ts';
import { verifyProposal } from '../proposal/verify.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import {
  CHIP_ID_OPTION,
  chipIdsOption,
  NETWORK_OPTION,
  networkOption,
  optionalFile,
  readSmallFile,
  readSmallText,
  rootHashOption,
} from './guestos-options.ts';
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
  ],
  async run(_args, options, io) {
    const facts = verifyProposal({
      certificate: readSmallFile(io, requiredText(options, 'proposal'), 'the proposal certificate'),
      request: optionalFile(io, options, 'request', 'the request'),
      trust: { network: networkOption(options) },
    });
    const measurements = textOption(options, 'measurements');
    const rootHash = textOption(options, 'rootHash');
    const verdict = validateGuestOs({
      facts,
      measurements:
        measurements === undefined
          ? undefined
          : readLaunchMeasurements(readSmallText(io, measurements, 'the launch measurements')),
      rootHash: rootHash === undefined ? undefined : rootHashOption(io, rootHash),
      chipIds: chipIdsOption(options),
    });
    const output = textOption(options, 'output');
    if (output !== undefined)
      await writeFileWhole(resolvePath(io, output), [utf8Bytes(verdictJson(verdict))]);
    if (flagOption(options, 'json')) io.out(verdictJson(verdict));
    else if (output === undefined) io.out(showVerdict(verdict));
    return 0;
  },
};

function showVerdict(verdict: Verdict): string {
  const rows = verdict.checks.map(
    ({ name, status, detail }) => `${status.padEnd(7)}  ${name.padEnd(12)}  ${showText(detail)}\n`,
  );
  return rows.join('');
}
