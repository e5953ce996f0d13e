import { readInto, type ByteSource } from '../bytes/source.ts';
import type { PageHeader } from './header-decode.ts';
import { IGVM_PAGE_BYTES, type PageData } from './model.ts';

/** As much as is read at once of pages that follow one another. */
const WINDOW_BYTES = 1 << 20;

/**
 * Pages of a file through one buffer: what {@link read} answers holds until the next call. Whoever reads in order gets
 * larger reads, as long as at least half of each is used: in no order is more than four times of what is asked for read.
 */
export class PageWindow {
  readonly #source: ByteSource;
  readonly #buffer = new Uint8Array(WINDOW_BYTES);
  #start = 0;
  #end = 0;
  /** Bytes that were handed out of the buffer since it was filled. */
  #used = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** @param length at most {@link IGVM_PAGE_BYTES}, and inside the source */
  read(offset: number, length: number): Uint8Array {
    if (offset < this.#start || offset + length > this.#end) this.#fill(offset, length);
    this.#used += length;
    const at = offset - this.#start;
    return this.#buffer.subarray(at, at + length);
  }

  #fill(offset: number, length: number): void {
    const held = this.#end - this.#start;
    const goesOn = offset > this.#start && 2 * this.#used >= held;
    const wanted = goesOn ? Math.min(WINDOW_BYTES, 2 * held) : IGVM_PAGE_BYTES;
    const count = Math.max(length, Math.min(wanted, this.#source.sizeBytes - offset));
    // Nothing is held while the buffer is written, should that fail.
    this.#end = this.#start;
    this.#used = 0;
    readInto(this.#source, offset, this.#buffer.subarray(0, count));
    this.#start = offset;
    this.#end = offset + count;
  }
}

/** A page that is read from its file whenever its data is asked for, which then holds as {@link PageWindow.read} says. */
export class FilePage implements PageData {
  readonly kind = 'page-data';
  readonly gpa: number;
  readonly mask: number;
  readonly flags: number;
  readonly dataType: number;
  readonly #window: PageWindow;
  /** Where its {@link IGVM_PAGE_BYTES} are in the file. */
  readonly fileOffset: number;

  constructor({ gpa, mask, flags, dataType }: PageHeader, window: PageWindow, fileOffset: number) {
    this.gpa = gpa;
    this.mask = mask;
    this.flags = flags;
    this.dataType = dataType;
    this.#window = window;
    this.fileOffset = fileOffset;
  }

  get data(): Uint8Array {
    return this.#window.read(this.fileOffset, IGVM_PAGE_BYTES);
  }
}
