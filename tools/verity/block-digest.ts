import { hash } from 'node:crypto';
import type { ByteSource, Extent } from '../bytes/source.ts';
import { CHUNK_BYTES } from '../bytes/source.ts';
import type { VerityParameters } from './parameters.ts';

/** Digest of a block with the salt before it (hash type 1) or behind it (type 0). */
export type BlockDigest = (block: Uint8Array) => Uint8Array;

/** @param blockBytes the one size of all blocks that will be given; all-zero blocks are hashed once */
export function blockDigest(parameters: VerityParameters, blockBytes: number): BlockDigest {
  const { algorithm, salt, hashType } = parameters;
  const salted = new Uint8Array(salt.length + blockBytes);
  salted.set(salt, hashType === 0 ? blockBytes : 0);
  const blockAt = hashType === 0 ? 0 : salt.length;
  const zero = Buffer.alloc(blockBytes);
  const compute = (block: Uint8Array): Uint8Array => {
    salted.set(block, blockAt);
    return hash(algorithm, salted, 'buffer');
  };
  const zeroDigest = compute(zero);
  return (block) => (zero.equals(block) ? zeroDigest : compute(block));
}

/**
 * Visits the digests of data blocks `from` up to, without, `to`, in order, over calls with ascending ranges: those of
 * one block or, one behind the other, of several from `block` on.
 */
export type BlockDigests = (
  from: number,
  to: number,
  visit: (block: number, digests: Uint8Array) => void,
) => void;

/**
 * Digests of data blocks `from` up to, without, `to`, in order, one a visit. Blocks outside the source's extents are never read.
 * Calls with ascending ranges share one walk over the extents.
 */
export function dataDigests(data: ByteSource, parameters: VerityParameters): BlockDigests {
  const { dataBlockBytes } = parameters;
  const digest = blockDigest(parameters, dataBlockBytes);
  const zeroDigest = digest(new Uint8Array(dataBlockBytes));
  const extents = data.extents;
  const blocksPerRead = Math.max(1, CHUNK_BYTES / dataBlockBytes);
  let next = 0;
  return (from, to, visit) => {
    let block = from;
    while (block < to) {
      const extent = skipTo(block * dataBlockBytes);
      const first = extent === undefined ? to : Math.floor(extent.offset / dataBlockBytes);
      for (; block < Math.min(first, to); block++) visit(block, zeroDigest);
      if (extent === undefined || block >= to) continue;
      const last = Math.ceil((extent.offset + extent.length) / dataBlockBytes);
      const count = Math.min(last, to, block + blocksPerRead) - block;
      const bytes = data.read(block * dataBlockBytes, count * dataBlockBytes);
      for (let i = 0; i < count; i++, block++) {
        visit(block, digest(bytes.subarray(i * dataBlockBytes, (i + 1) * dataBlockBytes)));
      }
    }
  };

  /** The first extent that ends behind `offset`. */
  function skipTo(offset: number): Extent | undefined {
    for (;;) {
      const extent = extents[next];
      if (extent === undefined || extent.offset + extent.length > offset) return extent;
      next++;
    }
  }
}
