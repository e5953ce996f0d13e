import { createHash } from 'node:crypto';
import { compareBytes, concatBytes } from '../bytes/compare.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { encodeLeb128 } from './leb128.ts';

/** What a field of a request may hold: text, bytes, a natural number, or a list of these. */
export type RequestValue = string | Uint8Array | bigint | readonly RequestValue[];

/**
 * The representation-independent hash of a request's `content`, which is the request's id: 32 bytes. For every field
 * SHA-256 of the name and SHA-256 of the value (text as UTF-8, bytes raw, naturals as LEB128, a list as the digests of its elements in
 * order), these pairs sorted bytewise, concatenated and hashed.
 * Source: Internet Computer interface specification, "Request ids".
 * @throws CvmError bug for a negative number
 */
export function requestId(fields: ReadonlyMap<string, RequestValue>): Uint8Array {
  const pairs = [...fields].map(([name, value]) => concatBytes(sha256(utf8Bytes(name)), hashValue(value)));
  return sha256(concatBytes(...pairs.sort(compareBytes)));
}

function hashValue(value: RequestValue): Uint8Array {
  if (typeof value === 'string') return sha256(utf8Bytes(value));
  if (typeof value === 'bigint') return sha256(encodeLeb128(value));
  if (value instanceof Uint8Array) return sha256(value);
  return sha256(concatBytes(...value.map(hashValue)));
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest());
}
