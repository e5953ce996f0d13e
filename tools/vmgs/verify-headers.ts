/** Findings on the footer and the headers of a store. */
import { isZero } from '../bytes/compare.ts';
import type { ByteSource } from '../bytes/source.ts';
import { CvmError } from '../errors.ts';
import { finding, type Finding } from './findings.ts';
import {
  ALGORITHM_NONE,
  HEADER_BYTES,
  headerOffset,
  isUsed,
  otherSlot,
  REPROVISIONED,
  type Header,
  type Headers,
  type Slot,
} from './header.ts';
import { VMGS_BLOCK_BYTES, type StoreGeometry } from './layout.ts';
import type { VhdFooter } from './vhd.ts';
import { encodeVhdFooter, VHD_FOOTER_BYTES } from './vhd.ts';

export const FROM_BACKUP = 'take the store from a backup';

/** An error that would be thrown, as a finding. */
export function findingOf(error: unknown, at: string): Finding {
  if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
  const facts = error.facts.map(([name, value]) => `${name}: ${value}`);
  const what = [error.message, ...facts].join('; ');
  return finding('error', error.code, at, what, error.mend ?? null);
}

/** A footer that is sound, against what writers of such files write. */
export function checkFooter(file: ByteSource, footer: VhdFooter): Finding[] {
  const found: Finding[] = [];
  const start = file.sizeBytes - VHD_FOOTER_BYTES;
  const at = `VHD footer, byte ${start}`;
  if (footer.currentBytes !== start) {
    const what = `the footer names ${footer.currentBytes} bytes, in front of it are ${start}`;
    found.push(
      finding('warning', 'VHD_SIZE_DIFFERS', at, what, 'write the footer anew with the size of the store'),
    );
  }
  if (footer.originalBytes !== BigInt(footer.currentBytes)) {
    const what = `original size ${footer.originalBytes.toString()}, current size ${footer.currentBytes}`;
    found.push(finding('info', 'VHD_RESIZED', at, what));
  }
  const usual = encodeVhdFooter(footer.currentBytes, footer.idBytes);
  const bytes = file.read(start, VHD_FOOTER_BYTES);
  // Reserved bytes begin behind the saved-state flag.
  if (!isZero(bytes.subarray(85))) {
    found.push(finding('warning', 'VHD_RESERVED', at, 'reserved bytes of the footer are not zero'));
  } else if (
    footer.originalBytes === BigInt(footer.currentBytes) &&
    usual.some((byte, i) => byte !== bytes[i])
  ) {
    found.push(finding('info', 'VHD_CREATOR', at, 'the footer is sound and not as openvmm writes it'));
  }
  return found;
}

/** Both headers, and how they stand to each other. */
export function checkHeaders(store: ByteSource, geometry: StoreGeometry, headers: Headers): Finding[] {
  const { active, slots } = headers;
  const at = (slot: Slot): string => `header ${slot + 1}, byte ${headerOffset(slot, geometry)}`;
  if (typeof active !== 'number') return [findingOf(active, 'headers, byte 0')];
  const found: Finding[] = [];
  const spare = otherSlot(active);
  const { header } = slots[active];
  const { fault, isEmpty } = slots[spare];
  // A new store has one header.
  if (isEmpty ? active !== 0 || header.sequence !== 1 : fault !== undefined) {
    const what = isEmpty ? 'the other header is missing' : `the other header is not valid: ${fault ?? ''}`;
    const mend = `the last write was cut off, or ${FROM_BACKUP}; the next write replaces it`;
    found.push(finding('warning', 'SPARE_HEADER', at(spare), what, mend));
  }
  for (const slot of [0, 1] as const) {
    const rest = store.read(headerOffset(slot, geometry) + HEADER_BYTES, geometry.sectorBytes - HEADER_BYTES);
    if (!isZero(rest))
      found.push(finding('warning', 'HEADER_RESIDUE', at(slot), 'its sector holds more than the header'));
  }
  return [...found, ...checkActive(header, at(active))];
}

function checkActive(header: Header, at: string): Finding[] {
  const found: Finding[] = [];
  if ((header.markers & REPROVISIONED) !== 0) {
    const what =
      'marked as reprovisioned: a request to format leaves it alone, a plain start writes a header to clear it';
    found.push(finding('info', 'REPROVISIONED', at, what));
  }
  if ((header.markers & ~REPROVISIONED) !== 0 || header.reserved !== 0)
    found.push(finding('warning', 'HEADER_RESERVED', at, 'reserved bits are not zero'));
  const used = header.slots.filter(isUsed).length;
  if (header.algorithm !== ALGORITHM_NONE && used === 0) {
    found.push(
      finding('error', 'NO_KEY_SLOT', at, 'the store is encrypted, and no key opens it', FROM_BACKUP),
    );
  }
  if (header.algorithm === ALGORITHM_NONE && used > 0)
    found.push(finding('warning', 'KEY_SLOT_UNUSED', at, 'the store is not encrypted, and has key slots'));
  if (used === 2) {
    const what = 'two keys open the store: the next encrypted write shuts out one of them';
    found.push(finding('warning', 'TWO_KEYS', at, what, 'finish the exchange: cvm vmgs update-key'));
  }
  header.slots.forEach((slot, i) => {
    const isClean = isUsed(slot) || (isZero(slot.nonce) && isZero(slot.tag));
    if (slot.reserved === 0 && isClean) return;
    found.push(finding('warning', 'KEY_SLOT_RESERVED', at, `key slot ${i} has bytes where zeros belong`));
  });
  return found;
}

/** Bytes behind the last whole block. */
export function checkSize({ storeBytes }: StoreGeometry): Finding[] {
  const rest = storeBytes % VMGS_BLOCK_BYTES;
  if (rest === 0) return [];
  return [
    finding(
      'info',
      'PARTIAL_BLOCK',
      `byte ${storeBytes - rest}`,
      `the last ${rest} bytes are no whole block, and no use`,
    ),
  ];
}
