import { hexToBytes } from '../bytes/hex.ts';
import { sparseSource, type ByteSource } from '../bytes/source.ts';
import { writeExt4, type Ext4Options } from '../ext4/writer.ts';
import type { TreeEntry } from '../tree/entry.ts';
import { formatVerity } from '../verity/format.ts';
import type { VerityParameters } from '../verity/parameters.ts';
import {
  EXT4_HASH_SEED,
  ROOT_FILESYSTEM_BYTES,
  ROOT_HASH_OFFSET,
  VERITY_BLOCK_BYTES,
  VERITY_SALT_HEX,
  VERITY_UUID,
} from './layout.ts';

/**
 * A file system of GuestOS. Nothing of a revision, network or clock enters it; its UUID is none, as of
 * `mkfs.ext4 -U clear`: partitions are found by those of the partition table.
 *
 * @throws CvmError those of `writeExt4`
 */
export function guestOsFilesystem(entries: readonly TreeEntry[], sizeBytes: number): ByteSource {
  return writeExt4(entries, guestOsExt4(sizeBytes));
}

/** All that a file system of GuestOS is beside its tree. */
export function guestOsExt4(sizeBytes: number): Ext4Options {
  return {
    sizeBytes,
    uuid: new Uint8Array(16),
    hashSeed: hexToBytes(EXT4_HASH_SEED.replaceAll('-', '')),
    label: '',
    epochSec: 0,
  };
}

/** The parameters of every root partition: salt and UUID are fixed, so that the root hash is a function of the data. */
export const ROOT_VERITY: VerityParameters = {
  hashType: 1,
  algorithm: 'sha256',
  dataBlockBytes: VERITY_BLOCK_BYTES,
  hashBlockBytes: VERITY_BLOCK_BYTES,
  dataBlocks: ROOT_FILESYSTEM_BYTES / VERITY_BLOCK_BYTES,
  salt: hexToBytes(VERITY_SALT_HEX),
  uuid: hexToBytes(VERITY_UUID.replaceAll('-', '')),
};

export interface RootPartition {
  readonly rootHash: Uint8Array;
  /** File system, hole, and from {@link ROOT_HASH_OFFSET} on superblock and tree. */
  readonly image: ByteSource;
}

/**
 * The root partition of a tree. Source: dfinity/ic toolchains/sysimage/{build_ext4_image,verity_sign}.py.
 * @throws CvmError those of `writeExt4`
 */
export function guestOsRootPartition(entries: readonly TreeEntry[]): RootPartition {
  const filesystem = guestOsFilesystem(entries, ROOT_FILESYSTEM_BYTES);
  const { rootHash, hashArea } = formatVerity(filesystem, ROOT_VERITY, ROOT_HASH_OFFSET);
  const image = sparseSource(ROOT_HASH_OFFSET + hashArea.sizeBytes, [
    { offset: 0, source: filesystem },
    { offset: ROOT_HASH_OFFSET, source: hashArea },
  ]);
  return { rootHash, image };
}
