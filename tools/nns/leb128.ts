import { bug, formatError } from '../errors.ts';

const LIMIT_BITS = 64;
const LIMIT_BYTES = Math.ceil(LIMIT_BITS / 7);

/** Unsigned LEB128, shortest form. @throws CvmError bug for a negative number */
export function encodeLeb128(value: bigint): Uint8Array {
  if (value < 0n) throw bug('a negative number has no unsigned LEB128 form');
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Uint8Array.from(bytes);
}

/**
 * An unsigned 64-bit number that fills `bytes` exactly, in the shortest form.
 * @param what names the value in the error
 * @throws CvmError format LEB128
 */
export function decodeLeb128(bytes: Uint8Array, what: string): bigint {
  let value = 0n;
  for (const [i, byte] of bytes.entries()) {
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if ((byte & 0x80) !== 0 && i + 1 < LIMIT_BYTES) continue;
    const shortest = i === 0 || byte !== 0;
    if ((byte & 0x80) === 0 && i + 1 === bytes.length && shortest && value >> BigInt(LIMIT_BITS) === 0n)
      return value;
    break;
  }
  throw formatError('LEB128', `the ${what} is not one unsigned 64-bit LEB128 number`, {
    facts: [['length', `${bytes.length} bytes`]],
    mend: 'no network writes it so: fetch the certificate again',
  });
}
