import { readU32 } from '../bytes/little-endian.ts';
import { sliceSource, type ByteSource } from '../bytes/source.ts';
import { rawFromBytes } from '../bytes/text.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { IGVM_PAGE_BYTES } from '../igvm/model.ts';
import { OVMF_GUIDS, parseOvmf, SECTION_TYPES, type FooterEntry, type Ovmf } from '../snp/ovmf.ts';
import {
  NO_FIRMWARE_INFO,
  PREVALIDATED_MAX,
  type Firmware,
  type FirmwareInfo,
  type Prevalidated,
} from './firmware.ts';
import { FOUR_GIB, MASKS } from './image-input.ts';
import type { Generation } from './layouts.ts';
import { dataPages } from './pages.ts';

/** Entries of the footer table that only an SVSM's builder reads. */
const GUIDS = {
  resetVector: '813d7b2c-9558-4d88-8b31-1427a85abe69',
  tdxMetadata: 'e47a6535-984a-4798-865e-4685a7bf8ec2',
  igvmMetadata: '784fa70e-3176-4677-8a20-04b68699e374',
} as const;

/** Where the flash of a PC may lie: [3 GiB, 4 GiB). */
const FLASH_BASE = 3 * 2 ** 30;

/** Types of the entries of IGVM metadata. */
const IGVM_METADATA = { parameterArea: 0x100, memoryMap: 0x101, hobArea: 0x200 } as const;

const METADATA_HEADER_BYTES = 16;

const MEND = 'use an OVMF build that COCONUT-SVSM documents';

/**
 * OVMF as igvmbuilder puts it into an image: it ends at 4 GiB, or where its reset vector says, is there for SEV-SNP and
 * native guests, or for those whose bits its reset vector names, and tells in its SEV metadata which memory it wants accepted.
 *
 * @param mask the platforms of the image
 * @throws CvmError format OVMF_*, IMAGE_FIRMWARE_*
 */
export function ovmfFirmware(firmware: ByteSource, generation: Generation, mask: number): Firmware {
  const ovmf = parseOvmf(firmware);
  if (ovmf.sizeBytes % IGVM_PAGE_BYTES !== 0) {
    throw formatError('OVMF_SIZE', 'the firmware is not whole pages', {
      facts: [['size', `${ovmf.sizeBytes} bytes`]],
      mend: 'give the one file OVMF.fd, whole; OVMF_CODE.fd and OVMF_VARS.fd are halves of it',
    });
  }
  const place = placeOf(ovmf, mask);
  const info = new Info(generation, { ...NO_FIRMWARE_INFO, start: place.start, sizeBytes: ovmf.sizeBytes });
  for (const entry of ovmf.table) readEntry(ovmf, firmware, entry, generation, info);
  return {
    info: info.finish(),
    parameters: [],
    pages: dataPages(place.start, firmware.read(0, ovmf.sizeBytes), place.mask),
    guestContext: undefined,
    vtom: 0,
  };
}

function placeOf({ table, sizeBytes, loadGpa }: Ovmf, mask: number): { start: number; mask: number } {
  const vector = table.filter(({ guid }) => guid === GUIDS.resetVector);
  const [entry, second] = vector;
  if (second !== undefined) {
    throw formatError('OVMF_ENTRY_DUPLICATE', 'the footer table has two reset vector entries', {
      facts: [['GUID', GUIDS.resetVector]],
      mend: MEND,
    });
  }
  const facts: Fact[] = [['firmware', `${sizeBytes} bytes`]];
  let start = loadGpa;
  let fits = mask & (MASKS.snp | MASKS.native);
  if (entry !== undefined) {
    if (entry.data.length !== 8) {
      throw formatError('OVMF_ENTRY_DATA', 'the reset vector entry is not 8 bytes long', {
        facts: [
          ['at', entry.offset],
          ['data', `${entry.data.length} bytes`],
        ],
        mend: MEND,
      });
    }
    const vectorGpa = readU32(entry.data, 0);
    start = vectorGpa - sizeBytes + 16;
    fits = readU32(entry.data, 4);
    facts.push(['reset vector', hex(vectorGpa)], ['platform bits', hex(fits)]);
  }
  if (start < FLASH_BASE || start + sizeBytes > FOUR_GIB || start % IGVM_PAGE_BYTES !== 0) {
    throw formatError('IMAGE_FIRMWARE_PLACE', 'the firmware does not lie in the flash below 4 GiB', {
      facts: [...facts, ['start', `${start < 0 ? '-' : ''}${hex(Math.abs(start))}`]],
      mend: 'use an OVMF build whose reset vector is at the end of its image',
    });
  }
  if ((fits & mask) === 0) {
    throw formatError('IMAGE_FIRMWARE_PLATFORMS', 'the firmware is for none of the platforms of the image', {
      facts: [...facts, ['bits of the image', hex(mask)]],
      mend: 'add a platform that the firmware is for, or build without firmware',
    });
  }
  return { start, mask: fits };
}

function readEntry(
  ovmf: Ovmf,
  firmware: ByteSource,
  entry: FooterEntry,
  generation: Generation,
  info: Info,
): void {
  if (entry.guid === OVMF_GUIDS.sevMetadata) {
    for (const { type, gpa, sizeBytes } of ovmf.sections ?? []) info.section(type, gpa, sizeBytes);
  } else if (generation === 'bldr' && entry.guid === GUIDS.tdxMetadata) {
    // Only looked at, as by upstream: nothing of it is used.
    metadata(firmware, entry, 'TDVF', 32);
  } else if (generation === 'bldr' && entry.guid === GUIDS.igvmMetadata) {
    let area: Prevalidated | undefined;
    for (const item of metadata(firmware, entry, 'IGVM', 12)) {
      const range: Prevalidated = { base: readU32(item, 0), sizeBytes: readU32(item, 4) };
      const type = readU32(item, 8);
      if (type === IGVM_METADATA.parameterArea) {
        if (area !== undefined) throw igvmMetadataError('two parameter areas', entry);
        area = range;
        info.prevalidate(range);
      } else if (type === IGVM_METADATA.hobArea) {
        info.prevalidate(range);
      } else if (type === IGVM_METADATA.memoryMap) {
        info.memoryMap(area, range, entry);
      }
    }
  }
}

/**
 * The entries of a metadata block: the table's entry holds its distance from the end of the file; it starts with
 * u32 signature, u32 length, u32 version, u32 count.
 */
function metadata(
  firmware: ByteSource,
  { data, offset, guid }: FooterEntry,
  signature: string,
  entryBytes: number,
): Uint8Array[] {
  const facts: Fact[] = [
    ['GUID', guid],
    ['at', offset],
  ];
  if (data.length !== 4) {
    throw formatError('OVMF_ENTRY_DATA', `the entry of ${signature} metadata is not 4 bytes long`, {
      facts: [...facts, ['data', `${data.length} bytes`]],
      mend: MEND,
    });
  }
  const distance = readU32(data, 0);
  const at = firmware.sizeBytes - distance;
  if (at < 0 || distance < METADATA_HEADER_BYTES) {
    throw formatError('OVMF_METADATA_BOUNDS', `the ${signature} metadata lies outside the image`, {
      facts: [...facts, ['distance from the end', distance]],
      mend: MEND,
    });
  }
  const header = firmware.read(at, METADATA_HEADER_BYTES);
  if (rawFromBytes(header.subarray(0, 4)) !== signature) {
    throw formatError('OVMF_METADATA_SIGNATURE', `the ${signature} metadata does not start with its name`, {
      facts: [...facts, ['looked at', at]],
      mend: MEND,
    });
  }
  const count = readU32(header, 12);
  if (METADATA_HEADER_BYTES + count * entryBytes > distance) {
    throw formatError(
      'OVMF_METADATA_BOUNDS',
      `the ${signature} metadata counts more entries than there are`,
      {
        facts: [...facts, ['entries', count]],
        mend: MEND,
      },
    );
  }
  const all = sliceSource(firmware, at + METADATA_HEADER_BYTES, count * entryBytes);
  return Array.from({ length: count }, (_, i) => all.read(i * entryBytes, entryBytes));
}

/** Collects what the firmware says of itself. */
class Info {
  readonly #generation: Generation;
  #info: FirmwareInfo;
  readonly #ranges: Prevalidated[] = [];

  constructor(generation: Generation, info: FirmwareInfo) {
    this.#generation = generation;
    this.#info = info;
  }

  section(type: number, gpa: number, sizeBytes: number): void {
    switch (type) {
      case SECTION_TYPES.secMem:
      case SECTION_TYPES.kernelHashes:
        this.prevalidate({ base: gpa, sizeBytes });
        break;
      case SECTION_TYPES.secrets:
        this.#info = { ...this.#info, secrets: gpa };
        break;
      case SECTION_TYPES.cpuid:
        this.#info = { ...this.#info, cpuid: gpa };
        break;
      case SECTION_TYPES.svsmCaa:
        this.#info = { ...this.#info, caa: gpa };
        break;
      default:
      // Other firmware's business.
    }
  }

  /** Builders of the bldr generation join a range to the first one that it touches. */
  prevalidate(range: Prevalidated): void {
    const touching =
      this.#generation === 'stage2' ? -1 : this.#ranges.findIndex((other) => touches(other, range));
    const other = this.#ranges[touching];
    if (other !== undefined) {
      const base = Math.min(other.base, range.base);
      const end = Math.max(endOf(other), endOf(range));
      if (end - base >= FOUR_GIB) throw this.#rangeError('two ranges together are 4 GiB long', range);
      this.#ranges[touching] = { base, sizeBytes: end - base };
    } else if (this.#ranges.length === PREVALIDATED_MAX) {
      throw this.#rangeError(`the firmware names more than ${PREVALIDATED_MAX} ranges`, range);
    } else {
      this.#ranges.push(range);
    }
  }

  memoryMap(area: Prevalidated | undefined, range: Prevalidated, entry: FooterEntry): void {
    if (area === undefined) throw igvmMetadataError('a memory map before its parameter area', entry);
    const memoryMap = { base: area.base + range.base, sizeBytes: range.sizeBytes };
    if (memoryMap.base >= FOUR_GIB || endOf(memoryMap) > endOf(area))
      throw igvmMetadataError('a memory map outside its parameter area', entry);
    this.#info = { ...this.#info, memoryMap, memoryMapPrevalidated: true };
  }

  finish(): FirmwareInfo {
    for (const [i, range] of this.#ranges.entries()) {
      if (this.#generation === 'stage2') break;
      const before = this.#ranges
        .slice(0, i)
        .find((other) => other.base < endOf(range) && endOf(other) > range.base);
      if (before !== undefined) throw this.#rangeError('two ranges of the firmware overlap', range);
    }
    return { ...this.#info, prevalidated: this.#ranges };
  }

  #rangeError(message: string, range: Prevalidated): CvmError {
    return formatError('IMAGE_FIRMWARE_RANGES', `memory that the firmware wants accepted: ${message}`, {
      facts: [
        ['range', `${hex(range.base)}, ${hex(range.sizeBytes)} bytes`],
        [
          'ranges before it',
          this.#ranges.map(({ base, sizeBytes }) => `${hex(base)}+${hex(sizeBytes)}`).join(' ') || 'none',
        ],
      ],
      mend: MEND,
    });
  }
}

const endOf = ({ base, sizeBytes }: Prevalidated): number => base + sizeBytes;

function touches(a: Prevalidated, b: Prevalidated): boolean {
  return a.base <= endOf(b) && endOf(a) >= b.base;
}

function igvmMetadataError(what: string, { guid, offset }: FooterEntry): CvmError {
  return formatError('IMAGE_FIRMWARE_IGVM_METADATA', `the IGVM metadata of the firmware has ${what}`, {
    facts: [
      ['GUID', guid],
      ['at', offset],
    ],
    mend: MEND,
  });
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
