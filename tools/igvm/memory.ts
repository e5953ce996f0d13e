import { mismatchError, usageError } from '../errors.ts';
import { Describer, hex } from './describe.ts';
import { loadedBytes } from './measured-file.ts';
import { IGVM_PAGE_BYTES, LARGE_PAGE_BYTES, type IgvmFile } from './model.ts';
import { IGVM_LIMIT_BYTES } from './fixed-header.ts';
import { wholePage } from './measure-snp.ts';

/**
 * Memory as it is loaded for some platforms: the pages from an address on, empty ones as zeros.
 *
 * @param mask platforms; of a page that differs between them the first in file order counts
 * @param sizeBytes how much; without it, up to the first page that the file does not load
 * @throws CvmError usage IGVM_MEMORY_RANGE; mismatch IGVM_PAGE_MISSING
 */
export function loadedMemory(file: IgvmFile, mask: number, gpa: number, sizeBytes?: number): Uint8Array[] {
  if (gpa % IGVM_PAGE_BYTES !== 0 || (sizeBytes ?? 1) < 1 || (sizeBytes ?? 1) > IGVM_LIMIT_BYTES) {
    throw usageError('IGVM_MEMORY_RANGE', 'a range of memory starts at a page and has at least one byte', {
      facts: [
        ['gpa', hex(gpa)],
        ['size', sizeBytes ?? 'to the last page'],
      ],
      mend: 'name an address that is a multiple of 0x1000; cvm igvm dump lists the pages',
    });
  }
  const pages = new Map<number, Uint8Array>();
  const large = new Set<number>();
  const empty = new Uint8Array(IGVM_PAGE_BYTES);
  for (const header of file.headers) {
    if (header.kind !== 'page-data' || (header.mask & mask) === 0 || pages.has(header.gpa)) continue;
    pages.set(header.gpa, header.data === undefined ? empty : wholePage(header.data));
    if (loadedBytes(header) === LARGE_PAGE_BYTES) large.add(header.gpa);
  }
  /** What lies behind the first 4 KiB of a page of 2 MiB is empty. */
  const pageAt = (at: number): Uint8Array | undefined =>
    pages.get(at) ?? (large.has(at - (at % LARGE_PAGE_BYTES)) ? empty : undefined);
  const parts: Uint8Array[] = [];
  for (let at = gpa; sizeBytes === undefined || at < gpa + sizeBytes; at += IGVM_PAGE_BYTES) {
    const page = pageAt(at);
    if (page === undefined) {
      if (sizeBytes === undefined && parts.length > 0) break;
      throw mismatchError('IGVM_PAGE_MISSING', 'the file does not load this page', {
        facts: [
          ['gpa', hex(at)],
          ['platforms', new Describer(file).platforms(mask)],
        ],
        mend: 'cvm igvm dump lists the pages',
      });
    }
    parts.push(
      sizeBytes === undefined ? page : page.subarray(0, Math.min(IGVM_PAGE_BYTES, gpa + sizeBytes - at)),
    );
  }
  return parts;
}
