import { identityOf } from '../bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { jsonText } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { VerifyOptions } from '../release/contents.ts';
import { verifyRelease, type ReleaseVerdict } from '../release/verify.ts';
import { errorObject, showError } from '../show-error.ts';
import type { Command, Io, OptionSpec, OptionValues } from './command.ts';
import { openFile, resolvePath, type OpenFile } from './files.ts';
import { NETWORK_OPTION, networkOption, optionalFile } from './guestos-options.ts';
import { openImage } from './image-files.ts';
import { flagOption, textOption } from './options.ts';
import { openRelease } from './release-files.ts';
import { showStages } from './trust-options.ts';

/** What a release can be held against beyond itself. */
const EXPECTATION_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--sums-sha256 <hex>',
    description: 'sha256 of SHA256SUMS, from an attestation or a build of your own',
  },
  {
    flags: '--base <image>',
    description:
      'the base release: its sha256 has to be the pinned one, and its boot files those of the release',
  },
  { flags: '--package-lock <file>', description: 'package-lock.json of the source, to write the SBOM anew' },
  { flags: '--revision <commit>', description: 'the commit that the provenance has to name' },
  { flags: '--builder-id <uri>', description: 'the builder that the provenance has to name' },
];

export const command: Command = {
  summary: 'verify a release: what a reviewer runs',
  description:
    'Recomputes everything that the folder claims: sums, provenance against files, the proposal by the root key of the NNS, ' +
    'launch measurements from the boot partition inside the update image, the root hash from all of the root partition, both ' +
    'against what was blessed, the disk against the update image. One verdict a line; a step that could not be taken is not ' +
    'proven, never ok. Exit codes: 0 no step failed, 3 malformed, 4 not to be believed, 5 something does not fit.',
  arguments: [{ name: '<dir>', description: 'the release' }],
  options: [
    NETWORK_OPTION,
    ...EXPECTATION_OPTIONS,
    { flags: '--json', description: 'print the verdicts as JSON' },
  ],
  async run([path], options, io) {
    if (path === undefined) {
      throw usageError('ARGUMENT_MISSING', 'no release was named', {
        facts: [['expected', '<dir>']],
        mend: 'give the folder of a release',
      });
    }
    const verdict = await judgeFolder(resolvePath(io, path), networkOption(options), options, io);
    if (flagOption(options, 'json')) io.out(verdictJson(verdict));
    else {
      io.out(showStages(verdict.verdicts));
      io.out(summaryOf(verdict));
      for (const { error } of verdict.verdicts)
        if (error !== undefined) io.err(showError(error, verdict.exitCode));
    }
    return verdict.exitCode;
  },
};

/** Opens a release and takes every step. */
export async function judgeFolder(
  folder: string,
  network: NetworkName,
  options: OptionValues,
  io: Io,
): Promise<ReleaseVerdict> {
  const sums = textOption(options, 'sumsSha256');
  const expected: Omit<VerifyOptions, 'base'> = {
    network,
    sumsSha256: sums === undefined ? undefined : bytesToHex(hexToBytes(sums, '--sums-sha256', 32)),
    packageLock: optionalFile(io, options, 'packageLock', 'package-lock.json'),
    revision: textOption(options, 'revision'),
    builderId: textOption(options, 'builderId'),
  };
  const basePath = textOption(options, 'base');
  const release = await openRelease(folder);
  try {
    if (basePath === undefined) return verifyRelease(release, expected);
    const file = openFile(resolvePath(io, basePath));
    let boot: OpenFile | undefined;
    try {
      boot = await openImage(file.path, 'boot.img');
      return verifyRelease(release, { ...expected, base: { identity: identityOf(file), boot } });
    } finally {
      boot?.close();
      file.close();
    }
  } finally {
    release.close();
  }
}

function summaryOf({ ok, verdicts, network }: ReleaseVerdict): string {
  const failed = verdicts.filter((verdict) => verdict.ok === false).length;
  const open = verdicts.filter((verdict) => verdict.ok === null).length;
  const good = verdicts.length - failed - open;
  const word = ok ? (network === 'mainnet' ? 'good' : 'good, and NOT FOR PRODUCTION') : 'REFUSED';
  return `\n${word}: ${good} ok, ${failed} failed, ${open} not proven\n`;
}

function verdictJson(verdict: ReleaseVerdict): string {
  const { verdicts, ...rest } = verdict;
  const word = (ok: boolean | null): string => (ok === null ? 'not proven' : ok ? 'ok' : 'failed');
  const rows = verdicts.map(({ name, ok, detail, error }) => ({
    name,
    verdict: word(ok),
    detail,
    ...(error === undefined ? {} : { error: errorObject(error) }),
  }));
  return `${jsonText({ ...rest, verdicts: rows }, 2)}\n`;
}
