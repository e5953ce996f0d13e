import { createHash, hash } from 'node:crypto';
import { passingChunks, type ByteSource } from './source.ts';

export type DigestName = 'sha256' | 'sha384' | 'sha512';

/** One-shot digest of bytes in memory. */
export function digestBytes(name: DigestName, bytes: Uint8Array): Uint8Array {
  return plain(hash(name, bytes, 'buffer'));
}

/**
 * {@link digestBytes} into a place that is there. Small records by the thousand: as a Latin-1 string, one character a
 * byte, a digest costs half of what a new array does.
 * @param target the digest goes to `offset`; what is digested may be the target itself
 */
export function digestInto(name: DigestName, bytes: Uint8Array, target: Buffer, offset: number): void {
  target.write(hash(name, bytes, 'binary'), offset, 'latin1');
}

/** Digest of a whole source, a buffer at a time; holes count as zeros. */
export function digestSource(name: DigestName, source: ByteSource): Uint8Array {
  const state = createHash(name);
  for (const chunk of passingChunks(source)) state.update(chunk);
  return plain(state.digest());
}

/** A Buffer is no plain Uint8Array to equality checks, JSON and slice(): none leaves this module. */
function plain(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
