import { sourceFromBytes, sparseSource, type ByteSource } from '../bytes/source.ts';
import { NO_XATTRS } from '../tree/entry.ts';
import type { InodePlan } from './inode-plan.ts';
import { JOURNAL_INODE } from './layout.ts';
import { BLOCK_BYTES } from './profile.ts';

/*
 * An empty journal (jbd2) in inode 8. Source: Linux Documentation/filesystems/ext4/journal.rst, e2fsprogs
 * lib/ext2fs/mkjournal.c. Its fields are big-endian, unlike everything else in ext4.
 */

const MAGIC = 0xc03b3998;
const TYPE_SUPERBLOCK_V2 = 4;
const FIRST_LOG_BLOCK = 1;
const FIRST_SEQUENCE = 1;
const USERS = 1;

const JOURNAL = {
  magic: 0x00,
  type: 0x04,
  blockSize: 0x0c,
  blocks: 0x10,
  firstBlock: 0x14,
  sequence: 0x18,
  uuid: 0x30,
  users: 0x40,
} as const;

/** Blocks of a journal by the file system's blocks, as mke2fs chooses: 4 MiB below 128 MiB, at most 1 GiB. */
export function journalBlocks(totalBlocks: number): number {
  if (totalBlocks < 32_768) return 1024;
  if (totalBlocks < 256 * 1024) return 4096;
  if (totalBlocks < 512 * 1024) return 8192;
  if (totalBlocks < 4096 * 1024) return 16_384;
  if (totalBlocks < 8192 * 1024) return 32_768;
  if (totalBlocks < 16_384 * 1024) return 65_536;
  if (totalBlocks < 32_768 * 1024) return 131_072;
  return 262_144;
}

/** The journal as a file: its superblock in the first block, zeros behind. */
export function journalContent(blocks: number, uuid: Uint8Array): ByteSource {
  const block = new Uint8Array(BLOCK_BYTES);
  const view = new DataView(block.buffer);
  view.setUint32(JOURNAL.magic, MAGIC);
  view.setUint32(JOURNAL.type, TYPE_SUPERBLOCK_V2);
  view.setUint32(JOURNAL.blockSize, BLOCK_BYTES);
  view.setUint32(JOURNAL.blocks, blocks);
  view.setUint32(JOURNAL.firstBlock, FIRST_LOG_BLOCK);
  view.setUint32(JOURNAL.sequence, FIRST_SEQUENCE);
  block.set(uuid, JOURNAL.uuid);
  view.setUint32(JOURNAL.users, USERS);
  return sparseSource(blocks * BLOCK_BYTES, [{ offset: 0, source: sourceFromBytes(block) }]);
}

/** Inode 8: a file of root's that no directory names. */
export function journalInode(content: ByteSource, mtimeSec: number): InodePlan {
  return {
    entry: {
      type: 'file',
      path: '',
      mode: 0o600,
      uid: 0,
      gid: 0,
      mtimeSec,
      mtimeNsec: 0,
      xattrs: NO_XATTRS,
      content,
    },
    number: JOURNAL_INODE,
    links: 1,
    children: [],
    parent: undefined,
    xattrs: { inSlot: [], inBlock: [] },
    xattrBlock: 0,
    directory: undefined,
    extents: undefined,
    blocks: 0,
  };
}
