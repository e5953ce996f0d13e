import { checkRange, type ByteSource } from './source.ts';

/**
 * A source made of equal units that are produced when they are read and then forgotten: tables, bitmaps, trees.
 * One extent over everything.
 *
 * @param make the bytes of unit `index`, exactly `unitBytes` long; the same on every call
 */
export function unitSource(
  unitBytes: number,
  count: number,
  make: (index: number) => Uint8Array,
): ByteSource {
  const sizeBytes = unitBytes * count;
  const fill = (offset: number, target: Uint8Array): void => {
    const { length } = target;
    for (let index = Math.floor(offset / unitBytes); index * unitBytes < offset + length; index++) {
      const start = index * unitBytes;
      const from = Math.max(start, offset);
      const to = Math.min(start + unitBytes, offset + length);
      target.set(make(index).subarray(from - start, to - start), from - offset);
    }
  };
  return {
    sizeBytes,
    readInto(offset, target) {
      checkRange(sizeBytes, offset, target.length);
      fill(offset, target);
    },
    extents: sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }],
    read(offset, length) {
      checkRange(sizeBytes, offset, length);
      const first = Math.floor(offset / unitBytes);
      const within = offset - first * unitBytes;
      if (length > 0 && within + length <= unitBytes) return make(first).subarray(within, within + length);
      const bytes = new Uint8Array(length);
      fill(offset, bytes);
      return bytes;
    },
  };
}
