import { sparseSource, sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { unitSource } from '../bytes/unit-source.ts';
import { usageError } from '../errors.ts';
import { blockDigest, dataDigests, type BlockDigests } from './block-digest.ts';
import { checkParameters, type VerityParameters } from './parameters.ts';
import { VERITY_SUPERBLOCK_BYTES, writeVeritySuperblock } from './superblock.ts';
import { treeOffset, treeShape, type TreeShape } from './tree-shape.ts';

/** A block of the tree, wherever it is kept. */
export type KeptBlock = () => Uint8Array;

export interface VeritySources {
  /** The data blocks' digests, for those who know; one object for each block of zeros, and it alone. Data is read when absent. */
  readonly digests?: BlockDigests;
  /** Where tree blocks go until they are read; memory when absent. */
  readonly keep?: (block: Uint8Array) => KeptBlock;
}

export interface VerityFormat {
  readonly rootHash: Uint8Array;
  /** What belongs at the hash offset: superblock, zeros up to the next hash block, tree from the top level down. */
  readonly hashArea: ByteSource;
}

/**
 * Makes the hash tree of the first `dataBlocks` blocks of `data`, as `veritysetup format` does.
 *
 * Blocks outside the data's extents are never read, all-zero blocks are hashed once, and tree blocks over nothing
 * but zeros are one object: time and memory (1/128 of the data that is there, with SHA-256) follow the content, not
 * the size.
 *
 * Source: Linux Documentation/admin-guide/device-mapper/verity.rst; cryptsetup lib/verity/verity_hash.c.
 *
 * @param hashOffset where the superblock will stand on its device, a multiple of 512: the tree begins at the next
 *   whole hash block of the device
 * @throws CvmError usage VERITY_PARAMETER | VERITY_HASH_OFFSET | VERITY_DATA_SIZE
 */
export function formatVerity(
  data: ByteSource,
  parameters: VerityParameters,
  hashOffset = 0,
  { digests, keep = (block) => () => block }: VeritySources = {},
): VerityFormat {
  checkFormat(data.sizeBytes, parameters, hashOffset);
  const shape = treeShape(parameters);
  const { rootHash, levels } = hashTree(parameters, shape, digests ?? dataDigests(data, parameters), keep);

  const superblock = sourceFromBytes(writeVeritySuperblock(parameters));
  const { hashBlockBytes } = parameters;
  const treeAt = treeOffset(hashOffset, hashBlockBytes) - hashOffset;
  const blocks = levels.toReversed().flat();
  const tree = unitSource(hashBlockBytes, blocks.length, (index) => (blocks[index] as KeptBlock)());
  return {
    rootHash,
    hashArea: sparseSource(treeAt + tree.sizeBytes, [
      { offset: 0, source: superblock },
      { offset: treeAt, source: tree },
    ]),
  };
}

/**
 * All that {@link formatVerity} refuses, for those who make the data first.
 * @throws CvmError as {@link formatVerity}
 */
export function checkFormat(dataBytes: number, parameters: VerityParameters, hashOffset: number): void {
  checkParameters(parameters);
  checkHashOffset(hashOffset);
  checkDataSize(dataBytes, parameters);
}

function checkHashOffset(hashOffset: number): void {
  if (Number.isSafeInteger(hashOffset) && hashOffset >= 0 && hashOffset % VERITY_SUPERBLOCK_BYTES === 0)
    return;
  throw usageError('VERITY_HASH_OFFSET', 'a dm-verity superblock cannot stand at this place', {
    facts: [['hash offset', hashOffset]],
    mend: 'give a multiple of 512',
  });
}

function checkDataSize(dataBytes: number, { dataBlocks, dataBlockBytes }: VerityParameters): void {
  if (dataBlocks * dataBlockBytes <= dataBytes) return;
  throw usageError('VERITY_DATA_SIZE', 'there is less data than the hash tree should cover', {
    facts: [
      ['data', `${dataBytes} bytes`],
      ['covered', `${dataBlocks} blocks of ${dataBlockBytes} bytes`],
    ],
    mend: 'give the whole image, or fewer data blocks',
  });
}

interface HashTree {
  readonly rootHash: Uint8Array;
  /** Blocks by level, level 0 first. */
  readonly levels: readonly (readonly KeptBlock[])[];
}

function hashTree(
  parameters: VerityParameters,
  shape: TreeShape,
  digests: BlockDigests,
  keep: (block: Uint8Array) => KeptBlock,
): HashTree {
  if (shape.levels.length === 0) {
    let rootHash: Uint8Array = new Uint8Array();
    digests(0, 1, (_, digest) => {
      rootHash = digest;
    });
    return { rootHash, levels: [] };
  }
  const digestOf = blockDigest(parameters, parameters.hashBlockBytes);
  const levels: KeptBlock[][] = [];
  let below = digests;
  let belowCount = parameters.dataBlocks;
  let rootHash: Uint8Array = new Uint8Array();
  for (const count of shape.levels) {
    const fold = blockFolder(parameters, shape, digestOf, keep);
    const level: KeptBlock[] = [];
    const levelDigests: Uint8Array[] = [];
    for (let index = 0; index < count; index++) {
      const from = index * shape.slotsPerBlock;
      const children: Uint8Array[] = [];
      below(from, Math.min(from + shape.slotsPerBlock, belowCount), (_, digests) => {
        children.push(digests);
      });
      const { block, digest } = fold(children);
      level.push(block);
      levelDigests.push(digest);
    }
    levels.push(level);
    rootHash = levelDigests[0] as Uint8Array;
    belowCount = count;
    below = (from, to, visit) => {
      for (let index = from; index < to; index++) visit(index, levelDigests[index] as Uint8Array);
    };
  }
  return { rootHash, levels };
}

interface FoldedBlock {
  readonly block: KeptBlock;
  readonly digest: Uint8Array;
}

/** Puts digests into the slots of a block; a full block of one digest object is made, hashed and kept once. */
function blockFolder(
  { hashBlockBytes }: VerityParameters,
  { digestBytes, slotBytes, slotsPerBlock }: TreeShape,
  digestOf: (block: Uint8Array) => Uint8Array,
  keep: (block: Uint8Array) => KeptBlock,
): (digests: readonly Uint8Array[]) => FoldedBlock {
  const uniform = new Map<Uint8Array, FoldedBlock>();
  const make = (parts: readonly Uint8Array[]): FoldedBlock => {
    const block = new Uint8Array(hashBlockBytes);
    let at = 0;
    for (const part of parts) {
      if (slotBytes === digestBytes) {
        block.set(part, at);
        at += part.length;
        continue;
      }
      for (let from = 0; from < part.length; from += digestBytes, at += slotBytes) {
        block.set(part.subarray(from, from + digestBytes), at);
      }
    }
    return { block: keep(block), digest: digestOf(block) };
  };
  return (digests) => {
    const [first] = digests;
    if (first === undefined || digests.length < slotsPerBlock || digests.some((digest) => digest !== first)) {
      return make(digests);
    }
    const folded = uniform.get(first) ?? make(digests);
    uniform.set(first, folded);
    return folded;
  };
}
