import { readU16, readU32 } from '../bytes/little-endian.ts';
import { MXCSR, REGISTERS, SEGMENTS, X87_FCW } from './vmsa.ts';

/**
 * What a VMSA page holds, zero registers left out: names as in AMD's manual, values in hex. A segment reads
 * `selector:attributes:limit:base`.
 *
 * @param page 4096 bytes
 */
export function vmsaFields(page: Uint8Array): Record<string, string> {
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
  const fields: Record<string, string> = {};
  for (const [name, at] of Object.entries(SEGMENTS)) {
    const parts = [
      readU16(page, at),
      readU16(page, at + 2),
      readU32(page, at + 4),
      view.getBigUint64(at + 8, true),
    ];
    fields[name] = parts.map(hex).join(':');
  }
  for (const [name, at] of Object.entries(REGISTERS)) {
    const value = view.getBigUint64(at, true);
    if (value !== 0n) fields[name] = hex(value);
  }
  if (readU32(page, MXCSR) !== 0) fields['mxcsr'] = hex(readU32(page, MXCSR));
  if (readU16(page, X87_FCW) !== 0) fields['x87Fcw'] = hex(readU16(page, X87_FCW));
  return fields;
}
