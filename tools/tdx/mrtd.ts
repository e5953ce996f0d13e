import { createHash, type Hash } from 'node:crypto';
import { asSource, type ByteSource } from '../bytes/source.ts';
import { bug } from '../errors.ts';
import { PAGE_BYTES } from './tdvf-descriptor.ts';
import type { TdvfSection } from './tdvf.ts';

/**
 * How a VMM adds the pages of a section: each with its content at once (`single-pass`, QEMU from 9.0 on), or all pages
 * first and then all contents (`two-pass`, QEMU 8).
 */
export const PAGE_ADD_ORDERS = ['single-pass', 'two-pass'] as const;
export type PageAddOrder = (typeof PAGE_ADD_ORDERS)[number];

const RECORD_BYTES = 128;
const CHUNK_BYTES = 256;
const CHUNKS = PAGE_BYTES / CHUNK_BYTES;
const GPA_AT = 16;

/**
 * MRTD: one SHA-384 stream over what the TDX module is told, 48 bytes.
 *
 *   TDH.MEM.PAGE.ADD   128 bytes: "MEM.PAGE.ADD" at 0, u64 address at 16, the rest zero; once a page
 *   TDH.MR.EXTEND      128 bytes: "MR.EXTEND" at 0, u64 address at 16, the rest zero; then 256 bytes of the page
 *
 * Sections in the order of the firmware's table. Pages of augmented sections are not added before launch; contents
 * enter for sections with MR_EXTEND alone. Source: Intel TDX Module Base Architecture Specification, "MRTD".
 */
export function mrtd(
  firmware: ByteSource | Uint8Array,
  sections: readonly TdvfSection[],
  order: PageAddOrder,
): Uint8Array {
  const source = asSource(firmware);
  const hash = createHash('sha384');
  const add = record('MEM.PAGE.ADD');
  const extend = extendRecords();
  for (const section of sections) {
    if (order === 'two-pass') {
      if (!section.augmented) eachPage(section, (gpa) => void hash.update(at(add, gpa)));
      if (section.extends)
        eachPage(section, (gpa, offset) => extendPage(hash, source, extend, section, gpa, offset));
    } else {
      eachPage(section, (gpa, offset) => {
        if (!section.augmented) hash.update(at(add, gpa));
        if (section.extends) extendPage(hash, source, extend, section, gpa, offset);
      });
    }
  }
  return new Uint8Array(hash.digest());
}

function eachPage(section: TdvfSection, visit: (gpa: number, offset: number) => void): void {
  // Pages that nothing is said about need no visit, and PAGE_AUG sections may be as large as memory.
  if (section.augmented && !section.extends) return;
  for (let offset = 0; offset < section.sizeBytes; offset += PAGE_BYTES)
    visit(section.address + offset, offset);
}

function record(name: string): Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES);
  bytes.set(Buffer.from(name, 'latin1'));
  return bytes;
}

/** A page's 16 records with room for their chunks, so that a page is one update. */
function extendRecords(): Uint8Array {
  const bytes = new Uint8Array(CHUNKS * (RECORD_BYTES + CHUNK_BYTES));
  for (let i = 0; i < CHUNKS; i++) bytes.set(record('MR.EXTEND'), i * (RECORD_BYTES + CHUNK_BYTES));
  return bytes;
}

function extendPage(
  hash: Hash,
  source: ByteSource,
  records: Uint8Array,
  section: TdvfSection,
  gpa: number,
  offset: number,
): void {
  const page = source.read(section.dataOffset + offset, PAGE_BYTES);
  for (let i = 0; i < CHUNKS; i++) {
    const start = i * (RECORD_BYTES + CHUNK_BYTES);
    writeGpa(records, start + GPA_AT, gpa + CHUNK_BYTES * i);
    records.set(page.subarray(CHUNK_BYTES * i, CHUNK_BYTES * (i + 1)), start + RECORD_BYTES);
  }
  hash.update(records);
}

function at(bytes: Uint8Array, gpa: number): Uint8Array {
  writeGpa(bytes, GPA_AT, gpa);
  return bytes;
}

function writeGpa(bytes: Uint8Array, offset: number, gpa: number): void {
  if (!Number.isSafeInteger(gpa) || gpa < 0) throw bug(`a guest physical address of ${gpa}`);
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(offset, BigInt(gpa), true);
}
