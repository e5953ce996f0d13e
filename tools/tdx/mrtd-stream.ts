import { createHash } from 'node:crypto';
import { bug } from '../errors.ts';
import { PAGE_BYTES } from './tdvf-descriptor.ts';

const RECORD_BYTES = 128;
const GPA_AT = 16;
/** TDH.MR.EXTEND takes a page in chunks of this. */
const CHUNK_BYTES = 256;
const CHUNKS = PAGE_BYTES / CHUNK_BYTES;
const EXTEND_BYTES = RECORD_BYTES + CHUNK_BYTES;

/**
 * MRTD as the TDX module computes it: one SHA-384 stream, 48 bytes.
 *
 *   TDH.MEM.PAGE.ADD   128 bytes: "MEM.PAGE.ADD" at 0, u64 address at 16, the rest zero; once a page
 *   TDH.MR.EXTEND      128 bytes: "MR.EXTEND" at 0, u64 address at 16, the rest zero; then 256 bytes of the page
 *
 * Source: Intel TDX Module Base Architecture Specification, "MRTD".
 */
export class MrtdStream {
  readonly #hash = createHash('sha384');
  readonly #add = new Uint8Array(RECORD_BYTES);
  readonly #addView = new DataView(this.#add.buffer);
  /** A page's 16 records with room for their chunks, so that a page is one update. */
  readonly #extends = new Uint8Array(CHUNKS * EXTEND_BYTES);
  readonly #extendsView = new DataView(this.#extends.buffer);

  constructor() {
    this.#add.set(Buffer.from('MEM.PAGE.ADD', 'latin1'));
    for (let i = 0; i < CHUNKS; i++) this.#extends.set(Buffer.from('MR.EXTEND', 'latin1'), i * EXTEND_BYTES);
  }

  /** A page is added. */
  add(gpa: number): void {
    writeGpa(this.#addView, GPA_AT, gpa);
    this.#hash.update(this.#add);
  }

  /** The contents of an added page are measured. @param page {@link PAGE_BYTES} bytes */
  extend(gpa: number, page: Uint8Array): void {
    if (page.length !== PAGE_BYTES) throw bug(`a page of ${page.length} bytes`);
    const bytes = Buffer.from(page.buffer, page.byteOffset, page.length);
    for (let i = 0; i < CHUNKS; i++) {
      const from = i * CHUNK_BYTES;
      writeGpa(this.#extendsView, i * EXTEND_BYTES + GPA_AT, gpa + from);
      bytes.copy(this.#extends, i * EXTEND_BYTES + RECORD_BYTES, from, from + CHUNK_BYTES);
    }
    this.#hash.update(this.#extends);
  }

  /** Ends the stream. */
  digest(): Uint8Array {
    return new Uint8Array(this.#hash.digest());
  }
}

function writeGpa(view: DataView, offset: number, gpa: number): void {
  if (!Number.isSafeInteger(gpa) || gpa < 0) throw bug(`a guest physical address of ${gpa}`);
  view.setUint32(offset, gpa % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(gpa / 2 ** 32), true);
}
