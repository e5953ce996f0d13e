/**
 * The CBOR data that certificates, requests and range lists are made of (RFC 8949). Floating point, tags inside a
 * document and simple values other than these four do not occur there, so they do not exist here.
 *
 * Integers of both signs are `bigint`. A map keeps the order in which its keys stood. `null` and `undefined` are
 * two values (`f6`, `f7`) and neither stands for the other.
 */
export type CborValue = bigint | Uint8Array | string | boolean | null | undefined | CborArray | CborMap;
export type CborArray = readonly CborValue[];
export type CborMap = ReadonlyMap<string, CborValue>;

/** The high three bits of an item's first byte: RFC 8949 section 3.1. */
export const MAJOR = {
  unsigned: 0,
  negative: 1,
  bytes: 2,
  text: 3,
  array: 4,
  map: 5,
  tag: 6,
  simple: 7,
} as const;

/** "Self-described CBOR", RFC 8949 section 3.4.6: says nothing about the content, marks the bytes as CBOR. */
export const SELF_DESCRIBE_TAG = 55799n;

/** What a value is, in words for an error message. */
export function cborKind(value: CborValue): string {
  if (value === null) return 'null';
  if (value === undefined) return 'undefined';
  if (typeof value === 'bigint') return value < 0n ? 'a negative integer' : 'an unsigned integer';
  if (typeof value === 'string') return 'a text string';
  if (typeof value === 'boolean') return 'a boolean';
  if (value instanceof Uint8Array) return `a byte string of ${value.length} bytes`;
  if (isCborArray(value)) return `an array of ${value.length}`;
  return `a map of ${value.size}`;
}

export function isCborArray(value: CborValue): value is CborArray {
  return Array.isArray(value);
}

export function isCborMap(value: CborValue): value is CborMap {
  return value instanceof Map;
}
