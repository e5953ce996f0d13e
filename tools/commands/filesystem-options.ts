import { digestBytes } from '../bytes/digest.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import type { Ext4Options } from '../ext4/writer.ts';
import type { OptionSpec, OptionValues } from './command.ts';
import type { LabelSource } from './image-tree.ts';
import { flagOption, parseDecimal, parseUuid, requiredText, textOption } from './options.ts';

/** 16 TiB: block numbers have 32 bits. */
const MAX_SIZE_BYTES = 2 ** 44;
const MAX_U32 = 2 ** 32 - 1;

/** What an ext4 file system is beside its tree. */
export const FILESYSTEM_OPTIONS: readonly OptionSpec[] = [
  { flags: '--size <bytes>', description: 'size of the file system', required: true },
  { flags: '--label <text>', description: 'volume label, at most 16 bytes', defaultValue: '' },
  { flags: '--uuid <uuid>', description: 'UUID of the file system; made from label and size when absent' },
  {
    flags: '--hash-seed <uuid>',
    description: 'seed of directory hashes; made from label and size when absent',
  },
  { flags: '--epoch <seconds>', description: 'times of the superblock', defaultValue: '0' },
  {
    flags: '--inodes <n>',
    description: 'number of inodes; one per 16 KiB when absent, more if the tree needs it',
  },
  { flags: '--journal', description: 'an empty journal, as large as mke2fs would make it' },
];

/** @throws CvmError usage OPTION_MISSING | OPTION_NUMBER | OPTION_UUID */
export function filesystemOptions(options: OptionValues): Ext4Options {
  const sizeBytes = parseDecimal(requiredText(options, 'size'), '--size', 1, MAX_SIZE_BYTES);
  const label = textOption(options, 'label') ?? '';
  const inodes = textOption(options, 'inodes');
  const uuid = textOption(options, 'uuid');
  const hashSeed = textOption(options, 'hashSeed');
  return {
    sizeBytes,
    label,
    uuid: uuid === undefined ? madeFrom('uuid', label, sizeBytes) : parseUuid(uuid, '--uuid'),
    hashSeed:
      hashSeed === undefined ? madeFrom('hash seed', label, sizeBytes) : parseUuid(hashSeed, '--hash-seed'),
    epochSec: parseDecimal(textOption(options, 'epoch') ?? '0', '--epoch', 0, MAX_U32),
    journal: flagOption(options, 'journal'),
    ...(inodes === undefined ? {} : { inodeCount: parseDecimal(inodes, '--inodes', 1, MAX_U32) }),
  };
}

/** 16 bytes from a digest, marked as a UUID of version 8 (RFC 9562): the same call makes the same image. */
function madeFrom(what: string, label: string, sizeBytes: number): Uint8Array {
  const digest = digestBytes('sha256', utf8Bytes(`cvm ext4 build ${what}\0${label}\0${sizeBytes}`));
  const uuid = digest.slice(0, 16);
  uuid[6] = 0x80 | ((uuid[6] ?? 0) & 0x0f);
  uuid[8] = 0x80 | ((uuid[8] ?? 0) & 0x3f);
  return uuid;
}

/** How everything is labelled. */
export const LABEL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--file-contexts <file>', description: 'SELinux file_contexts to label everything by' },
  {
    flags: '--prefix <path>',
    description: 'where the image will be mounted, for --file-contexts: /boot',
  },
];

/** @throws CvmError usage OPTION_MISSING */
export function labelOption(options: OptionValues): LabelSource {
  const path = textOption(options, 'fileContexts');
  const prefix = textOption(options, 'prefix');
  if (path !== undefined) return { kind: 'file', path, prefix: prefix ?? '' };
  if (prefix === undefined) return { kind: 'keep' };
  throw usageError('OPTION_MISSING', '--prefix says nothing without --file-contexts', {
    mend: 'give --file-contexts too, or neither',
  });
}
