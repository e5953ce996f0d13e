import { concatBytes } from '../../bytes/compare.ts';
import { buffer, type Aml } from './aml.ts';

/** Resource descriptors (ACPI 6.5, section 6.4), as QEMU writes them. */

const u8 = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);

function u16(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(2 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setUint16(2 * i, value % 0x1_0000, true);
  return bytes;
}

function u32(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setUint32(4 * i, value, true);
  return bytes;
}

function u64(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(8 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setBigUint64(8 * i, BigInt(value), true);
  return bytes;
}

/** All descriptors and the end tag, as a buffer. */
export function resources(...descriptors: readonly Uint8Array[]): Aml {
  return buffer(concatBytes(...descriptors, u8(0x79, 0)));
}

export const io = (base: number, align: number, length: number): Uint8Array =>
  concatBytes(u8(0x47, 1), u16(base, base), u8(align, length));
export const irq = (line: number): Uint8Array => concatBytes(u8(0x22), u16(1 << line));
export const irqWithFlags = (line: number, flags: number): Uint8Array =>
  concatBytes(u8(0x23), u16(1 << line), u8(flags));
export const extendedIrq = (flags: number, ...lines: readonly number[]): Uint8Array =>
  concatBytes(u8(0x89), u16(2 + 4 * lines.length), u8(flags, lines.length), u32(...lines));
export const busRange = (low: number, high: number): Uint8Array =>
  concatBytes(u8(0x88), u16(13), u8(2, 0x0c, 0), u16(0, low, high, 0, high - low + 1));
export const ioRange = (low: number, high: number): Uint8Array =>
  concatBytes(u8(0x88), u16(13), u8(1, 0x0c, 3), u16(0, low, high, 0, high - low + 1));
/** @param flags 1: not cached, 3: cached */
export const memory32 = (flags: number, low: number, high: number): Uint8Array =>
  concatBytes(u8(0x87), u16(23), u8(0, 0x0c, flags), u32(0, low, high, 0, high - low + 1));
export const memory64 = (low: number, length: number): Uint8Array =>
  concatBytes(u8(0x8a), u16(43), u8(0, 0x0c, 3), u64(0, low, low + length - 1, 0, length));
