import { digestBytes } from '../bytes/digest.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { writeExt4 } from '../ext4/writer.ts';
import type { Command, OptionValues } from './command.ts';
import { resolvePath } from './files.ts';
import { writeImage } from './image-output.ts';
import {
  ADD_OPTION,
  MTIME_OPTION,
  openImageTree,
  STRIP_OPTION,
  SUBTREE_OPTION,
  TAR_OPTION,
  type LabelSource,
} from './image-tree.ts';
import { parseDecimal, parseUuid, requiredText, textOption } from './options.ts';

const MAX_SIZE_BYTES = 2 ** 44 - 4096;
const MAX_U32 = 2 ** 32 - 1;

export const command: Command = {
  summary: 'write an ext4 image from a tar archive',
  description:
    'Writes an ext4 file system that depends on the tree and the options alone: no clock, user or folder order enters ' +
    'it. 4 KiB blocks, metadata checksums, backups, no journal. Owners, modes, times, links, devices and extended ' +
    'attributes come from the archive; blocks of zeros become holes. An output called *.tzst is written as zstd of ' +
    'sparse tar. Without --uuid and --hash-seed both are made from label and size.',
  options: [
    TAR_OPTION,
    { flags: '--size <bytes>', description: 'size of the image', required: true },
    { flags: '--output <file>', description: 'the image: raw, or *.tzst', required: true },
    ADD_OPTION,
    STRIP_OPTION,
    SUBTREE_OPTION,
    { flags: '--label <text>', description: 'volume label, at most 16 bytes', defaultValue: '' },
    { flags: '--uuid <uuid>', description: 'UUID of the file system; made from label and size when absent' },
    {
      flags: '--hash-seed <uuid>',
      description: 'seed of directory hashes; made from label and size when absent',
    },
    { flags: '--epoch <seconds>', description: 'times of the superblock', defaultValue: '0' },
    MTIME_OPTION,
    {
      flags: '--inodes <n>',
      description: 'number of inodes; one per 16 KiB when absent, more if the tree needs it',
    },
    { flags: '--file-contexts <file>', description: 'SELinux file_contexts to label everything by' },
    {
      flags: '--file-contexts-prefix <path>',
      description: 'where the image will be mounted, for --file-contexts: /boot',
    },
  ],
  async run(_args, options, io) {
    const sizeBytes = parseDecimal(requiredText(options, 'size'), '--size', 1, MAX_SIZE_BYTES);
    const label = textOption(options, 'label') ?? '';
    const output = resolvePath(io, requiredText(options, 'output'));
    const inodes = textOption(options, 'inodes');
    const uuid = textOption(options, 'uuid');
    const hashSeed = textOption(options, 'hashSeed');
    const ext4 = {
      sizeBytes,
      label,
      uuid: uuid === undefined ? madeFrom('uuid', label, sizeBytes) : parseUuid(uuid, '--uuid'),
      hashSeed:
        hashSeed === undefined ? madeFrom('hash seed', label, sizeBytes) : parseUuid(hashSeed, '--hash-seed'),
      epochSec: parseDecimal(textOption(options, 'epoch') ?? '0', '--epoch', 0, MAX_U32),
      ...(inodes === undefined ? {} : { inodeCount: parseDecimal(inodes, '--inodes', 1, MAX_U32) }),
    };
    const tree = await openImageTree(options, io, labelSource(options));
    try {
      await writeImage(output, writeExt4(tree.entries, ext4));
    } finally {
      tree.close();
    }
    return 0;
  },
};

function labelSource(options: OptionValues): LabelSource {
  const path = textOption(options, 'fileContexts');
  const prefix = textOption(options, 'fileContextsPrefix');
  if (path !== undefined) return { kind: 'file', path, prefix: prefix ?? '' };
  if (prefix === undefined) return { kind: 'keep' };
  throw usageError('OPTION_MISSING', '--file-contexts-prefix says nothing without --file-contexts', {
    mend: 'give --file-contexts too, or neither',
  });
}

/** 16 bytes from a digest, marked as a UUID of version 8 (RFC 9562): the same call makes the same image. */
function madeFrom(what: string, label: string, sizeBytes: number): Uint8Array {
  const digest = digestBytes('sha256', utf8Bytes(`cvm ext4 build ${what}\0${label}\0${sizeBytes}`));
  const uuid = digest.slice(0, 16);
  uuid[6] = 0x80 | ((uuid[6] ?? 0) & 0x0f);
  uuid[8] = 0x80 | ((uuid[8] ?? 0) & 0x3f);
  return uuid;
}
