import { createHash, hash } from 'node:crypto';
import { bytesToHex } from './hex.ts';
import { chunks, type ByteSource } from './source.ts';

export type DigestName = 'sha256' | 'sha384' | 'sha512';

/** One-shot digest of bytes in memory. */
export function digestBytes(name: DigestName, bytes: Uint8Array): Uint8Array {
  return plain(hash(name, bytes, 'buffer'));
}

/** Digest of a whole source, a buffer at a time; holes count as zeros. */
export function digestSource(name: DigestName, source: ByteSource): Uint8Array {
  const state = createHash(name);
  for (const chunk of chunks(source)) state.update(chunk);
  return plain(state.digest());
}

/** What makes a file this file and no other. */
export interface FileIdentity {
  /** 64 lower-case hex digits. */
  readonly sha256: string;
  /** In bytes. */
  readonly size: number;
}

export function identityOf(source: ByteSource): FileIdentity {
  return { sha256: bytesToHex(digestSource('sha256', source)), size: source.sizeBytes };
}

/** A Buffer is no plain Uint8Array to equality checks, JSON and slice(): none leaves this module. */
function plain(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
