import { concatBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes, utf8FromBytes } from '../bytes/text.ts';
import { formatError, usageError } from '../errors.ts';
import { readLaunchMeasurements } from '../guestos/measurements.ts';
import { LAUNCH_DIGEST_BYTES } from '../snp/gctx.ts';
import { DEFAULT_POLICY, SNP_ID_BYTES, type IdBlock } from '../snp/id-block.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { requireDistinctOutputs, resolvePath, writeFileWhole } from './files.ts';
import { parseIntegerLiteral, textOption } from './options.ts';
import { base64, hexValue, parseBytes, parseLaunchDigest, readSmall } from './snp-options.ts';

/** What an ID block says. */
export const BLOCK_OPTIONS: readonly OptionSpec[] = [
  { flags: '--measurement <digest>', description: 'launch digest: base64 or 96 hex digits' },
  { flags: '--family-id <hex>', description: '16 bytes of your own; zeros when left out' },
  { flags: '--image-id <hex>', description: '16 bytes of your own; zeros when left out' },
  { flags: '--guest-svn <n>', description: 'security version of the guest, 32 bits', defaultValue: '0' },
  {
    flags: '--policy <value>',
    description: 'guest policy, 64 bits: the one that the guest is launched with',
    defaultValue: hexValue(DEFAULT_POLICY),
  },
];

/** Where the launch digest comes from when a rule asks. */
export const MEASUREMENTS_OPTION: OptionSpec = {
  flags: '--measurements <file>',
  description: 'launch-measurements.json with one entry, instead of --measurement',
};

/** The one launch digest of a launch-measurements.json. @throws CvmError usage ID_BLOCK_MEASUREMENTS */
export function onlyMeasurement(io: Io, path: string): string {
  const entries = readLaunchMeasurements(utf8FromBytes(readSmall(io, path, path), path));
  const [only, second] = entries;
  if (only !== undefined && second === undefined) return bytesToHex(only.measurement);
  throw usageError('ID_BLOCK_MEASUREMENTS', 'an ID block names one launch digest', {
    facts: [['entries in the file', entries.length]],
    mend: 'measure one vCPU count, one CPU type and one command line, or give --measurement',
  });
}

export const FILE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--id-block-file <file>', description: 'write the ID block there' },
  { flags: '--id-auth-file <file>', description: 'write the ID authentication there' },
  {
    flags: '--form <form>',
    description: 'of the files: binary, or base64 as QEMU takes it and snpguest writes it',
    defaultValue: 'binary',
  },
];

/**
 * @param isCut takes the first 48 bytes of a longer measurement, as snp-create-id-block does
 * @throws CvmError usage OPTION_MISSING | OPTION_NUMBER; format HEX_INVALID | HEX_LENGTH
 */
export function blockOptions(options: OptionValues, isCut = false): IdBlock {
  const measurement = textOption(options, 'measurement');
  if (measurement === undefined) {
    throw usageError('OPTION_MISSING', '--measurement is required', {
      mend: 'give the launch digest: cvm snp measure prints it',
    });
  }
  const id = (name: string, flag: string): Uint8Array => {
    const text = textOption(options, name);
    return text === undefined ? new Uint8Array(SNP_ID_BYTES) : parseBytes(text, flag, SNP_ID_BYTES);
  };
  return {
    launchDigest: isCut ? cutDigest(measurement) : parseLaunchDigest(measurement, '--measurement'),
    familyId: id('familyId', '--family-id'),
    imageId: id('imageId', '--image-id'),
    guestSvn: Number(parseIntegerLiteral(textOption(options, 'guestSvn') ?? '0', '--guest-svn', 32)),
    policy: parseIntegerLiteral(textOption(options, 'policy') ?? hexValue(DEFAULT_POLICY), '--policy', 64),
  };
}

function cutDigest(text: string): Uint8Array {
  const bytes = new Uint8Array(Buffer.from(text, 'base64'));
  if (bytes.length >= LAUNCH_DIGEST_BYTES) return bytes.slice(0, LAUNCH_DIGEST_BYTES);
  throw formatError('HEX_LENGTH', '--measurement is shorter than a launch digest', {
    facts: [['found', `${bytes.length} bytes`]],
  });
}

/** Bytes of a file: as they are when the length is right, or as base64 text of them. */
export function binaryOrBase64(file: Uint8Array, lengthBytes: number): Uint8Array {
  if (file.length === lengthBytes) return file;
  const text = Buffer.from(file).toString('latin1').trim();
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text && text !== '' ? new Uint8Array(bytes) : file;
}

/** Writes the files that were asked for. @throws CvmError usage ID_BLOCK_FORM | OUTPUT_TWICE */
export async function writeIdFiles(
  options: OptionValues,
  io: Io,
  parts: readonly (readonly [option: string, bytes: Uint8Array])[],
): Promise<void> {
  const form = textOption(options, 'form') ?? 'binary';
  if (form !== 'binary' && form !== 'base64') {
    throw usageError('ID_BLOCK_FORM', '--form is binary or base64', { facts: [['found', form]] });
  }
  requireDistinctOutputs(io, ...parts.map(([option]) => textOption(options, option)));
  for (const [option, bytes] of parts) {
    const path = textOption(options, option);
    if (path === undefined) continue;
    const content = form === 'binary' ? concatBytes(bytes) : utf8Bytes(base64(bytes));
    await writeFileWhole(resolvePath(io, path), [content]);
  }
}
