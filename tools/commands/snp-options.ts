import { hexToBytes } from '../bytes/hex.ts';
import { readAll } from '../bytes/source.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { formatError, usageError } from '../errors.ts';
import { LAUNCH_DIGEST_BYTES } from '../snp/gctx.ts';
import { VCPU_LIMIT } from '../snp/launch-digest.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { openFile, resolvePath, writeFileWhole } from './files.ts';
import { parseDecimal, textOption } from './options.ts';

/** Reports, ID blocks, keys, certificates, explanations: all far smaller. */
const SMALL_FILE_LIMIT_BYTES = 16 << 20;

/** Not `--output`, which sev-snp-measure takes for an abbreviation of `--output-format`. */
export const OUT_FILE_OPTION: OptionSpec = {
  flags: '--out-file <file>',
  description: 'write there instead of to standard output',
};

/** Parsing that the commands about SEV-SNP share. */

/**
 * vCPU counts: decimals and ranges, comma-separated, each at most once: `1,2,4,8-64`.
 * @throws CvmError usage OPTION_NUMBER | OPTION_LIST
 */
export function parseCounts(text: string, what: string): number[] {
  const counts = text.split(',').flatMap((item) => {
    const [first = '', last = first, more] = item.split('-');
    if (more !== undefined || first === '' || last === '') throw listError(text, what);
    const from = parseDecimal(first, what, 1, VCPU_LIMIT);
    const to = parseDecimal(last, what, 1, VCPU_LIMIT);
    if (to < from) throw listError(text, what);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
  if (new Set(counts).size !== counts.length) throw listError(text, what);
  return counts;
}

function listError(text: string, what: string): Error {
  return usageError('OPTION_LIST', `${what} is a list of counts and ranges, each count once`, {
    facts: [['found', text]],
    mend: 'write it like 1,2,4,8-64',
  });
}

/**
 * A digest as tools print it: 96 hex digits, with or without 0x, or base64 of the 48 bytes.
 * @throws CvmError format HEX_INVALID | HEX_LENGTH
 */
export function parseLaunchDigest(text: string, what: string): Uint8Array {
  return parseBytes(text, what, LAUNCH_DIGEST_BYTES);
}

/** Bytes of a known length as hex, with or without 0x, or base64. @throws CvmError format HEX_INVALID | HEX_LENGTH */
export function parseBytes(text: string, what: string, lengthBytes: number): Uint8Array {
  const plain = text.trim();
  if (isBase64(plain, lengthBytes)) return new Uint8Array(Buffer.from(plain, 'base64'));
  const otherBytes = Buffer.from(plain, 'base64').length;
  if (/[g-zG-WYZ+/=]/.test(plain) && isBase64(plain, otherBytes)) {
    throw formatError('HEX_LENGTH', `${what} has the wrong length`, {
      facts: [
        ['expected', `${lengthBytes} bytes`],
        ['found', `${otherBytes} bytes as base64`],
      ],
    });
  }
  return hexToBytes(plain.replace(/^0[xX]/, ''), what, lengthBytes);
}

/** The one base64 text of so many bytes; nothing that is hex of them looks like it. */
function isBase64(text: string, lengthBytes: number): boolean {
  if (text.length !== 4 * Math.ceil(lengthBytes / 3)) return false;
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === lengthBytes && bytes.toString('base64') === text;
}

/** A whole small file. @throws CvmError format SOURCE_TOO_LARGE, and those of opening */
export function readSmall(io: Pick<Io, 'cwd'>, path: string, what: string): Uint8Array {
  const file = openFile(resolvePath(io, path));
  try {
    return readAll(file, SMALL_FILE_LIMIT_BYTES, what).slice();
  } finally {
    file.close();
  }
}

/** Text to where `--out-file` says, or to standard output. */
export async function writeText(options: OptionValues, io: Io, text: string): Promise<void> {
  const path = textOption(options, 'outFile');
  if (path === undefined) io.out(text);
  else await writeFileWhole(resolvePath(io, path), [utf8Bytes(text)]);
}

/** A command line that a shell reads as these words. */
export function shellLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ');
}

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

export function hexValue(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
