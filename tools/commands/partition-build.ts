import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { VERITY_SALT_HEX, VERITY_UUID } from '../guestos/layout.ts';
import { isVerityAlgorithm, VERITY_ALGORITHMS, type VerityParameters } from '../verity/parameters.ts';
import type { Command, OptionValues } from './command.ts';
import { isStandardOutput, requireDistinctOutputs, resolvePath, writeFileWhole } from './files.ts';
import { FILESYSTEM_OPTIONS, filesystemOptions, LABEL_OPTIONS, labelOption } from './filesystem-options.ts';
import { inputBytes, openImageTree, TREE_OPTIONS, type ImageTree } from './image-tree.ts';
import { optionFlag, parseDecimal, parseUuid, requiredText, textOption } from './options.ts';
import { BLOCK_BYTES, writePartition, type PartitionPlan } from './partition-writer.ts';
import { MAX_JOBS } from './slice-threads.ts';
import { saltOption } from './verity-options.ts';

/** 1 PiB: far behind the largest file system. */
const MAX_HASH_OFFSET = 2 ** 50;

export const JOBS_OPTION = {
  flags: '--jobs <n>',
  description: `threads, at most ${MAX_JOBS}; as many as there are cores when absent. The bytes do not depend on it`,
} as const;

export const command: Command = {
  summary: 'write a partition from a tree: ext4, hash tree, sparse tar and zstd in one go',
  description:
    'Writes what `ext4 build`, `verity format` and packing would, with each content read once. With --verity-offset the dm-verity superblock and hash tree stand there, behind the ' +
    'file system that they cover, and the root hash is printed. Holes cost nothing; memory does not grow with the image.',
  options: [
    ...TREE_OPTIONS,
    ...FILESYSTEM_OPTIONS,
    ...LABEL_OPTIONS,
    { flags: '--verity-offset <bytes>', description: 'where the hash tree goes; there is none when absent' },
    {
      flags: '--salt <hex>',
      description: `salt of the hash tree, or - for none; ${VERITY_SALT_HEX} when absent`,
    },
    {
      flags: '--hash <name>',
      description: `${Object.keys(VERITY_ALGORITHMS).join(', ')}; sha256 when absent`,
    },
    { flags: '--verity-uuid <uuid>', description: `UUID of the hash tree; ${VERITY_UUID} when absent` },
    JOBS_OPTION,
    { flags: '--output <file>', description: 'the partition: zstd of sparse tar (*.tzst)', required: true },
    { flags: '--root-hash-output <file>', description: 'write the root hash there instead of printing it' },
  ],
  async run(_args, options, io) {
    const plan = partitionPlan(options);
    const output = resolvePath(io, requiredText(options, 'output'));
    const hashOutput = textOption(options, 'rootHashOutput');
    requireDistinctOutputs(io, requiredText(options, 'output'), hashOutput);
    requireHashApart(output, plan, hashOutput);
    const open = (): Promise<ImageTree> => openImageTree(options, io, labelOption(options));
    const rootHash = await writePartition(output, { inputBytes: inputBytes(options, io), open }, plan);
    if (rootHash !== undefined) {
      const line = `${bytesToHex(rootHash)}\n`;
      if (hashOutput === undefined) io.out(line);
      else await writeFileWhole(resolvePath(io, hashOutput), [utf8Bytes(line)]);
    }
    return 0;
  },
};

/** The root hash is printed when it goes nowhere else: not behind the archive that a reader of standard output gets. */
function requireHashApart(output: string, { verity }: PartitionPlan, hashOutput: string | undefined): void {
  if (verity === undefined || hashOutput !== undefined || !isStandardOutput(output)) return;
  throw usageError('OPTION_OUTPUT', 'partition and root hash would both go to standard output', {
    mend: 'give --root-hash-output FILE',
  });
}

function partitionPlan(options: OptionValues): PartitionPlan {
  const ext4 = filesystemOptions(options);
  const jobs = jobsOption(options);
  const offset = textOption(options, 'verityOffset');
  if (offset === undefined) {
    const idle = ['salt', 'hash', 'verityUuid', 'rootHashOutput'].find(
      (name) => textOption(options, name) !== undefined,
    );
    if (idle !== undefined) {
      throw usageError('OPTION_MISSING', `${optionFlag(idle)} says nothing without --verity-offset`, {
        mend: 'give --verity-offset too, or neither',
      });
    }
    return { ext4, ...jobs };
  }
  const dataBlocks = Math.floor(ext4.sizeBytes / BLOCK_BYTES);
  const algorithm = textOption(options, 'hash') ?? 'sha256';
  if (!isVerityAlgorithm(algorithm)) {
    throw usageError('VERITY_ALGORITHM', '--hash names no algorithm that is known here', {
      facts: [
        ['found', algorithm],
        ['known', Object.keys(VERITY_ALGORITHMS).join(', ')],
      ],
    });
  }
  const parameters: VerityParameters = {
    hashType: 1,
    algorithm,
    dataBlockBytes: BLOCK_BYTES,
    hashBlockBytes: BLOCK_BYTES,
    dataBlocks,
    salt: saltOption(textOption(options, 'salt') ?? VERITY_SALT_HEX),
    uuid: parseUuid(textOption(options, 'verityUuid') ?? VERITY_UUID, '--verity-uuid'),
  };
  const hashOffset = parseDecimal(offset, '--verity-offset', 0, MAX_HASH_OFFSET);
  return { ext4, verity: { parameters, hashOffset }, ...jobs };
}

/** @throws CvmError usage OPTION_NUMBER */
export function jobsOption(options: OptionValues): { readonly jobs?: number } {
  const text = textOption(options, 'jobs');
  return text === undefined ? {} : { jobs: Math.min(MAX_JOBS, parseDecimal(text, '--jobs', 1, 1024)) };
}
