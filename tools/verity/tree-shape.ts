import { VERITY_ALGORITHMS, type VerityParameters } from './parameters.ts';
import { VERITY_SUPERBLOCK_BYTES } from './superblock.ts';

/** Where digests stand: blocks of slots, levels on disk from the top (one block) down to level 0. */
export interface TreeShape {
  readonly digestBytes: number;
  /** Distance of slots: the digest rounded up to a power of two; in hash type 0 the digest itself. */
  readonly slotBytes: number;
  /** Slots used in a block: a power of two. */
  readonly slotsPerBlock: number;
  /** Blocks of each level, level 0 (over the data) first. Empty for a single data block. */
  readonly levels: readonly number[];
  readonly treeBlocks: number;
}

export function treeShape(parameters: VerityParameters): TreeShape {
  const digestBytes = VERITY_ALGORITHMS[parameters.algorithm];
  const slotsPerBlock = 2 ** Math.floor(Math.log2(parameters.hashBlockBytes / digestBytes));
  const levels: number[] = [];
  for (let count = parameters.dataBlocks; count > 1;) {
    count = Math.ceil(count / slotsPerBlock);
    levels.push(count);
  }
  return {
    digestBytes,
    slotBytes: parameters.hashType === 0 ? digestBytes : 2 ** Math.ceil(Math.log2(digestBytes)),
    slotsPerBlock,
    levels,
    treeBlocks: levels.reduce((sum, count) => sum + count, 0),
  };
}

/** Blocks on disk before those of `level`: higher levels come first. */
export function blocksBefore(shape: TreeShape, level: number): number {
  return shape.levels.slice(level + 1).reduce((sum, count) => sum + count, 0);
}

/** Byte offset of the tree behind a superblock at `hashOffset`: the next whole hash block of the device. */
export function treeOffset(hashOffset: number, hashBlockBytes: number): number {
  return Math.ceil((hashOffset + VERITY_SUPERBLOCK_BYTES) / hashBlockBytes) * hashBlockBytes;
}

/** Length of superblock, gap and tree. A single data block needs no tree; the superblock's block is there all the same. */
export function hashAreaBytes(parameters: VerityParameters, hashOffset: number): number {
  const { hashBlockBytes } = parameters;
  const treeAt = treeOffset(hashOffset, hashBlockBytes);
  return treeAt - hashOffset + treeShape(parameters).treeBlocks * hashBlockBytes;
}
