import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { ROOT_FILESYSTEM_BYTES, ROOT_HASH_OFFSET } from '../guestos/layout.ts';
import { guestOsExt4, ROOT_VERITY } from '../guestos/partitions.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole, requireDistinctOutputs } from './files.ts';
import {
  ADD_OPTION,
  inputBytes,
  openImageTree,
  STRIP_OPTION,
  TAR_OPTION,
  type ImageTree,
} from './image-tree.ts';
import { requiredText, textOption } from './options.ts';
import { writePartition } from './partition-writer.ts';

/** Upstream sets every time of a root file system to this. */
const TREE_TIME_SEC = 0;

export const command: Command = {
  summary: 'write a root partition with its hash tree from a tree',
  description:
    'Writes ext4 of 3 GiB from the root tree and its dm-verity hash tree at byte 10603200512. Labels everything by ' +
    "the tree's etc/selinux/default/contexts/files/file_contexts, when it has one; all times become 0. The bytes, and " +
    'so the root hash, depend on the tree and on --add and --strip alone.',
  options: [
    TAR_OPTION,
    ADD_OPTION,
    STRIP_OPTION,
    { flags: '--output <file>', description: 'the partition: zstd of sparse tar (*.tzst)', required: true },
    {
      flags: '--root-hash-output <file>',
      description: 'where the root hash goes as 64 hex digits and a newline',
    },
  ],
  async run(_args, options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    const hashOutput = textOption(options, 'rootHashOutput');
    requireDistinctOutputs(io, requiredText(options, 'output'), hashOutput);
    const open = (): Promise<ImageTree> => openImageTree(options, io, { kind: 'tree' }, TREE_TIME_SEC);
    const rootHash = await writePartition(
      output,
      { inputBytes: inputBytes(options, io), open },
      {
        ext4: guestOsExt4(ROOT_FILESYSTEM_BYTES),
        verity: { parameters: ROOT_VERITY, hashOffset: ROOT_HASH_OFFSET },
      },
    );
    const line = `${bytesToHex(rootHash)}\n`;
    if (hashOutput === undefined) io.out(line);
    else await writeFileWhole(resolvePath(io, hashOutput), [utf8Bytes(line)]);
    return 0;
  },
};
