import { asSource, sliceSource, type ByteSource } from '../bytes/source.ts';
import { rawFromBytes } from '../bytes/text.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';

/*
 * ELF64, little-endian, x86-64 (System V ABI; Tool Interface Standard ELF 1.2 and the gABI): program headers and what is
 * needed of the section headers to find the symbol table. Addresses and sizes are 64 bits, so they are bigint; offsets in
 * the file are checked against its size and are numbers.
 */

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;

const MACHINE_X86_64 = 62;
const TYPE_EXEC = 2;
const TYPE_DYN = 3;

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SHT_NOBITS = 8;
const SHN_XINDEX = 0xffff;

/** A linker makes a few dozen. */
const SECTIONS_MAX = 65_536;

/** A segment that is loaded: PT_LOAD of non-zero size in memory. */
export interface ElfSegment {
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly memBytes: bigint;
  readonly align: bigint;
  readonly executable: boolean;
  readonly writable: boolean;
  /** What of it stands in the file; the rest of its memory is zero. */
  readonly content: ByteSource;
}

export interface ElfSymbols {
  /** Entries of `.symtab`, of `entryBytes` each: u32 name, u8 info, u8 other, u16 section, u64 value, u64 size. */
  readonly table: ByteSource;
  readonly entryBytes: number;
  readonly count: number;
  /** `.strtab` as it is. */
  readonly strings: ByteSource;
}

export interface ElfFile {
  readonly entry: bigint;
  /** By ascending virtual address; none overlap. */
  readonly segments: readonly ElfSegment[];
  /** PT_DYNAMIC, when there is one: offset and size in the file. */
  readonly dynamic: ByteSource | undefined;
  readonly symbols: ElfSymbols | undefined;
}

interface Section {
  readonly name: number;
  readonly type: number;
  readonly link: number;
  readonly size: bigint;
  readonly entryBytes: bigint;
  readonly content: ByteSource | undefined;
}

/**
 * Reads the headers of an executable.
 * @param name names the file in errors
 * @throws CvmError format ELF_MAGIC | ELF_KIND | ELF_BOUNDS | ELF_SEGMENT | ELF_SECTION | ELF_SYMBOLS
 */
export function readElf(file: ByteSource | Uint8Array, name: string): ElfFile {
  return new Reader(asSource(file), name).read();
}

class Reader {
  readonly #file: ByteSource;
  readonly #name: string;

  constructor(file: ByteSource, name: string) {
    this.#file = file;
    this.#name = name;
  }

  read(): ElfFile {
    if (this.#file.sizeBytes < HEADER_BYTES) throw this.#magic(`${this.#file.sizeBytes} bytes`);
    const header = view(this.#file.read(0, HEADER_BYTES));
    this.#requireKind(header);
    const headers = this.#table(
      'program headers',
      header.getBigUint64(32, true),
      header.getUint16(54, true),
      header.getUint16(56, true),
      PROGRAM_HEADER_BYTES,
    );
    const loads: ElfSegment[] = [];
    let dynamic: ByteSource | undefined;
    for (const [i, phdr] of headers.entries()) {
      const type = phdr.getUint32(0, true);
      if (type !== PT_LOAD && type !== PT_DYNAMIC) continue;
      const segment = this.#segment(phdr, i);
      if (type === PT_DYNAMIC) dynamic = segment.content;
      else if (segment.memBytes > 0n) loads.push(segment);
    }
    return {
      entry: header.getBigUint64(24, true),
      segments: this.#ordered(loads),
      dynamic,
      symbols: this.#symbols(this.#sections(header), header.getUint16(62, true)),
    };
  }

  #requireKind(header: DataView): void {
    if (header.getUint32(0, false) !== 0x7f454c46) throw this.#magic('another magic number');
    const found = {
      class: header.getUint8(4),
      data: header.getUint8(5),
      version: header.getUint8(6),
      type: header.getUint16(16, true),
      machine: header.getUint16(18, true),
    };
    const isOurs =
      found.class === 2 &&
      found.data === 1 &&
      found.version === 1 &&
      (found.type === TYPE_EXEC || found.type === TYPE_DYN) &&
      found.machine === MACHINE_X86_64;
    if (isOurs) return;
    throw this.#error(
      'ELF_KIND',
      'an ELF file is no executable for x86-64',
      Object.entries(found).map(([key, value]) => [key, value]),
    );
  }

  /** Entries of a table of headers, each as a view of at least `leastBytes`. */
  #table(what: string, offset: bigint, entryBytes: number, count: number, leastBytes: number): DataView[] {
    if (count === 0) return [];
    const facts: Fact[] = [
      ['offset', offset],
      ['entry', `${entryBytes} bytes`],
      ['count', count],
    ];
    if (entryBytes < leastBytes) {
      throw this.#error('ELF_BOUNDS', `the ${what} are shorter than they can be`, [
        ...facts,
        ['least', `${leastBytes} bytes`],
      ]);
    }
    const bytes = this.#range(what, offset, BigInt(entryBytes) * BigInt(count));
    const all = bytes.read(0, bytes.sizeBytes);
    return Array.from({ length: count }, (_, i) =>
      view(all.subarray(i * entryBytes, i * entryBytes + leastBytes)),
    );
  }

  #range(what: string, offset: bigint, length: bigint): ByteSource {
    const size = BigInt(this.#file.sizeBytes);
    if (offset + length <= size) return sliceSource(this.#file, Number(offset), Number(length));
    throw this.#error('ELF_BOUNDS', `the ${what} lie outside the file`, [
      ['offset', offset],
      ['length', `${length} bytes`],
      ['file size', `${size} bytes`],
    ]);
  }

  #segment(phdr: DataView, index: number): ElfSegment {
    const offset = phdr.getBigUint64(8, true);
    const vaddr = phdr.getBigUint64(16, true);
    const fileBytes = phdr.getBigUint64(32, true);
    const memBytes = phdr.getBigUint64(40, true);
    const align = phdr.getBigUint64(48, true);
    const facts: Fact[] = [
      ['program header', index],
      ['virtual address', hex(vaddr)],
      ['size in the file', fileBytes],
      ['size in memory', memBytes],
      ['alignment', hex(align)],
    ];
    const wrong = (message: string): CvmError => this.#error('ELF_SEGMENT', message, facts);
    if (memBytes < fileBytes) throw wrong('a segment is larger in the file than in memory');
    if (vaddr + memBytes > 1n << 64n) throw wrong('a segment ends above the address space');
    if (align > 1n && (align & (align - 1n)) !== 0n)
      throw wrong('the alignment of a segment is no power of two');
    if (align > 1n && vaddr % align !== offset % align)
      throw wrong('address and offset of a segment do not agree with its alignment');
    const flags = phdr.getUint32(4, true);
    return {
      vaddr,
      paddr: phdr.getBigUint64(24, true),
      memBytes,
      align,
      executable: (flags & 1) !== 0,
      writable: (flags & 2) !== 0,
      content: fileBytes === 0n ? sliceSource(this.#file, 0, 0) : this.#range('segments', offset, fileBytes),
    };
  }

  #ordered(segments: readonly ElfSegment[]): ElfSegment[] {
    const ordered = segments.toSorted((a, b) => (a.vaddr < b.vaddr ? -1 : a.vaddr > b.vaddr ? 1 : 0));
    for (const [i, segment] of ordered.entries()) {
      const before = ordered[i - 1];
      if (before === undefined || before.vaddr + before.memBytes <= segment.vaddr) continue;
      throw this.#error('ELF_SEGMENT', 'two segments overlap', [
        ['first', `${hex(before.vaddr)}, ${before.memBytes} bytes`],
        ['second', `${hex(segment.vaddr)}, ${segment.memBytes} bytes`],
      ]);
    }
    return ordered;
  }

  #sections(header: DataView): Section[] {
    const offset = header.getBigUint64(40, true);
    const entryBytes = header.getUint16(58, true);
    let count: number = header.getUint16(60, true);
    if (count === 0 && offset !== 0n) {
      // More than fit into 16 bits: the first section's size says how many.
      const [first] = this.#table('section headers', offset, entryBytes, 1, SECTION_HEADER_BYTES);
      const size = first?.getBigUint64(32, true) ?? 0n;
      if (size > SECTIONS_MAX)
        throw this.#error('ELF_SECTION', 'a file counts too many sections', [['sections', size]]);
      count = Number(size);
    }
    return this.#table('section headers', offset, entryBytes, count, SECTION_HEADER_BYTES).map((shdr) => {
      const type = shdr.getUint32(4, true);
      const size = shdr.getBigUint64(32, true);
      return {
        name: shdr.getUint32(0, true),
        type,
        link: shdr.getUint32(40, true),
        size,
        entryBytes: shdr.getBigUint64(56, true),
        content:
          type === 0 || type === SHT_NOBITS
            ? undefined
            : this.#range('contents of a section', shdr.getBigUint64(24, true), size),
      };
    });
  }

  #symbols(sections: readonly Section[], namesIndex: number): ElfSymbols | undefined {
    const index = namesIndex === SHN_XINDEX ? (sections[0]?.link ?? 0) : namesIndex;
    if (index >= Math.max(1, sections.length)) {
      throw this.#error('ELF_SECTION', 'the section of section names is none', [
        ['index', index],
        ['sections', sections.length],
      ]);
    }
    const names = index === 0 ? undefined : sections[index];
    const table = sections.find(({ type }) => type === SHT_SYMTAB);
    if (names?.type !== SHT_STRTAB) {
      if (names === undefined) return undefined;
      throw this.#error('ELF_SECTION', 'the section of section names holds no strings', [
        ['type', names.type],
      ]);
    }
    const strings = sections.find(
      (section) => section.type === SHT_STRTAB && this.#nameOf(section, names) === '.strtab',
    );
    if (table?.content === undefined || strings?.content === undefined) return undefined;
    if (table.entryBytes < SYMBOL_BYTES || table.entryBytes > 1024n) {
      throw this.#error('ELF_SYMBOLS', 'the entries of the symbol table have an impossible size', [
        ['entry', `${table.entryBytes} bytes`],
        ['least', `${SYMBOL_BYTES} bytes`],
      ]);
    }
    const entryBytes = Number(table.entryBytes);
    return {
      table: table.content,
      entryBytes,
      count: Math.floor(table.content.sizeBytes / entryBytes),
      strings: strings.content,
    };
  }

  #nameOf({ name }: Section, names: Section): string {
    const content = names.content;
    if (content === undefined || name >= content.sizeBytes) {
      throw this.#error('ELF_SECTION', 'the name of a section lies outside the section of names', [
        ['name offset', name],
        ['names', `${content?.sizeBytes ?? 0} bytes`],
      ]);
    }
    // No name that is looked for is longer.
    const bytes = content.read(name, Math.min(16, content.sizeBytes - name));
    const end = bytes.indexOf(0);
    return rawFromBytes(end < 0 ? bytes : bytes.subarray(0, end));
  }

  #magic(found: string): CvmError {
    return this.#error('ELF_MAGIC', 'a file is no ELF executable', [['found', found]]);
  }

  #error(code: string, message: string, facts: readonly Fact[]): CvmError {
    return formatError(code, message, {
      facts: [['file', this.#name], ...facts],
      mend: 'give the executable that cargo or objcopy -O elf64-x86-64 made, whole',
    });
  }
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
