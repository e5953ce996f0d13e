import { jsonText } from '../bytes/text.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import type { ByteSource } from '../bytes/source.ts';
import { usageError } from '../errors.ts';
import { ROOT_HASH_OFFSET } from '../guestos/layout.ts';
import { ROOT_VERITY } from '../guestos/partitions.ts';
import { VERITY_ALGORITHMS } from '../verity/parameters.ts';
import { hasVeritySuperblock } from '../verity/superblock.ts';
import { hashAreaBytes } from '../verity/tree-shape.ts';
import { verifyVerity } from '../verity/verify.ts';
import type { Command, OptionValues } from './command.ts';
import { aboutFile } from './error-path.ts';
import { MEMBER_OPTION, openNamedImage } from './ext4-options.ts';
import { resolvePath } from './files.ts';
import { flagOption, parseDecimal, textOption } from './options.ts';

export const command: Command = {
  summary: 'recompute a dm-verity hash tree and compare',
  description:
    'Checks every block of an image against its hash tree, from the root down, and prints the root hash. The first ' +
    'block that differs is named. Without --root-hash the image is only shown to agree with itself. Exit codes: 0 all ' +
    'agrees, 3 there is no sound tree, 5 a block or the root hash differs.',
  arguments: [
    { name: '<img>', description: 'image with its tree: raw, partition .tzst or update-img.tar.zst' },
  ],
  options: [
    {
      flags: '--hash-offset <bytes>',
      description:
        'where the superblock is; when absent that of GuestOS, or behind the data at the end of the image',
    },
    { flags: '--root-hash <hex>', description: 'the root hash that is expected' },
    { flags: '--json', description: 'one JSON object on standard output' },
    MEMBER_OPTION,
  ],
  async run([path = ''], options, io) {
    const expected = rootHashOption(options);
    const image = await openNamedImage(resolvePath(io, path), options);
    try {
      const hashOffset = hashOffsetOf(image, options);
      const { rootHash, parameters } = await aboutFile(image.path, () =>
        verifyVerity(image, hashOffset, expected),
      );
      const hex = bytesToHex(rootHash);
      if (flagOption(options, 'json')) {
        const { salt, uuid, ...rest } = parameters;
        io.out(
          `${jsonText({
            rootHash: hex,
            expected: expected !== undefined,
            hashOffset,
            ...rest,
            salt: bytesToHex(salt),
            uuid: bytesToHex(uuid).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
          })}\n`,
        );
      } else {
        io.out(`${hex}\n`);
      }
    } finally {
      image.close();
    }
    return 0;
  },
};

function rootHashOption(options: OptionValues): Uint8Array | undefined {
  const text = textOption(options, 'rootHash');
  if (text === undefined) return undefined;
  const sizes: readonly number[] = Object.values(VERITY_ALGORITHMS);
  if (/^([0-9a-f]{2})+$/i.test(text) && sizes.includes(text.length / 2))
    return hexToBytes(text, '--root-hash');
  throw usageError('OPTION_ROOT_HASH', '--root-hash is not the hex text of a digest', {
    facts: [
      ['found', text],
      ['digits', sizes.map((size) => 2 * size).join(', ')],
    ],
  });
}

/** @throws CvmError usage HASH_OFFSET_NEEDED */
function hashOffsetOf(image: ByteSource, options: OptionValues): number {
  const text = textOption(options, 'hashOffset');
  if (text !== undefined) return parseDecimal(text, '--hash-offset', 0, Number.MAX_SAFE_INTEGER);
  const places = [ROOT_HASH_OFFSET, appendedOffset(image.sizeBytes)];
  const found = places.find((offset) => hasVeritySuperblock(image, offset));
  if (found !== undefined) return found;
  throw usageError('HASH_OFFSET_NEEDED', 'the image has no dm-verity superblock at the usual places', {
    facts: [
      ['looked at', places.join(', ')],
      ['image', `${image.sizeBytes} bytes`],
    ],
    mend: 'give --hash-offset, the one that the tree was made with',
  });
}

/** Where `cvm verity format` puts the superblock of whole blocks of data by default: data and tree fill the image. */
function appendedOffset(sizeBytes: number): number {
  const { dataBlockBytes } = ROOT_VERITY;
  let low = 1;
  let high = Math.max(1, Math.floor(sizeBytes / dataBlockBytes));
  while (low < high) {
    const dataBlocks = Math.floor((low + high) / 2);
    const dataBytes = dataBlocks * dataBlockBytes;
    if (dataBytes + hashAreaBytes({ ...ROOT_VERITY, dataBlocks }, dataBytes) < sizeBytes)
      low = dataBlocks + 1;
    else high = dataBlocks;
  }
  return low * dataBlockBytes;
}
