import { equalBytes } from '../bytes/compare.ts';
import { guidFromBytes, GUID_BYTES } from '../bytes/guid.ts';
import { asSource, type ByteSource } from '../bytes/source.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { PAGE_BYTES } from './gctx.ts';

/** An entry of the footer table. `data` is what stands before its size and GUID; `offset` is the data's, in the file. */
export interface FooterEntry {
  readonly guid: string;
  readonly offset: number;
  readonly data: Uint8Array;
}

/** Section types of the SEV metadata. */
export const SECTION_TYPES = {
  secMem: 0x01,
  secrets: 0x02,
  cpuid: 0x03,
  svsmCaa: 0x04,
  kernelHashes: 0x10,
} as const;

const SECTION_NAMES: ReadonlyMap<number, string> = new Map([
  [SECTION_TYPES.secMem, 'SNP_SEC_MEM'],
  [SECTION_TYPES.secrets, 'SNP_SECRETS'],
  [SECTION_TYPES.cpuid, 'CPUID'],
  [SECTION_TYPES.svsmCaa, 'SVSM_CAA'],
  [SECTION_TYPES.kernelHashes, 'SNP_KERNEL_HASHES'],
]);

/** A range of guest memory that the firmware wants prepared before launch; 32-bit values as they stand in the file. */
export interface SevSection {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly type: number;
}

/** What an OVMF image says of itself, as far as launch measurement goes. Absent parts are undefined, not errors. */
export interface Ovmf {
  readonly sizeBytes: number;
  /** The image ends at 4 GiB. */
  readonly loadGpa: number;
  /** All entries, nearest to the end of the file first, the footer itself not among them. */
  readonly table: readonly FooterEntry[];
  readonly resetEip: number | undefined;
  /** Where the kernel-hashes table goes; base 0 is "not supported" and reads as undefined. */
  readonly hashTable: { readonly base: number; readonly sizeBytes: number } | undefined;
  readonly metadataOffset: number | undefined;
  /** In file order, which is the order of measurement. */
  readonly sections: readonly SevSection[] | undefined;
  /** Entry point inside an SVSM image. */
  readonly svsmLaunchOffset: number | undefined;
}

export const OVMF_GUIDS = {
  footer: '96b582de-1fb2-45f7-baea-a366c55a082d',
  sevHashTable: '7255371f-3a3b-4b04-927b-1da6efa8d454',
  sevEsResetBlock: '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
  sevMetadata: 'dc886566-984a-4798-a75e-5585a7bf67cc',
  svsmInfo: 'a789a612-0597-4c4b-a49f-cbb1fe9d1ddd',
} as const;

const FOUR_GIB = 0x1_0000_0000;

/** The I/O APIC at 0xfec00000 is what an image that ends at 4 GiB meets first. */
const IMAGE_LIMIT_BYTES = FOUR_GIB - 0xfec0_0000;

/** The reset vector's code and jump, behind the table. */
const TAIL_BYTES = 32;

/** u16 size and GUID, which close each entry. */
const ENTRY_TRAILER_BYTES = 2 + GUID_BYTES;

const METADATA_SIGNATURE = Uint8Array.from([0x41, 0x53, 0x45, 0x56]); // "ASEV"
const METADATA_HEADER_BYTES = 16;
const DESCRIPTOR_BYTES = 12;

const AMD_SEV_BUILD = 'use the OVMF build for SEV (edk2 OvmfPkg/AmdSev/AmdSevX64.dsc, one OVMF.fd)';

export function sectionName(type: number): string {
  return SECTION_NAMES.get(type) ?? `type 0x${type.toString(16)}`;
}

/**
 * Reads an OVMF (or SVSM) image's own description. The table of GUIDed entries ends 32 bytes before the end of the
 * file and is read backwards, as each entry closes with its length:
 *
 *   table        entry* || footer
 *   entry        data || u16 length of the whole entry || GUID (16)
 *   footer       u16 length of the whole table || GUID 96b582de-1fb2-45f7-baea-a366c55a082d
 *   hash table   u32 base, u32 size
 *   reset block  u32 address of the first instruction of application processors
 *   SEV metadata u32 distance from the end of the file to:
 *                "ASEV", u32 length, u32 version 1, u32 count, count × { u32 gpa, u32 size, u32 type }
 *   SVSM info    u32 offset of the entry point in the image
 *
 * Little-endian throughout. Source: edk2 OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm, OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm;
 * QEMU hw/i386/pc_sysfw_ovmf.c.
 *
 * @throws CvmError format OVMF_TOO_SHORT | OVMF_TOO_LARGE | OVMF_NO_FOOTER | OVMF_FOOTER_SIZE | OVMF_ENTRY_SIZE |
 *   OVMF_ENTRY_BOUNDS | OVMF_ENTRY_DUPLICATE | OVMF_ENTRY_DATA | OVMF_METADATA_BOUNDS | OVMF_METADATA_SIGNATURE |
 *   OVMF_METADATA_VERSION | OVMF_METADATA_LENGTH
 */
export function parseOvmf(firmware: ByteSource | Uint8Array): Ovmf {
  const source = asSource(firmware);
  const sizeBytes = source.sizeBytes;
  const table = readFooterTable(source);
  const entry = (guid: string, name: string, length: number): DataView | undefined =>
    readEntry(table, guid, name, length);

  const reset = entry(OVMF_GUIDS.sevEsResetBlock, 'SEV-ES reset block', 4);
  const hashTable = entry(OVMF_GUIDS.sevHashTable, 'SEV hash table', 8);
  const metadata = entry(OVMF_GUIDS.sevMetadata, 'SEV metadata', 4);
  const svsmInfo = entry(OVMF_GUIDS.svsmInfo, 'SVSM info', 4);
  const hashTableBase = hashTable?.getUint32(0, true) ?? 0;
  const distance = metadata?.getUint32(0, true);
  return {
    sizeBytes,
    loadGpa: FOUR_GIB - sizeBytes,
    table,
    resetEip: reset?.getUint32(0, true),
    hashTable:
      hashTable === undefined || hashTableBase === 0
        ? undefined
        : { base: hashTableBase, sizeBytes: hashTable.getUint32(4, true) },
    metadataOffset: distance === undefined ? undefined : sizeBytes - distance,
    sections: distance === undefined ? undefined : readMetadata(source, distance),
    svsmLaunchOffset: svsmInfo?.getUint32(0, true),
  };
}

/**
 * The GUIDed table alone: all entries, nearest to the end of the file first. TDX firmware has the same one.
 * @throws CvmError format OVMF_TOO_SHORT | OVMF_TOO_LARGE | OVMF_NO_FOOTER | OVMF_FOOTER_SIZE | OVMF_ENTRY_SIZE |
 *   OVMF_ENTRY_BOUNDS
 */
export function readFooterTable(source: ByteSource): FooterEntry[] {
  const { sizeBytes } = source;
  if (sizeBytes < TAIL_BYTES + ENTRY_TRAILER_BYTES) {
    throw formatError('OVMF_TOO_SHORT', 'the firmware is too short to be an OVMF image', {
      facts: [
        ['size', `${sizeBytes} bytes`],
        ['least', `${TAIL_BYTES + ENTRY_TRAILER_BYTES} bytes`],
      ],
      mend: AMD_SEV_BUILD,
    });
  }
  const footerOffset = sizeBytes - TAIL_BYTES - ENTRY_TRAILER_BYTES;
  const footer = source.read(footerOffset, ENTRY_TRAILER_BYTES);
  const footerGuid = guidFromBytes(footer, 2);
  if (footerGuid !== OVMF_GUIDS.footer) {
    throw formatError('OVMF_NO_FOOTER', 'the file is not an OVMF image: it has no GUIDed footer table', {
      facts: [
        ['at', footerOffset],
        ['expected', OVMF_GUIDS.footer],
        ['found', footerGuid],
      ],
      mend: `${AMD_SEV_BUILD}; a variable store (VARS) or a disk image is no firmware`,
    });
  }
  if (sizeBytes > IMAGE_LIMIT_BYTES) {
    throw formatError('OVMF_TOO_LARGE', 'the firmware is larger than the room below 4 GiB', {
      facts: [
        ['size', `${sizeBytes} bytes`],
        ['limit', `${IMAGE_LIMIT_BYTES} bytes (the I/O APIC lies below)`],
      ],
    });
  }
  const total = dataView(footer).getUint16(0, true);
  const tableOffset = footerOffset + ENTRY_TRAILER_BYTES - total;
  if (total < ENTRY_TRAILER_BYTES || tableOffset < 0) {
    throw formatError('OVMF_FOOTER_SIZE', "the footer table's length is impossible", {
      facts: [
        ['at', footerOffset],
        ['length', total],
        ['least', ENTRY_TRAILER_BYTES],
        ['bytes in the file', footerOffset + ENTRY_TRAILER_BYTES],
      ],
    });
  }
  return walkTable(source.read(tableOffset, total - ENTRY_TRAILER_BYTES), tableOffset);
}

function walkTable(body: Uint8Array, bodyOffset: number): FooterEntry[] {
  const entries: FooterEntry[] = [];
  const view = dataView(body);
  let end = body.length;
  while (end > 0) {
    const trailer = end - ENTRY_TRAILER_BYTES;
    const length = trailer < 0 ? end : view.getUint16(trailer, true);
    const facts: Fact[] = [
      ['at', bodyOffset + Math.max(trailer, 0)],
      ['entry length', length],
      ['bytes left in the table', end],
    ];
    if (length < ENTRY_TRAILER_BYTES) {
      throw formatError('OVMF_ENTRY_SIZE', 'a footer table entry is shorter than its own size and GUID', {
        facts,
      });
    }
    if (length > end) {
      throw formatError('OVMF_ENTRY_BOUNDS', 'a footer table entry starts before the table', { facts });
    }
    const start = end - length;
    entries.push({
      guid: guidFromBytes(body, trailer + 2),
      offset: bodyOffset + start,
      data: body.slice(start, trailer),
    });
    end = start;
  }
  return entries;
}

function readEntry(
  table: readonly FooterEntry[],
  guid: string,
  name: string,
  length: number,
): DataView | undefined {
  const [found, second] = table.filter((candidate) => candidate.guid === guid);
  if (found === undefined) return undefined;
  if (second !== undefined) {
    // Readers disagree: QEMU takes the first from the end of the file, sev-snp-measure the last.
    throw formatError('OVMF_ENTRY_DUPLICATE', `the footer table has two ${name} entries`, {
      facts: [
        ['GUID', guid],
        ['at', `${found.offset} and ${second.offset}`],
      ],
    });
  }
  if (found.data.length < length) {
    throw formatError('OVMF_ENTRY_DATA', `the ${name} entry is too short`, {
      facts: [
        ['GUID', guid],
        ['at', found.offset],
        ['data', `${found.data.length} bytes`],
        ['needed', `${length} bytes`],
      ],
    });
  }
  return dataView(found.data);
}

function readMetadata(source: ByteSource, distance: number): SevSection[] {
  const offset = source.sizeBytes - distance;
  const facts: Fact[] = [
    ['distance from the end', distance],
    ['file size', source.sizeBytes],
  ];
  if (offset < 0 || distance < METADATA_HEADER_BYTES) {
    throw formatError('OVMF_METADATA_BOUNDS', 'the SEV metadata lies outside the image', { facts });
  }
  const header = source.read(offset, METADATA_HEADER_BYTES);
  if (!equalBytes(header.subarray(0, 4), METADATA_SIGNATURE)) {
    throw formatError('OVMF_METADATA_SIGNATURE', 'the SEV metadata does not start with "ASEV"', {
      facts: [['at', offset]],
    });
  }
  const view = dataView(header);
  const version = view.getUint32(8, true);
  if (version !== 1) {
    throw formatError('OVMF_METADATA_VERSION', 'the SEV metadata has an unknown version', {
      facts: [
        ['at', offset + 8],
        ['expected', 1],
        ['found', version],
      ],
    });
  }
  const totalLength = view.getUint32(4, true);
  const count = view.getUint32(12, true);
  const needed = METADATA_HEADER_BYTES + DESCRIPTOR_BYTES * count;
  if (needed > distance) {
    throw formatError('OVMF_METADATA_BOUNDS', 'the SEV metadata counts more sections than the image holds', {
      facts: [...facts, ['sections', count]],
    });
  }
  if (totalLength !== needed) {
    throw formatError('OVMF_METADATA_LENGTH', "the SEV metadata's length does not fit its section count", {
      facts: [
        ['at', offset + 4],
        ['length', totalLength],
        ['sections', count],
        ['expected', needed],
      ],
    });
  }
  const descriptors = dataView(source.read(offset + METADATA_HEADER_BYTES, DESCRIPTOR_BYTES * count));
  return Array.from({ length: count }, (_, i) => ({
    gpa: descriptors.getUint32(DESCRIPTOR_BYTES * i, true),
    sizeBytes: descriptors.getUint32(DESCRIPTOR_BYTES * i + 4, true),
    type: descriptors.getUint32(DESCRIPTOR_BYTES * i + 8, true),
  }));
}

/** @throws CvmError format OVMF_NO_RESET_BLOCK, or OVMF_RESET_ADDRESS when application processors would start at 0 */
export function requireResetEip(ovmf: Ovmf, vcpus: number): number {
  if (ovmf.resetEip === undefined) throw missing('OVMF_NO_RESET_BLOCK', 'SEV-ES reset block', ovmf);
  if (ovmf.resetEip === 0 && vcpus > 1) {
    throw formatError('OVMF_RESET_ADDRESS', 'the firmware names no start address for further vCPUs', {
      facts: [
        ['AP reset address', '0x0'],
        ['vCPUs', vcpus],
      ],
      mend: 'use a firmware built for SEV-ES, or one vCPU',
    });
  }
  return ovmf.resetEip;
}

/** @throws CvmError format OVMF_NO_HASH_TABLE */
export function requireHashTableBase(ovmf: Ovmf): number {
  if (ovmf.hashTable === undefined) {
    throw missing('OVMF_NO_HASH_TABLE', 'place for kernel hashes (SEV hash table entry)', ovmf);
  }
  return ovmf.hashTable.base;
}

/** @throws CvmError format OVMF_NO_SVSM_INFO */
export function requireSvsmLaunchOffset(ovmf: Ovmf): number {
  if (ovmf.svsmLaunchOffset === undefined) throw missing('OVMF_NO_SVSM_INFO', 'SVSM info entry', ovmf);
  return ovmf.svsmLaunchOffset;
}

/**
 * The sections, checked so that each can be measured.
 * @throws CvmError format OVMF_NO_METADATA | OVMF_SECTION_TYPE | OVMF_SECTION_ALIGNMENT | OVMF_SECTION_SIZE |
 *   OVMF_SECTION_BOUNDS
 */
export function requireSections(ovmf: Ovmf): readonly SevSection[] {
  if (ovmf.sections === undefined) throw missing('OVMF_NO_METADATA', 'SEV metadata', ovmf);
  let totalBytes = 0;
  for (const [index, section] of ovmf.sections.entries()) {
    const facts: Fact[] = [
      ['section', index],
      ['type', sectionName(section.type)],
      ['gpa', `0x${section.gpa.toString(16)}`],
      ['size', `0x${section.sizeBytes.toString(16)}`],
    ];
    if (!SECTION_NAMES.has(section.type)) {
      throw formatError('OVMF_SECTION_TYPE', 'the SEV metadata has a section of unknown type', { facts });
    }
    if (section.gpa % PAGE_BYTES !== 0) {
      throw formatError('OVMF_SECTION_ALIGNMENT', 'a SEV metadata section does not start at a page', {
        facts,
      });
    }
    if (hasPages(section.type)) {
      if (section.sizeBytes % PAGE_BYTES !== 0) {
        throw formatError('OVMF_SECTION_SIZE', 'a SEV metadata section ends inside a page', { facts });
      }
      totalBytes += section.sizeBytes;
    }
    // Without this a hostile table could ask for years of hashing: all of it has to lie below 4 GiB.
    if (section.gpa + section.sizeBytes > FOUR_GIB || totalBytes > FOUR_GIB) {
      throw formatError('OVMF_SECTION_BOUNDS', 'the SEV metadata sections do not fit below 4 GiB', { facts });
    }
  }
  return ovmf.sections;
}

/** SECRETS and CPUID are one page whatever their size says. */
function hasPages(type: number): boolean {
  return type !== SECTION_TYPES.secrets && type !== SECTION_TYPES.cpuid;
}

function missing(code: string, what: string, ovmf: Ovmf): CvmError {
  return formatError(code, `the firmware has no ${what}`, {
    facts: [
      ['firmware', `${ovmf.sizeBytes} bytes`],
      ['footer table entries', ovmf.table.length],
    ],
    mend: AMD_SEV_BUILD,
  });
}

function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
