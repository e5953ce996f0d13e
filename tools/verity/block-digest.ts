import type * as Crypto from 'node:crypto';
import { hash } from 'node:crypto';
import type { ByteSource, Extent } from '../bytes/source.ts';
import { CHUNK_BYTES } from '../bytes/source.ts';
import { bug } from '../errors.ts';
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

/** What adjacent blocks hash to: their digests one behind the other, or one digest that all of them share. */
export interface DigestRun {
  readonly count: number;
  readonly digests: Uint8Array;
}

/**
 * Digests of the data blocks, from the first to the last. Blocks outside the source's extents are never read: they are
 * one run. All others are runs of one block.
 */
export function* dataDigests(data: ByteSource, parameters: VerityParameters): Generator<DigestRun> {
  const { dataBlockBytes, dataBlocks } = parameters;
  const digest = blockDigest(parameters, dataBlockBytes);
  const zeroDigest = digest(new Uint8Array(dataBlockBytes));
  const blocksPerRead = Math.max(1, CHUNK_BYTES / dataBlockBytes);
  let block = 0;
  for (const { offset, length } of data.extents) {
    const first = Math.min(dataBlocks, Math.floor(offset / dataBlockBytes));
    if (first > block) yield { count: first - block, digests: zeroDigest };
    block = Math.max(block, first);
    const end = Math.min(dataBlocks, Math.ceil((offset + length) / dataBlockBytes));
    while (block < end) {
      const count = Math.min(end - block, blocksPerRead);
      const bytes = data.read(block * dataBlockBytes, count * dataBlockBytes);
      for (let i = 0; i < count; i++, block++)
        yield { count: 1, digests: digest(bytes.subarray(i * dataBlockBytes, (i + 1) * dataBlockBytes)) };
    }
  }
  if (block < dataBlocks) yield { count: dataBlocks - block, digests: zeroDigest };
}

/**
 * {@link dataDigests} of those who have them already.
 * @param runs the bytes whose blocks have one, whole blocks; all others are zero
 * @param digests those of `count` blocks, or of fewer but one at least, from the `first` on: blocks of runs are counted from 0
 */
export function* knownDigests(
  runs: readonly Extent[],
  {
    dataBlockBytes,
    dataBlocks,
    ...parameters
  }: DigestParameters & Pick<VerityParameters, 'dataBlockBytes' | 'dataBlocks'>,
  digests: (first: number, count: number) => Uint8Array,
): Generator<DigestRun> {
  const zeroDigest = digestBlocks({ hash }, new Uint8Array(dataBlockBytes), dataBlockBytes, parameters);
  let block = 0;
  let before = 0;
  for (const { offset, length } of runs) {
    const start = offset / dataBlockBytes;
    const first = Math.min(dataBlocks, start);
    if (first > block) yield { count: first - block, digests: zeroDigest };
    const end = start + length / dataBlockBytes;
    for (block = first; block < Math.min(end, dataBlocks);) {
      const known = digests(before + block - start, Math.min(end, dataBlocks) - block);
      const count = known.length / zeroDigest.length;
      if (!(count >= 1)) throw bug('a block has no digest');
      yield { count, digests: known };
      block += count;
    }
    before += end - start;
  }
  if (block < dataBlocks) yield { count: dataBlocks - block, digests: zeroDigest };
}
