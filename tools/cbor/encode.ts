import { concatBytes } from '../bytes/compare.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { bug } from '../errors.ts';
import { MAJOR, SELF_DESCRIBE_TAG, isCborArray } from './value.ts';
import type { CborValue } from './value.ts';

/**
 * Encodes a value in the only form that {@link file://./decode.ts decodeCbor} reads: definite lengths, shortest
 * numbers. Map keys are written in the map's own order, so `encodeCbor(decodeCbor(x))` is `x` without its tag.
 *
 * @param selfDescribe whether tag 55799 goes in front (`d9d9f7`)
 * @throws CvmError bug for an integer that does not fit 64 bits
 */
export function encodeCbor(value: CborValue, selfDescribe = false): Uint8Array {
  const parts: Uint8Array[] = [];
  if (selfDescribe) parts.push(head(MAJOR.tag, SELF_DESCRIBE_TAG));
  encodeInto(parts, value);
  return concatBytes(...parts);
}

function encodeInto(parts: Uint8Array[], value: CborValue): void {
  if (value === null) parts.push(head(MAJOR.simple, 22n));
  else if (value === undefined) parts.push(head(MAJOR.simple, 23n));
  else if (typeof value === 'boolean') parts.push(head(MAJOR.simple, value ? 21n : 20n));
  else if (typeof value === 'bigint') {
    parts.push(value < 0n ? head(MAJOR.negative, -1n - value) : head(MAJOR.unsigned, value));
  } else if (typeof value === 'string') {
    const bytes = utf8Bytes(value);
    parts.push(head(MAJOR.text, BigInt(bytes.length)), bytes);
  } else if (value instanceof Uint8Array) {
    parts.push(head(MAJOR.bytes, BigInt(value.length)), value);
  } else if (isCborArray(value)) {
    parts.push(head(MAJOR.array, BigInt(value.length)));
    for (const item of value) encodeInto(parts, item);
  } else {
    parts.push(head(MAJOR.map, BigInt(value.size)));
    for (const [key, item] of value) {
      encodeInto(parts, key);
      encodeInto(parts, item);
    }
  }
}

function head(major: number, argument: bigint): Uint8Array {
  if (argument < 24n) return Uint8Array.of((major << 5) | Number(argument));
  const power = [1, 2, 4, 8].findIndex((width) => argument < 1n << BigInt(8 * width));
  if (power < 0) throw bug('a CBOR integer does not fit 64 bits');
  const bytes = new Uint8Array(1 + (1 << power));
  bytes[0] = (major << 5) | (24 + power);
  for (let i = bytes.length - 1, rest = argument; i > 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}
