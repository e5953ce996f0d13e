/** A tree to a partition file: ext4, hash tree, sparse tar and zstd in one go. */
import { dirname } from 'node:path';
import { chunks, readInto, type ByteSource, type Extent } from '../bytes/source.ts';
import { bug, usageError } from '../errors.ts';
import { writeExt4, type Ext4Options } from '../ext4/writer.ts';
import { PARTITION_MEMBER } from '../guestos/layout.ts';
import { SPARSE_TAR_END_BYTES, sparseTarStart } from '../tar/sparse.ts';
import { knownDigests } from '../verity/block-digest.ts';
import { checkFormat, formatVerity } from '../verity/format.ts';
import { VERITY_ALGORITHMS, type VerityParameters } from '../verity/parameters.ts';
import { hashAreaBytes } from '../verity/tree-shape.ts';
import { checkEncoder, PARTITION_LEVEL, SLICE_BYTES, slices } from '../zstd/compress.ts';
import { writeFileWhole } from './files.ts';
import type { ImageTree } from './image-tree.ts';
import { framesInOrder, type Slice } from './frame-stream.ts';
import { ScratchStore } from './scratch-file.ts';
import { defaultJobs, SliceThreads } from './slice-threads.ts';

/** The blocks of partitions: those of the file system, and of the data that a hash tree covers. */
export const BLOCK_BYTES = 4096;

const SLICE_BLOCKS = SLICE_BYTES / BLOCK_BYTES;

export interface VerityPlan {
  readonly parameters: VerityParameters;
  /** Where the hash tree's superblock stands. */
  readonly hashOffset: number;
}

export interface PartitionPlan {
  readonly ext4: Ext4Options;
  /** The hash tree over the file system's blocks; none when absent. */
  readonly verity?: VerityPlan;
  /** Threads; as many as there are cores when absent. They have no part in the bytes. */
  readonly jobs?: number;
}

export interface PartitionInput {
  /** Of what the tree is read from, as far as it is known. */
  readonly inputBytes: number;
  readonly open: () => Promise<ImageTree>;
}

/** An input of this size keeps threads busy for longer than they take to start. */
const THREADS_FROM_BYTES = 32 << 20;

/** @returns the root hash of the hash tree that was asked for */
export async function writePartition(
  output: string,
  input: PartitionInput,
  plan: PartitionPlan & Required<Pick<PartitionPlan, 'verity'>>,
): Promise<Uint8Array>;
export async function writePartition(
  output: string,
  input: PartitionInput,
  plan: PartitionPlan,
): Promise<Uint8Array | undefined>;
/**
 * Writes a partition as it travels: zstd frames of a sparse tar with the one member `partition.img`.
 *
 * Every content is read once, where it stands in the image, into the slice that a thread then takes the blocks' digests of
 * and compresses. That can be done because the layout does not depend on what contents hold: the map of a sparse tar stands
 * before its data. Frames begin where the map ends, and where the hash tree begins. Holes are neither read nor hashed nor
 * stored. Memory holds the tree's entries, the map, and a few slices; digests and hash tree wait in a file without a name
 * beside the output. Where the input is large, threads start while its tree is opened.
 *
 * @returns the root hash, when there is a hash tree
 * @throws CvmError those of `open`, `writeExt4`, `formatVerity` and `writeFileWhole`; usage VERITY_OVERLAP
 */
export async function writePartition(
  output: string,
  { inputBytes, open }: PartitionInput,
  { ext4, verity, jobs = defaultJobs() }: PartitionPlan,
): Promise<Uint8Array | undefined> {
  if (verity !== undefined) checkVerity(verity, ext4);
  const threads = new SliceThreads(jobs);
  const scratch = new ScratchStore(dirname(output));
  try {
    if (inputBytes >= THREADS_FROM_BYTES) threads.start();
    const tree = await open();
    try {
      checkEncoder(PARTITION_LEVEL);
      const partition = new Partition(writeExt4(tree.entries, ext4), verity, scratch);
      await writeFileWhole(output, partition.frames(threads));
      return partition.rootHash;
    } finally {
      tree.close();
    }
  } finally {
    scratch.close();
    await threads.close();
  }
}

function checkVerity({ parameters, hashOffset }: VerityPlan, { sizeBytes }: Ext4Options): void {
  if (parameters.dataBlockBytes !== BLOCK_BYTES) throw bug('the hash tree covers blocks of another size');
  if (hashOffset >= sizeBytes) {
    checkFormat(sizeBytes, parameters, hashOffset);
    return;
  }
  throw usageError('VERITY_OVERLAP', 'the hash tree would stand inside the file system', {
    facts: [
      ['hash offset', hashOffset],
      ['file system', `${sizeBytes} bytes`],
    ],
    mend: `give a hash offset of at least ${sizeBytes}`,
  });
}

class Partition {
  rootHash: Uint8Array | undefined;
  readonly #image: ByteSource;
  /** Whole blocks of the image. */
  readonly #runs: readonly Extent[];
  readonly #blocks: number;
  readonly #verity: VerityPlan | undefined;
  readonly #scratch: ScratchStore;
  /** Where in the scratch store the digests of each slice of the image are. */
  readonly #digestsAt: number[] = [];
  #read: { readonly slice: number; readonly digests: Uint8Array } | undefined;

  constructor(image: ByteSource, verity: VerityPlan | undefined, scratch: ScratchStore) {
    this.#image = image;
    this.#runs = wholeBlocks(image);
    this.#blocks = this.#runs.reduce((sum, { length }) => sum + length, 0) / BLOCK_BYTES;
    this.#verity = verity;
    this.#scratch = scratch;
  }

  /** The partition file; the root hash is known when they have all been taken. */
  async *frames(threads: SliceThreads): AsyncGenerator<Uint8Array> {
    yield* this.#framesOf(threads, this.#start());
    for await (const { bytes, digests } of framesInOrder(threads, this.#content(threads), PARTITION_LEVEL)) {
      if (digests !== undefined) this.#digestsAt.push(this.#scratch.append(digests));
      yield bytes;
    }
    yield* this.#framesOf(threads, this.#end());
  }

  async *#framesOf(threads: SliceThreads, chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    async function* input(): AsyncGenerator<Slice> {
      for await (const bytes of slices(chunks, () => threads.takeBuffer())) yield { bytes };
    }
    for await (const { bytes } of framesInOrder(threads, input(), PARTITION_LEVEL)) yield bytes;
  }

  #start(): Iterable<Uint8Array> {
    const runs = [...this.#runs];
    let { sizeBytes } = this.#image;
    if (this.#verity !== undefined) {
      const { parameters, hashOffset } = this.#verity;
      const length = hashAreaBytes(parameters, hashOffset);
      const last = runs.at(-1);
      if (last !== undefined && last.offset + last.length === hashOffset)
        runs[runs.length - 1] = { offset: last.offset, length: last.length + length };
      else runs.push({ offset: hashOffset, length });
      sizeBytes = hashOffset + length;
    }
    return sparseTarStart(PARTITION_MEMBER, sizeBytes, runs);
  }

  /** The image's blocks in slices, all but the last full. */
  // eslint-disable-next-line @typescript-eslint/require-await -- an async source of slices, as the others
  async *#content(threads: SliceThreads): AsyncGenerator<Slice> {
    const digested = this.#verity && { blockBytes: BLOCK_BYTES, parameters: this.#verity.parameters };
    let bytes: Uint8Array | undefined;
    let filled = 0;
    for (const { offset, length } of this.#runs) {
      for (let done = 0; done < length;) {
        bytes ??= threads.takeBuffer();
        const count = Math.min(length - done, SLICE_BYTES - filled);
        readInto(this.#image, offset + done, bytes.subarray(filled, filled + count));
        filled += count;
        done += count;
        if (filled === SLICE_BYTES) {
          yield { bytes: bytes.subarray(0, filled), digested };
          bytes = undefined;
          filled = 0;
        }
      }
    }
    if (bytes !== undefined) yield { bytes: bytes.subarray(0, filled), digested };
  }

  *#end(): Generator<Uint8Array> {
    const verity = this.#verity;
    if (verity !== undefined) {
      const { parameters, hashOffset } = verity;
      const { rootHash, hashArea } = formatVerity(this.#image, parameters, hashOffset, {
        digests: knownDigests(this.#runs, parameters, (first, count) => this.#digests(verity, first, count)),
        store: this.#scratch,
      });
      this.rootHash = rootHash;
      yield* chunks(hashArea);
    }
    yield new Uint8Array(SPARSE_TAR_END_BYTES);
  }

  /** Of blocks of one slice, counted from the first of the image that is stored. */
  #digests({ parameters }: VerityPlan, first: number, count: number): Uint8Array {
    const slice = Math.floor(first / SLICE_BLOCKS);
    const digestBytes = VERITY_ALGORITHMS[parameters.algorithm];
    if (this.#read?.slice !== slice) {
      const at = this.#digestsAt[slice];
      if (at === undefined) throw bug('a block was not hashed');
      this.#read = { slice, digests: this.#scratch.read(at, this.#blocksOf(slice) * digestBytes) };
    }
    const within = first % SLICE_BLOCKS;
    return this.#read.digests.subarray(within * digestBytes, (within + count) * digestBytes);
  }

  #blocksOf(slice: number): number {
    return Math.min(SLICE_BLOCKS, this.#blocks - slice * SLICE_BLOCKS);
  }
}

/** The blocks that the extents of an image lie in, merged where they meet. */
function wholeBlocks({ extents }: ByteSource): Extent[] {
  const runs: Extent[] = [];
  for (const { offset, length } of extents) {
    const end = Math.ceil((offset + length) / BLOCK_BYTES) * BLOCK_BYTES;
    const start = offset - (offset % BLOCK_BYTES);
    const last = runs.at(-1);
    if (last !== undefined && start <= last.offset + last.length) {
      runs[runs.length - 1] = { offset: last.offset, length: end - last.offset };
    } else {
      runs.push({ offset: start, length: end - start });
    }
  }
  return runs;
}
