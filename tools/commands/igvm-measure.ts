import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { jsonText, showText, utf8Bytes, utf8FromBytes } from '../bytes/text.ts';
import { CvmError, mismatchError, usageError } from '../errors.ts';
import { explainMeasurement, measurementJson, verboseLines } from '../igvm/explain.ts';
import { checkKvm } from '../igvm/kvm-check.ts';
import { hasPlatform, platformMask } from '../igvm/measured-file.ts';
import {
  measureIgvm,
  DIGEST_BYTES,
  MEASURED_PLATFORMS,
  type IgvmMeasurement,
  type MeasuredPlatform,
  type MeasureOptions,
} from '../igvm/measure.ts';
import type { IgvmFile } from '../igvm/model.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { requireDistinctOutputs, resolvePath, writeFileWhole } from './files.ts';
import { readSmallFile, withIgvm, withMeasuredPages } from './igvm-files.ts';
import { compatOption, MEASURE_OPTIONS, peerExitCode, platformOption } from './igvm-options.ts';
import { inFile } from './in-file.ts';
import { flagOption, textOption } from './options.ts';

/** As wide as igvmmeasure's. */
const RULE = '='.repeat(111);

const EXPECT_LIMIT_BYTES = 4096;

export const command: Command = {
  summary: 'print the launch digest of an IGVM file',
  description:
    'Measures what a loader would load, for one platform of the file. Flags, output and exit codes are those of ' +
    'igvmmeasure: 0 good, 1 the file cannot be measured or must not be believed, 2 the call is wrong. Where igvmmeasure ' +
    'differs from loaders (of a parameter area it measures the first page alone, it measures shared pages and VMSAs of ' +
    'other platforms, and its KVM check overlooks pages behind the VMSA), the loaders are followed; --compat igvmmeasure ' +
    'follows it. An ID block in the file must hold the digest, unless --ignore-idblock.',
  arguments: [{ name: '<file>', description: 'IGVM file' }],
  options: [
    ...MEASURE_OPTIONS,
    { flags: '-i, --ignore-idblock', description: 'do not compare with what the file itself claims' },
    { flags: '-b, --bare', description: 'print the digest alone: hex digits in upper case' },
    { flags: '--expect <hex>', description: 'fail unless the digest is this one' },
    { flags: '--expect-file <path>', description: 'fail unless the digest is the hex text in this file' },
    { flags: '--explain', description: 'print every step of the measurement' },
    { flags: '-q, --quiet', description: 'print nothing; for actions that write files' },
    { flags: '--json', description: 'print one JSON object, also for errors' },
    {
      flags: '--digest-output <path>',
      description: 'write the digest: hex digits in upper case and a newline',
    },
    { flags: '--json-output <path>', description: 'write what --json prints' },
    { flags: '--explain-output <path>', description: 'write what --explain prints' },
  ],
  exitCode: peerExitCode,

  async run([path = ''], options, io) {
    requireOneForm(options);
    const outputs = ['digestOutput', 'jsonOutput', 'explainOutput'].map((name) => textOption(options, name));
    requireDistinctOutputs(io, ...outputs);
    const expected = expectedDigest(io, options, DIGEST_BYTES[platformOption(options)]);
    const way = {
      platform: platformOption(options),
      nativeZero: flagOption(options, 'nativeZero'),
      compat: compatOption(options),
    };
    const { measurement, text, files } = await withMeasuredPages(
      io,
      path,
      way.platform,
      (file, pageSha384) => {
        const measured = measureFile(file, { ...way, pageSha384 }, flagOption(options, 'checkKvm'));
        const json = (): string => jsonOf(measured, options);
        const forms = [() => `${upperHex(measured)}\n`, json, () => explainMeasurement(measured)];
        return {
          measurement: measured,
          text: flagOption(options, 'json') ? json() : shown(measured, path, options),
          files: outputs.map((output, i) => (output === undefined ? undefined : (forms[i]?.() ?? ''))),
        };
      },
    );
    const claimed = flagOption(options, 'ignoreIdblock') ? undefined : claimError(measurement, path);
    // igvmmeasure prints before it compares; JSON and files are for whoever may rely on them.
    if (!flagOption(options, 'json')) io.out(text);
    if (claimed !== undefined) throw claimed;
    if (expected !== undefined && !equalBytes(expected, measurement.digest))
      throw withIgvm(io, path, (file) => expectError(file, path, options, expected, measurement));
    if (flagOption(options, 'json')) io.out(text);
    for (const [i, output] of outputs.entries()) {
      if (output === undefined) continue;
      await writeFileWhole(resolvePath(io, output), [utf8Bytes(files[i] ?? '')]);
    }
    return 0;
  },
};

function jsonOf(measurement: IgvmMeasurement, options: OptionValues): string {
  return `${jsonText({
    ok: true,
    ...measurementJson(measurement, {
      nativeZero: flagOption(options, 'nativeZero'),
      checkKvm: flagOption(options, 'checkKvm'),
      compat: compatOption(options) ?? null,
    }),
  })}\n`;
}

function requireOneForm(options: OptionValues): void {
  const given = ['bare', 'explain', 'json', 'quiet'].filter((name) => flagOption(options, name));
  if (given.length < 2) return;
  throw usageError('OPTION_CONFLICT', 'the digest is printed in one form', {
    facts: [['given', given.map((name) => `--${name}`).join(', ')]],
    mend: 'leave all but one out; --json-output and --explain-output write files besides',
  });
}

/** @throws CvmError usage OPTION_CONFLICT; format HEX_INVALID | HEX_LENGTH | TEXT_NOT_UTF8 | FILE_TOO_LARGE */
function expectedDigest(
  io: Pick<Io, 'cwd'>,
  options: OptionValues,
  lengthBytes: number,
): Uint8Array | undefined {
  const text = textOption(options, 'expect');
  const path = textOption(options, 'expectFile');
  if (text !== undefined && path !== undefined)
    throw usageError('OPTION_CONFLICT', '--expect stands with --expect-file', {
      mend: 'leave one of them out',
    });
  if (text !== undefined) return hexToBytes(text, '--expect', lengthBytes);
  if (path === undefined) return undefined;
  return inFile(path, () =>
    hexToBytes(utf8FromBytes(readSmallFile(io, path, EXPECT_LIMIT_BYTES)).trim(), 'the digest', lengthBytes),
  );
}

/** The nearest miss: the way of measuring that would have matched. */
function expectError(
  file: IgvmFile,
  path: string,
  options: OptionValues,
  expected: Uint8Array,
  { digest, platform }: IgvmMeasurement,
): CvmError {
  const nativeZero = flagOption(options, 'nativeZero');
  const ways: readonly (readonly [string, MeasureOptions])[] = [
    [nativeZero ? 'without --native-zero' : 'with --native-zero', { platform, nativeZero: !nativeZero }],
    ['with --compat igvmmeasure', { platform, nativeZero, compat: 'igvmmeasure' }],
    ['without --compat', { platform, nativeZero }],
    ...(Object.keys(MEASURED_PLATFORMS) as MeasuredPlatform[])
      .filter((other) => other !== platform && hasPlatform(file, MEASURED_PLATFORMS[other]))
      .map((other) => [`with --platform ${other}`, { platform: other }] as const),
  ];
  const match = ways.find(([, way]) => isDigest(file, way, expected));
  return mismatchError('IGVM_DIGEST', 'the launch digest is not the expected one', {
    facts: [
      ['file', path],
      ['expected', bytesToHex(expected).toUpperCase()],
      ['measured', bytesToHex(digest).toUpperCase()],
    ],
    ...(match === undefined ? {} : { nearest: `measured ${match[0]}, it is the expected one` }),
    mend: 'compare the file with one of that digest by cvm igvm diff, or expect the new digest',
  });
}

function isDigest(file: IgvmFile, way: MeasureOptions, expected: Uint8Array): boolean {
  try {
    return equalBytes(measureIgvm(file, way).digest, expected);
  } catch (error) {
    // A file that cannot be measured in another way has no digest there; the mismatch itself is reported.
    if (error instanceof CvmError && error.kind === 'format') return false;
    throw error;
  }
}

function measureFile(file: IgvmFile, way: MeasureOptions, checksKvm: boolean): IgvmMeasurement {
  const measurement = measureIgvm(file, way);
  if (checksKvm) checkKvm(file, platformMask(file, MEASURED_PLATFORMS[way.platform]), way.compat);
  return measurement;
}

function shown(measurement: IgvmMeasurement, path: string, options: OptionValues): string {
  if (flagOption(options, 'quiet')) return '';
  if (flagOption(options, 'explain')) return explainMeasurement(measurement);
  const verbose = flagOption(options, 'verbose') ? verboseLines(measurement) : '';
  if (flagOption(options, 'bare')) return `${verbose}${upperHex(measurement)}\n`;
  return `${verbose}\n${RULE}\nigvmmeasure '${showText(path)}'\nLaunch Digest: ${upperHex(measurement)}\n${RULE}\n\n`;
}

function upperHex({ digest }: IgvmMeasurement): string {
  return bytesToHex(digest).toUpperCase();
}

function claimError({ digest, claimed, platform }: IgvmMeasurement, path: string): CvmError | undefined {
  const wrong = claimed.find((value) => !equalBytes(value, digest));
  if (wrong === undefined) return undefined;
  return mismatchError('IGVM_CLAIM', 'the file itself claims another launch digest than it has', {
    facts: [
      ['file', path],
      ['claimed', bytesToHex(wrong).toUpperCase()],
      ['measured', bytesToHex(digest).toUpperCase()],
    ],
    mend:
      platform === 'sev-snp'
        ? 'the guest would not launch: sign the file again, or pass --native-zero if its hypervisor loads zero pages so'
        : 'measure the file again and put the digest into its VBS measurement',
  });
}
