import { writeU16, writeU32, writeU64, writeU8 } from '../bytes/little-endian.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { IGVM_PAGE_BYTES, PAGE_DATA_TYPES, type IgvmHeader, type PageData } from '../igvm/model.ts';
import { buildBootImage, type BootImage } from './boot-image.ts';
import { cpuidPage } from './cpuid-page.ts';
import {
  bldrFirmwareInfo,
  NO_FIRMWARE_INFO,
  type Firmware,
  type FirmwareInfo,
  type Prevalidated,
} from './firmware.ts';
import {
  FOUR_GIB,
  HYPERV_VTOM,
  maskOfPlatforms,
  MASKS,
  SERIAL_PORTS,
  type ImageOptions,
  type ImageParts,
} from './image-input.ts';
import { KERNEL_MIN_BYTES, requiredMemory } from './kernel-memory.ts';
import { dataPages, emptyPages, page, partBytes, roundToPages, stackPage } from './pages.ts';
import { startState } from './start-state.ts';

const P = IGVM_PAGE_BYTES;

/** Places of boot/defs/src/kernel_launch.rs (f4bc4bcd). */
const LOADER_GPA = 0x10000;
const LOADER_STACK_BYTES = 6 * P;
const PAGE_TABLE_PAGES = 4;
const FS_GPA = 0x80_0000;

const LOADER_INFO_BYTES = 88;
const PARAMETER_BLOCK_BYTES = 168;

/** The loader's tables are there for every platform. */
const ANY = MASKS.snp | MASKS.native | MASKS.tdp | MASKS.vsm;

/** Indices of parameter areas; firmware's own come after. */
const AREA = { general: 0, memoryMap: 1, madt: 2, deviceTree: 3 } as const;
export const BLDR_AREAS = 4;

/** Behind the 16-bit entry of further processors comes the one of the boot processor, and of theirs in 32-bit mode. */
const ENTRY_BYTES = 2;

/** Where the loader's memory is; all zero without a loader. */
interface LoaderPlaces {
  readonly start: number;
  readonly stack: number;
  readonly tables: number;
  readonly cpuid: number;
  readonly end: number;
}

/**
 * Directives of an image whose boot processor starts in bldr, in the order in which igvmbuilder of f4bc4bcd makes them.
 *
 *   0x10000       bldr, its stack, page tables, CPUID page
 *   0x800000      file system
 *   kernel region the SVSM kernel as it will run, with everything it starts with
 *   below 4 GiB   firmware, tdx-stage1
 *
 * @throws CvmError format IMAGE_*, ELF_*
 */
export function bldrDirectives(
  options: ImageOptions,
  parts: ImageParts,
  firmware: Firmware | undefined,
): IgvmHeader[] {
  const all = maskOfPlatforms(options.platforms);
  const has = (mask: number): boolean => (all & mask) !== 0;
  const region = options.layout.kernelRegion[options.hypervisor];
  const regionGpa = Number(region.base);
  const vtom = firmware?.vtom ?? (options.hypervisor === 'hyper-v' ? HYPERV_VTOM : 0);
  const fs = parts.fs === undefined ? undefined : partBytes(parts.fs, 'the file-system image');
  const loader = parts.loader === undefined ? undefined : partBytes(parts.loader, 'bldr');
  const places = placeLoader(loader);
  checkPlaces(options, places, firmware, regionGpa, Number(region.maxBytes), vtom);

  const layout = parameterLayout(firmware?.guestContext !== undefined);
  const vmsaInKernel = options.hypervisor === 'hyper-v';
  const image = buildBootImage({
    kernel: parts.kernel,
    regionGpa,
    regionBytes: KERNEL_MIN_BYTES,
    fs: { start: FS_GPA, end: FS_GPA + (fs?.length ?? 0) },
    loader: { start: places.start, end: places.end, stack: places.stack },
    vtom,
    serialPort: SERIAL_PORTS[options.comport],
    vmsaInKernel,
    block: parameterBlock(options, layout, finalInfo(firmware, places), firmware?.vtom ?? 0),
    parameterBytes: layout.bytes,
    mask: all,
  });
  const rsp = places.tables - LOADER_INFO_BYTES;
  const start = startState(options, {
    ...(loader === undefined
      ? { rip: image.entry, rsp: image.stackTop, cr3: 0n, longMode: true }
      : {
          rip: BigInt(places.start + ENTRY_BYTES),
          rsp: BigInt(rsp),
          cr3: BigInt(rootGpa(places)),
          longMode: false,
        }),
    vtom: options.noVtom ? 0 : vtom,
    vtl: firmware === undefined ? 0 : 2,
  });
  return [
    ...requiredMemory(regionGpa, all),
    ...image.pages,
    ...(loader === undefined ? [] : loaderPages(loader, places, image, all)),
    ...(firmware?.parameters ?? []),
    ...(firmware?.pages ?? []),
    ...(firmware?.guestContext === undefined
      ? []
      : dataPages(image.parametersGpa + layout.guestContext, firmware.guestContext, all)),
    ...parameters(layout, image.parametersGpa, all),
    ...start.vmsa,
    ...start.vbs,
    ...start.native,
    ...(has(MASKS.tdp) ? [stage1Page(parts, places.start + ENTRY_BYTES, rsp)] : []),
    ...(fs === undefined ? [] : dataPages(FS_GPA, fs, all)),
    ...(has(MASKS.snp)
      ? [
          page(
            loader === undefined ? image.cpuidGpa : places.cpuid,
            MASKS.snp,
            cpuidPage('bldr'),
            PAGE_DATA_TYPES.CPUID_DATA,
          ),
          page(image.secretsGpa, MASKS.snp, undefined, PAGE_DATA_TYPES.SECRETS),
        ]
      : []),
    // The loader copies no CPUID page where there is none: an empty one stands in the kernel's place.
    ...(has(MASKS.tdp) ? [page(image.cpuidGpa, MASKS.tdp), page(image.secretsGpa, MASKS.tdp)] : []),
  ];
}

function placeLoader(loader: Uint8Array | undefined): LoaderPlaces {
  if (loader === undefined) return { start: 0, stack: 0, tables: 0, cpuid: 0, end: 0 };
  const stack = LOADER_GPA + roundToPages(loader.length);
  const tables = stack + LOADER_STACK_BYTES;
  const cpuid = tables + PAGE_TABLE_PAGES * P;
  return { start: LOADER_GPA, stack, tables, cpuid, end: cpuid + P };
}

const rootGpa = ({ tables }: LoaderPlaces): number => tables + (PAGE_TABLE_PAGES - 1) * P;

function checkPlaces(
  options: ImageOptions,
  places: LoaderPlaces,
  firmware: Firmware | undefined,
  regionGpa: number,
  regionBytes: number,
  vtom: number,
): void {
  const has = (platform: 'snp' | 'tdp'): boolean => options.platforms.includes(platform);
  if (places.end === 0 && (has('tdp') || (has('snp') && vtom === 0))) {
    throw formatError('IMAGE_PART_MISSING', 'an image of these platforms needs bldr', {
      facts: [['platforms', options.platforms.join(', ')]],
      mend: 'give the component bldr: without it only hyper-v starts, and not with tdp',
    });
  }
  const overlap = (what: string, facts: readonly Fact[]): CvmError =>
    formatError('IMAGE_OVERLAP', `${what} overlap in guest memory`, {
      facts,
      mend: 'make the larger of the two smaller, or use the layout that the SVSM was built for',
    });
  const range = (start: number, bytes: number): string => `${hex(start)} to ${hex(start + bytes)}`;
  if (places.end > FS_GPA) {
    throw overlap('bldr and the file system', [
      ['bldr and its memory', range(places.start, places.end - places.start)],
      ['file system', hex(FS_GPA)],
    ]);
  }
  if (firmware === undefined) return;
  const { start, sizeBytes } = firmware.info;
  const facts: Fact[] = [['firmware', range(start, sizeBytes)]];
  if (start < regionGpa + regionBytes && start + sizeBytes > regionGpa)
    throw overlap('firmware and kernel region', [...facts, ['kernel region', range(regionGpa, regionBytes)]]);
  if (places.end > start) throw overlap('bldr and firmware', [...facts, ['bldr ends at', hex(places.end)]]);
}

/** What Hyper-V's firmware finds accepted: all low memory but the loader's. OVMF says so itself. */
function finalInfo(firmware: Firmware | undefined, places: LoaderPlaces): FirmwareInfo {
  if (firmware === undefined) return NO_FIRMWARE_INFO;
  const { info } = firmware;
  if (!info.inLowMemory) return info;
  const prevalidated: Prevalidated[] =
    places.end === 0
      ? [{ base: 0, sizeBytes: info.start }]
      : [
          { base: 0, sizeBytes: places.start },
          { base: places.end, sizeBytes: info.start - places.end },
        ];
  return { ...info, prevalidated };
}

/** Offsets in the parameter area, whose first page is the parameter block; a guest context comes behind it. */
interface ParameterLayout {
  readonly guestContext: number;
  readonly general: number;
  readonly madt: number;
  readonly memoryMap: number;
  readonly deviceTree: number;
  readonly bytes: number;
}

function parameterLayout(hasGuestContext: boolean): ParameterLayout {
  const general = hasGuestContext ? 2 * P : P;
  return {
    guestContext: hasGuestContext ? P : 0,
    general,
    madt: general + P,
    memoryMap: general + 2 * P,
    deviceTree: general + 3 * P,
    bytes: general + 4 * P,
  };
}

/**
 * The parameter block, 168 bytes; offsets are relative to it.
 *
 *   0 u32 size of the parameter area   4 general   8 MADT, 12 its size   16 device tree, 20 its size   24 memory map
 *   28 guest context   32 u16 serial port   34 u8 alternate injection   35 u8 QEMU's test device   36 u8 test requests
 *   37 u8 VMSA in the kernel region   40 firmware (112)   152 u64 kernel base   160 u32 least size   164 u32 largest size
 */
function parameterBlock(
  options: ImageOptions,
  layout: ParameterLayout,
  info: FirmwareInfo,
  firmwareVtom: number,
): Uint8Array {
  const { hypervisor, comport } = options;
  const region = options.layout.kernelRegion[hypervisor];
  const bytes = new Uint8Array(PARAMETER_BLOCK_BYTES);
  const words = [
    layout.bytes,
    layout.general,
    layout.madt,
    P,
    layout.deviceTree,
    P,
    layout.memoryMap,
    layout.guestContext,
  ];
  for (const [i, word] of words.entries()) writeU32(bytes, 4 * i, word);
  writeU16(bytes, 32, SERIAL_PORTS[comport]);
  writeU8(bytes, 35, hypervisor === 'hyper-v' ? 0 : 1);
  writeU8(bytes, 36, hypervisor === 'qemu' ? 1 : 0);
  writeU8(bytes, 37, hypervisor === 'hyper-v' ? 1 : 0);
  bytes.set(bldrFirmwareInfo(info, firmwareVtom), 40);
  writeU64(bytes, 152, region.base);
  writeU32(bytes, 160, KERNEL_MIN_BYTES);
  writeU32(bytes, 164, Number(region.maxBytes));
  return bytes;
}

function parameters(layout: ParameterLayout, gpa: number, mask: number): IgvmHeader[] {
  const order = ['memoryMap', 'madt', 'deviceTree', 'general'] as const;
  return [
    ...order.map((name): IgvmHeader => ({
      kind: 'parameter-area',
      sizeBytes: P,
      index: AREA[name],
      data: undefined,
    })),
    { kind: 'parameter', parameter: 'VP_COUNT', index: AREA.general, byteOffset: 0 },
    { kind: 'parameter', parameter: 'ENVIRONMENT_INFO', index: AREA.general, byteOffset: 4 },
    { kind: 'parameter', parameter: 'MADT', index: AREA.madt, byteOffset: 0 },
    { kind: 'parameter', parameter: 'DEVICE_TREE', index: AREA.deviceTree, byteOffset: 0 },
    { kind: 'parameter', parameter: 'MEMORY_MAP', index: AREA.memoryMap, byteOffset: 0 },
    ...order.map((name): IgvmHeader => ({
      kind: 'parameter-insert',
      gpa: gpa + layout[name],
      mask,
      index: AREA[name],
    })),
  ];
}

function loaderPages(loader: Uint8Array, places: LoaderPlaces, image: BootImage, all: number): PageData[] {
  return [
    ...dataPages(places.start, loader, all),
    ...pageTables(places),
    stackPage(places.tables - P, all, loaderInfo(places, image)),
    ...emptyPages(places.stack, LOADER_STACK_BYTES - P, all),
  ];
}

/**
 * What bldr finds at the top of its stack, 88 bytes: 7 u64 (page directory pointers, launch information, entry and stack of
 * the kernel, root of its tables and their pages, 4 GiB as the place for mappings), 8 u32 (bldr's tables, their end, their
 * root, CPUID page, platform and C-bit to be filled in, the root's entry for the kernel, the stack's base).
 */
function loaderInfo(places: LoaderPlaces, { tables, launchInfo, entry, stackTop }: BootImage): Uint8Array {
  const bytes = new Uint8Array(LOADER_INFO_BYTES);
  const longs: readonly (number | bigint)[] = [
    tables.pointersGpa,
    launchInfo,
    entry,
    stackTop,
    tables.rootGpa,
    tables.pages,
    FOUR_GIB,
  ];
  for (const [i, value] of longs.entries()) writeU64(bytes, 8 * i, BigInt(value));
  const words = [
    places.tables,
    places.tables + PAGE_TABLE_PAGES * P,
    rootGpa(places),
    places.cpuid,
    0,
    0,
    tables.rootIndex,
    places.stack,
  ];
  for (const [i, word] of words.entries()) writeU32(bytes, 56 + 4 * i, word);
  return bytes;
}

/** The low 4 GiB mapped to themselves, and above them room for 2 MiB of small pages; the root comes last. */
function pageTables({ tables }: LoaderPlaces): PageData[] {
  const contents = Array.from({ length: PAGE_TABLE_PAGES }, () => new Uint8Array(P));
  const [, small, directory, root] = contents as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  const entry = (table: number): bigint => BigInt(tables + table * P) | 0x63n;
  writeU64(root, 0, entry(2));
  for (let i = 0; i < 4; i++) writeU64(directory, 8 * i, 0xe3n | (BigInt(i) << 30n));
  writeU64(directory, 32, entry(1));
  writeU64(small, 0, entry(0));
  return contents.map((bytes, i) => page(tables + i * P, ANY, bytes));
}

/** stage1 is one page below 4 GiB, whose first words say where to go: u32 0, RIP, RSP, RIP of further processors. */
function stage1Page({ stage1 }: ImageParts, rip: number, rsp: number): PageData {
  if (stage1 === undefined) {
    throw formatError('IMAGE_PART_MISSING', 'an image for tdp needs tdx-stage1', {
      facts: [['part', 'tdx-stage1']],
      mend: 'give the component tdx-stage1, or leave tdp out',
    });
  }
  const bytes = partBytes(stage1, 'tdx-stage1').slice();
  if (bytes.length !== P) {
    throw formatError('IMAGE_STAGE1_SIZE', 'tdx-stage1 is not exactly one page', {
      facts: [['size', `${bytes.length} bytes`]],
      mend: 'give the flat binary that objcopy -O binary made of stage1',
    });
  }
  for (const [i, word] of [0, rip, rsp, rip + ENTRY_BYTES].entries()) writeU32(bytes, 4 * i, word);
  return page(FOUR_GIB - P, MASKS.tdp, bytes);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
