import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { rawFromBytes, showRaw, utf8Bytes } from '../bytes/text.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { BUNDLE_FILES } from './metadata.ts';

/** A line of sha256sum.txt. */
export interface SumEntry {
  /** Flat: no folder. */
  readonly name: string;
  /** 64 lower-case hex digits. */
  readonly sha256: string;
}

/** The files of both generations, in the order of their lines. */
export const LISTED_FILES: readonly string[] = [
  BUNDLE_FILES.bios,
  BUNDLE_FILES.kernel,
  BUNDLE_FILES.initrd,
  BUNDLE_FILES.metadata,
  BUNDLE_FILES.tdxMaterial,
  BUNDLE_FILES.snpMaterial,
];

/** A bundle lists about ten files. */
const LINES_LIMIT = 1024;
/** Far above that many lines of the longest names. */
export const SUMS_LIMIT_BYTES = 1 << 20;

/** `sha256sum.txt`: 64 hex digits, two blanks, name, LF, also after the last line. */
export function writeSums(entries: readonly SumEntry[]): Uint8Array {
  return utf8Bytes(entries.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join(''));
}

/**
 * The digest of a bundle, `os_image_hash` everywhere: SHA-256 over the bytes of sha256sum.txt.
 * @returns 64 lower-case hex digits
 */
export function bundleDigest(sums: Uint8Array): string {
  return bytesToHex(digestBytes('sha256', sums));
}

/** `digest.txt`: the digest and LF. */
export function writeDigest(sums: Uint8Array): Uint8Array {
  return utf8Bytes(`${bundleDigest(sums)}\n`);
}

/**
 * Reads sha256sum.txt, more strictly than coreutils does, which skips or reinterprets lines it does not like: then two
 * verifiers of one digest would check different files.
 *
 * @throws CvmError format SUMS_SIZE | SUMS_EMPTY | SUMS_NO_FINAL_LF | SUMS_CRLF | SUMS_BLANK_LINE | SUMS_BINARY_MARK |
 *   SUMS_SINGLE_SPACE | SUMS_UPPER_CASE | SUMS_LINE | SUMS_EXTRA_FIELD | SUMS_UNSAFE_PATH | SUMS_SELF | SUMS_DUPLICATE
 */
export function readSums(bytes: Uint8Array): SumEntry[] {
  const facts: Fact[] = [['file', BUNDLE_FILES.sums]];
  if (bytes.length > SUMS_LIMIT_BYTES) {
    throw formatError('SUMS_SIZE', 'the image manifest is larger than any that is read', {
      facts: [...facts, ['size', `${bytes.length} bytes`], ['limit', `${SUMS_LIMIT_BYTES} bytes`]],
    });
  }
  if (bytes.length === 0) throw formatError('SUMS_EMPTY', 'the image manifest lists nothing', { facts });
  const text = rawFromBytes(bytes);
  if (!text.endsWith('\n')) {
    throw formatError('SUMS_NO_FINAL_LF', 'the image manifest does not end with a line feed', {
      facts,
      mend: 'it is cut short, or was edited: fetch it again',
    });
  }
  const lines = text.slice(0, -1).split('\n');
  if (lines.length > LINES_LIMIT) {
    throw formatError('SUMS_SIZE', 'the image manifest has more lines than are read', {
      facts: [...facts, ['lines', lines.length], ['limit', LINES_LIMIT]],
    });
  }
  const seen = new Map<string, number>();
  return lines.map((line, index) => {
    const entry = readLine(line, index + 1);
    const earlier = seen.get(entry.name);
    if (earlier !== undefined) {
      throw lineError(
        'SUMS_DUPLICATE',
        `${BUNDLE_FILES.sums} contains duplicate ${entry.name} entries`,
        index + 1,
        line,
        [['first', `line ${earlier}`]],
      );
    }
    seen.set(entry.name, index + 1);
    return entry;
  });
}

function readLine(line: string, number: number): SumEntry {
  const fail = (code: string, problem: string): CvmError =>
    lineError(code, `image manifest line ${number} ${problem}`, number, line);
  if (line.endsWith('\r')) throw fail('SUMS_CRLF', 'ends with CR LF');
  if (line.trim() === '') throw fail('SUMS_BLANK_LINE', 'is blank');
  const [, hash, gap, name] = /^([0-9A-Fa-f]{64})([ \t*]*)(.*)$/s.exec(line) ?? [];
  if (hash === undefined || gap === undefined || name === undefined) {
    throw fail('SUMS_LINE', 'does not start with 64 hex digits');
  }
  if (hash !== hash.toLowerCase()) throw fail('SUMS_UPPER_CASE', 'has upper-case hex digits');
  if (gap.includes('*')) throw fail('SUMS_BINARY_MARK', 'marks its file as binary (*)');
  if (gap === ' ') throw fail('SUMS_SINGLE_SPACE', 'has one blank where two belong');
  if (gap !== '  ') throw fail('SUMS_LINE', 'does not have exactly two blanks after its digits');
  if (/\s/.test(name)) throw fail('SUMS_EXTRA_FIELD', 'has extra fields');
  if (!isFlatName(name)) throw fail('SUMS_UNSAFE_PATH', 'has an unsafe path');
  if (name === BUNDLE_FILES.sums) {
    throw lineError(
      'SUMS_SELF',
      `image manifest must not recursively list ${BUNDLE_FILES.sums}`,
      number,
      line,
    );
  }
  return { name, sha256: hash };
}

function lineError(
  code: string,
  message: string,
  number: number,
  line: string,
  facts: readonly Fact[] = [],
): CvmError {
  return formatError(code, message, {
    facts: [['file', BUNDLE_FILES.sums], ['line', number], ['text', showRaw(line.slice(0, 200))], ...facts],
    mend: 'write lines as sha256sum does: 64 lower-case hex digits, two blanks, a bare file name, LF',
  });
}

/** A name of one component in printable ASCII: what is safe to join to a folder. */
export function isFlatName(name: string): boolean {
  return /^[\x21-\x7e]+$/.test(name) && !/[/\\]/.test(name) && name !== '.' && name !== '..';
}

/**
 * digest.txt as readers take it: blanks around it do not count.
 * @throws CvmError format DIGEST_INVALID
 */
export function readDigest(bytes: Uint8Array): string {
  const text = rawFromBytes(bytes.subarray(0, 200)).trim();
  if (bytes.length <= 200 && /^[0-9a-f]{64}$/.test(text)) return text;
  throw formatError('DIGEST_INVALID', `${BUNDLE_FILES.digest} is not 64 lower-case hex digits`, {
    facts: [
      ['size', `${bytes.length} bytes`],
      ['found', showRaw(text)],
    ],
  });
}
