import { equalBytes } from '../bytes/compare.ts';
import { joinU32, readU32 } from '../bytes/little-endian.ts';
import { asSource, type ByteSource } from '../bytes/source.ts';
import { CvmError, formatError, type Fact } from '../errors.ts';
import { readFooterTable, type FooterEntry } from '../snp/ovmf.ts';

export const PAGE_BYTES = 4096;

/** Section types of the TDVF descriptor, by number. */
export const TDVF_TYPES = [
  'BFV',
  'CFV',
  'TD_HOB',
  'TEMP_MEM',
  'PERM_MEM',
  'PAYLOAD',
  'PAYLOAD_PARAM',
] as const;
export type TdvfType = (typeof TDVF_TYPES)[number];

/** A range of guest memory that the firmware wants prepared before launch. */
export interface TdvfSection {
  readonly type: TdvfType;
  /** Where its bytes are in the file, and how many. */
  readonly dataOffset: number;
  readonly rawBytes: number;
  /** Guest physical address and size, both whole pages. */
  readonly address: number;
  readonly sizeBytes: number;
  /** Attribute bit 0: its bytes enter MRTD. */
  readonly extends: boolean;
  /** Attribute bit 1: its pages are added after launch and enter nothing. */
  readonly augmented: boolean;
}

const TDVF_GUID = 'e47a6535-984a-4798-865e-4685a7bf8ec2';
const SIGNATURE = Uint8Array.from([0x54, 0x44, 0x56, 0x46]); // "TDVF"
const HEADER_BYTES = 16;
const SECTION_BYTES = 32;
/** Real firmware has six. */
const SECTIONS_LIMIT = 64;
/** Guest physical addresses have at most 52 bits. */
const ADDRESS_LIMIT = 2 ** 52;
/** What may be added page by page: far above any firmware's, and bounded work. */
const MEASURED_LIMIT_BYTES = 2 ** 30;

const MEND =
  'use the TDX firmware of the bundle (edk2 OvmfPkg/IntelTdx or OvmfPkgX64 with TDX): a SEV build has no TDVF descriptor';

/**
 * The sections of a TDX firmware (TDVF), in the order of the file, which is the order of measurement.
 *
 *   GUIDed table  entry e47a6535-984a-4798-865e-4685a7bf8ec2: u32 distance from the end of the file to
 *   descriptor    "TDVF", u32 length (16 + 32 n), u32 version 1, u32 n, n sections of
 *   section       u32 data offset, u32 raw size, u64 address, u64 size, u32 type, u32 attributes
 *
 * Source: Intel TDX Virtual Firmware Design Guide, section 11; messages as dstack-mr writes them.
 *
 * @throws CvmError format TDVF_FOOTER | TDVF_TABLE | TDVF_ENTRY | TDVF_MISSING | TDVF_DESCRIPTOR | TDVF_VERSION |
 *   TDVF_SECTION_COUNT | TDVF_SECTION_TYPE | TDVF_SECTION_ALIGNMENT | TDVF_SECTION_RAW | TDVF_SECTION_SIZE |
 *   TDVF_SECTION_BOUNDS | TDVF_SECTION_OVERLAP | TDVF_SECTION_EXTEND | TDVF_MEASURED_SIZE
 */
export function parseTdvf(firmware: ByteSource | Uint8Array): TdvfSection[] {
  const source = asSource(firmware);
  const entries = footerEntries(source).filter(({ guid }) => guid === TDVF_GUID);
  const [entry] = entries;
  if (entry === undefined || entries.length > 1 || entry.data.length < 4) {
    throw tdvfError('TDVF_MISSING', 'Missing TDVF metadata', [['entries', entries.length]]);
  }
  const sections = readDescriptor(source, readU32(entry.data, 0));
  checkOverlap(sections);
  const measured = sections.reduce((sum, section) => sum + (section.augmented ? 0 : section.sizeBytes), 0);
  if (measured > MEASURED_LIMIT_BYTES) {
    throw tdvfError('TDVF_MEASURED_SIZE', 'the sections are larger than any firmware has them', [
      ['measured', `${measured} bytes`],
      ['limit', `${MEASURED_LIMIT_BYTES} bytes`],
    ]);
  }
  return sections;
}

const FOOTER_ERRORS: Readonly<Record<string, readonly [code: string, problem: string]>> = {
  OVMF_TOO_SHORT: ['TDVF_FOOTER', 'Invalid footer GUID'],
  OVMF_NO_FOOTER: ['TDVF_FOOTER', 'Invalid footer GUID'],
  OVMF_FOOTER_SIZE: ['TDVF_TABLE', 'Invalid tables length'],
  OVMF_ENTRY_SIZE: ['TDVF_ENTRY', 'Invalid entry length'],
  OVMF_ENTRY_BOUNDS: ['TDVF_ENTRY', 'Invalid entry length'],
};

/** The same table that SEV firmware has; its errors in the words of TDX. */
function footerEntries(source: ByteSource): FooterEntry[] {
  try {
    return readFooterTable(source);
  } catch (error) {
    const known = error instanceof CvmError ? FOOTER_ERRORS[error.code] : undefined;
    if (known === undefined) throw error;
    throw tdvfError(...known, (error as CvmError).facts);
  }
}

function readDescriptor(source: ByteSource, distance: number): TdvfSection[] {
  const offset = source.sizeBytes - distance;
  const place: Fact[] = [
    ['distance from the end', distance],
    ['file size', `${source.sizeBytes} bytes`],
  ];
  if (offset < 0 || distance < HEADER_BYTES) {
    throw tdvfError('TDVF_DESCRIPTOR', 'Invalid TDVF descriptor', place);
  }
  const header = source.read(offset, HEADER_BYTES);
  if (!equalBytes(header.subarray(0, 4), SIGNATURE)) {
    throw tdvfError('TDVF_DESCRIPTOR', 'Invalid TDVF descriptor', [...place, ['expected', '"TDVF"']]);
  }
  const version = readU32(header, 8);
  if (version !== 1) {
    throw tdvfError('TDVF_VERSION', 'Unsupported TDVF version', [
      ['found', version],
      ['expected', 1],
    ]);
  }
  const count = readU32(header, 12);
  const length = readU32(header, 4);
  const needed = HEADER_BYTES + SECTION_BYTES * count;
  if (count === 0 || count > SECTIONS_LIMIT || needed > distance || length !== needed) {
    throw tdvfError('TDVF_SECTION_COUNT', 'Invalid TDVF descriptor', [
      ...place,
      ['sections', count],
      ['length', length],
      ['needed', `${needed} bytes`],
    ]);
  }
  const table = source.read(offset + HEADER_BYTES, SECTION_BYTES * count);
  return Array.from({ length: count }, (_, i) => readSection(source, table, i));
}

function readSection(source: ByteSource, table: Uint8Array, index: number): TdvfSection {
  const at = SECTION_BYTES * index;
  const u64 = (offset: number): number =>
    joinU32(readU32(table, at + offset), readU32(table, at + offset + 4));
  const typeNumber = readU32(table, at + 24);
  const attributes = readU32(table, at + 28);
  const dataOffset = readU32(table, at);
  const rawBytes = readU32(table, at + 4);
  const address = u64(8);
  const sizeBytes = u64(16);
  const facts: Fact[] = [
    ['section', `${index}, ${TDVF_TYPES[typeNumber] ?? `type ${typeNumber}`}`],
    ['address', `0x${address.toString(16)}`],
    ['size', `0x${sizeBytes.toString(16)}`],
    ['raw size', `0x${rawBytes.toString(16)}`],
    ['data offset', `0x${dataOffset.toString(16)}`],
  ];
  const type = TDVF_TYPES[typeNumber];
  if (type === undefined) throw tdvfError('TDVF_SECTION_TYPE', 'Unknown section type', facts);
  if (address % PAGE_BYTES !== 0) {
    throw tdvfError('TDVF_SECTION_ALIGNMENT', 'Section memory address not aligned', facts);
  }
  if (sizeBytes < rawBytes) {
    throw tdvfError('TDVF_SECTION_RAW', 'Section memory data size less than raw', facts);
  }
  if (sizeBytes % PAGE_BYTES !== 0) {
    throw tdvfError('TDVF_SECTION_SIZE', 'Section memory data size not aligned', facts);
  }
  if (dataOffset + rawBytes > source.sizeBytes || address + sizeBytes > ADDRESS_LIMIT) {
    throw tdvfError('TDVF_SECTION_BOUNDS', 'Section outside the file or the address space', [
      ...facts,
      ['file size', `${source.sizeBytes} bytes`],
    ]);
  }
  const extended = (attributes & 1) !== 0;
  if (extended && rawBytes !== sizeBytes) {
    throw tdvfError('TDVF_SECTION_EXTEND', 'Section is measured beyond its bytes in the file', facts);
  }
  return {
    type,
    dataOffset,
    rawBytes,
    address,
    sizeBytes,
    extends: extended,
    augmented: (attributes & 2) !== 0,
  };
}

function checkOverlap(sections: readonly TdvfSection[]): void {
  const sorted = sections.filter(({ sizeBytes }) => sizeBytes > 0).sort((a, b) => a.address - b.address);
  for (const [index, section] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next === undefined || section.address + section.sizeBytes <= next.address) continue;
    throw tdvfError('TDVF_SECTION_OVERLAP', 'Sections overlap in memory', [
      ['first', rangeText(section)],
      ['second', rangeText(next)],
    ]);
  }
}

function rangeText({ type, address, sizeBytes }: TdvfSection): string {
  return `${type} 0x${address.toString(16)} to 0x${(address + sizeBytes).toString(16)}`;
}

function tdvfError(code: string, problem: string, facts: readonly Fact[]): CvmError {
  return formatError(code, `Failed to parse TDVF metadata: ${problem}`, { facts, mend: MEND });
}
