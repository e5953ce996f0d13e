import { writeU32, writeU8 } from '../bytes/little-endian.ts';
import { IGVM_PAGE_BYTES, type IgvmHeader, type PageData } from '../igvm/model.ts';

/** A range of guest memory below 4 GiB that SVSM accepts on the firmware's behalf. */
export interface Prevalidated {
  readonly base: number;
  readonly sizeBytes: number;
}

/** The parameter block has room for so many. */
export const PREVALIDATED_MAX = 8;

/** What the SVSM is told about the guest firmware; addresses are below 4 GiB. */
export interface FirmwareInfo {
  readonly start: number;
  readonly sizeBytes: number;
  /** Whether it lies in low memory, as Hyper-V's does, instead of below 4 GiB. */
  readonly inLowMemory: boolean;
  readonly secrets: number;
  readonly caa: number;
  readonly cpuid: number;
  readonly memoryMap: Prevalidated;
  readonly memoryMapPrevalidated: boolean;
  readonly prevalidated: readonly Prevalidated[];
}

/** Guest firmware as it goes into an image. */
export interface Firmware {
  readonly info: FirmwareInfo;
  /** Parameter areas with their parameters, which stand before all pages. */
  readonly parameters: readonly IgvmHeader[];
  readonly pages: readonly PageData[];
  /** 184 bytes: the registers that the guest starts with, where they are not those of a reset. */
  readonly guestContext: Uint8Array | undefined;
  /** Virtual top of memory; 0: none. */
  readonly vtom: number;
}

const NO_RANGE: Prevalidated = { base: 0, sizeBytes: 0 };

export const NO_FIRMWARE_INFO: FirmwareInfo = {
  start: 0,
  sizeBytes: 0,
  inLowMemory: false,
  secrets: 0,
  caa: 0,
  cpuid: 0,
  memoryMap: NO_RANGE,
  memoryMapPrevalidated: false,
  prevalidated: [],
};

/**
 * The firmware part of the stage2 parameter block, 104 bytes: u32 start, u32 size, u8 in_low_memory, 7 zero, u32 secrets,
 * CAA, CPUID, memory map page, its page count, count, 8 × {u32 base, u32 size}.
 */
export function stage2FirmwareInfo(info: FirmwareInfo): Uint8Array {
  const bytes = new Uint8Array(104);
  writeU32(bytes, 0, info.start);
  writeU32(bytes, 4, info.sizeBytes);
  writeU8(bytes, 8, info.inLowMemory ? 1 : 0);
  writeU32(bytes, 16, info.secrets);
  writeU32(bytes, 20, info.caa);
  writeU32(bytes, 24, info.cpuid);
  writeU32(bytes, 28, info.memoryMap.base / IGVM_PAGE_BYTES);
  writeU32(bytes, 32, Math.min(0xffff_ffff, Math.ceil(info.memoryMap.sizeBytes / IGVM_PAGE_BYTES)));
  writePrevalidated(bytes, 36, info.prevalidated);
  return bytes;
}

/**
 * The firmware part of the bldr parameter block, 112 bytes: u32 start, u32 size, u64 vTOM, u8 in_low_memory,
 * u8 memory_map_prevalidated, 6 zero, u32 secrets, CAA, CPUID, memory map address, its bytes, count, 8 × {u32 base, u32 size}.
 */
export function bldrFirmwareInfo(info: FirmwareInfo, vtom: number): Uint8Array {
  const bytes = new Uint8Array(112);
  writeU32(bytes, 0, info.start);
  writeU32(bytes, 4, info.sizeBytes);
  writeU32(bytes, 8, vtom);
  writeU32(bytes, 12, Math.floor(vtom / 2 ** 32));
  writeU8(bytes, 16, info.inLowMemory ? 1 : 0);
  writeU8(bytes, 17, info.memoryMapPrevalidated ? 1 : 0);
  writeU32(bytes, 24, info.secrets);
  writeU32(bytes, 28, info.caa);
  writeU32(bytes, 32, info.cpuid);
  writeU32(bytes, 36, info.memoryMap.base);
  writeU32(bytes, 40, Math.min(0xffff_ffff, info.memoryMap.sizeBytes));
  writePrevalidated(bytes, 44, info.prevalidated);
  return bytes;
}

function writePrevalidated(bytes: Uint8Array, at: number, ranges: readonly Prevalidated[]): void {
  writeU32(bytes, at, ranges.length);
  for (const [i, { base, sizeBytes }] of ranges.entries()) {
    writeU32(bytes, at + 4 + 8 * i, base);
    writeU32(bytes, at + 8 + 8 * i, sizeBytes);
  }
}
