import { equalBytes, isZero } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import type { ByteSource } from '../bytes/source.ts';
import { formatError, mismatchError } from '../errors.ts';
import { blockDigest, dataDigests } from './block-digest.ts';
import type { VerityParameters } from './parameters.ts';
import { readVeritySuperblock } from './superblock.ts';
import { blocksBefore, hashAreaBytes, treeOffset, treeShape, type TreeShape } from './tree-shape.ts';

export interface VerifiedVerity {
  readonly rootHash: Uint8Array;
  readonly parameters: VerityParameters;
}

/**
 * Verifies an image that holds its hash tree behind its data: every block of the tree and then of the data against
 * the digest one level above, from the root hash down, as the kernel does on each read. The first block that differs
 * is named. Data outside the image's extents is never read.
 *
 * @param expectedRootHash without it the tree's own root is returned, and nothing says that it is the right one
 * @throws CvmError format VERITY_NO_SUPERBLOCK | VERITY_SUPERBLOCK | VERITY_BOUNDS | VERITY_SPARE
 * @throws CvmError mismatch VERITY_ROOT_HASH | VERITY_HASH_BLOCK | VERITY_DATA_BLOCK
 */
export function verifyVerity(
  image: ByteSource,
  hashOffset: number,
  expectedRootHash?: Uint8Array,
): VerifiedVerity {
  const parameters = readVeritySuperblock(image, hashOffset);
  const shape = treeShape(parameters);
  const treeAt = treeOffset(hashOffset, parameters.hashBlockBytes);
  checkBounds(image, hashOffset, parameters);

  const rootHash = rootHashOf(image, parameters, shape, treeAt);
  if (expectedRootHash !== undefined && !equalBytes(rootHash, expectedRootHash)) {
    throw mismatchError('VERITY_ROOT_HASH', 'the root hash of the image is another one', {
      facts: [
        ['expected', bytesToHex(expectedRootHash)],
        ['found', bytesToHex(rootHash)],
        ['hash offset', hashOffset],
      ],
      mend: 'compare where the expected root hash comes from with how the image was built',
    });
  }
  for (let level = shape.levels.length - 2; level >= 0; level--) {
    verifyLevel(image, parameters, shape, treeAt, level);
  }
  verifyData(image, parameters, shape, treeAt);
  return { rootHash, parameters };
}

function checkBounds(image: ByteSource, hashOffset: number, parameters: VerityParameters): void {
  const dataEnd = parameters.dataBlocks * parameters.dataBlockBytes;
  const treeEnd = hashOffset + hashAreaBytes(parameters, hashOffset);
  if (dataEnd <= hashOffset && treeEnd <= image.sizeBytes) return;
  throw formatError(
    'VERITY_BOUNDS',
    'the data or the tree of a dm-verity superblock lies outside its place',
    {
      facts: [
        ['data ends at', dataEnd],
        ['hash offset', hashOffset],
        ['tree ends at', treeEnd],
        ['image', `${image.sizeBytes} bytes`],
      ],
      mend: 'the image was cut short, or its tree belongs to another one: fetch it again and compare its sha256',
    },
  );
}

/** The digest of the only block of the top level, or of the only data block. */
function rootHashOf(
  image: ByteSource,
  parameters: VerityParameters,
  shape: TreeShape,
  treeAt: number,
): Uint8Array {
  const { hashBlockBytes, dataBlockBytes } = parameters;
  if (shape.treeBlocks === 0) {
    return blockDigest(parameters, dataBlockBytes)(image.read(0, dataBlockBytes));
  }
  const top = image.read(treeAt, hashBlockBytes);
  checkSpare(top, shape, shape.levels.at(-2) ?? parameters.dataBlocks, treeAt);
  return blockDigest(parameters, hashBlockBytes)(top);
}

/** The digests that `level` holds of what is below it, read block by block. */
function storedDigests(
  image: ByteSource,
  { hashBlockBytes }: VerityParameters,
  shape: TreeShape,
  treeAt: number,
  level: number,
): (index: number) => Uint8Array {
  const levelAt = treeAt + blocksBefore(shape, level) * hashBlockBytes;
  let current = -1;
  let block: Uint8Array = new Uint8Array();
  return (index) => {
    const wanted = Math.floor(index / shape.slotsPerBlock);
    if (wanted !== current) {
      block = image.read(levelAt + wanted * hashBlockBytes, hashBlockBytes);
      current = wanted;
    }
    const at = (index % shape.slotsPerBlock) * shape.slotBytes;
    return block.subarray(at, at + shape.digestBytes);
  };
}

function verifyLevel(
  image: ByteSource,
  parameters: VerityParameters,
  shape: TreeShape,
  treeAt: number,
  level: number,
): void {
  const { hashBlockBytes } = parameters;
  const stored = storedDigests(image, parameters, shape, treeAt, level + 1);
  const digest = blockDigest(parameters, hashBlockBytes);
  const levelAt = treeAt + blocksBefore(shape, level) * hashBlockBytes;
  const count = shape.levels[level] ?? 0;
  const below = level === 0 ? parameters.dataBlocks : (shape.levels[level - 1] ?? 0);
  for (let index = 0; index < count; index++) {
    const at = levelAt + index * hashBlockBytes;
    const block = image.read(at, hashBlockBytes);
    const computed = digest(block);
    if (!equalBytes(computed, stored(index))) {
      throw mismatchError('VERITY_HASH_BLOCK', 'a block of the dm-verity hash tree differs from its digest', {
        facts: [
          ['level', level],
          ['block of the level', index],
          ['at', at],
          ['stored', bytesToHex(stored(index))],
          ['computed', bytesToHex(computed)],
        ],
      });
    }
    checkSpare(block, shape, below - index * shape.slotsPerBlock, at);
  }
}

/** Behind the last digest, and between digests and the next slot, a tree holds zeros. */
function checkSpare(block: Uint8Array, shape: TreeShape, children: number, at: number): void {
  const used = Math.min(children, shape.slotsPerBlock);
  let isSpareZero = isZero(block.subarray(used * shape.slotBytes));
  for (let slot = 0; slot < used && shape.slotBytes > shape.digestBytes; slot++) {
    const end = slot * shape.slotBytes + shape.digestBytes;
    isSpareZero &&= isZero(block.subarray(end, (slot + 1) * shape.slotBytes));
  }
  if (isSpareZero) return;
  throw formatError(
    'VERITY_SPARE',
    'a block of the dm-verity hash tree is not zero where it holds no digest',
    {
      facts: [['at', at]],
    },
  );
}

function verifyData(image: ByteSource, parameters: VerityParameters, shape: TreeShape, treeAt: number): void {
  if (shape.treeBlocks === 0) return;
  const stored = storedDigests(image, parameters, shape, treeAt, 0);
  const { dataBlockBytes } = parameters;
  let block = 0;
  for (const { count, digests: digest } of dataDigests(image, parameters)) {
    for (const end = block + count; block < end; block++) {
      if (equalBytes(digest, stored(block))) continue;
      throw mismatchError('VERITY_DATA_BLOCK', 'a data block differs from its digest in the hash tree', {
        facts: [
          ['data block', block],
          ['at', block * dataBlockBytes],
          ['stored', bytesToHex(stored(block))],
          ['computed', bytesToHex(digest)],
        ],
      });
    }
  }
}
