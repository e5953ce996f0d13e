import { formatError } from '../errors.ts';
import { bytesToHex } from './hex.ts';

/** A GUID's length in binary structures. */
export const GUID_BYTES = 16;

const TEXT = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/i;

/** Whether a text is a GUID. */
export function isGuid(text: string): boolean {
  return TEXT.test(text);
}

/**
 * The 16 bytes of a GUID as UEFI and Microsoft structures store it: the first three groups little-endian, the last
 * two as written.
 * @throws CvmError format GUID_INVALID
 */
export function guidToBytes(text: string): Uint8Array {
  const groups = TEXT.exec(text);
  if (groups === null) {
    throw formatError('GUID_INVALID', 'a GUID is 8-4-4-4-12 hex digits', { facts: [['found', text]] });
  }
  const [, a = '', b = '', c = '', d = '', e = ''] = groups;
  return Uint8Array.from([
    ...Buffer.from(a, 'hex').reverse(),
    ...Buffer.from(b, 'hex').reverse(),
    ...Buffer.from(c, 'hex').reverse(),
    ...Buffer.from(d + e, 'hex'),
  ]);
}

/** The text form, lower case, of 16 bytes at `offset`. */
export function guidFromBytes(bytes: Uint8Array, offset = 0): string {
  const at = (from: number, to: number): Uint8Array => bytes.slice(offset + from, offset + to);
  return [
    bytesToHex(at(0, 4).reverse()),
    bytesToHex(at(4, 6).reverse()),
    bytesToHex(at(6, 8).reverse()),
    bytesToHex(at(8, 10)),
    bytesToHex(at(10, 16)),
  ].join('-');
}
