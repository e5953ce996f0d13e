import { readU32, writeU16, writeU32, writeU64 } from '../bytes/little-endian.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { mayBeIgnored, typeOfHeader } from '../igvm/header-types.ts';
import {
  IGVM_PAGE_BYTES,
  PAGE_DATA_TYPES,
  PLATFORM_TYPES,
  type IgvmFile,
  type IgvmHeader,
  type PageData,
  type Parameter,
  type ParameterName,
  type VpContext,
} from '../igvm/model.ts';
import { readVmsa, vmsaRegister } from '../snp/vmsa-page.ts';
import { NO_FIRMWARE_INFO, type Firmware, type FirmwareInfo, type Prevalidated } from './firmware.ts';
import { FOUR_GIB } from './image-input.ts';
import type { Generation } from './layouts.ts';

/** The end of low memory: stage2's heap lies below. */
const LOW_MEMORY_END = 0xa_0000;

/** Parameters that firmware may ask for; the second generation also hands a device tree on. */
const PARAMETERS: Readonly<Record<Generation, readonly ParameterName[]>> = {
  stage2: ['VP_COUNT', 'ENVIRONMENT_INFO', 'COMMAND_LINE', 'MADT', 'SRAT'],
  bldr: ['VP_COUNT', 'ENVIRONMENT_INFO', 'COMMAND_LINE', 'MADT', 'SRAT', 'DEVICE_TREE'],
};

const GUEST_CONTEXT_BYTES = 184;

/** SEV_FEATURES bit 1. */
const FEATURE_VTOM = 2n;

interface Area {
  readonly index: number;
  readonly sizeBytes: number;
  readonly parameters: Parameter[];
  hasMemoryMap: boolean;
  gpa: number | undefined;
}

/**
 * Hyper-V's firmware, itself an IGVM file, as igvmbuilder puts it into an image for an SVSM:
 *
 * - what shares no bit with the image's platforms is left out; bits are compared as they are;
 * - the page at 0, which would accept memory, is left out: its first 8 bytes are the address to start at;
 * - pages keep their address and are there for all platforms of the image; a secrets page becomes a note, and the page
 *   behind it the calling area;
 * - the VMSA of processor 0 becomes the guest's start context;
 * - parameter areas get new indices; the one with the memory map becomes a note.
 *
 * @param firstArea the first index that is free for parameter areas
 * @throws CvmError format IMAGE_FIRMWARE_*
 */
export function igvmFirmware(
  file: IgvmFile,
  generation: Generation,
  mask: number,
  firstArea: number,
): Firmware {
  return new Importer(generation, mask).import(file, firstArea);
}

class Importer {
  readonly #generation: Generation;
  readonly #mask: number;
  readonly #pages: PageData[] = [];
  readonly #areas = new Map<number, Area>();
  #start: bigint | undefined;
  #vmsa: VpContext | undefined;
  #secrets: number | undefined;
  #lowest = Number.POSITIVE_INFINITY;
  #highest = 0;
  #vtom = 0;

  constructor(generation: Generation, mask: number) {
    this.#generation = generation;
    this.#mask = mask;
  }

  import(file: IgvmFile, firstArea: number): Firmware {
    for (const header of file.headers) this.#take(header, file);
    const parameters: IgvmHeader[] = [];
    let memoryMap: Prevalidated = { base: 0, sizeBytes: 0 };
    let index = firstArea;
    for (const area of [...this.#areas.values()].toSorted((a, b) => a.index - b.index)) {
      if (area.gpa === undefined) continue;
      if (area.hasMemoryMap) memoryMap = { base: area.gpa, sizeBytes: area.sizeBytes };
      else if (area.parameters.length > 0) parameters.push(...this.#areaHeaders(area, area.gpa, index++));
    }
    return {
      info: this.#info(memoryMap),
      parameters,
      pages: this.#pages,
      guestContext: this.#guestContext(),
      vtom: this.#vtom,
    };
  }

  #take(header: IgvmHeader, file: IgvmFile): void {
    switch (header.kind) {
      case 'supported-platform':
      case 'guest-policy':
      case 'relocatable-region':
      case 'page-table-relocation':
      case 'corim-document':
      case 'corim-signature':
      case 'cca-policy':
        // Not directives: they are about loading the firmware alone.
        return;
      case 'required-memory':
        return;
      case 'parameter-area':
        this.#areas.set(header.index, {
          index: header.index,
          sizeBytes: header.sizeBytes,
          parameters: [],
          hasMemoryMap: false,
          gpa: undefined,
        });
        return;
      case 'parameter-insert':
        if ((header.mask & this.#mask) !== 0) this.#area(header.index).gpa = header.gpa;
        return;
      case 'parameter':
        this.#parameter(header);
        return;
      case 'page-data':
        if ((header.mask & this.#mask) !== 0) this.#page(header);
        return;
      case 'vp-context':
        if ((header.mask & this.#mask) !== 0) this.#context(header, file);
        return;
      case 'unknown':
        if (mayBeIgnored(header.type)) return;
        throw this.#unsupported(header);
      default:
        throw this.#unsupported(header);
    }
  }

  #area(index: number): Area {
    const area = this.#areas.get(index);
    if (area !== undefined) return area;
    throw firmwareError(
      'IMAGE_FIRMWARE_PARAMETERS',
      'the firmware uses a parameter area that it does not have',
      [['area', index]],
    );
  }

  #parameter(header: Parameter): void {
    const area = this.#area(header.index);
    const isMap = header.parameter === 'MEMORY_MAP';
    const facts: Fact[] = [
      ['area', header.index],
      ['parameter', header.parameter],
    ];
    if (area.hasMemoryMap || (isMap && area.parameters.length > 0)) {
      throw firmwareError(
        'IMAGE_FIRMWARE_PARAMETERS',
        'the memory map of the firmware shares its area with other parameters',
        facts,
      );
    }
    if (isMap && header.byteOffset !== 0) {
      throw firmwareError(
        'IMAGE_FIRMWARE_PARAMETERS',
        'the memory map of the firmware is not at the start of its area',
        [...facts, ['offset', header.byteOffset]],
      );
    }
    if (isMap) area.hasMemoryMap = true;
    else if (PARAMETERS[this.#generation].includes(header.parameter)) area.parameters.push(header);
    else throw this.#unsupported(header);
  }

  #page(header: PageData): void {
    const { gpa, dataType, data } = header;
    if (gpa === 0 && data !== undefined) {
      // The format pads a page of fewer bytes with zeros.
      const start = new Uint8Array(8);
      start.set(data.subarray(0, 8));
      this.#start = BigInt(readU32(start, 0)) | (BigInt(readU32(start, 4)) << 32n);
      return;
    }
    this.#lowest = Math.min(this.#lowest, gpa);
    this.#highest = Math.max(this.#highest, gpa + IGVM_PAGE_BYTES);
    if (dataType === PAGE_DATA_TYPES.SECRETS) this.#secrets = gpa;
    else this.#pages.push({ ...header, mask: this.#mask });
  }

  #context(header: VpContext, file: IgvmFile): void {
    const platform = file.headers.find(
      (other) => other.kind === 'supported-platform' && other.mask === header.mask,
    );
    const isSnp = platform?.kind === 'supported-platform' && platform.platformType === PLATFORM_TYPES.SEV_SNP;
    if (!isSnp) throw this.#unsupported(header);
    if (header.vpIndex !== 0) {
      throw firmwareError(
        'IMAGE_FIRMWARE_VP',
        'the firmware has the start state of a processor other than the first',
        [['processor', header.vpIndex]],
      );
    }
    this.#vmsa = header;
    if ((vmsaRegister(header.data, 'sev_features') & FEATURE_VTOM) === 0n) return;
    const vtom = vmsaRegister(header.data, 'virtual_tom');
    if (vtom >= 1n << 52n) {
      throw firmwareError('IMAGE_FIRMWARE_VTOM', 'the firmware has a vTOM above all addresses', [
        ['vTOM', `0x${vtom.toString(16)}`],
      ]);
    }
    this.#vtom = Number(vtom);
  }

  #info(memoryMap: Prevalidated): FirmwareInfo {
    if (this.#highest === 0) {
      throw firmwareError('IMAGE_FIRMWARE_EMPTY', 'the firmware has no page for the platforms of the image', [
        ['bits of the image', hex(this.#mask)],
      ]);
    }
    const start = this.#lowest;
    const isStage2 = this.#generation === 'stage2';
    // The first generation counts its pages, the second its bytes, in 32 bits.
    const mapLimit = isStage2 ? FOUR_GIB * IGVM_PAGE_BYTES : FOUR_GIB;
    const secretsEnd = this.#secrets === undefined ? 0 : this.#secrets + 2 * IGVM_PAGE_BYTES;
    if (this.#highest > FOUR_GIB || secretsEnd > FOUR_GIB || memoryMap.base >= mapLimit) {
      throw firmwareError('IMAGE_FIRMWARE_PLACE', 'the firmware reaches above 4 GiB', [
        ['firmware', `${hex(start)} to ${hex(this.#highest)}`],
        ['memory map', hex(memoryMap.base)],
      ]);
    }
    if (isStage2 && start < LOW_MEMORY_END) {
      throw firmwareError(
        'IMAGE_FIRMWARE_PLACE',
        'the firmware starts below 640 KiB, where stage2 has its heap',
        [['firmware', `${hex(start)} to ${hex(this.#highest)}`]],
      );
    }
    return {
      ...NO_FIRMWARE_INFO,
      start,
      sizeBytes: this.#highest - start,
      inLowMemory: true,
      secrets: this.#secrets ?? 0,
      caa: this.#secrets === undefined ? 0 : this.#secrets + IGVM_PAGE_BYTES,
      memoryMap,
      prevalidated: isStage2 ? [{ base: LOW_MEMORY_END, sizeBytes: start - LOW_MEMORY_END }] : [],
    };
  }

  #areaHeaders(area: Area, gpa: number, index: number): IgvmHeader[] {
    return [
      { kind: 'parameter-area', sizeBytes: area.sizeBytes, index, data: undefined },
      ...area.parameters.map((parameter): IgvmHeader => ({ ...parameter, index })),
      { kind: 'parameter-insert', gpa, mask: this.#mask, index },
    ];
  }

  /**
   * 184 bytes: u64 CR0, CR3, CR4, EFER, GDT base, u32 GDT limit, u16 code selector, u16 data selector, u64 RIP, RAX, RCX,
   * RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
   */
  #guestContext(): Uint8Array {
    if (this.#vmsa === undefined || this.#start === undefined) {
      throw firmwareError('IMAGE_FIRMWARE_START', 'the firmware does not say how it starts', [
        ['VMSA of processor 0', this.#vmsa === undefined ? 'missing' : 'there'],
        ['page at 0 with the start address', this.#start === undefined ? 'missing' : 'there'],
      ]);
    }
    const { registers, segments } = readVmsa(this.#vmsa.data);
    const bytes = new Uint8Array(GUEST_CONTEXT_BYTES);
    for (const [i, name] of (['cr0', 'cr3', 'cr4', 'efer'] as const).entries())
      writeU64(bytes, 8 * i, registers[name] ?? 0n);
    writeU64(bytes, 32, segments.gdtr?.base ?? 0n);
    writeU32(bytes, 40, segments.gdtr?.limit ?? 0);
    writeU16(bytes, 44, segments.cs?.selector ?? 0);
    writeU16(bytes, 46, segments.ds?.selector ?? 0);
    writeU64(bytes, 48, this.#start);
    for (const [i, name] of GENERAL_REGISTERS.entries()) writeU64(bytes, 56 + 8 * i, registers[name] ?? 0n);
    return bytes;
  }

  #unsupported(header: IgvmHeader): CvmError {
    return firmwareError(
      'IMAGE_FIRMWARE_DIRECTIVE',
      'the firmware has a directive that an SVSM cannot hand on',
      [['directive', typeOfHeader(header).name]],
    );
  }
}

const GENERAL_REGISTERS = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;

function firmwareError(code: string, message: string, facts: readonly Fact[]): CvmError {
  return formatError(code, message, {
    facts,
    mend: 'give the firmware IGVM file that Hyper-V documents for an SVSM; cvm igvm dump shows what it holds',
  });
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
