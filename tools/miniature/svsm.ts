import { concatBytes } from '../bytes/compare.ts';
import { writeU16, writeU32, writeU64, writeU8 } from '../bytes/little-endian.ts';
import { utf8Bytes } from '../bytes/text.ts';

const P = 4096;

/** Where COCONUT-SVSM's linker script puts its kernel. */
const BASE = 0xffff_ff80_0000_0000n;

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;

/** cli; hlt; jmp to the hlt. */
const HALT = Uint8Array.of(0xfa, 0xf4, 0xeb, 0xfd);

interface Segment {
  readonly offset: number;
  readonly page: number;
  readonly flags: number;
  readonly bytes: Uint8Array;
  readonly memBytes: number;
}

const TEXT = 'Not an SVSM: an ELF file with the parts that an image builder lays out.\n';

/** Code, constants, and data with memory behind it that the file does not hold. */
const SEGMENTS: readonly Segment[] = [
  { offset: P, page: 0, flags: 5, bytes: HALT, memBytes: HALT.length },
  { offset: 2 * P, page: 1, flags: 4, bytes: utf8Bytes(TEXT), memBytes: TEXT.length },
  { offset: 3 * P, page: 2, flags: 6, bytes: new Uint8Array(P + 100).fill(0x5a), memBytes: 4 * P },
];

const SYMBOLS: readonly (readonly [name: string, page: number, size: number])[] = [
  ['start', 0, HALT.length],
  ['notice', 1, TEXT.length],
  ['heap', 2, 4 * P],
];

/**
 * A stand-in for the component `svsm`: an ELF64 executable for x86-64 with three segments, memory of zeros behind the last,
 * a symbol table and its names. It halts where it starts.
 */
export function buildMiniatureSvsm(): Uint8Array {
  const strings = utf8Bytes(`\0${SYMBOLS.map(([name]) => `${name}\0`).join('')}`);
  const sectionNames = utf8Bytes('\0.symtab\0.strtab\0.shstrtab\0');
  const symbols = concatBytes(new Uint8Array(SYMBOL_BYTES), ...SYMBOLS.map(symbol));
  const last = SEGMENTS.at(-1);
  const symbolsAt = (last?.offset ?? 0) + 2 * P;
  const stringsAt = symbolsAt + symbols.length;
  const namesAt = stringsAt + strings.length;
  const sectionsAt = Math.ceil((namesAt + sectionNames.length) / 8) * 8;
  const file = new Uint8Array(sectionsAt + 4 * SECTION_HEADER_BYTES);
  writeHeader(file, sectionsAt);
  for (const [i, segment] of SEGMENTS.entries()) {
    writeSegment(file, HEADER_BYTES + i * PROGRAM_HEADER_BYTES, segment);
    file.set(segment.bytes, segment.offset);
  }
  file.set(symbols, symbolsAt);
  file.set(strings, stringsAt);
  file.set(sectionNames, namesAt);
  const section = (i: number, name: number, type: number, at: number, size: number, entry = 0): void => {
    const header = sectionsAt + i * SECTION_HEADER_BYTES;
    writeU32(file, header, name);
    writeU32(file, header + 4, type);
    writeU64(file, header + 24, BigInt(at));
    writeU64(file, header + 32, BigInt(size));
    writeU32(file, header + 40, entry === 0 ? 0 : 2);
    writeU32(file, header + 44, entry === 0 ? 0 : 1);
    writeU64(file, header + 48, 1n);
    writeU64(file, header + 56, BigInt(entry));
  };
  section(1, 1, 2, symbolsAt, symbols.length, SYMBOL_BYTES);
  section(2, 9, 3, stringsAt, strings.length);
  section(3, 17, 3, namesAt, sectionNames.length);
  return file;
}

function writeHeader(file: Uint8Array, sectionsAt: number): void {
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  writeU16(file, 16, 2);
  writeU16(file, 18, 62);
  writeU32(file, 20, 1);
  writeU64(file, 24, BASE);
  writeU64(file, 32, BigInt(HEADER_BYTES));
  writeU64(file, 40, BigInt(sectionsAt));
  writeU16(file, 52, HEADER_BYTES);
  writeU16(file, 54, PROGRAM_HEADER_BYTES);
  writeU16(file, 56, SEGMENTS.length);
  writeU16(file, 58, SECTION_HEADER_BYTES);
  writeU16(file, 60, 4);
  writeU16(file, 62, 3);
}

function writeSegment(file: Uint8Array, at: number, { flags, offset, page, bytes, memBytes }: Segment): void {
  const vaddr = BASE + BigInt(page * P);
  writeU32(file, at, 1);
  writeU32(file, at + 4, flags);
  writeU64(file, at + 8, BigInt(offset));
  writeU64(file, at + 16, vaddr);
  writeU64(file, at + 24, vaddr);
  writeU64(file, at + 32, BigInt(bytes.length));
  writeU64(file, at + 40, BigInt(memBytes));
  writeU64(file, at + 48, BigInt(P));
}

function symbol([name, page, size]: (typeof SYMBOLS)[number], i: number): Uint8Array {
  const before = SYMBOLS.slice(0, i).reduce((sum, [other]) => sum + other.length + 1, 1);
  const entry = new Uint8Array(SYMBOL_BYTES);
  writeU32(entry, 0, before);
  // Global; a function or an object.
  writeU8(entry, 4, name === 'start' ? 0x12 : 0x11);
  writeU16(entry, 6, 0xfff1);
  writeU64(entry, 8, BASE + BigInt(page * P));
  writeU64(entry, 16, BigInt(size));
  return entry;
}
