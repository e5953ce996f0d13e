import { readAll, type ByteSource } from '../bytes/source.ts';
import { formatError } from '../errors.ts';
import { IGVM_PAGE_BYTES, PAGE_DATA_TYPES, type PageData } from '../igvm/model.ts';

/** Bytes up to the next page. */
export function roundToPages(bytes: number): number {
  return Math.ceil(bytes / IGVM_PAGE_BYTES) * IGVM_PAGE_BYTES;
}

export function page(
  gpa: number,
  mask: number,
  data?: Uint8Array,
  dataType: number = PAGE_DATA_TYPES.NORMAL,
): PageData {
  return { kind: 'page-data', gpa, mask, flags: 0, dataType, data };
}

/** Pages without data: zeros that the loader need not copy. */
export function emptyPages(gpa: number, bytes: number, mask: number): PageData[] {
  return Array.from({ length: Math.ceil(bytes / IGVM_PAGE_BYTES) }, (_, i) =>
    page(gpa + i * IGVM_PAGE_BYTES, mask),
  );
}

/** Bytes as pages, the last one filled up with zeros; pages of zeros keep their data. */
export function dataPages(gpa: number, bytes: Uint8Array, mask: number): PageData[] {
  return Array.from({ length: Math.ceil(bytes.length / IGVM_PAGE_BYTES) }, (_, i) => {
    const data = new Uint8Array(IGVM_PAGE_BYTES);
    data.set(bytes.subarray(i * IGVM_PAGE_BYTES, (i + 1) * IGVM_PAGE_BYTES));
    return page(gpa + i * IGVM_PAGE_BYTES, mask, data);
  });
}

/** One page that ends with these bytes: how a stack is handed over. */
export function stackPage(gpa: number, mask: number, top: Uint8Array): PageData {
  const data = new Uint8Array(IGVM_PAGE_BYTES);
  data.set(top, IGVM_PAGE_BYTES - top.length);
  return page(gpa, mask, data);
}

/** An IGVM file is smaller than 4 GiB, and so is what goes into it. */
const PART_BYTES_MAX = 1 << 30;

/** A part as bytes. @throws CvmError format IMAGE_PART_EMPTY | SOURCE_TOO_LARGE */
export function partBytes(part: ByteSource, name: string): Uint8Array {
  if (part.sizeBytes > 0) return readAll(part, PART_BYTES_MAX, name);
  throw formatError('IMAGE_PART_EMPTY', `${name} is an empty file`, {
    facts: [['part', name]],
    mend: 'give the built component; an objcopy of the wrong file can leave nothing',
  });
}
