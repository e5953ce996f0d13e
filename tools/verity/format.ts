import { sparseSource, sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { unitSource } from '../bytes/unit-source.ts';
import { usageError } from '../errors.ts';
import { dataDigests, type DigestRun } from './block-digest.ts';
import { checkParameters, type VerityParameters } from './parameters.ts';
import { VERITY_SUPERBLOCK_BYTES, writeVeritySuperblock } from './superblock.ts';
import { memoryStore, TreeBuilder, type ByteStore } from './tree-builder.ts';
import { treeOffset, treeShape } from './tree-shape.ts';

export interface VeritySources {
  /** The data blocks' digests, for those who know. Data is read when absent. */
  readonly digests?: Iterable<DigestRun>;
  /** Where tree blocks go until they are read; memory when absent. */
  readonly store?: ByteStore;
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
 * but holes are one: time and memory (1/128 of the data that is there, with SHA-256) follow the content, not the size.
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
  { digests = dataDigests(data, parameters), store = memoryStore() }: VeritySources = {},
): VerityFormat {
  checkFormat(data.sizeBytes, parameters, hashOffset);
  const shape = treeShape(parameters);
  const builder = new TreeBuilder(parameters, shape, store);
  for (const run of digests) builder.add(run);
  const rootHash = builder.finish();

  const superblock = sourceFromBytes(writeVeritySuperblock(parameters));
  const { hashBlockBytes } = parameters;
  const treeAt = treeOffset(hashOffset, hashBlockBytes) - hashOffset;
  const tree = unitSource(hashBlockBytes, shape.treeBlocks, (index) => builder.block(index));
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
