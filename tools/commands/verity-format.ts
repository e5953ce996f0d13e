import { bytesToHex } from '../bytes/hex.ts';
import { sliceSource, sparseSource, type ByteSource } from '../bytes/source.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import { CvmError, usageError } from '../errors.ts';
import { readSuperblock } from '../ext4/superblock.ts';
import { VERITY_SALT_HEX, VERITY_UUID } from '../guestos/layout.ts';
import { formatVerity } from '../verity/format.ts';
import { isVerityAlgorithm, VERITY_ALGORITHMS, type VerityParameters } from '../verity/parameters.ts';
import { hasVeritySuperblock } from '../verity/superblock.ts';
import type { Command, OptionValues } from './command.ts';
import { MEMBER_OPTION, openNamedImage } from './ext4-options.ts';
import { openFile, resolvePath, writeFileWhole, requireDistinctOutputs } from './files.ts';
import { writeImage } from './image-output.ts';
import { parseDecimal, parseUuid, textOption } from './options.ts';
import { saltOption } from './verity-options.ts';

const DEFAULT_BLOCK_BYTES = 4096;
const MAX_SAFE = Number.MAX_SAFE_INTEGER;
const SECTOR_BYTES = 512;

export const command: Command = {
  summary: 'write a dm-verity hash tree and print its root hash',
  description:
    'Puts superblock and hash tree behind the data, the same bytes as `veritysetup format IMG IMG --hash-offset N`, and ' +
    'prints the root hash. Without --output the image itself is replaced, whole or not at all. Where veritysetup draws ' +
    'salt and UUID by lot, these are fixed (those of GuestOS root partitions), so that equal data has an equal root hash.',
  arguments: [
    {
      name: '<img>',
      description: 'image: raw, or with --output also a partition .tzst or update-img.tar.zst',
    },
  ],
  options: [
    {
      flags: '--hash-offset <bytes>',
      description: 'where the superblock goes; behind the image, at a whole block, when absent',
    },
    { flags: '--salt <hex>', description: 'salt, or - for none', defaultValue: VERITY_SALT_HEX },
    { flags: '--uuid <uuid>', description: 'UUID of the superblock', defaultValue: VERITY_UUID },
    {
      flags: '--hash <name>',
      description: Object.keys(VERITY_ALGORITHMS).join(', '),
      defaultValue: 'sha256',
    },
    { flags: '--format <n>', description: 'hash type: 1, or 0 for the old Chrome OS one', defaultValue: '1' },
    {
      flags: '--data-block-size <bytes>',
      description: 'a power of two',
      defaultValue: `${DEFAULT_BLOCK_BYTES}`,
    },
    {
      flags: '--hash-block-size <bytes>',
      description: 'a power of two',
      defaultValue: `${DEFAULT_BLOCK_BYTES}`,
    },
    {
      flags: '--data-blocks <n>',
      description: 'blocks to cover; all whole ones before the hash offset when absent',
    },
    { flags: '--output <file>', description: 'write image and tree there: raw, or *.tzst' },
    { flags: '--root-hash-output <file>', description: 'write the root hash there instead of printing it' },
    MEMBER_OPTION,
  ],
  async run([image = ''], options, io) {
    const path = resolvePath(io, image);
    const output = textOption(options, 'output');
    requireDistinctOutputs(io, output ?? image, textOption(options, 'rootHashOutput'));
    // In place means this very file, so nothing is unwrapped.
    const source =
      output === undefined ? openFile(path) : await openNamedImage(path, options, resolvePath(io, output));
    try {
      const { parameters, hashOffset } = plan(options, source.sizeBytes);
      const { rootHash, hashArea } = formatVerity(source, parameters, hashOffset);
      requireUnused(path, source, hashOffset, hashArea.sizeBytes);
      await writeImage(
        output === undefined ? path : resolvePath(io, output),
        withHashArea(source, hashArea, hashOffset),
      );
      const line = `${bytesToHex(rootHash)}\n`;
      const hashOutput = textOption(options, 'rootHashOutput');
      if (hashOutput === undefined) io.out(line);
      else await writeFileWhole(resolvePath(io, hashOutput), [utf8Bytes(line)]);
    } finally {
      source.close();
    }
    return 0;
  },
};

function plan(
  options: OptionValues,
  sizeBytes: number,
): { readonly parameters: VerityParameters; readonly hashOffset: number } {
  const number = (name: string, flag: string, fallback: number, min: number): number => {
    const text = textOption(options, name);
    return text === undefined ? fallback : parseDecimal(text, flag, min, MAX_SAFE);
  };
  const dataBlockBytes = number('dataBlockSize', '--data-block-size', DEFAULT_BLOCK_BYTES, 1);
  const hashBlockBytes = number('hashBlockSize', '--hash-block-size', DEFAULT_BLOCK_BYTES, 1);
  const behind = Math.ceil(sizeBytes / hashBlockBytes) * hashBlockBytes;
  const hashOffset = number('hashOffset', '--hash-offset', behind, 0);
  const whole = Math.floor(Math.min(sizeBytes, hashOffset) / dataBlockBytes);
  const dataBlocks = number('dataBlocks', '--data-blocks', whole, 1);
  if (dataBlocks === 0 || dataBlocks * dataBlockBytes > hashOffset) {
    throw usageError('VERITY_OVERLAP', 'there is no room for the data before the hash tree', {
      facts: [
        ['hash offset', hashOffset],
        ['data', `${dataBlocks} blocks of ${dataBlockBytes} bytes`],
        ['image', `${sizeBytes} bytes`],
      ],
      mend: 'give a hash offset at or behind the end of the data, and at least one whole block of data',
    });
  }
  const algorithm = textOption(options, 'hash') ?? 'sha256';
  const format = parseDecimal(textOption(options, 'format') ?? '1', '--format', 0, 1);
  if (!isVerityAlgorithm(algorithm)) {
    throw usageError('VERITY_ALGORITHM', '--hash names no algorithm that is known here', {
      facts: [
        ['found', algorithm],
        ['known', Object.keys(VERITY_ALGORITHMS).join(', ')],
      ],
    });
  }
  return {
    hashOffset,
    parameters: {
      hashType: format === 0 ? 0 : 1,
      algorithm,
      dataBlockBytes,
      hashBlockBytes,
      dataBlocks,
      salt: saltOption(textOption(options, 'salt') ?? VERITY_SALT_HEX),
      uuid: parseUuid(textOption(options, 'uuid') ?? VERITY_UUID, '--uuid'),
    },
  };
}

/**
 * Refuses to put the tree over something: a file system that reaches beyond the hash offset, or bytes that are neither
 * zero nor an earlier tree.
 */
function requireUnused(path: string, image: ByteSource, hashOffset: number, areaBytes: number): void {
  const length = Math.min(image.sizeBytes - hashOffset, areaBytes);
  if (length <= 0) return;
  const filesystemBytes = ext4Bytes(image);
  const isTree = hasVeritySuperblock(image, hashOffset);
  const [found] = isTree ? [] : dataRuns(sliceSource(image, hashOffset, length), SECTOR_BYTES);
  if (filesystemBytes <= hashOffset && found === undefined) return;
  throw usageError('VERITY_OVERWRITES', 'the hash tree would stand where the image has data', {
    facts: [
      ['image', path],
      ['hash offset', hashOffset],
      filesystemBytes > hashOffset
        ? ['ext4 file system', `${filesystemBytes} bytes`]
        : ['data at byte', hashOffset + (found?.offset ?? 0)],
    ],
    mend: 'give a hash offset behind all data; without --hash-offset the tree goes behind the image',
  });
}

/** Of the file system at the image's start; 0 when there is none. */
function ext4Bytes(image: ByteSource): number {
  try {
    const { blocksCount, blockSize } = readSuperblock(image);
    return blocksCount * blockSize;
  } catch (error) {
    if (error instanceof CvmError && error.kind === 'format') return 0;
    throw error;
  }
}

/** The image with superblock and tree in their place; what stood there goes, what stands behind stays. */
function withHashArea(image: ByteSource, hashArea: ByteSource, hashOffset: number): ByteSource {
  const end = hashOffset + hashArea.sizeBytes;
  const before = Math.min(image.sizeBytes, hashOffset);
  const after = Math.max(image.sizeBytes - end, 0);
  return sparseSource(Math.max(end, image.sizeBytes), [
    { offset: 0, source: sliceSource(image, 0, before) },
    { offset: hashOffset, source: hashArea },
    ...(after === 0 ? [] : [{ offset: end, source: sliceSource(image, end, after) }]),
  ]);
}
