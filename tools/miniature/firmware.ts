import { guidToBytes } from '../bytes/guid.ts';
import { usageError } from '../errors.ts';
import { OVMF_GUIDS, SECTION_TYPES } from '../snp/ovmf.ts';
import { emitSerialInit, emitSerialPut } from './serial.ts';
import { AL, Assembler, SI } from './x86-assembler.ts';

const PAGE_BYTES = 4096;
/** 1 MiB. QEMU takes multiples of 64 KiB (16 pages). */
export const DEFAULT_FIRMWARE_PAGES = 256;
/** Real images are 2 or 4 MiB; below 4 GiB less than 20 MiB are free. */
const MOST_PAGES = 4096;

/** Where things stand, in bytes from the end of the image. */
const METADATA_DISTANCE = 0x400;
const STUB_DISTANCE = 0x200;
const TABLE_END_DISTANCE = 0x20;
const RESET_VECTOR_DISTANCE = 0x10;

/** cs:ip after reset is f000:fff0, so the last 64 KiB of the image are in reach of 16-bit offsets. */
const RESET_SEGMENT_BYTES = 0x1_0000;

/** Erased flash. */
const FILLER = 0xff;

/** Guest memory as Debian's AmdSev build of OVMF lays it out. */
const AP_RESET_ADDRESS = 0x80_b004;
const SECRET_AREA = { base: 0x81_0000, sizeBytes: 0xc00 };
const HASH_TABLE = { base: 0x81_0c00, sizeBytes: 0x400 };
const SEV_SECRET_GUID = '4c2eb361-7d9b-4cc3-8081-127c90d3d294';

const SECTIONS: readonly (readonly [gpa: number, sizeBytes: number, type: number])[] = [
  [0x80_0000, 0x9000, SECTION_TYPES.secMem],
  [0x80_a000, 0x3000, SECTION_TYPES.secMem],
  [0x80_d000, 0x1000, SECTION_TYPES.secrets],
  [0x80_e000, 0x1000, SECTION_TYPES.cpuid],
  [0x80_f000, 0x1000, SECTION_TYPES.svsmCaa],
  [0x81_1000, 0x1_f000, SECTION_TYPES.secMem],
  // Last, as in edk2 since stable202408: the order is measured.
  [0x81_0000, 0x1000, SECTION_TYPES.kernelHashes],
];

const STUB_TEXT = 'Not a bootable firmware: it carries the tables that a SEV-SNP launch measures.\r\n';

/**
 * A stand-in for OVMF_SEV.fd. Not a bootable firmware: it carries the tables that are measured, so that release
 * images can be built, measured and verified in full from source. Started all the same, it says so on the first
 * serial port and halts.
 *
 *   from the end   content
 *   whole image    4 KiB pages, each "miniature firmware, page <n> of <pages>" and a line feed, then ff
 *   400            SEV metadata: "ASEV", length, version 1, seven sections, KERNEL_HASHES among them
 *   200            16-bit code: prints one line on 0x3f8 and halts
 *   ..20           GUIDed table: SEV metadata, SEV secret area, SEV hash table, SEV-ES reset block, footer
 *   10             reset vector: a jump to that code
 *
 * No two pages are equal, so a measurement notices pages left out or swapped.
 * Source: edk2 OvmfPkg/ResetVector (Ia16/ResetVectorVtf0.asm, X64/OvmfSevMetadata.asm) for the tables.
 *
 * @param pages size in pages of 4096 bytes, 2 to 4096
 * @throws CvmError usage FIRMWARE_PAGES
 */
export function buildMiniatureFirmware(pages = DEFAULT_FIRMWARE_PAGES): Uint8Array {
  if (!Number.isInteger(pages) || pages < 2 || pages > MOST_PAGES) {
    throw usageError('FIRMWARE_PAGES', 'the firmware has a size that no firmware has', {
      facts: [
        ['pages', pages],
        ['range', `2 to ${MOST_PAGES} pages of ${PAGE_BYTES} bytes`],
      ],
    });
  }
  const sizeBytes = pages * PAGE_BYTES;
  const image = new Uint8Array(sizeBytes).fill(FILLER);
  for (let page = 0; page < pages; page++) {
    image.set(Buffer.from(`miniature firmware, page ${page} of ${pages}\n`, 'latin1'), page * PAGE_BYTES);
  }
  image.set(sevMetadata(), sizeBytes - METADATA_DISTANCE);
  image.set(resetCode(), sizeBytes - STUB_DISTANCE);
  const table = footerTable();
  image.set(table, sizeBytes - TABLE_END_DISTANCE - table.length);
  return image;
}

function sevMetadata(): Uint8Array {
  return uint32s(
    0x5645_5341, // "ASEV"
    16 + 12 * SECTIONS.length,
    1,
    SECTIONS.length,
    ...SECTIONS.flat(),
  );
}

/** Entries from low to high addresses; the footer, which counts them all, closes the table. */
function footerTable(): Uint8Array {
  const entries = [
    tableEntry(OVMF_GUIDS.sevMetadata, METADATA_DISTANCE),
    tableEntry(SEV_SECRET_GUID, SECRET_AREA.base, SECRET_AREA.sizeBytes),
    tableEntry(OVMF_GUIDS.sevHashTable, HASH_TABLE.base, HASH_TABLE.sizeBytes),
    tableEntry(OVMF_GUIDS.sevEsResetBlock, AP_RESET_ADDRESS),
  ];
  const bytes = Buffer.concat([...entries, tableEntry(OVMF_GUIDS.footer)]);
  const footerBytes = 18;
  bytes.writeUInt16LE(bytes.length, bytes.length - footerBytes);
  return bytes;
}

/** data || u16 length of the whole entry || GUID */
function tableEntry(guid: string, ...words: readonly number[]): Uint8Array {
  const data = uint32s(...words);
  const length = Buffer.alloc(2);
  length.writeUInt16LE(data.length + 18);
  return Buffer.concat([data, length, guidToBytes(guid)]);
}

/** The last {@link STUB_DISTANCE} bytes of the image, without the table that is laid over them afterwards. */
function resetCode(): Uint8Array {
  const asm = new Assembler(16, RESET_SEGMENT_BYTES - STUB_DISTANCE);
  asm.label('start');
  asm.plain('cli');
  asm.plain('cld');
  emitSerialInit(asm);
  asm.movImmediate(SI, { label: 'text' });
  asm.label('next');
  // Memory is not up on a real machine: the text is read from the image itself, and no stack is used.
  asm.plain('cs');
  asm.plain('lodsb');
  asm.test(AL, AL);
  asm.jcc('z', 'halt');
  emitSerialPut(asm, 'put');
  asm.jmpShort('next');
  asm.label('halt');
  asm.plain('hlt');
  asm.jmpShort('halt');
  asm.label('text');
  asm.asciz(STUB_TEXT);
  asm.padTo(STUB_DISTANCE - RESET_VECTOR_DISTANCE, FILLER);
  asm.jmpNear('start');
  asm.padTo(STUB_DISTANCE, 0);
  return asm.bytes();
}

function uint32s(...words: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(4 * words.length);
  for (const [i, word] of words.entries()) bytes.writeUInt32LE(word, 4 * i);
  return bytes;
}
