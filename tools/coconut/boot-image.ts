import { readU32, writeU16, writeU32, writeU64, writeU8 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';
import { readElf, type ElfFile, type ElfSegment } from '../elf/file.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { IGVM_PAGE_BYTES, LARGE_PAGE_BYTES, type PageData } from '../igvm/model.ts';
import { KernelHeap } from './kernel-heap.ts';
import { KernelPageTables, type MappingKind } from './kernel-page-tables.ts';
import { dataPages, emptyPages, roundToPages, stackPage } from './pages.ts';

const P = IGVM_PAGE_BYTES;
const PAGE = BigInt(P);

/** 32 KiB. */
const STACK_PAGES = 8;

/** What the kernel finds at the top of its stack, in u64. */
const STACK_WORDS = 3;

const LAUNCH_INFO_BYTES = 168;
const SYMBOL_INFO_BYTES = 16;

/** What the kernel is told, besides what is found here. */
export interface BootImageInput {
  readonly kernel: ByteSource;
  /** The kernel region and its least size. */
  readonly regionGpa: number;
  readonly regionBytes: number;
  readonly fs: { readonly start: number; readonly end: number };
  /** Where the boot loader is; zeros when there is none. */
  readonly loader: { readonly start: number; readonly end: number; readonly stack: number };
  readonly vtom: number;
  readonly serialPort: number;
  readonly vmsaInKernel: boolean;
  /** The parameter block, and the size of the area that it starts. */
  readonly block: Uint8Array;
  readonly parameterBytes: number;
  readonly mask: number;
}

/** The running kernel as it lies in memory, and where its parts are. */
export interface BootImage {
  readonly pages: readonly PageData[];
  readonly entry: bigint;
  readonly stackTop: bigint;
  readonly launchInfo: bigint;
  readonly parametersGpa: number;
  readonly cpuidGpa: number;
  readonly secretsGpa: number;
  readonly tables: KernelPageTables;
}

interface Span {
  readonly start: bigint;
  readonly length: number;
}

/**
 * Lays the SVSM kernel out as it will run: its segments from the start of the kernel region on, and behind them page
 * tables, stack, parameters, symbols and launch information, in the order of boot/bootimg of coconut-svsm/svsm f4bc4bcd.
 *
 * Virtual addresses: the kernel's own, one guard page, the stack, the IDT's page, then on the next 2 MiB boundary the
 * direct map of the kernel region.
 *
 * @throws CvmError format ELF_*, IMAGE_KERNEL_ADDRESS | IMAGE_KERNEL_ALIGNMENT | IMAGE_KERNEL_RELOCATIONS | IMAGE_KERNEL_SIZE
 */
export function buildBootImage(input: BootImageInput): BootImage {
  const { mask, regionGpa, regionBytes } = input;
  const elf = readElf(input.kernel, 'svsm');
  const { base, span, pages: kernelPages } = measureKernel(elf, regionBytes);
  const directMap = roundUp(base + span + BigInt(STACK_PAGES + 2) * PAGE, BigInt(LARGE_PAGE_BYTES));
  const kernelBytes = kernelPages * P;
  const heap = new KernelHeap(
    regionGpa + kernelBytes,
    directMap + BigInt(kernelBytes),
    regionBytes / P - kernelPages,
  );
  const tables = new KernelPageTables(base, directMap, regionGpa, regionBytes, heap);
  const pages: PageData[] = [];
  const place = (gpa: number, bytes: Uint8Array): void => {
    for (const placed of dataPages(gpa, bytes, mask)) pages.push(placed);
  };

  let gpa = regionGpa;
  for (const segment of elf.segments) {
    const bytes = roundToPages(Number(segment.memBytes));
    tables.map(segment.vaddr, bytes / P, gpa, mappingOf(segment));
    place(gpa, segment.content.read(0, segment.content.sizeBytes));
    const fromFile = roundToPages(segment.content.sizeBytes);
    pages.push(...emptyPages(gpa + fromFile, bytes - fromFile, mask));
    gpa += bytes;
  }

  const stackBase = base + span + PAGE;
  const stack = heap.allocate(STACK_PAGES);
  tables.map(stackBase, STACK_PAGES, stack.gpa, 'readWrite');
  const idtVaddr = stackBase + BigInt(STACK_PAGES) * PAGE;
  tables.map(idtVaddr, 1, heap.allocate(1).gpa, 'readWrite');
  const parameters = heap.allocate(input.parameterBytes / P);
  place(parameters.gpa, input.block);
  const cpuid = heap.allocate(1);
  const secrets = heap.allocate(1);
  const [symbols, strings] = placeSymbols(elf, heap, place);
  for (const table of tables.contents()) place(table.gpa, table.bytes);

  const info = heap.allocate(1);
  place(
    info.gpa,
    launchInfo(input, {
      base,
      directMap,
      heapOffset: heap.gpa - regionGpa,
      heapPages: heap.usedPages,
      cpuid: cpuid.vaddr,
      secrets: secrets.vaddr,
      idt: idtVaddr,
      parameters: parameters.vaddr,
      symbols,
      strings,
      root: tables.rootVaddr,
    }),
  );
  pages.push(...emptyPages(stack.gpa, (STACK_PAGES - 1) * P, mask));
  const top = new Uint8Array(STACK_WORDS * 8);
  writeU64(top, 0, BigInt(tables.rootGpa));
  writeU64(top, 8, info.vaddr);
  writeU64(top, 16, stackBase);
  pages.push(stackPage(stack.gpa + (STACK_PAGES - 1) * P, mask, top));
  return {
    pages,
    entry: elf.entry,
    stackTop: stackBase + BigInt(STACK_PAGES * P - top.length),
    launchInfo: info.vaddr,
    parametersGpa: parameters.gpa,
    cpuidGpa: cpuid.gpa,
    secretsGpa: secrets.gpa,
    tables,
  };
}

/** Lowest address, the span up to the highest, and the pages of all segments. */
function measureKernel(elf: ElfFile, regionBytes: number): { base: bigint; span: bigint; pages: number } {
  const [first] = elf.segments;
  const last = elf.segments.at(-1);
  if (first === undefined || last === undefined) {
    throw kernelError('IMAGE_KERNEL_SIZE', 'the SVSM kernel has nothing to load', [['segments', 0]]);
  }
  const align = elf.segments.reduce((most, segment) => (segment.align > most ? segment.align : most), 1n);
  const base = first.vaddr & ~(align - 1n);
  if (base % BigInt(LARGE_PAGE_BYTES) !== 0n) {
    throw kernelError('IMAGE_KERNEL_ALIGNMENT', 'the SVSM kernel does not start at a 2 MiB boundary', [
      ['lowest address', hex(base)],
    ]);
  }
  let memory = 0n;
  for (const segment of elf.segments) {
    if (segment.vaddr % PAGE !== 0n) {
      throw kernelError('IMAGE_KERNEL_ALIGNMENT', 'a segment of the SVSM kernel does not start at a page', [
        ['segment', hex(segment.vaddr)],
      ]);
    }
    memory += roundUp(segment.memBytes, PAGE);
  }
  const span = roundUp(last.vaddr + last.memBytes - base, PAGE);
  if (memory > BigInt(regionBytes) || span > 1n << 30n) {
    throw kernelError('IMAGE_KERNEL_SIZE', 'the SVSM kernel is larger than its memory', [
      ['segments', `${memory} bytes`],
      ['memory', `${regionBytes} bytes`],
      ['addresses', `${span} bytes`],
    ]);
  }
  if (hasRelocations(elf)) {
    throw kernelError('IMAGE_KERNEL_RELOCATIONS', 'the SVSM kernel has relocations, which nobody applies', [
      ['section', '.dynamic'],
    ]);
  }
  return { base, span, pages: Number(memory / PAGE) };
}

/** Whether the dynamic section has a table of relocations with addends that is not empty. */
function hasRelocations({ dynamic }: ElfFile): boolean {
  if (dynamic === undefined) return false;
  for (let at = 0; at + 16 <= dynamic.sizeBytes; at += 16) {
    const entry = dynamic.read(at, 16);
    const tag = readU32(entry, 0);
    if (tag === DT_NULL) return false;
    if (tag === DT_RELASZ && (readU32(entry, 8) !== 0 || readU32(entry, 12) !== 0)) return true;
  }
  return false;
}

const DT_NULL = 0;
const DT_RELASZ = 8;

function mappingOf({ executable, writable }: ElfSegment): MappingKind {
  if (executable) return 'executable';
  return writable ? 'readWrite' : 'readOnly';
}

/** 16 bytes a symbol: u64 address, u32 size, u32 name; then the names. @returns where they are */
function placeSymbols(
  { symbols }: ElfFile,
  heap: KernelHeap,
  place: (gpa: number, bytes: Uint8Array) => void,
): [Span, Span] {
  const none: Span = { start: 0n, length: 0 };
  if (symbols === undefined) return [none, none];
  const { table, entryBytes, count, strings } = symbols;
  const infoBytes = count * SYMBOL_INFO_BYTES;
  const add = (length: number, make: () => Uint8Array): Span => {
    // Room first: a hostile count must not cost more memory than the kernel has.
    const { gpa, vaddr } = heap.allocate(Math.ceil(length / P));
    place(gpa, make());
    return { start: vaddr, length };
  };
  const infos =
    count === 0
      ? none
      : add(infoBytes, () => {
          const bytes = new Uint8Array(infoBytes);
          const entries = table.read(0, count * entryBytes);
          for (let i = 0; i < count; i++) {
            const entry = entries.subarray(i * entryBytes, (i + 1) * entryBytes);
            bytes.set(entry.subarray(8, 16), i * SYMBOL_INFO_BYTES);
            const size = readU32(entry, 20) === 0 ? readU32(entry, 16) : 0xffff_ffff;
            writeU32(bytes, i * SYMBOL_INFO_BYTES + 8, size);
            writeU32(bytes, i * SYMBOL_INFO_BYTES + 12, readU32(entry, 0));
          }
          return bytes;
        });
  return [infos, add(strings.sizeBytes, () => strings.read(0, strings.sizeBytes))];
}

interface Found {
  readonly base: bigint;
  readonly directMap: bigint;
  readonly heapOffset: number;
  /** This page included. */
  readonly heapPages: number;
  readonly cpuid: bigint;
  readonly secrets: bigint;
  readonly idt: bigint;
  readonly parameters: bigint;
  readonly symbols: Span;
  readonly strings: Span;
  readonly root: bigint;
}

/**
 * Launch information of the kernel, 168 bytes: 20 u64 (region start and end, heap offset and pages in use, kernel base,
 * direct map, file system start and end, boot loader start and end, CPUID, secrets, IDT, parameters, symbols and their
 * bytes, names and their bytes, vTOM, root of the page tables), u32 boot loader stack, u16 serial port, u8 VMSA in the
 * kernel region, u8 alternate injection.
 */
function launchInfo(input: BootImageInput, found: Found): Uint8Array {
  const bytes = new Uint8Array(LAUNCH_INFO_BYTES);
  const words: readonly (number | bigint)[] = [
    input.regionGpa,
    input.regionGpa + input.regionBytes,
    found.heapOffset,
    found.heapPages,
    found.base,
    found.directMap,
    input.fs.start,
    input.fs.end,
    input.loader.start,
    input.loader.end,
    found.cpuid,
    found.secrets,
    found.idt,
    found.parameters,
    found.symbols.start,
    found.symbols.length,
    found.strings.start,
    found.strings.length,
    input.vtom,
    found.root,
  ];
  for (const [i, word] of words.entries()) writeU64(bytes, 8 * i, BigInt(word));
  writeU32(bytes, 160, input.loader.stack);
  writeU16(bytes, 164, input.serialPort);
  writeU8(bytes, 166, input.vmsaInKernel ? 1 : 0);
  return bytes;
}

function roundUp(value: bigint, unit: bigint): bigint {
  return ((value + unit - 1n) / unit) * unit;
}

function kernelError(code: string, message: string, facts: readonly Fact[]): CvmError {
  return formatError(code, message, {
    facts,
    mend: 'give the component svsm of an SVSM whose commit the layout fits, stripped by objcopy',
  });
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
