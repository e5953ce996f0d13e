import { createHash } from 'node:crypto';
import { readU16, readU32 } from '../bytes/little-endian.ts';
import { passingChunks, sliceSource, type ByteSource } from '../bytes/source.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';

const PE_POINTER_AT = 0x3c;
const SECTION_BYTES = 40;
const PE32_PLUS = 0x20b;
const PE32 = 0x10b;

/**
 * The Authenticode digest of a PE image, here with SHA-384: all of the file but the checksum, the entry of the certificate
 * table and the certificates. 48 bytes.
 *
 *   headers up to SizeOfHeaders, without the checksum (optional header + 64) and the certificate directory entry
 *   sections with content, by file position
 *   with a certificate table: what else there is before it
 *   zeros up to a multiple of 8 of the file's length
 *
 * Source: Microsoft, "Windows Authenticode Portable Executable Signature Format"; the order of steps as dstack-mr has it.
 *
 * @throws CvmError format PE_SIGNATURE | PE_HEADER | PE_SECTION
 */
export function authenticodeSha384(image: ByteSource): Uint8Array {
  const { sizeBytes } = image;
  const within = (offset: number, length: number, what: string): Uint8Array => {
    if (offset + length > sizeBytes) {
      throw peError('PE_HEADER', `the ${what} lies outside the file`, [
        ['at', `0x${offset.toString(16)}`],
        ['size', `${sizeBytes} bytes`],
      ]);
    }
    return image.read(offset, length);
  };
  if (sizeBytes < PE_POINTER_AT + 4) {
    throw peError('PE_SIGNATURE', 'Invalid PE signature', [['size', `${sizeBytes} bytes`]]);
  }
  const pe = readU32(image.read(PE_POINTER_AT, 4), 0);
  if (pe + 4 > sizeBytes || readU32(image.read(pe, 4), 0) !== 0x4550) {
    throw peError('PE_SIGNATURE', 'Invalid PE signature', [['at', `0x${pe.toString(16)}`]]);
  }
  const coff = within(pe, 24, 'file header');
  const sectionCount = readU16(coff, 6);
  const optionalBytes = readU16(coff, 20);
  const optional = pe + 24;
  const magic = readU16(within(optional, 2, 'optional header'), 0);
  if (magic !== PE32_PLUS && magic !== PE32) {
    throw peError('PE_HEADER', 'the optional header is of no known kind', [
      ['magic', `0x${magic.toString(16)}`],
    ]);
  }
  const directoryOffset = (magic === PE32_PLUS ? 112 : 96) + 32;
  const header = within(optional, directoryOffset + 8, 'optional header');
  const certificateEntry = optional + directoryOffset;
  const headersBytes = readU32(header, 60);
  if (headersBytes < certificateEntry + 8 || headersBytes > sizeBytes) {
    throw peError('PE_HEADER', 'SizeOfHeaders does not cover the headers, or exceeds the file', [
      ['SizeOfHeaders', headersBytes],
      ['headers end at', certificateEntry + 8],
      ['size', `${sizeBytes} bytes`],
    ]);
  }

  const hash = createHash('sha384');
  const feed = (from: number, to: number): void => {
    if (to > from) for (const chunk of passingChunks(sliceSource(image, from, to - from))) hash.update(chunk);
  };
  feed(0, optional + 64);
  feed(optional + 68, certificateEntry);
  feed(certificateEntry + 8, headersBytes);
  const table = within(optional + optionalBytes, SECTION_BYTES * sectionCount, 'section table');
  let hashedBytes = headersBytes;
  for (const { pointer, length } of sectionsByPosition(table, sectionCount)) {
    const end = Math.min(pointer + length, sizeBytes);
    if (pointer < headersBytes || pointer > sizeBytes) {
      throw peError('PE_SECTION', 'a section lies in the headers or outside the file', [
        ['at', `0x${pointer.toString(16)}`],
        ['size', `${sizeBytes} bytes`],
      ]);
    }
    feed(pointer, end);
    hashedBytes += end - pointer;
  }
  const certificateBytes = readU32(header, directoryOffset + 4);
  if (readU32(header, directoryOffset) !== 0 && certificateBytes !== 0) {
    if (certificateBytes > sizeBytes - Math.min(hashedBytes, sizeBytes)) {
      throw peError('PE_HEADER', 'the certificate table is larger than what follows the sections', [
        ['certificates', `${certificateBytes} bytes`],
        ['size', `${sizeBytes} bytes`],
      ]);
    }
    feed(hashedBytes, sizeBytes - certificateBytes);
  }
  hash.update(new Uint8Array((8 - (sizeBytes % 8)) % 8));
  return new Uint8Array(hash.digest());
}

function sectionsByPosition(table: Uint8Array, count: number): { pointer: number; length: number }[] {
  return Array.from({ length: count }, (_, i) => ({
    length: readU32(table, SECTION_BYTES * i + 16),
    pointer: readU32(table, SECTION_BYTES * i + 20),
  }))
    .filter(({ length }) => length > 0)
    .sort((a, b) => a.pointer - b.pointer)
    .map((section, i, all) => {
      const previous = all[i - 1];
      if (previous === undefined || previous.pointer + previous.length <= section.pointer) return section;
      throw peError('PE_SECTION', 'two sections share bytes of the file', [
        ['first at', `0x${previous.pointer.toString(16)}`],
        ['second at', `0x${section.pointer.toString(16)}`],
      ]);
    });
}

function peError(code: string, message: string, facts: readonly Fact[]): CvmError {
  return formatError(code, message, {
    facts: [['file', 'kernel'], ...facts],
    mend: 'give a kernel with an EFI stub (bzImage with CONFIG_EFI_STUB)',
  });
}
