const SLICES = 8;

/** Slicing-by-8 tables of the reflected Castagnoli polynomial 0x82F63B78. */
const TABLES: readonly Uint32Array[] = (() => {
  const tables = Array.from({ length: SLICES }, () => new Uint32Array(256));
  const first = tables[0] as Uint32Array;
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    first[i] = crc >>> 0;
  }
  for (let slice = 1; slice < SLICES; slice++) {
    const previous = tables[slice - 1] as Uint32Array;
    const table = tables[slice] as Uint32Array;
    for (let i = 0; i < 256; i++) {
      const crc = previous[i] as number;
      table[i] = ((crc >>> 8) ^ (first[crc & 0xff] as number)) >>> 0;
    }
  }
  return tables;
})();

/**
 * CRC-32C without a final inversion, as ext4 uses it: `crc32c(0xffffffff, "123456789")` is 0x1cf96d7c.
 *
 * @param seed the running value, an unsigned 32-bit number
 * @returns the next running value, an unsigned 32-bit number
 */
export function crc32c(seed: number, bytes: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as unknown as readonly [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  let crc = seed >>> 0;
  let at = 0;
  const fast = bytes.length - (bytes.length % SLICES);
  /* eslint-disable @typescript-eslint/no-non-null-assertion -- indexes are masked to the tables' 256 entries */
  for (; at < fast; at += SLICES) {
    const low = crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    crc =
      t7[low & 0xff]! ^
      t6[(low >>> 8) & 0xff]! ^
      t5[(low >>> 16) & 0xff]! ^
      t4[low >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]!) & 0xff]!;
  /* eslint-enable @typescript-eslint/no-non-null-assertion */
  return crc >>> 0;
}
