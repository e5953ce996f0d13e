import { bug } from '../errors.ts';

/*
 * Little-endian integers at byte offsets. A place outside the bytes is a mistake of the caller, who checks the
 * structure's length once; it is reported as such instead of being read as zero.
 */

function within(bytes: Uint8Array, offset: number, length: number): void {
  if (offset < 0 || offset + length > bytes.length) {
    throw bug(`an integer at ${offset}..${offset + length} lies outside ${bytes.length} bytes`);
  }
}

/* eslint-disable @typescript-eslint/no-non-null-assertion -- `within` has checked every index */

export function readU8(bytes: Uint8Array, offset: number): number {
  within(bytes, offset, 1);
  return bytes[offset]!;
}

export function readU16(bytes: Uint8Array, offset: number): number {
  within(bytes, offset, 2);
  return bytes[offset]! | (bytes[offset + 1]! << 8);
}

export function readU32(bytes: Uint8Array, offset: number): number {
  within(bytes, offset, 4);
  return (
    (bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)) >>>
    0
  );
}

/* eslint-enable @typescript-eslint/no-non-null-assertion */

export function writeU8(bytes: Uint8Array, offset: number, value: number): void {
  within(bytes, offset, 1);
  bytes[offset] = value;
}

/** Writes the low 16 bits of `value`. */
export function writeU16(bytes: Uint8Array, offset: number, value: number): void {
  within(bytes, offset, 2);
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}

/** Writes the low 32 bits of `value`, an integer that may be negative or above 2^32. */
export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  within(bytes, offset, 4);
  const low = value >>> 0;
  bytes[offset] = low;
  bytes[offset + 1] = low >>> 8;
  bytes[offset + 2] = low >>> 16;
  bytes[offset + 3] = low >>> 24;
}

/** Writes the low 64 bits of `value`, an integer that may be negative or above 2^64. */
export function writeU64(bytes: Uint8Array, offset: number, value: bigint): void {
  writeU32(bytes, offset, Number(BigInt.asUintN(32, value)));
  writeU32(bytes, offset + 4, Number(BigInt.asUintN(32, value >> 32n)));
}

/** The number of two halves; above 2^53 it loses low bits, so compare it with a bound before use. */
export function joinU32(low: number, high: number): number {
  return high * 2 ** 32 + low;
}
