import { readU32 } from '../bytes/little-endian.ts';
import { asSource, type ByteSource } from '../bytes/source.ts';
import { CvmError, formatError, type Fact } from '../errors.ts';
import { readFooterTable, type FooterEntry } from '../snp/ovmf.ts';
import {
  readTdvfDescriptor,
  TDVF_GUID,
  TDVF_TYPES,
  tdvfRowFault,
  type DescriptorFault,
  type TdvfRow,
  type TdvfRowFault,
  type TdvfType,
} from './tdvf-descriptor.ts';

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

/** What may be added page by page: far above any firmware's, and bounded work. */
const MEASURED_LIMIT_BYTES = 2 ** 30;

const MEND =
  'use the TDX firmware of the bundle (edk2 OvmfPkg/IntelTdx or OvmfPkgX64 with TDX): a SEV build has no TDVF descriptor';

/**
 * The sections of a TDX firmware (TDVF), in the order of the file, which is the order of measurement. The GUIDed table's
 * entry {@link TDVF_GUID} holds the u32 distance from the end of the file to the descriptor, see {@link readTdvfDescriptor}.
 * Refused is what cannot be measured: unknown types, ranges that overlap. Messages as dstack-mr writes them.
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
  const place: Fact[] = [
    ['distance from the end', distance],
    ['file size', `${source.sizeBytes} bytes`],
  ];
  const rows = readTdvfDescriptor(source, distance, (fault) => descriptorError(fault, place));
  if (rows.length === 0)
    throw descriptorError({ kind: 'count', length: 16, count: 0, neededBytes: 16 }, place);
  return rows.map((row, index) => sectionOf(row, index, source.sizeBytes));
}

function descriptorError(fault: DescriptorFault, place: readonly Fact[]): Error {
  switch (fault.kind) {
    case 'place':
      return tdvfError('TDVF_DESCRIPTOR', 'Invalid TDVF descriptor', place);
    case 'signature':
      return tdvfError('TDVF_DESCRIPTOR', 'Invalid TDVF descriptor', [...place, ['expected', '"TDVF"']]);
    case 'version':
      return tdvfError('TDVF_VERSION', 'Unsupported TDVF version', [
        ['found', fault.version],
        ['expected', 1],
      ]);
    case 'length':
    case 'count':
      return tdvfError('TDVF_SECTION_COUNT', 'Invalid TDVF descriptor', [
        ...place,
        ['sections', fault.count],
        ['length', fault.length],
        ['needed', `${fault.neededBytes} bytes`],
      ]);
  }
}

const OUTSIDE = ['TDVF_SECTION_BOUNDS', 'Section outside the file or the address space'] as const;
const ROW_ERRORS: Readonly<Record<TdvfRowFault, readonly [code: string, problem: string]>> = {
  address: ['TDVF_SECTION_ALIGNMENT', 'Section memory address not aligned'],
  raw: ['TDVF_SECTION_RAW', 'Section memory data size less than raw'],
  size: ['TDVF_SECTION_SIZE', 'Section memory data size not aligned'],
  content: OUTSIDE,
  beyond: OUTSIDE,
};

function sectionOf(row: TdvfRow, index: number, fileBytes: number): TdvfSection {
  const { dataOffset, rawSizeBytes: rawBytes, gpa: address, memorySizeBytes: sizeBytes, attributes } = row;
  const type = TDVF_TYPES[row.type];
  const facts: Fact[] = [
    ['section', `${index}, ${type ?? `type ${row.type}`}`],
    ['address', `0x${address.toString(16)}`],
    ['size', `0x${sizeBytes.toString(16)}`],
    ['raw size', `0x${rawBytes.toString(16)}`],
    ['data offset', `0x${dataOffset.toString(16)}`],
  ];
  if (type === undefined) throw tdvfError('TDVF_SECTION_TYPE', 'Unknown section type', facts);
  const fault = tdvfRowFault(row, fileBytes);
  if (fault !== undefined) {
    const error = ROW_ERRORS[fault];
    throw tdvfError(...error, error === OUTSIDE ? [...facts, ['file size', `${fileBytes} bytes`]] : facts);
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
