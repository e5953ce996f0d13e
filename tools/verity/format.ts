import { sparseSource, sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { unitSource } from '../bytes/unit-source.ts';
import { usageError } from '../errors.ts';
import { blockDigest, dataDigests } from './block-digest.ts';
import { checkParameters, type VerityParameters } from './parameters.ts';
import { VERITY_SUPERBLOCK_BYTES, writeVeritySuperblock } from './superblock.ts';
import { treeOffset, treeShape, type TreeShape } from './tree-shape.ts';

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
export function formatVerity(data: ByteSource, parameters: VerityParameters, hashOffset = 0): VerityFormat {
  checkParameters(parameters);
  checkHashOffset(hashOffset);
  checkDataSize(data, parameters);
  const shape = treeShape(parameters);
  const { rootHash, levels } = hashTree(data, parameters, shape);

  const superblock = sourceFromBytes(writeVeritySuperblock(parameters));
  const { hashBlockBytes } = parameters;
  const treeAt = treeOffset(hashOffset, hashBlockBytes) - hashOffset;
  const blocks = levels.toReversed().flat();
  const tree = unitSource(hashBlockBytes, blocks.length, (index) => blocks[index] as Uint8Array);
  return {
    rootHash,
    hashArea: sparseSource(treeAt + tree.sizeBytes, [
      { offset: 0, source: superblock },
      { offset: treeAt, source: tree },
    ]),
  };
}

function checkHashOffset(hashOffset: number): void {
  if (Number.isSafeInteger(hashOffset) && hashOffset >= 0 && hashOffset % VERITY_SUPERBLOCK_BYTES === 0)
    return;
  throw usageError('VERITY_HASH_OFFSET', 'a dm-verity superblock cannot stand at this place', {
    facts: [['hash offset', hashOffset]],
    mend: 'give a multiple of 512',
  });
}

function checkDataSize(data: ByteSource, { dataBlocks, dataBlockBytes }: VerityParameters): void {
  if (dataBlocks * dataBlockBytes <= data.sizeBytes) return;
  throw usageError('VERITY_DATA_SIZE', 'there is less data than the hash tree should cover', {
    facts: [
      ['data', `${data.sizeBytes} bytes`],
      ['covered', `${dataBlocks} blocks of ${dataBlockBytes} bytes`],
    ],
    mend: 'give the whole image, or fewer data blocks',
  });
}

interface HashTree {
  readonly rootHash: Uint8Array;
  /** Blocks by level, level 0 first. Equal blocks may be one object. */
  readonly levels: readonly (readonly Uint8Array[])[];
}

function hashTree(data: ByteSource, parameters: VerityParameters, shape: TreeShape): HashTree {
  const digests = dataDigests(data, parameters);
  const [leafCount] = shape.levels;
  if (leafCount === undefined) {
    let rootHash: Uint8Array = new Uint8Array();
    digests(0, 1, (_, digest) => {
      rootHash = digest;
    });
    return { rootHash, levels: [] };
  }
  const levels = [leafBlocks(leafCount, parameters, shape, digests)];
  const digest = rememberingDigest(parameters);
  for (const count of shape.levels.slice(1)) {
    const below = levels.at(-1) ?? [];
    const fold = blockFolder(parameters, shape);
    const level: Uint8Array[] = [];
    for (let index = 0; index < count; index++) {
      const children = below.slice(index * shape.slotsPerBlock, (index + 1) * shape.slotsPerBlock);
      level.push(fold(children.map(digest)));
    }
    levels.push(level);
  }
  return { rootHash: digest(levels.at(-1)?.[0] ?? new Uint8Array()), levels };
}

function leafBlocks(
  count: number,
  { dataBlocks, ...rest }: VerityParameters,
  shape: TreeShape,
  digests: ReturnType<typeof dataDigests>,
): Uint8Array[] {
  const fold = blockFolder({ dataBlocks, ...rest }, shape);
  return Array.from({ length: count }, (_, index) => {
    const children: Uint8Array[] = [];
    const from = index * shape.slotsPerBlock;
    digests(from, Math.min(from + shape.slotsPerBlock, dataBlocks), (_block, digest) => {
      children.push(digest);
    });
    return fold(children);
  });
}

/** Puts digests into the slots of a block; a full block of one digest object is made once and shared. */
function blockFolder(
  { hashBlockBytes }: VerityParameters,
  { slotBytes, slotsPerBlock }: TreeShape,
): (digests: readonly Uint8Array[]) => Uint8Array {
  const uniform = new Map<Uint8Array, Uint8Array>();
  const make = (digests: readonly Uint8Array[]): Uint8Array => {
    const block = new Uint8Array(hashBlockBytes);
    digests.forEach((digest, slot) => {
      block.set(digest, slot * slotBytes);
    });
    return block;
  };
  return (digests) => {
    const [first] = digests;
    if (first === undefined || digests.length < slotsPerBlock || digests.some((digest) => digest !== first)) {
      return make(digests);
    }
    const block = uniform.get(first) ?? make(digests);
    uniform.set(first, block);
    return block;
  };
}

/** The digest of a tree block, remembered by the object: what stands over zeros is one. */
function rememberingDigest(parameters: VerityParameters): (block: Uint8Array) => Uint8Array {
  const digest = blockDigest(parameters, parameters.hashBlockBytes);
  const known = new WeakMap<Uint8Array, Uint8Array>();
  return (block) => {
    const result = known.get(block) ?? digest(block);
    known.set(block, result);
    return result;
  };
}
