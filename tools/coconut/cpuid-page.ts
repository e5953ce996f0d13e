import { writeU32 } from '../bytes/little-endian.ts';
import { IGVM_PAGE_BYTES } from '../igvm/model.ts';
import type { Generation } from './layouts.ts';

const HEADER_BYTES = 16;
const ENTRY_BYTES = 48;

/** CPUID functions, index ranges included; XCR0 of the entry where it is 1. */
type Leaf = readonly [eax: number, ecx: number, xcr0?: number];

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

function leaves(generation: Generation): Leaf[] {
  // XSAVE: the first generation asks for the area of XCR0 = x87 alone.
  const xsave: Leaf[] =
    generation === 'stage2'
      ? [
          [13, 0, 1],
          [13, 1, 1],
        ]
      : [
          [13, 0],
          [13, 1],
          [13, 2],
        ];
  return [
    [0x8000_001f, 0],
    [0, 0],
    [1, 0],
    [2, 0],
    ...range(0, 3).map((ecx): Leaf => [4, ecx]),
    [5, 0],
    [6, 0],
    [7, 0],
    [7, 1],
    [11, 0],
    [11, 1],
    ...xsave,
    ...range(0x8000_0000, 0x8000_0008).map((eax): Leaf => [eax, 0]),
    [0x8000_000a, 0],
    [0x8000_0019, 0],
    [0x8000_001a, 0],
    ...range(0, 3).map((ecx): Leaf => [0x8000_001d, ecx]),
    [0x8000_001e, 0],
  ];
}

/**
 * The CPUID page that SEV-SNP firmware fills in: u32 count, 12 zero bytes, and entries of 48 bytes, of which only what is
 * asked for is set: u32 EAX, u32 ECX, u64 XCR0. Source: SEV Secure Nested Paging Firmware ABI Specification, CPUID page;
 * the leaves are those of igvmbuilder.
 */
export function cpuidPage(generation: Generation): Uint8Array {
  const asked = leaves(generation);
  const bytes = new Uint8Array(IGVM_PAGE_BYTES);
  writeU32(bytes, 0, asked.length);
  for (const [i, [eax, ecx, xcr0 = 0]] of asked.entries()) {
    const at = HEADER_BYTES + i * ENTRY_BYTES;
    writeU32(bytes, at, eax);
    writeU32(bytes, at + 4, ecx);
    writeU32(bytes, at + 8, xcr0);
  }
  return bytes;
}
