import { bytesToHex } from '../bytes/hex.ts';
import { formatError, usageError } from '../errors.ts';
import { PAGE_BYTES } from './tdvf-descriptor.ts';
import type { TdvfSection } from './tdvf.ts';

/** From here on QEMU's q35 puts part of the memory above 4 GiB. */
export const HIGH_MEMORY_SPLIT_BYTES = 0xb000_0000;
/** What stays below 4 GiB then. */
export const LOW_MEMORY_BYTES = 0x8000_0000;
const FOUR_GIB = 0x1_0000_0000;

/** Memory below 4 GiB. */
export function lowMemoryBytes(memoryBytes: number): number {
  return memoryBytes >= HIGH_MEMORY_SPLIT_BYTES ? LOW_MEMORY_BYTES : memoryBytes;
}

/** EFI_RESOURCE_SYSTEM_MEMORY and EFI_RESOURCE_MEMORY_UNACCEPTED. */
const ACCEPTED = 0;
const UNACCEPTED = 7;

/** One resource descriptor: guest physical memory from `start`. */
export interface MemoryRange {
  readonly start: number;
  readonly length: number;
  readonly accepted: boolean;
}

const MEMORY_LIMIT_BYTES = 2 ** 52;

/** @throws CvmError usage MEMORY_SIZE: QEMU takes whole pages, and firmware needs some megabytes */
export function checkMemorySize(memoryBytes: number): void {
  if (
    Number.isSafeInteger(memoryBytes) &&
    memoryBytes % PAGE_BYTES === 0 &&
    memoryBytes > 0 &&
    memoryBytes < MEMORY_LIMIT_BYTES
  ) {
    return;
  }
  throw usageError('MEMORY_SIZE', 'the memory size is not a number of whole pages', {
    facts: [
      ['found', `${memoryBytes} bytes`],
      ['page', `${PAGE_BYTES} bytes`],
    ],
    mend: 'give it as QEMU gets it (-m): 2G, 4096M',
  });
}

/** TD_HOB and TEMP_MEM: what the TDX module accepts before the firmware starts. */
function acceptedSections(sections: readonly TdvfSection[]): TdvfSection[] {
  return sections.filter(({ type }) => type === 'TD_HOB' || type === 'TEMP_MEM');
}

/** @throws CvmError format TDVF_NO_TD_HOB */
export function tdHobSection(sections: readonly TdvfSection[]): TdvfSection {
  const hobs = sections.filter(({ type }) => type === 'TD_HOB');
  const [hob] = hobs;
  if (hob !== undefined && hobs.length === 1) return hob;
  throw formatError('TDVF_NO_TD_HOB', 'the firmware does not have exactly one TD_HOB section', {
    facts: [['TD_HOB sections', hobs.length]],
    mend: 'use an unmodified TDX firmware',
  });
}

/**
 * The memory that the VMM tells the firmware of, in the order of the HOB list: what the firmware uses at once is accepted,
 * the rest is not yet. The last range is split at the hole below 4 GiB.
 *
 * @param memoryBytes what QEMU gets with -m
 * @throws CvmError usage MEMORY_SIZE | MEMORY_TOO_SMALL; format TDVF_NO_TD_HOB
 */
export function memoryRanges(sections: readonly TdvfSection[], memoryBytes: number): MemoryRange[] {
  checkMemorySize(memoryBytes);
  tdHobSection(sections);
  let ranges: MemoryRange[] = [{ start: 0, length: memoryBytes, accepted: false }];
  for (const { address, sizeBytes } of acceptedSections(sections)) {
    if (sizeBytes === 0) continue;
    if (address + sizeBytes > lowMemoryBytes(memoryBytes)) {
      throw usageError('MEMORY_TOO_SMALL', 'the firmware needs more memory than there is', {
        facts: [
          ['memory', `0x${memoryBytes.toString(16)}`],
          ['section ends at', `0x${(address + sizeBytes).toString(16)}`],
        ],
        mend: 'give the memory in bytes or with a unit: 2G',
      });
    }
    ranges = accept(ranges, address, sizeBytes);
  }
  const last = ranges.pop();
  if (last === undefined) return [];
  const end = last.start + last.length;
  if (memoryBytes < HIGH_MEMORY_SPLIT_BYTES) return [...ranges, { ...last, accepted: false }];
  const low = { start: last.start, length: LOW_MEMORY_BYTES - last.start, accepted: false };
  const high = { start: FOUR_GIB, length: end - LOW_MEMORY_BYTES, accepted: false };
  return [...ranges, ...[low, high].filter(({ length }) => length > 0)];
}

/** Cuts [start, start + length) out of what is not accepted and adds it as a range of its own. */
function accept(ranges: readonly MemoryRange[], start: number, length: number): MemoryRange[] {
  const end = start + length;
  const kept = ranges.flatMap((range) => {
    const rangeEnd = range.start + range.length;
    if (range.accepted || rangeEnd <= start || range.start >= end) return [range];
    return [
      { start: range.start, length: start - range.start, accepted: false },
      { start: end, length: rangeEnd - end, accepted: false },
    ].filter((part) => part.length > 0);
  });
  kept.push({ start, length, accepted: true });
  return kept.sort((a, b) => a.start - b.start);
}

const HANDOFF_BYTES = 56;
const RESOURCE_BYTES = 48;
const END_BYTES = 8;
/** Present, initialised, tested. */
const RESOURCE_ATTRIBUTES = 7;

/**
 * The HOB list as QEMU lays it into the TD_HOB section, without the end mark, which is not measured. Little-endian:
 *
 *   handoff   u16 1, u16 56, u32 0, u32 version 9, u32 boot mode 0, 4 × u64 0, u64 address behind the end mark
 *   resource  u16 3, u16 48, u32 0, owner (16 zeros), u32 type, u32 attributes 7, u64 start, u64 length
 *
 * Types: 0 system memory (accepted), 7 unaccepted. Source: UEFI PI specification volume 3, section 5; QEMU
 * target/i386/kvm/tdx.c and hw/i386/tdvf-hob.c.
 *
 * @throws CvmError as {@link memoryRanges}
 */
export function tdHob(sections: readonly TdvfSection[], memoryBytes: number): Uint8Array {
  const ranges = memoryRanges(sections, memoryBytes);
  const bytes = new Uint8Array(HANDOFF_BYTES + RESOURCE_BYTES * ranges.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 1, true);
  view.setUint16(2, HANDOFF_BYTES, true);
  view.setUint32(8, 9, true);
  view.setBigUint64(48, BigInt(tdHobSection(sections).address + bytes.length + END_BYTES), true);
  for (const [index, range] of ranges.entries()) {
    const at = HANDOFF_BYTES + RESOURCE_BYTES * index;
    view.setUint16(at, 3, true);
    view.setUint16(at + 2, RESOURCE_BYTES, true);
    view.setUint32(at + 24, range.accepted ? ACCEPTED : UNACCEPTED, true);
    view.setUint32(at + 28, RESOURCE_ATTRIBUTES, true);
    view.setBigUint64(at + 32, BigInt(range.start), true);
    view.setBigUint64(at + 40, BigInt(range.length), true);
  }
  return bytes;
}

/**
 * What of the firmware the HOB list depends on, in few bytes: unsigned LEB128 numbers, in pages of 4 KiB.
 *
 *   base page, TD_HOB page − base, count, then for each accepted range by start: start − base, pages
 *
 * The base is the smallest start; ranges are not merged. Source: Dstack-TEE/dstack, measurement.tdx.cbor version 3.
 * @throws CvmError format TDVF_NO_TD_HOB | TD_HOB_WITNESS
 */
export function tdHobWitness(sections: readonly TdvfSection[]): Uint8Array {
  const hob = tdHobSection(sections);
  const accepted = acceptedSections(sections).sort((a, b) => a.address - b.address);
  const empty = accepted.find(({ sizeBytes }) => sizeBytes === 0);
  if (empty !== undefined) {
    throw formatError('TD_HOB_WITNESS', 'an accepted range of the firmware is empty', {
      facts: [['section', `${empty.type} at 0x${empty.address.toString(16)}`]],
      mend: 'take the section out of the firmware’s TDVF descriptor, or give it memory',
    });
  }
  const base = accepted[0]?.address ?? hob.address;
  const page = (bytes: number): number => bytes / PAGE_BYTES;
  return Uint8Array.from(
    [
      page(base),
      page(hob.address - base),
      accepted.length,
      ...accepted.flatMap(({ address, sizeBytes }) => [page(address - base), page(sizeBytes)]),
    ].flatMap(leb128),
  );
}

function leb128(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

/** Ranges of a witness: real firmware has four. */
const WITNESS_LIMIT = 64;
const WITNESS_LIMIT_BYTES = 4096;

/**
 * The sections behind a witness: TD_HOB and TEMP_MEM, by address.
 * @throws CvmError format TD_HOB_WITNESS
 */
export function readTdHobWitness(bytes: Uint8Array): TdvfSection[] {
  const numbers = bytes.length > WITNESS_LIMIT_BYTES ? undefined : readLeb128(bytes);
  const [base, hob, count, ...rest] = numbers ?? [];
  if (
    base === undefined ||
    hob === undefined ||
    count === undefined ||
    count > WITNESS_LIMIT ||
    rest.length !== 2 * count
  ) {
    throw witnessError(bytes, 'is not base, TD_HOB, count and so many ranges');
  }
  const sections = Array.from({ length: count }, (_, i) => {
    const start = rest[2 * i] as number;
    const pages = rest[2 * i + 1] as number;
    return range(start === hob ? 'TD_HOB' : 'TEMP_MEM', base + start, pages);
  });
  for (const [i, section] of sections.entries()) {
    const previous = sections[i - 1];
    const from = previous === undefined ? 0 : previous.address + previous.sizeBytes;
    if (
      section.sizeBytes === 0 ||
      section.address < from ||
      section.address + section.sizeBytes > MEMORY_LIMIT_BYTES
    ) {
      throw witnessError(bytes, 'has ranges that are empty, overlap or do not ascend');
    }
  }
  tdHobSection(sections);
  return sections;
}

function range(type: 'TD_HOB' | 'TEMP_MEM', page: number, pages: number): TdvfSection {
  const address = page * PAGE_BYTES;
  return {
    type,
    dataOffset: 0,
    rawBytes: 0,
    address,
    sizeBytes: pages * PAGE_BYTES,
    extends: false,
    augmented: false,
  };
}

/** undefined when the bytes are not whole numbers below 2^40, each in its shortest form. */
function readLeb128(bytes: Uint8Array): number[] | undefined {
  const numbers: number[] = [];
  let value = 0;
  let scale = 1;
  for (const byte of bytes) {
    value += (byte & 0x7f) * scale;
    if (value >= 2 ** 40) return undefined;
    if ((byte & 0x80) !== 0) {
      scale *= 0x80;
      if (scale > 2 ** 42) return undefined;
      continue;
    }
    if (byte === 0 && scale > 1) return undefined;
    numbers.push(value);
    value = 0;
    scale = 1;
  }
  return scale === 1 ? numbers : undefined;
}

function witnessError(witness: Uint8Array, problem: string): Error {
  return formatError('TD_HOB_WITNESS', `the TD HOB witness ${problem}`, {
    facts: [['witness', bytesToHex(witness.subarray(0, 64))]],
    mend: 'the document is of another version, or damaged: take it from its bundle',
  });
}
