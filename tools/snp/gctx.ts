import { digestInto } from '../bytes/digest.ts';
import { CHUNK_BYTES, PASSING_BYTES, passingChunks, type ByteSource } from '../bytes/source.ts';
import { bug } from '../errors.ts';

export const PAGE_BYTES = 4096;

/** Length of a launch digest: SHA-384. */
export const LAUNCH_DIGEST_BYTES = 48;

/** PAGE_TYPE of SNP_LAUNCH_UPDATE, as it enters PAGE_INFO. */
export const PAGE_TYPES = {
  normal: 1,
  vmsa: 2,
  zero: 3,
  unmeasured: 4,
  secrets: 5,
  cpuid: 6,
} as const;
export type PageType = keyof typeof PAGE_TYPES;

/** The address under which every VMSA page is measured, whatever the vCPU. */
export const VMSA_GPA = 0xffff_ffff_f000;

const PAGE_INFO_BYTES = 0x70;

/**
 * PAGE_INFO, the record by which each page enters the launch digest. Little-endian, 112 bytes:
 *
 *   off  size  field          value
 *    00    48  DIGEST_CUR     the launch digest before this page
 *    30    48  CONTENTS       SHA-384 of the page for types normal and vmsa, zeros for the others
 *    60     2  LENGTH         0x70
 *    62     1  PAGE_TYPE      {@link PAGE_TYPES}
 *    63     1  IMI_PAGE       0
 *    64     3  VMPL3..1       0 (no permissions at launch)
 *    67     1  reserved       0
 *    68     8  GPA            guest physical address of the page
 *
 * Source: AMD 56860, SNP_LAUNCH_UPDATE, "Page Info structure".
 */
export function writePageInfo(
  digest: Uint8Array,
  type: PageType,
  gpa: number,
  contents: Uint8Array | undefined,
): Uint8Array {
  const record = new PageInfoRecord(digest);
  record.fill(type, gpa, contents);
  return new Uint8Array(record.bytes);
}

const CONTENTS_AT = 0x30;

class PageInfoRecord {
  readonly bytes = Buffer.from(new ArrayBuffer(PAGE_INFO_BYTES));
  readonly #view = new DataView(this.bytes.buffer);

  constructor(digest: Uint8Array) {
    this.bytes.set(digest);
    this.#view.setUint16(0x60, PAGE_INFO_BYTES, true);
  }

  fill(type: PageType, gpa: number, contents: Uint8Array | undefined): void {
    if (contents === undefined) this.bytes.fill(0, CONTENTS_AT, CONTENTS_AT + LAUNCH_DIGEST_BYTES);
    else this.bytes.set(contents, CONTENTS_AT);
    this.setPage(type, gpa);
  }

  /** All but CONTENTS. */
  setPage(type: PageType, gpa: number): void {
    if (!Number.isSafeInteger(gpa) || gpa < 0) throw bug(`a guest physical address of ${gpa}`);
    this.bytes[0x62] = PAGE_TYPES[type];
    this.#view.setUint32(0x68, gpa % 2 ** 32, true);
    this.#view.setUint32(0x6c, Math.floor(gpa / 2 ** 32), true);
  }

  /** The digest of the record becomes the DIGEST_CUR of the next. */
  extend(): void {
    digestInto('sha384', this.bytes, this.bytes, 0);
  }
}

/**
 * The guest context's launch digest, page by page. A digest starts as 48 zero bytes; {@link fork} lets many guests
 * share the pages they have in common.
 */
export class LaunchContext {
  readonly #record: PageInfoRecord;

  constructor(digest: Uint8Array = new Uint8Array(LAUNCH_DIGEST_BYTES)) {
    if (digest.length !== LAUNCH_DIGEST_BYTES) throw bug(`a launch digest of ${digest.length} bytes`);
    this.#record = new PageInfoRecord(digest);
  }

  /** LD after all pages so far; the caller may keep it. */
  get digest(): Uint8Array {
    return new Uint8Array(this.#record.bytes.subarray(0, LAUNCH_DIGEST_BYTES));
  }

  fork(): LaunchContext {
    return new LaunchContext(this.digest);
  }

  /** One update. `contents` is the SHA-384 of the page and given for types normal and vmsa only. */
  update(type: PageType, gpa: number, contents?: Uint8Array): void {
    this.#record.fill(type, gpa, contents);
    this.#record.extend();
  }

  /** {@link update} with the contents of one page. */
  normalPage(gpa: number, page: Uint8Array): void {
    digestInto('sha384', page, this.#record.bytes, CONTENTS_AT);
    this.#record.setPage('normal', gpa);
    this.#record.extend();
  }

  /**
   * The pages of a source at ascending addresses. The size must be a multiple of {@link PAGE_BYTES}. Firmware is mostly
   * padding: a page that equals the one before it has its hash, which still stands in the record.
   */
  normalPages(gpa: number, pages: ByteSource): void {
    if (pages.sizeBytes % PAGE_BYTES !== 0) throw bug('normal pages end inside a page');
    let at = gpa;
    for (const chunk of passingChunks(pages)) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
      for (let from = 0; from < bytes.length; from += PAGE_BYTES) {
        const isAsBefore =
          from > 0 && bytes.compare(bytes, from - PAGE_BYTES, from, from, from + PAGE_BYTES) === 0;
        if (isAsBefore) {
          this.#record.setPage('normal', at);
          this.#record.extend();
        } else {
          this.normalPage(at, bytes.subarray(from, from + PAGE_BYTES));
        }
        at += PAGE_BYTES;
      }
    }
  }

  /** One update a page without contents, over [gpa, gpa + sizeBytes). */
  emptyPages(type: 'zero' | 'unmeasured', gpa: number, sizeBytes: number): void {
    for (let at = 0; at < sizeBytes; at += PAGE_BYTES) this.update(type, gpa + at);
  }

  vmsaPage(contents: Uint8Array): void {
    this.update('vmsa', VMSA_GPA, contents);
  }
}

// Chunks are whole pages.
for (const chunkBytes of [CHUNK_BYTES, PASSING_BYTES])
  if (chunkBytes % PAGE_BYTES !== 0) throw bug('a chunk is no multiple of the page size');
