import { equalBytes } from '../bytes/compare.ts';
import { digestBytes } from '../bytes/digest.ts';
import { rawFromBytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { FIXED_HEADER_BYTES, noFileData, writeFixedHeader } from './fixed-header.ts';
import { encodedLength, encodeHeader } from './header-encode.ts';
import { type IgvmFile } from './model.ts';
import { checkStructure } from './structure.ts';

/** total_file_size has 32 bits. */
const SIZE_LIMIT = 2 ** 32;

/**
 * An IGVM file's bytes: fixed header, variable headers in their order, file data behind them without alignment. Equal
 * payloads are stored once, at the place of the first, whatever headers they belong to: as microsoft/igvm writes them,
 * byte for byte.
 *
 * @throws CvmError format as {@link checkStructure}, IGVM_NO_FILE_DATA, IGVM_VERSION when an AArch64 file is to be V1,
 *   IGVM_FILE_SIZE at 4 GiB
 */
export function writeIgvm(file: IgvmFile): Uint8Array {
  checkStructure(file);
  if (file.version === 1 && file.architecture !== 'x64') {
    throw formatError('IGVM_VERSION', 'format version 1 has no architecture field: it is always x64', {
      facts: [['architecture', file.architecture]],
      mend: 'write version 2',
    });
  }
  const lengths = file.headers.map(encodedLength);
  const variableBytes = lengths.reduce((sum, length) => sum + length, 0);
  const start = FIXED_HEADER_BYTES[file.version];
  const payloads = new PayloadStore(start + variableBytes);
  const variable = new Uint8Array(variableBytes);
  let at = 0;
  file.headers.forEach((header, i) => {
    const length = lengths[i] as number;
    encodeHeader(header, variable.subarray(at, at + length), (data) => payloads.place(data));
    at += length;
  });
  if (payloads.isEmpty) throw noFileData(payloads.end);
  const bytes = new Uint8Array(payloads.end);
  bytes.set(variable, start);
  payloads.copyTo(bytes);
  writeFixedHeader(bytes, file.version, file.architecture, variableBytes);
  return bytes;
}

interface Stored {
  readonly offset: number;
  readonly data: Uint8Array;
}

/** File data: each payload once, in the order of first use. */
class PayloadStore {
  /** By SHA-256; bytes are compared as well, so that nothing rests on the digest. */
  readonly #byDigest = new Map<string, Stored[]>();
  readonly #stored: Stored[] = [];
  readonly #start: number;
  #end: number;

  constructor(start: number) {
    this.#start = start;
    this.#end = start;
  }

  get end(): number {
    return this.#end;
  }

  get isEmpty(): boolean {
    return this.#end === this.#start;
  }

  place(data: Uint8Array): number {
    const key = rawFromBytes(digestBytes('sha256', data));
    const candidates = this.#byDigest.get(key) ?? [];
    const same = candidates.find((other) => equalBytes(other.data, data));
    if (same !== undefined) return same.offset;
    const stored = { offset: this.#end, data };
    this.#end += data.length;
    if (this.#end >= SIZE_LIMIT) {
      throw formatError('IGVM_FILE_SIZE', 'an IGVM file must stay below 4 GiB', {
        facts: [['size so far', `${this.#end} bytes`]],
        mend: 'leave out pages of zeros, or give the guest less at its start',
      });
    }
    this.#byDigest.set(key, [...candidates, stored]);
    this.#stored.push(stored);
    return stored.offset;
  }

  copyTo(bytes: Uint8Array): void {
    for (const { offset, data } of this.#stored) bytes.set(data, offset);
  }
}
