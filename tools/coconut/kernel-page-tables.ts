import { writeU64 } from '../bytes/little-endian.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { IGVM_PAGE_BYTES, LARGE_PAGE_BYTES } from '../igvm/model.ts';
import type { KernelHeap } from './kernel-heap.ts';

const ENTRIES = 512;
const ENTRY_BYTES = 8;

/** The entry of the root that points to the root itself. */
const SELF_MAP_INDEX = 493;

const NO_EXECUTE = 1n << 63n;

/** Present 1, writable 2, accessed 0x20, dirty 0x40, large 0x80, global 0x100. */
const FLAGS = {
  table: 0x63n,
  selfMap: NO_EXECUTE | 0x63n,
  large: NO_EXECUTE | 0x1e3n,
  executable: 0x121n,
  readWrite: NO_EXECUTE | 0x163n,
  readOnly: NO_EXECUTE | 0x121n,
} as const;
export type MappingKind = 'executable' | 'readWrite' | 'readOnly';

/** A run of bytes that goes to a guest address. */
export interface Placed {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/**
 * The page tables that the SVSM kernel starts on: one root, one page directory pointer table, one page directory, and leaf
 * tables from the kernel's lowest address up to its direct map; the direct map of the kernel region follows in large pages
 * of the same directory, so all has to lie within one GiB.
 */
export class KernelPageTables {
  readonly rootGpa: number;
  readonly rootVaddr: bigint;
  /** Index of the root's entry for the kernel. */
  readonly rootIndex: number;
  /** Pages of all tables. */
  readonly pages: number;
  readonly #base: bigint;
  readonly #leaves: BigUint64Array;
  readonly #upper: readonly Placed[];

  /**
   * @param base lowest virtual address of the kernel, on a 2 MiB boundary
   * @param directMap virtual address of the direct map
   * @param regionGpa where the kernel region starts
   * @param regionBytes its size
   * @throws CvmError format IMAGE_KERNEL_ADDRESS | IMAGE_KERNEL_SIZE
   */
  constructor(base: bigint, directMap: bigint, regionGpa: number, regionBytes: number, heap: KernelHeap) {
    const leaves = Number((directMap - base) / BigInt(IGVM_PAGE_BYTES));
    const leafTables = Math.ceil(leaves / ENTRIES);
    const largePages = Math.ceil(regionBytes / LARGE_PAGE_BYTES);
    const first = indexOf(base, 1);
    if (first + leafTables + largePages > ENTRIES) {
      throw addressError('the kernel and its memory do not fit into one GiB of addresses', [
        ['lowest address', hex(base)],
        ['direct map', hex(directMap)],
      ]);
    }
    this.rootIndex = indexOf(base, 3);
    if (this.rootIndex === SELF_MAP_INDEX) {
      throw addressError('the kernel lies where the page tables map themselves', [
        ['lowest address', hex(base)],
      ]);
    }
    this.pages = leafTables + 3;
    const { gpa, vaddr } = heap.allocate(this.pages);
    this.rootGpa = gpa;
    this.rootVaddr = vaddr;
    this.#base = base;
    this.#leaves = new BigUint64Array(leaves);

    const tableGpa = (i: number): bigint => BigInt(gpa + i * IGVM_PAGE_BYTES);
    const root = new BigUint64Array(ENTRIES);
    root[SELF_MAP_INDEX] = tableGpa(0) | FLAGS.selfMap;
    root[this.rootIndex] = tableGpa(1) | FLAGS.table;
    const pointers = new BigUint64Array(ENTRIES);
    pointers[indexOf(base, 2)] = tableGpa(2) | FLAGS.table;
    const directory = new BigUint64Array(ENTRIES);
    for (let i = 0; i < leafTables; i++) directory[first + i] = tableGpa(3 + i) | FLAGS.table;
    for (let i = 0; i < largePages; i++) {
      directory[first + leafTables + i] = BigInt(regionGpa + i * LARGE_PAGE_BYTES) | FLAGS.large;
    }
    this.#upper = [root, pointers, directory].map((table, i) => ({
      gpa: gpa + i * IGVM_PAGE_BYTES,
      bytes: entryBytes(table),
    }));
  }

  get pointersGpa(): number {
    return this.rootGpa + IGVM_PAGE_BYTES;
  }

  /** @throws CvmError format IMAGE_KERNEL_ADDRESS */
  map(vaddr: bigint, pages: number, gpa: number, kind: MappingKind): void {
    const first = Number((vaddr - this.#base) / BigInt(IGVM_PAGE_BYTES));
    if (vaddr < this.#base || first + pages > this.#leaves.length) {
      throw addressError('a part of the kernel lies outside its addresses', [
        ['address', hex(vaddr)],
        ['pages', pages],
      ]);
    }
    for (let i = 0; i < pages; i++) {
      this.#leaves[first + i] = BigInt(gpa + i * IGVM_PAGE_BYTES) | FLAGS[kind];
    }
  }

  /** All tables, complete once everything is mapped. */
  contents(): Placed[] {
    return [...this.#upper, { gpa: this.rootGpa + 3 * IGVM_PAGE_BYTES, bytes: entryBytes(this.#leaves) }];
  }
}

function indexOf(vaddr: bigint, level: number): number {
  return Number((vaddr >> BigInt(12 + 9 * level)) & BigInt(ENTRIES - 1));
}

function entryBytes(entries: BigUint64Array): Uint8Array {
  const bytes = new Uint8Array(entries.length * ENTRY_BYTES);
  for (const [i, entry] of entries.entries()) writeU64(bytes, i * ENTRY_BYTES, entry);
  return bytes;
}

function addressError(message: string, facts: readonly Fact[]): CvmError {
  return formatError('IMAGE_KERNEL_ADDRESS', message, {
    facts,
    mend: 'give the svsm that its own linker script placed',
  });
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
