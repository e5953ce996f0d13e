/** A tree to a partition file: ext4, hash tree, sparse tar and zstd in one go. */
import { dirname } from 'node:path';
import { sparseSource, type ByteSource, type Extent } from '../bytes/source.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import { usageError } from '../errors.ts';
import { planExt4, type Ext4Options } from '../ext4/writer.ts';
import { PARTITION_MEMBER } from '../guestos/layout.ts';
import { SECTOR_BYTES } from '../partition/block-scan.ts';
import { ContentIndex } from '../partition/content-index.ts';
import { addRun, imageDigests, sectorRuns } from '../partition/image-scan.ts';
import { writeSparseTar } from '../tar/sparse.ts';
import type { TreeEntry } from '../tree/entry.ts';
import { blockDigest } from '../verity/block-digest.ts';
import { formatVerity, type KeptBlock } from '../verity/format.ts';
import { VERITY_ALGORITHMS, type VerityParameters } from '../verity/parameters.ts';
import { checkEncoder, compressFrames, PARTITION_LEVEL } from '../zstd/compress.ts';
import { BlockWorkers, defaultJobs } from './block-workers.ts';
import { freeBuffer } from './buffers.ts';
import { writeFileBy, writeFileWhole } from './files.ts';
import { ScratchStore } from './scratch-file.ts';

/** Less content than this is done before threads have started. */
const THREADS_FROM_BYTES = 32 << 20;

/** Slices in the encoder's hands: one more than there are threads, so that none of these waits for the next. */
const slicesAtOnce = (jobs: number): number => jobs + 1;

export interface PartitionPlan {
  readonly ext4: Ext4Options;
  /** The hash tree over the file system's blocks, and where it stands; none when absent. */
  readonly verity?: { readonly parameters: VerityParameters; readonly hashOffset: number };
  /** Threads; as many as there are cores when absent. They have no part in the bytes. */
  readonly jobs?: number;
}

/** @returns the root hash of the hash tree that was asked for */
export async function writePartition(
  output: string,
  entries: readonly TreeEntry[],
  plan: PartitionPlan & Required<Pick<PartitionPlan, 'verity'>>,
): Promise<Uint8Array>;
export async function writePartition(
  output: string,
  entries: readonly TreeEntry[],
  plan: PartitionPlan,
): Promise<Uint8Array | undefined>;
/**
 * Writes a partition as it travels: zstd frames of a sparse tar with the one member `partition.img`.
 *
 * Contents are read twice and never more: once to learn their zeros and digests, on all threads, and once to compress
 * them. (The map of a sparse tar stands before its data, so nothing can be written before all is seen.) Holes are
 * neither read nor hashed nor stored. Memory holds the tree's entries, a byte for every block of content, the map, and
 * a few buffers for every thread; digests and hash tree wait in a file without a name beside the output.
 *
 * @returns the root hash, when there is a hash tree
 * @throws CvmError those of `planExt4`, `formatVerity` and `writeFileWhole`; usage VERITY_OVERLAP
 */
export async function writePartition(
  output: string,
  entries: readonly TreeEntry[],
  plan: PartitionPlan,
): Promise<Uint8Array | undefined> {
  const contents = entries.flatMap((entry) => (entry.type === 'file' ? [entry.content] : []));
  const contentBytes = contents.reduce((sum, content) => sum + dataBytes(content), 0);
  const jobs = plan.jobs ?? (contentBytes < THREADS_FROM_BYTES ? 1 : defaultJobs());
  const workers = new BlockWorkers(jobs);
  const scratch = new ScratchStore(dirname(output));
  try {
    const index = await scanContents(contents, plan, workers, scratch);
    const { image, runs, rootHash } = makeImage(entries, plan, index, scratch);
    const archive = writeSparseTar([{ name: PARTITION_MEMBER, source: image, runs }], { reuseBuffer: true });
    const inFlight = slicesAtOnce(workers.jobs);
    if (workers.jobs === 1) {
      await writeFileWhole(output, compressFrames(archive, PARTITION_LEVEL, inFlight));
    } else {
      await checkEncoder(PARTITION_LEVEL);
      await writeFileBy(output, (handle) =>
        workers.pack({ handle, level: PARTITION_LEVEL, inFlight }, archive),
      );
    }
    return rootHash;
  } finally {
    scratch.close();
    await workers.close();
  }
}

function dataBytes(content: ByteSource): number {
  return content.extents.reduce((sum, { length }) => sum + length, 0);
}

async function scanContents(
  contents: readonly ByteSource[],
  { verity }: PartitionPlan,
  workers: BlockWorkers,
  scratch: ScratchStore,
): Promise<ContentIndex> {
  const index = new ContentIndex(
    scratch,
    verity === undefined ? 0 : VERITY_ALGORITHMS[verity.parameters.algorithm],
  );
  const pending: Promise<void>[] = [];
  for (const batch of index.batches(contents, () => workers.takeBuffer())) {
    const work = workers.scan(batch.bytes, verity?.parameters).then((scan) => {
      index.add(batch.index, scan);
      freeBuffer(scan.digests.buffer);
    });
    // Awaited below; a failure meanwhile must not count as unhandled.
    work.catch(() => undefined);
    pending.push(work);
    if (pending.length > workers.jobs) await pending.shift();
  }
  for (const work of pending) await work;
  return index;
}

interface PartitionImage {
  readonly image: ByteSource;
  /** The sectors of the image that are not all zero. */
  readonly runs: readonly Extent[];
  readonly rootHash: Uint8Array | undefined;
}

function makeImage(
  entries: readonly TreeEntry[],
  { ext4, verity }: PartitionPlan,
  index: ContentIndex,
  scratch: ScratchStore,
): PartitionImage {
  const { image, pieces } = planExt4(entries, ext4, (content) => index.runs(content));
  const runs = sectorRuns(pieces, index);
  if (verity === undefined) return { image, runs, rootHash: undefined };

  const { parameters, hashOffset } = verity;
  if (hashOffset < ext4.sizeBytes) {
    throw usageError('VERITY_OVERLAP', 'the hash tree would stand inside the file system', {
      facts: [
        ['hash offset', hashOffset],
        ['file system', `${ext4.sizeBytes} bytes`],
      ],
      mend: `give a hash offset of at least ${ext4.sizeBytes}`,
    });
  }
  const zeroDigest = blockDigest(
    parameters,
    parameters.dataBlockBytes,
  )(new Uint8Array(parameters.dataBlockBytes));
  const { rootHash, hashArea } = formatVerity(image, parameters, hashOffset, {
    digests: imageDigests(image, pieces, index, parameters, zeroDigest),
    keep: (block): KeptBlock => {
      const at = scratch.append(block);
      return () => scratch.read(at, block.length);
    },
  });
  for (const { offset, length } of dataRuns(hashArea, SECTOR_BYTES))
    addRun(runs, hashOffset + offset, length);
  return {
    image: sparseSource(hashOffset + hashArea.sizeBytes, [
      { offset: 0, source: image },
      { offset: hashOffset, source: hashArea },
    ]),
    runs,
    rootHash,
  };
}
