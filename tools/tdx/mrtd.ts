import { asSource, readInto, type ByteSource } from '../bytes/source.ts';
import { MrtdStream } from './mrtd-stream.ts';
import { PAGE_BYTES } from './tdvf-descriptor.ts';
import type { TdvfSection } from './tdvf.ts';

/**
 * How a VMM adds the pages of a section: each with its content at once (`single-pass`, QEMU from 9.0 on), or all pages
 * first and then all contents (`two-pass`, QEMU 8).
 */
export const PAGE_ADD_ORDERS = ['single-pass', 'two-pass'] as const;
export type PageAddOrder = (typeof PAGE_ADD_ORDERS)[number];

/**
 * MRTD of a firmware: what {@link MrtdStream} makes of its sections, in the order of the firmware's table. Pages of
 * augmented sections are not added before launch; contents enter for sections with MR_EXTEND alone.
 */
export function mrtd(
  firmware: ByteSource | Uint8Array,
  sections: readonly TdvfSection[],
  order: PageAddOrder,
): Uint8Array {
  const source = asSource(firmware);
  const stream = new MrtdStream();
  const page = new Uint8Array(PAGE_BYTES);
  for (const section of sections) {
    const add = (gpa: number): void => {
      if (!section.augmented) stream.add(gpa);
    };
    const extend = (gpa: number, offset: number): void => {
      if (!section.extends) return;
      readInto(source, section.dataOffset + offset, page);
      stream.extend(gpa, page);
    };
    if (order === 'two-pass') {
      eachPage(section, add);
      eachPage(section, extend);
    } else {
      eachPage(section, (gpa, offset) => {
        add(gpa);
        extend(gpa, offset);
      });
    }
  }
  return stream.digest();
}

function eachPage(section: TdvfSection, visit: (gpa: number, offset: number) => void): void {
  // Pages that nothing is said about need no visit, and PAGE_AUG sections may be as large as memory.
  if (section.augmented && !section.extends) return;
  for (let offset = 0; offset < section.sizeBytes; offset += PAGE_BYTES)
    visit(section.address + offset, offset);
}
