import { crc32 } from 'node:zlib';
import { readU32, writeU32 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';
import { formatError } from '../errors.ts';
import { IGVM_ARCHITECTURES, IGVM_PAGE_BYTES, type IgvmArchitecture } from './model.ts';

/** The largest file that is read; the format itself ends at 4 GiB, and real files at some hundred MiB. */
export const IGVM_LIMIT_BYTES = 1 << 30;

/** "IGVM". */
const MAGIC = 0x4d56_4749;

export const FIXED_HEADER_BYTES = { 1: 24, 2: 32 } as const;

const CHECKSUM_OFFSET = 20;

/**
 * The fixed header, little-endian:
 *
 *   off  size  field
 *    00     4  magic "IGVM"
 *    04     4  format version: 1 or 2
 *    08     4  variable header offset
 *    0c     4  variable header size
 *    10     4  total file size
 *    14     4  CRC-32 (IEEE) of this header, with this field zero, and of the variable headers
 *    18     4  V2: architecture, 0 x64, 1 AArch64
 *    1c     4  V2: page size, 4096
 *
 * Source: microsoft/igvm igvm_defs, IGVM_FIXED_HEADER and IGVM_FIXED_HEADER_V2.
 */
export interface FixedHeader {
  readonly version: 1 | 2;
  readonly architecture: IgvmArchitecture;
  /** Where the variable headers begin. */
  readonly variableOffset: number;
  /** Their bytes, whose checksum is right. */
  readonly variable: Uint8Array;
}

/**
 * Reads and checks the fixed header: every bound, and the checksum.
 *
 * @param file the whole file; headers alone are read
 * @throws CvmError format IGVM_MAGIC | IGVM_TOO_LARGE | IGVM_TRUNCATED | IGVM_VERSION | IGVM_FILE_SIZE | IGVM_ARCHITECTURE |
 *   IGVM_PAGE_SIZE | IGVM_HEADER_BOUNDS | IGVM_NO_FILE_DATA | IGVM_CHECKSUM
 */
export function readFixedHeader(file: ByteSource): FixedHeader {
  const fileBytes = file.sizeBytes;
  const bytes = file.read(0, Math.min(fileBytes, FIXED_HEADER_BYTES[2]));
  if (bytes.length < 4 || readU32(bytes, 0) !== MAGIC) {
    throw formatError('IGVM_MAGIC', 'this is not an IGVM file', {
      facts: [['size', `${fileBytes} bytes`]],
      mend: 'give a file that begins with the letters IGVM',
    });
  }
  if (fileBytes > IGVM_LIMIT_BYTES) {
    throw formatError('IGVM_TOO_LARGE', 'an IGVM file is larger than it may be', {
      facts: [
        ['size', `${fileBytes} bytes`],
        ['limit', `${IGVM_LIMIT_BYTES} bytes`],
      ],
      mend: 'what a guest starts from is far smaller: give another file',
    });
  }
  const version = bytes.length < 8 ? 0 : readU32(bytes, 4);
  if (bytes.length >= 8 && version !== 1 && version !== 2) {
    throw formatError('IGVM_VERSION', 'an IGVM file has an unknown format version', {
      facts: [
        ['found', version],
        ['known', '1, 2'],
      ],
      mend: 'the file is damaged, or made by a tool of a newer version of the format',
    });
  }
  const headerBytes = version === 2 ? FIXED_HEADER_BYTES[2] : FIXED_HEADER_BYTES[1];
  if (bytes.length < headerBytes) throw truncated(fileBytes, headerBytes);
  const total = readU32(bytes, 16);
  if (total > fileBytes) throw truncated(fileBytes, total);
  if (total !== fileBytes) {
    throw formatError('IGVM_FILE_SIZE', 'an IGVM file goes on behind its end', {
      facts: [
        ['header says', `${total} bytes`],
        ['found', `${fileBytes} bytes`],
      ],
      mend: `what follows byte ${total} belongs to something else: cut it off`,
    });
  }
  const offset = readU32(bytes, 8);
  const size = readU32(bytes, 12);
  if (offset < headerBytes || offset + size > total) {
    throw formatError('IGVM_HEADER_BOUNDS', 'the variable headers of an IGVM file lie outside of it', {
      facts: [
        ['offset', offset],
        ['size', size],
        ['file', `${total} bytes`],
      ],
      mend: 'the file is damaged: fetch or build it again',
    });
  }
  if (offset + size === total) throw noFileData(total);
  const stored = readU32(bytes, CHECKSUM_OFFSET);
  const variable = file.read(offset, size);
  const computed = checksum(bytes.subarray(0, headerBytes), variable);
  if (stored !== computed) {
    throw formatError('IGVM_CHECKSUM', 'the checksum over the headers of an IGVM file is wrong', {
      facts: [
        ['stored', `0x${stored.toString(16)}`],
        ['computed', `0x${computed.toString(16)}`],
      ],
      mend: 'the headers are damaged or were edited: fetch or build the file again',
    });
  }
  return {
    version: version === 2 ? 2 : 1,
    architecture: version === 2 ? readArchitecture(bytes) : 'x64',
    variableOffset: offset,
    variable,
  };
}

function readArchitecture(bytes: Uint8Array): IgvmArchitecture {
  const number = readU32(bytes, 24);
  const architecture = IGVM_ARCHITECTURES[number];
  if (architecture === undefined)
    throw formatError('IGVM_ARCHITECTURE', 'an IGVM file is for an unknown architecture', {
      facts: [
        ['found', number],
        ['known', '0 (x64), 1 (AArch64)'],
      ],
      mend: 'the file is damaged, or made by a tool of a newer version of the format',
    });
  const pageSize = readU32(bytes, 28);
  if (pageSize !== IGVM_PAGE_BYTES)
    throw formatError('IGVM_PAGE_SIZE', 'an IGVM file has a page size that is not supported', {
      facts: [
        ['found', pageSize],
        ['supported', IGVM_PAGE_BYTES],
      ],
      mend: 'build the file with pages of 4 KiB',
    });
  return architecture;
}

/** Writes the fixed header at the start of a file that is otherwise complete. */
export function writeFixedHeader(
  bytes: Uint8Array,
  version: 1 | 2,
  architecture: IgvmArchitecture,
  variableHeaderSize: number,
): void {
  const headerBytes = FIXED_HEADER_BYTES[version];
  writeU32(bytes, 0, MAGIC);
  writeU32(bytes, 4, version);
  writeU32(bytes, 8, headerBytes);
  writeU32(bytes, 12, variableHeaderSize);
  writeU32(bytes, 16, bytes.length);
  if (version === 2) {
    writeU32(bytes, 24, IGVM_ARCHITECTURES.indexOf(architecture));
    writeU32(bytes, 28, IGVM_PAGE_BYTES);
  }
  const variable = bytes.subarray(headerBytes, headerBytes + variableHeaderSize);
  writeU32(bytes, CHECKSUM_OFFSET, checksum(bytes.subarray(0, headerBytes), variable));
}

function checksum(fixed: Uint8Array, variable: Uint8Array): number {
  const blank = fixed.slice();
  writeU32(blank, CHECKSUM_OFFSET, 0);
  return crc32(variable, crc32(blank));
}

function truncated(found: number, expected: number): Error {
  return formatError('IGVM_TRUNCATED', 'an IGVM file ends too early', {
    facts: [
      ['expected', `${expected} bytes`],
      ['found', `${found} bytes`],
    ],
    mend: 'the file is truncated: fetch or build it again',
  });
}

/** Readers of the format refuse a file of headers alone. */
export function noFileData(total: number): Error {
  return formatError('IGVM_NO_FILE_DATA', 'an IGVM file holds headers alone', {
    facts: [['size', `${total} bytes`]],
    mend: 'no loader takes a file without file data: give at least one header data',
  });
}
