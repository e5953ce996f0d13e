import { createHash } from 'node:crypto';
import { formatError } from '../errors.ts';
import { IGVM_PAGE_BYTES } from './model.ts';

/** A header that holds a page: it may have to be read again. `data` is undefined for an empty one. */
export interface PageContent {
  readonly data: Uint8Array | undefined;
}

export const EMPTY_PAGE: PageContent = { data: undefined };

/** Pages of one type that follow one another in memory and in the order of measurement. */
export interface MeasuredRun {
  /** What the pages are measured as: `Normal`, `Zero`, `Unmeasured`, `Secrets`, `Cpuid`, `VMSA`, `Error range`. */
  readonly type: string;
  readonly gpa: number;
  readonly sizeBytes: number;
  /** Numbers of the first and the last header that it comes from. */
  readonly firstHeader: number;
  readonly lastHeader: number;
  /** What holds the pages' contents, in order; nothing at all where contents are not measured. */
  readonly contents: readonly PageContent[];
  /** The digest after the run, where the platform has one page by page. */
  readonly digest: Uint8Array | undefined;
}

/**
 * 16 GiB. What is measured costs time by the page, and an empty area of any size takes a few bytes of a file.
 */
export const MEASURED_PAGES_LIMIT = 1 << 22;

interface OpenRun {
  type: string;
  gpa: number;
  sizeBytes: number;
  firstHeader: number;
  lastHeader: number;
  contents: PageContent[];
}

/** Collects what is measured, page by page, into runs, and counts it. */
export class RunRecorder {
  readonly #runs: MeasuredRun[] = [];
  readonly #digest: () => Uint8Array | undefined;
  #open: OpenRun | undefined;
  #pages = 0;

  /** @param digest the digest so far, asked for whenever a run ends */
  constructor(digest: () => Uint8Array | undefined) {
    this.#digest = digest;
  }

  /**
   * Says what is measured next; call it before the digest changes.
   *
   * @param contents one entry a page, or none where contents are not measured
   * @throws CvmError format IGVM_TOO_MANY_PAGES
   */
  add(
    type: string,
    gpa: number,
    sizeBytes: number,
    header: number,
    contents: readonly PageContent[] = [],
  ): void {
    this.#pages += Math.ceil(sizeBytes / IGVM_PAGE_BYTES);
    if (this.#pages > MEASURED_PAGES_LIMIT) {
      throw formatError(
        'IGVM_TOO_MANY_PAGES',
        'an IGVM file asks for more memory to be measured than there may be',
        {
          facts: [
            ['header', header],
            ['gpa', `0x${gpa.toString(16)}`],
            ['size', `0x${sizeBytes.toString(16)}`],
            ['limit', `${MEASURED_PAGES_LIMIT} pages`],
          ],
          mend: 'no launch measures so much: the size of an area or range in the file is wrong',
        },
      );
    }
    const open = this.#open;
    if (open !== undefined && open.type === type && open.gpa + open.sizeBytes === gpa) {
      open.sizeBytes += sizeBytes;
      open.lastHeader = header;
      for (const content of contents) open.contents.push(content);
      return;
    }
    this.#close();
    this.#open = { type, gpa, sizeBytes, firstHeader: header, lastHeader: header, contents: [...contents] };
  }

  finish(): readonly MeasuredRun[] {
    this.#close();
    return this.#runs;
  }

  #close(): void {
    if (this.#open !== undefined) this.#runs.push({ ...this.#open, digest: this.#digest() });
    this.#open = undefined;
  }
}

/** SHA-384 over the contents of a run, empty pages as zeros; undefined where contents are not measured. */
export function runContentSha384(run: MeasuredRun): Uint8Array | undefined {
  if (run.contents.length === 0) return undefined;
  const empty = new Uint8Array(IGVM_PAGE_BYTES);
  const hash = createHash('sha384');
  for (const { data: page } of run.contents) {
    hash.update(page ?? empty);
    // A short page is loaded with zeros behind it.
    if (page !== undefined) hash.update(empty.subarray(page.length));
  }
  return new Uint8Array(hash.digest());
}
