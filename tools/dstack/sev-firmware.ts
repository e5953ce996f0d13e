import { equalBytes } from '../bytes/compare.ts';
import { readU32 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { PAGE_BYTES } from '../snp/gctx.ts';
import {
  OVMF_GUIDS,
  readFooterTable,
  SECTION_TYPES,
  sectionName,
  type FooterEntry,
  type SevSection,
} from '../snp/ovmf.ts';

/** What dstack takes from a SEV firmware. */
export interface SevFirmware {
  /** Where the table of kernel hashes goes, guest physical. */
  readonly hashesTableGpa: number;
  /** Address of the first instruction of application processors. */
  readonly resetEip: number;
  /** In file order, which is the order of measurement. */
  readonly sections: readonly SevSection[];
}

const ASEV = Uint8Array.from([0x41, 0x53, 0x45, 0x56]);
const HEADER_BYTES = 16;
const SECTION_BYTES = 12;
const SECTIONS_LIMIT = 64;
/** Real firmware prepares less than 1 MiB. */
const PAGES_LIMIT = 1 << 18;

const KNOWN_TYPES: ReadonlySet<number> = new Set(Object.values(SECTION_TYPES));

/**
 * Reads a SEV firmware as dstack's tools do: of the hash table's entry they take the address alone, and the metadata's
 * own length field is not looked at. Else as `parseOvmf` of the SNP commands, which is stricter and made for any OVMF.
 *
 * Source: Dstack-TEE/dstack, dstack-mr/src/sev.rs.
 *
 * @throws CvmError format SEV_FIRMWARE_ENTRY | SEV_FIRMWARE_METADATA | SEV_FIRMWARE_SECTION | SEV_FIRMWARE_NO_HASHES, and
 *   those of readFooterTable
 */
export function readSevFirmware(firmware: ByteSource): SevFirmware {
  const table = readFooterTable(firmware);
  const distance = entryValue(table, OVMF_GUIDS.sevMetadata, 'SEV metadata');
  const offset = firmware.sizeBytes - distance;
  const facts: Fact[] = [
    ['distance from the end', distance],
    ['file size', `${firmware.sizeBytes} bytes`],
  ];
  if (offset < 0 || distance < HEADER_BYTES) throw metadataError('lies outside the image', facts);
  const header = firmware.read(offset, HEADER_BYTES);
  if (!equalBytes(header.subarray(0, 4), ASEV)) throw metadataError('does not start with "ASEV"', facts);
  if (readU32(header, 8) !== 1)
    throw metadataError('has an unknown version', [['found', readU32(header, 8)]]);
  const count = readU32(header, 12);
  if (count > SECTIONS_LIMIT || HEADER_BYTES + SECTION_BYTES * count > distance) {
    throw metadataError('counts more sections than there can be', [...facts, ['sections', count]]);
  }
  const descriptors = firmware.read(offset + HEADER_BYTES, SECTION_BYTES * count);
  const sections = Array.from({ length: count }, (_, i) => ({
    gpa: readU32(descriptors, SECTION_BYTES * i),
    sizeBytes: readU32(descriptors, SECTION_BYTES * i + 4),
    type: readU32(descriptors, SECTION_BYTES * i + 8),
  }));
  checkSevSections(sections);
  return {
    hashesTableGpa: entryValue(table, OVMF_GUIDS.sevHashTable, 'SEV hash table'),
    resetEip: entryValue(table, OVMF_GUIDS.sevEsResetBlock, 'SEV-ES reset block'),
    sections,
  };
}

/** @throws CvmError format SEV_FIRMWARE_SECTION | SEV_FIRMWARE_NO_HASHES */
export function checkSevSections(sections: readonly SevSection[]): void {
  let pages = 0;
  for (const [index, section] of sections.entries()) {
    const isPage = section.gpa % PAGE_BYTES === 0 && section.sizeBytes % PAGE_BYTES === 0;
    const isHashes = section.type === SECTION_TYPES.kernelHashes;
    pages += section.sizeBytes / PAGE_BYTES;
    if (isPage && KNOWN_TYPES.has(section.type) && section.sizeBytes > 0 && pages <= PAGES_LIMIT) {
      if (!isHashes || section.sizeBytes === PAGE_BYTES) continue;
    }
    throw formatError('SEV_FIRMWARE_SECTION', 'a section of the SEV firmware cannot be measured', {
      facts: [
        ['section', `${index}, ${sectionName(section.type)}`],
        ['gpa', `0x${section.gpa.toString(16)}`],
        ['size', `0x${section.sizeBytes.toString(16)}`],
      ],
    });
  }
  if (sections.some(({ type }) => type === SECTION_TYPES.kernelHashes)) return;
  throw formatError(
    'SEV_FIRMWARE_NO_HASHES',
    'the SEV firmware has no section for kernel hashes: it would run any kernel',
    {
      facts: [['sections', sections.map(({ type }) => sectionName(type)).join(', ')]],
      mend: 'use the OvmfPkg/AmdSev build of OVMF',
    },
  );
}

function entryValue(table: readonly FooterEntry[], guid: string, name: string): number {
  const found = table.filter((entry) => entry.guid === guid);
  const [entry] = found;
  if (entry !== undefined && found.length === 1 && entry.data.length >= 4) return readU32(entry.data, 0);
  throw formatError('SEV_FIRMWARE_ENTRY', `the firmware does not have exactly one ${name} entry`, {
    facts: [
      ['GUID', guid],
      ['entries', found.length],
    ],
    mend: 'use the SEV firmware of the bundle (OvmfPkg/AmdSev/AmdSevX64.dsc)',
  });
}

function metadataError(problem: string, facts: readonly Fact[]): CvmError {
  return formatError('SEV_FIRMWARE_METADATA', `the SEV metadata of the firmware ${problem}`, { facts });
}
