import { writeU16, writeU32, writeU64, writeU8 } from '../bytes/little-endian.ts';
import { formatError } from '../errors.ts';
import { IGVM_PAGE_BYTES, PAGE_DATA_TYPES, type IgvmHeader, type PageData } from '../igvm/model.ts';
import { cpuidPage } from './cpuid-page.ts';
import { NO_FIRMWARE_INFO, stage2FirmwareInfo, type Firmware } from './firmware.ts';
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
import { SIPI_STUB_GPA, sipiStub } from './sipi-stub.ts';
import { startState } from './start-state.ts';

/** Native and VSM share their pages, whichever of the two an image has. */
const ANY_NATIVE = MASKS.native | MASKS.vsm;

const P = IGVM_PAGE_BYTES;

/** Places that stage2 is linked for (bootlib/src/kernel_launch.rs of 76aede89). */
const PAGE_TABLES_GPA = 0x10000;
const STAGE2_AREA_GPA = 0x80_0000;
const STACK_GPA = 0x80_5000;
const SECRETS_GPA = 0x80_6000;
const CPUID_GPA = 0x80_7000;
const STAGE2_GPA = 0x80_8000;

const STACK_INFO_BYTES = 48;
const PARAMETER_BLOCK_BYTES = 180;

/** Indices of parameter areas; firmware's own come after. */
const AREA = { general: 0, memoryMap: 1, madt: 2 } as const;
export const STAGE2_AREAS = 3;

/** What SVSM calls the platforms in its launch information. */
const PLATFORM_NUMBERS = { native: 0, snp: 1, tdp: 2 } as const;

/** Where everything is. */
interface Places {
  readonly stage2End: number;
  readonly kernel: number;
  readonly kernelEnd: number;
  readonly fs: number;
  readonly fsEnd: number;
  readonly block: number;
  readonly general: number;
  readonly madt: number;
  readonly madtBytes: number;
  readonly memoryMap: number;
  readonly guestContext: number;
  readonly stage1: number;
  readonly stage1Bytes: number;
}

/**
 * Directives of an image whose boot processor starts in stage2, in the order in which igvmbuilder of 76aede89 makes them.
 *
 *   0xf000          SIPI stub, 0x10000 page tables (native, vsm)
 *   0x800000        5 empty pages, stage2's stack, secrets page, CPUID page
 *   0x808000        stage2, kernel ELF, file system, parameter block, parameters
 *   below 4 GiB     firmware, tdx-stage1
 *
 * @throws CvmError format IMAGE_*
 */
export function stage2Directives(
  options: ImageOptions,
  parts: ImageParts,
  firmware: Firmware | undefined,
): IgvmHeader[] {
  if (parts.loader === undefined) {
    throw formatError('IMAGE_PART_MISSING', 'an image of this layout needs stage2', {
      facts: [['layout', options.layout.name]],
      mend: 'give the component stage2',
    });
  }
  const stage2 = partBytes(parts.loader, 'stage2');
  const kernel = partBytes(parts.kernel, 'svsm');
  const fs = parts.fs === undefined ? undefined : partBytes(parts.fs, 'the file-system image');
  const stage1 = parts.stage1 === undefined ? undefined : partBytes(parts.stage1, 'tdx-stage1');
  const places = placeParts(options, firmware, stage2, kernel, fs, stage1);
  const all = maskOfPlatforms(options.platforms);
  const has = (mask: number): boolean => (all & mask) !== 0;
  const vtom = firmware?.vtom ?? (options.hypervisor === 'hyper-v' ? HYPERV_VTOM : 0);
  const start = startState(options, {
    rip: BigInt(STAGE2_GPA),
    rsp: BigInt(STACK_GPA + P - STACK_INFO_BYTES),
    cr3: BigInt(PAGE_TABLES_GPA),
    longMode: false,
    vtom,
    vtl: 2,
  });
  const block = parameterBlock(options, places, firmware, vtom);
  return [
    ...(firmware?.parameters ?? []),
    ...(firmware?.pages ?? []),
    ...(firmware?.guestContext === undefined
      ? []
      : dataPages(places.guestContext, firmware.guestContext, all)),
    ...requiredMemory(Number(options.layout.kernelRegion[options.hypervisor].base), all),
    ...parameters(places, all),
    ...start.vmsa,
    ...start.vbs,
    ...start.native,
    ...dataPages(places.block, block, all),
    ...(fs === undefined ? [] : dataPages(places.fs, fs, all)),
    ...dataPages(places.kernel, kernel, all),
    ...(has(MASKS.snp)
      ? [
          page(CPUID_GPA, MASKS.snp, cpuidPage('stage2'), PAGE_DATA_TYPES.CPUID_DATA),
          page(SECRETS_GPA, MASKS.snp, undefined, PAGE_DATA_TYPES.SECRETS),
        ]
      : []),
    ...(has(MASKS.tdp) ? [page(CPUID_GPA, MASKS.tdp), page(SECRETS_GPA, MASKS.tdp)] : []),
    ...(stage1 === undefined ? [] : dataPages(places.stage1, stage1, MASKS.tdp)),
    ...emptyPages(STAGE2_AREA_GPA, STACK_GPA - STAGE2_AREA_GPA, all),
    ...dataPages(STAGE2_GPA, stage2, all),
    ...(has(MASKS.snp) ? [stackPage(STACK_GPA, MASKS.snp, stackInfo(places, 'snp', vtom))] : []),
    ...(has(MASKS.tdp) ? [stackPage(STACK_GPA, MASKS.tdp, stackInfo(places, 'tdp', vtom))] : []),
    ...(has(ANY_NATIVE)
      ? [
          stackPage(STACK_GPA, ANY_NATIVE, stackInfo(places, 'native', 0)),
          ...pageTables(),
          page(SIPI_STUB_GPA, ANY_NATIVE, sipiStub()),
        ]
      : []),
  ];
}

function placeParts(
  options: ImageOptions,
  firmware: Firmware | undefined,
  stage2: Uint8Array,
  kernel: Uint8Array,
  fs: Uint8Array | undefined,
  stage1: Uint8Array | undefined,
): Places {
  const stage2End = STAGE2_GPA + roundToPages(stage2.length);
  const fsGpa = stage2End + roundToPages(kernel.length);
  const block = fsGpa + roundToPages(fs?.length ?? 0);
  const general = block + P;
  const madt = general + P;
  const madtBytes = options.hypervisor === 'qemu' ? 0 : P;
  const memoryMap = madt + madtBytes;
  const guestContext = firmware?.guestContext === undefined ? 0 : memoryMap + P;
  return {
    stage2End,
    kernel: stage2End,
    kernelEnd: stage2End + kernel.length,
    fs: fsGpa,
    fsEnd: fsGpa + (fs?.length ?? 0),
    block,
    general,
    madt,
    madtBytes,
    memoryMap,
    guestContext,
    stage1: stage1Gpa(stage1),
    stage1Bytes: stage1?.length ?? 0,
  };
}

/** stage1 ends at 4 GiB. @throws CvmError format IMAGE_STAGE1_SIZE */
function stage1Gpa(stage1: Uint8Array | undefined): number {
  if (stage1 === undefined) return 0;
  if (stage1.length % P === 0) return FOUR_GIB - stage1.length;
  throw formatError('IMAGE_STAGE1_SIZE', 'tdx-stage1 is not whole pages', {
    facts: [['size', `${stage1.length} bytes`]],
    mend: 'give the flat binary that objcopy -O binary made: it ends at 4 GiB and starts at a page',
  });
}

function parameters(places: Places, mask: number): IgvmHeader[] {
  const area = (index: number): IgvmHeader => ({
    kind: 'parameter-area',
    sizeBytes: P,
    index,
    data: undefined,
  });
  const insert = (gpa: number, index: number): IgvmHeader => ({ kind: 'parameter-insert', gpa, mask, index });
  const hasMadt = places.madtBytes > 0;
  return [
    area(AREA.memoryMap),
    ...(hasMadt ? [area(AREA.madt)] : []),
    area(AREA.general),
    { kind: 'parameter', parameter: 'VP_COUNT', index: AREA.general, byteOffset: 0 },
    { kind: 'parameter', parameter: 'ENVIRONMENT_INFO', index: AREA.general, byteOffset: 4 },
    ...(hasMadt ? [{ kind: 'parameter', parameter: 'MADT', index: AREA.madt, byteOffset: 0 } as const] : []),
    { kind: 'parameter', parameter: 'MEMORY_MAP', index: AREA.memoryMap, byteOffset: 0 },
    insert(places.memoryMap, AREA.memoryMap),
    ...(hasMadt ? [insert(places.madt, AREA.madt)] : []),
    insert(places.general, AREA.general),
  ];
}

/**
 * The parameter block, 180 bytes, packed; offsets are relative to it.
 *
 *   0 u32 size of the parameter area   4 general    8 MADT    12 MADT size   16 memory map   20 guest context
 *   24 u16 serial port   26 u8 alternate injection   27 u8 QEMU   32 firmware (104)
 *   136 u32 stage1 size   144 u64 stage1 base   152 u32 reserved for the VMSA
 *   156 u64 kernel base   164 u32 least size   168 u32 largest size   172 u64 vTOM
 */
function parameterBlock(
  { layout, hypervisor, comport }: ImageOptions,
  places: Places,
  firmware: Firmware | undefined,
  vtom: number,
): Uint8Array {
  const region = layout.kernelRegion[hypervisor];
  const memoryMap = places.memoryMap - places.block;
  const guestContext = places.guestContext === 0 ? 0 : places.guestContext - places.block;
  const bytes = new Uint8Array(PARAMETER_BLOCK_BYTES);
  writeU32(bytes, 0, Math.max(memoryMap, guestContext) + P);
  writeU32(bytes, 4, places.general - places.block);
  writeU32(bytes, 8, places.madt - places.block);
  writeU32(bytes, 12, places.madtBytes);
  writeU32(bytes, 16, memoryMap);
  writeU32(bytes, 20, guestContext);
  writeU16(bytes, 24, SERIAL_PORTS[comport]);
  writeU8(bytes, 27, hypervisor === 'qemu' ? 1 : 0);
  bytes.set(stage2FirmwareInfo(firmware?.info ?? NO_FIRMWARE_INFO), 32);
  writeU32(bytes, 136, places.stage1Bytes);
  writeU64(bytes, 144, BigInt(places.stage1));
  writeU32(bytes, 152, P);
  writeU64(bytes, 156, region.base);
  writeU32(bytes, 164, KERNEL_MIN_BYTES);
  writeU32(bytes, 168, Number(region.maxBytes));
  writeU64(bytes, 172, BigInt(vtom));
  return bytes;
}

/** What stage2 finds at the top of its stack, 48 bytes. */
function stackInfo(places: Places, platform: keyof typeof PLATFORM_NUMBERS, vtom: number): Uint8Array {
  const bytes = new Uint8Array(STACK_INFO_BYTES);
  writeU64(bytes, 0, BigInt(vtom));
  const words = [
    PLATFORM_NUMBERS[platform],
    CPUID_GPA,
    SECRETS_GPA,
    places.stage2End,
    places.kernel,
    places.kernelEnd,
    places.fs,
    places.fsEnd,
    places.block,
  ];
  for (const [i, word] of words.entries()) writeU32(bytes, 8 + 4 * i, word);
  return bytes;
}

/** The low 4 GiB mapped to themselves by pages of 1 GiB: present, writable, accessed, dirty. */
function pageTables(): PageData[] {
  const root = new Uint8Array(P);
  writeU64(root, 0, BigInt(PAGE_TABLES_GPA + P) | 0x63n);
  const directory = new Uint8Array(P);
  for (let i = 0; i < 4; i++) writeU64(directory, 8 * i, 0xe3n | (BigInt(i) << 30n));
  return [page(PAGE_TABLES_GPA, ANY_NATIVE, root), page(PAGE_TABLES_GPA + P, ANY_NATIVE, directory)];
}
