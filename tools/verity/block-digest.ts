import type * as Crypto from 'node:crypto';
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

/** What of {@link VerityParameters} a block's digest depends on. Plain data: it travels to other threads. */
export type DigestParameters = Pick<VerityParameters, 'algorithm' | 'salt' | 'hashType'>;

/**
 * The digests of adjacent blocks, one behind the other, zeros like anything else. What threads run as well: they are given
 * this function's text, so it may use nothing that is outside of it.
 * @param bytes whole blocks
 */
export function digestBlocks(
  { hash }: Pick<typeof Crypto, 'hash'>,
  bytes: Uint8Array,
  blockBytes: number,
  { algorithm, salt, hashType }: DigestParameters,
): Uint8Array<ArrayBuffer> {
  const salted = new Uint8Array(salt.length + blockBytes);
  salted.set(salt, hashType === 0 ? blockBytes : 0);
  const blockAt = hashType === 0 ? 0 : salt.length;
  const digestBytes = hash(algorithm, salted, 'buffer').length;
  const digests = new Uint8Array((bytes.length / blockBytes) * digestBytes);
  const target = Buffer.from(digests.buffer);
  for (let at = 0, to = 0; at < bytes.length; at += blockBytes, to += digestBytes) {
    salted.set(bytes.subarray(at, at + blockBytes), blockAt);
    // A string of Latin-1 is the cheapest form in which Node.js hands a digest over.
    target.write(hash(algorithm, salted, 'binary'), to, 'latin1');
  }
  return digests;
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

/**
 * {@link dataDigests} of those who have them already.
 * @param runs the bytes whose blocks have one, whole blocks; all others are zero
 * @param digests those of `count` blocks, or of fewer but one at least, from the `first` on: blocks of runs are counted from 0
 */
export function knownDigests(
  runs: readonly Extent[],
  { dataBlockBytes, ...parameters }: DigestParameters & Pick<VerityParameters, 'dataBlockBytes'>,
  digests: (first: number, count: number) => Uint8Array,
): BlockDigests {
  const zeroDigest = digestBlocks({ hash }, new Uint8Array(dataBlockBytes), dataBlockBytes, parameters);
  let next = 0;
  let before = 0;
  return (from, to, visit) => {
    for (let block = from; block < to;) {
      const run = runs[next];
      const start = run === undefined ? to : run.offset / dataBlockBytes;
      for (; block < Math.min(start, to); block++) visit(block, zeroDigest);
      if (run === undefined) return;
      const end = start + run.length / dataBlockBytes;
      while (block < Math.min(end, to)) {
        const known = digests(before + block - start, Math.min(end, to) - block);
        visit(block, known);
        block += known.length / zeroDigest.length;
      }
      if (block < end) return;
      next++;
      before += end - start;
    }
  };
}
