/** What the vmgs commands share: the flags of vmgstool with their older spellings, and its exit codes. */
import type { ByteSource } from '../bytes/source.ts';
import { usageError, type CvmError } from '../errors.ts';
import { parseFileId } from '../vmgs/file-ids.ts';
import { foundSectorBytes } from '../vmgs/header.ts';
import { SECTOR_BYTES, type SectorBytes } from '../vmgs/layout.ts';
import type { ArgumentSpec, Io, OptionSpec, OptionValues } from './command.ts';
import { flagOption, textOption } from './options.ts';

export const FILE_ARGUMENT: ArgumentSpec = {
  name: '[file]',
  description: 'the VMGS file; or give it with -f',
};

export const FILE_OPTIONS: readonly OptionSpec[] = [
  { flags: '-f, --file-path <path>', description: 'the VMGS file' },
  { flags: '--filepath <path>', description: '--file-path' },
  { flags: '--raw', description: 'the file is a store without a VHD footer' },
  {
    flags: '--sector-size <bytes>',
    description:
      'with --raw: sector size of the device, 512 or 4096 (when absent what the headers show, and 512 for a new store)',
  },
];

export const COMMON_OPTIONS: readonly OptionSpec[] = [
  { flags: '-v, --verbose', description: 'accepted for vmgstool; changes nothing' },
  { flags: '--json', description: 'one JSON object on standard output, also for errors' },
];

export const FILE_ID_OPTIONS: readonly OptionSpec[] = [
  { flags: '-i, --file-id <id>', description: 'file id: a number, or a name such as TPM_NVRAM' },
  { flags: '--fileid <id>', description: '--file-id' },
];

export const DATA_PATH_OPTIONS = (description: string): readonly OptionSpec[] => [
  { flags: '-d, --data-path <path>', description },
  { flags: '--datapath <path>', description: '--data-path' },
];

export const KEY_OPTIONS: readonly OptionSpec[] = [
  { flags: '-k, --key-path <path>', description: 'file of the datastore key: 32 raw bytes' },
  { flags: '--keypath <path>', description: '--key-path' },
];

export const ALGORITHM_OPTIONS: readonly OptionSpec[] = [
  { flags: '-e, --encryption-algorithm <name>', description: 'AES_GCM, the only one' },
  { flags: '--encryptionalgorithm <name>', description: '--encryption-algorithm' },
];

export const OVERWRITE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--allow-overwrite', description: 'replace a file that is there' },
  { flags: '--allowoverwrite', description: '--allow-overwrite' },
];

export const SEED_OPTION: OptionSpec = {
  flags: '--seed-path <path>',
  description:
    'secret file of 32 bytes or more that all keys and nonces are derived from, instead of random ones: same inputs, same bytes',
};

/** The options of a command that changes a store, around its own. */
export function changeOptions(...own: readonly OptionSpec[]): readonly OptionSpec[] {
  return [...FILE_OPTIONS, ...own, SEED_OPTION, ...COMMON_OPTIONS];
}

/** The sentence on exit codes in each command's description. */
export const EXIT_CODES_TEXT =
  'Exit codes are those of vmgstool: 0 good, 1 any other error, 3 the store is empty, 4 no such file id, 5 version 1; ' +
  'and 64 for a wrong call.';

export const USAGE_EXIT_CODE = 64;

const EXIT_CODES: Readonly<Record<string, number>> = { VMGS_EMPTY: 3, VMGS_NOT_FOUND: 4, VMGS_V1: 5 };

/** The exit code that vmgstool gives an error. Its parser's 2 also means "not encrypted": a wrong call is 64 here. */
export function vmgsExitCode(error: CvmError): number {
  const known = EXIT_CODES[error.code];
  if (known !== undefined) return known;
  const isAboutFiles = /^(VMGS|VHD|FILE|OUTPUT_WRITE|MARKER_EXISTS|MARKER_LATE|NVRAM|PE)/.test(error.code);
  return error.kind === 'usage' && !isAboutFiles ? USAGE_EXIT_CODE : 1;
}

/**
 * A value of which the flag has an older spelling.
 * @param older the camel-cased name of the older spelling
 * @throws CvmError usage OPTION_REPEATED
 */
export function aliasedText(options: OptionValues, name: string, older: string): string | undefined {
  const first = textOption(options, name);
  const second = textOption(options, older);
  if (first === undefined || second === undefined) return first ?? second;
  throw usageError('OPTION_REPEATED', 'an option is given in both of its spellings', {
    facts: [
      ['first', first],
      ['second', second],
    ],
  });
}

export function aliasedFlag(options: OptionValues, name: string, older: string): boolean {
  return flagOption(options, name) || flagOption(options, older);
}

/** @throws CvmError usage OPTION_MISSING */
export function required(value: string | undefined, flag: string): string {
  if (value !== undefined) return value;
  throw usageError('OPTION_MISSING', `${flag} is required`, { mend: 'add it; --help lists all options' });
}

/** The VMGS file of a call, as it was typed. @throws CvmError usage OPTION_MISSING | OPTION_REPEATED */
export function filePathOf(args: readonly string[], options: OptionValues): string {
  const flag = aliasedText(options, 'filePath', 'filepath');
  const [word] = args;
  if (flag !== undefined && word !== undefined) {
    throw usageError('OPTION_REPEATED', 'the VMGS file is given twice', {
      facts: [
        ['argument', word],
        ['-f', flag],
      ],
    });
  }
  return required(word ?? flag, 'the VMGS file, as an argument or with -f,');
}

/** @throws CvmError usage OPTION_MISSING | OPTION_FILE_ID */
export function fileIdOf(options: OptionValues): number {
  return parseFileId(required(aliasedText(options, 'fileId', 'fileid'), '--file-id'));
}

/** The sector size of a raw store that is there; undefined for a VHD. @throws CvmError usage OPTION_SECTOR_SIZE */
export function sectorBytesOf(options: OptionValues, store: ByteSource): SectorBytes | undefined {
  const raw = rawSectorBytes(options);
  return raw !== undefined && textOption(options, 'sectorSize') === undefined ? foundSectorBytes(store) : raw;
}

/** The sector size of a new raw store; undefined for a VHD. @throws CvmError usage OPTION_SECTOR_SIZE */
export function rawSectorBytes(options: OptionValues): SectorBytes | undefined {
  const text = textOption(options, 'sectorSize');
  const isRaw = flagOption(options, 'raw');
  const found = text === undefined ? 512 : SECTOR_BYTES.find((size) => String(size) === text);
  if (found !== undefined && (isRaw || text === undefined)) return isRaw ? found : undefined;
  throw usageError('OPTION_SECTOR_SIZE', '--sector-size is 512 or 4096, and goes with --raw', {
    facts: [['found', text ?? '']],
    mend: 'a VHD always has sectors of 512 bytes',
  });
}

/** @throws CvmError usage OPTION_ALGORITHM */
export function checkAlgorithm(options: OptionValues): void {
  const name = aliasedText(options, 'encryptionAlgorithm', 'encryptionalgorithm');
  if (name === undefined || name === 'AES_GCM') return;
  throw usageError('OPTION_ALGORITHM', 'this encryption algorithm is not known', {
    facts: [['found', name]],
    mend: 'use AES_GCM',
  });
}

/** The path of the key file, if one is given. */
export function keyPathOf(options: OptionValues): string | undefined {
  return aliasedText(options, 'keyPath', 'keypath');
}

/** Prints JSON when it is asked for, else lines of text. */
export async function print(io: Io, options: OptionValues, json: object, text: string): Promise<void> {
  if (!flagOption(options, 'json')) {
    io.out(text);
    return;
  }
  const { jsonText } = await import('../bytes/text.ts');
  io.out(`${jsonText({ ok: true, ...json })}\n`);
}
