import { equalBytes } from '../bytes/compare.ts';
import { joinU32, readU16, readU32 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';
import { rawFromBytes, type RawText } from '../bytes/text.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';
import { checksumSeed, superblockChecksum } from './checksum.ts';
import { checkReadable, type Features } from './features.ts';
import {
  CHECKSUM_TYPE_CRC32C,
  DESCRIPTOR_64BIT_BYTES,
  DESCRIPTOR_BYTES,
  EXT4_MAGIC,
  FIRST_INODE,
  INCOMPAT,
  INODE_BASE_BYTES,
  LABEL_BYTES,
  RO_COMPAT,
  SB,
  SB_FLAG_SIGNED_HASH,
  SB_FLAG_UNSIGNED_HASH,
  STATE_CLEAN,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET,
  UUID_BYTES,
} from './layout.ts';

/**
 * More groups than a 128 TiB file system of 4 KiB blocks has. Descriptors are read one by one at opening, so this
 * bounds the work that a made-up superblock can ask for.
 */
const MAX_GROUPS = 1 << 20;

/** A checked superblock: every number in it may be used as a size, a divisor or a bound. */
export interface Superblock {
  /** 1024 to 65536, a power of two. */
  readonly blockSize: number;
  /** Blocks in an allocation cluster: 1 without bigalloc. */
  readonly clusterBlocks: number;
  /** `blocksCount * blockSize` lies inside the image. */
  readonly blocksCount: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly inodesCount: number;
  readonly inodesPerGroup: number;
  readonly groupCount: number;
  /** Bytes of an inode slot: 128 up to a block, a power of two. */
  readonly inodeSize: number;
  /** Inodes below it are reserved; only the root among them has a name. */
  readonly firstInode: number;
  readonly descriptorSize: number;
  readonly firstMetaBlockGroup: number;
  readonly backupGroups: readonly [number, number];
  readonly features: Features;
  readonly uuid: Uint8Array;
  readonly label: RawText;
  readonly hashSeed: Uint8Array;
  /** How names are hashed: 1 with signed bytes, 2 with unsigned ones. */
  readonly hashFlags: number;
  /** Seconds since 1970. */
  readonly creationTimeSec: number;
  /** Start of every metadata checksum. */
  readonly seed: number;
  /** Cleanly unmounted. A file system without journal that was not may hold half-done changes. */
  readonly clean: boolean;
}

export function hasIncompat(superblock: Superblock, bit: number): boolean {
  return (superblock.features.incompat & bit) !== 0;
}

export function hasRoCompat(superblock: Superblock, bit: number): boolean {
  return (superblock.features.roCompat & bit) !== 0;
}

/**
 * Reads and checks the primary superblock, 1024 bytes at byte 1024. Backups are never consulted: an image that
 * needs one is damaged, and what it holds is a matter for e2fsck.
 *
 * @throws CvmError format EXT4_TOO_SMALL | EXT4_MAGIC | EXT4_SUPERBLOCK_CHECKSUM | EXT4_SUPERBLOCK (one field, named)
 *   | EXT4_TRUNCATED and those of {@link checkReadable}
 */
export function readSuperblock(source: ByteSource): Superblock {
  if (source.sizeBytes < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES) {
    throw formatError('EXT4_TOO_SMALL', 'the image is too small to hold an ext4 superblock', {
      facts: [['size', `${source.sizeBytes} bytes`]],
      mend: 'give an uncompressed ext4 image or one of the containers that the command reads',
    });
  }
  const bytes = new Uint8Array(source.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES));
  const magic = readU16(bytes, SB.magic);
  if (magic !== EXT4_MAGIC) {
    throw formatError('EXT4_MAGIC', 'the image is not an ext2, ext3 or ext4 file system', {
      facts: [['magic at byte 1080', `0x${magic.toString(16)}, not 0xef53`]],
      ...(equalBytes(source.read(0, 4), Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd))
        ? { nearest: 'the file begins as zstd data: decompress it first' }
        : {}),
    });
  }
  const features: Features = {
    compat: readU32(bytes, SB.featureCompat),
    incompat: readU32(bytes, SB.featureIncompat),
    roCompat: readU32(bytes, SB.featureRoCompat),
  };
  checkChecksum(bytes, features);
  checkReadable(features);
  const superblock = { ...readGeometry(bytes, features), ...readIdentity(bytes, features), features };
  checkImageSize(superblock, source.sizeBytes);
  return superblock;
}

function bad(field: string, value: number | string, rule: string, ...more: readonly Fact[]): CvmError {
  return formatError('EXT4_SUPERBLOCK', `the ext4 superblock has an impossible ${field}`, {
    facts: [[field, value], ['must be', rule], ...more],
    mend: 'the image is damaged or was not made by an ext4 tool: fetch it again and compare its sha256',
  });
}

function checkChecksum(bytes: Uint8Array, features: Features): void {
  if ((features.roCompat & RO_COMPAT.metadataChecksum) === 0) return;
  const type = bytes[SB.checksumType] ?? 0;
  if (type !== CHECKSUM_TYPE_CRC32C) throw bad('checksum type', type, '1 (crc32c)');
  const stored = readU32(bytes, SB.checksum);
  const computed = superblockChecksum(bytes);
  if (stored !== computed)
    throw checksumError('EXT4_SUPERBLOCK_CHECKSUM', 'the superblock', stored, computed);
}

/** The error of any ext4 checksum that does not match. */
export function checksumError(
  code: string,
  what: string,
  stored: number,
  computed: number,
  ...where: readonly Fact[]
): CvmError {
  return formatError(code, `the ext4 checksum of ${what} does not match`, {
    facts: [...where, ['stored', `0x${stored.toString(16)}`], ['computed', `0x${computed.toString(16)}`]],
    mend: 'the image is damaged: fetch it again and compare its sha256',
  });
}

type Identity = Pick<
  Superblock,
  'uuid' | 'label' | 'hashSeed' | 'hashFlags' | 'creationTimeSec' | 'seed' | 'clean' | 'backupGroups'
>;

function readIdentity(bytes: Uint8Array, features: Features): Identity {
  const uuid = bytes.slice(SB.uuid, SB.uuid + UUID_BYTES);
  const label = rawFromBytes(bytes.subarray(SB.label, SB.label + LABEL_BYTES));
  const end = label.indexOf('\0');
  const ownSeed = (features.incompat & INCOMPAT.checksumSeed) !== 0;
  return {
    uuid,
    label: end < 0 ? label : label.slice(0, end),
    hashSeed: bytes.slice(SB.hashSeed, SB.hashSeed + UUID_BYTES),
    hashFlags: readU32(bytes, SB.flags) & (SB_FLAG_SIGNED_HASH | SB_FLAG_UNSIGNED_HASH),
    creationTimeSec: readU32(bytes, SB.creationTime),
    seed: ownSeed ? readU32(bytes, SB.checksumSeed) : checksumSeed(uuid),
    clean: (readU16(bytes, SB.state) & STATE_CLEAN) !== 0,
    backupGroups: [readU32(bytes, SB.backupGroups), readU32(bytes, SB.backupGroups + 4)],
  };
}

type Geometry = Omit<Superblock, keyof Identity | 'features'>;

function readGeometry(bytes: Uint8Array, features: Features): Geometry {
  const is64bit = (features.incompat & INCOMPAT.is64bit) !== 0;
  const logBlockSize = readU32(bytes, SB.logBlockSize);
  if (logBlockSize > 6) throw bad('block size exponent', logBlockSize, '0 to 6 (1 KiB to 64 KiB)');
  const blockSize = 1024 << logBlockSize;

  const bigalloc = (features.roCompat & RO_COMPAT.bigalloc) !== 0;
  const logClusterSize = readU32(bytes, SB.logClusterSize);
  if (bigalloc ? logClusterSize < logBlockSize || logClusterSize > 20 : logClusterSize !== logBlockSize) {
    const rule = bigalloc ? `${logBlockSize} to 20` : `${logBlockSize}, that of blocks`;
    throw bad('cluster size exponent', logClusterSize, rule);
  }
  const clusterBlocks = 2 ** (logClusterSize - logBlockSize);

  const blocksPerGroup = readU32(bytes, SB.blocksPerGroup);
  const mostBlocks = 8 * blockSize * clusterBlocks;
  if (blocksPerGroup === 0 || blocksPerGroup > mostBlocks || blocksPerGroup % (8 * clusterBlocks) !== 0) {
    throw bad(
      'blocks per group',
      blocksPerGroup,
      `a multiple of ${8 * clusterBlocks}, at most ${mostBlocks}`,
    );
  }
  if (bigalloc) {
    const clustersPerGroup = readU32(bytes, SB.clustersPerGroup);
    if (clustersPerGroup * clusterBlocks !== blocksPerGroup) {
      throw bad('clusters per group', clustersPerGroup, `${blocksPerGroup / clusterBlocks}`);
    }
  }

  const firstDataBlock = readU32(bytes, SB.firstDataBlock);
  const leastFirst = blockSize === 1024 && clusterBlocks === 1 ? 1 : 0;
  const mostFirst = blockSize === 1024 ? 1 : 0;
  if (firstDataBlock < leastFirst || firstDataBlock > mostFirst) {
    throw bad('first data block', firstDataBlock, leastFirst === mostFirst ? `${mostFirst}` : '0 or 1');
  }
  const blocksCount = joinU32(
    readU32(bytes, SB.blocksCountLow),
    is64bit ? readU32(bytes, SB.blocksCountHigh) : 0,
  );
  if (blocksCount <= firstDataBlock || blocksCount > 2 ** 48) {
    throw bad('block count', blocksCount, `${firstDataBlock + 1} to 2^48`);
  }
  const groupCount = Math.ceil((blocksCount - firstDataBlock) / blocksPerGroup);
  if (groupCount > MAX_GROUPS) throw bad('group count', groupCount, `at most ${MAX_GROUPS}`);

  const descriptorSize = is64bit ? readU16(bytes, SB.descriptorSize) : DESCRIPTOR_BYTES;
  if (is64bit && (descriptorSize < DESCRIPTOR_64BIT_BYTES || !isPowerOfTwoUpTo(descriptorSize, blockSize))) {
    throw bad('descriptor size', descriptorSize, `a power of two from 64 to ${blockSize}`);
  }
  return {
    blockSize,
    clusterBlocks,
    blocksCount,
    firstDataBlock,
    blocksPerGroup,
    groupCount,
    descriptorSize,
    firstMetaBlockGroup: readU32(bytes, SB.firstMetaBlockGroup),
    ...readInodeGeometry(bytes, blockSize, groupCount),
  };
}

type InodeGeometry = Pick<Superblock, 'inodesCount' | 'inodesPerGroup' | 'inodeSize' | 'firstInode'>;

function readInodeGeometry(bytes: Uint8Array, blockSize: number, groupCount: number): InodeGeometry {
  const revision = readU32(bytes, SB.revision);
  if (revision > 1) throw bad('revision', revision, '0 or 1');
  const inodeSize = revision === 0 ? INODE_BASE_BYTES : readU16(bytes, SB.inodeSize);
  if (inodeSize < INODE_BASE_BYTES || !isPowerOfTwoUpTo(inodeSize, blockSize)) {
    throw bad('inode size', inodeSize, `a power of two from 128 to ${blockSize}`);
  }
  const inodesPerGroup = readU32(bytes, SB.inodesPerGroup);
  if (inodesPerGroup === 0 || inodesPerGroup > 8 * blockSize) {
    throw bad('number of inodes per group', inodesPerGroup, `1 to ${8 * blockSize}`);
  }
  const inodesCount = readU32(bytes, SB.inodesCount);
  if (inodesCount !== inodesPerGroup * groupCount) {
    throw bad(
      'inode count',
      inodesCount,
      `${inodesPerGroup * groupCount} (per group, times ${groupCount} groups)`,
    );
  }
  const firstInode = revision === 0 ? FIRST_INODE : readU32(bytes, SB.firstInode);
  if (firstInode < FIRST_INODE || firstInode > inodesCount) {
    throw bad('first inode', firstInode, `${FIRST_INODE} to ${inodesCount}`);
  }
  return { inodesCount, inodesPerGroup, inodeSize, firstInode };
}

function isPowerOfTwoUpTo(value: number, limit: number): boolean {
  return value > 0 && value <= limit && (value & (value - 1)) === 0;
}

function checkImageSize(superblock: Geometry, imageBytes: number): void {
  const needed = superblock.blocksCount * superblock.blockSize;
  if (needed > imageBytes) {
    throw formatError('EXT4_TRUNCATED', 'the image ends before its ext4 file system does', {
      facts: [
        ['file system', `${needed} bytes`],
        ['image', `${imageBytes} bytes`],
      ],
      mend: 'the image was cut short: fetch it again and compare its size and sha256',
    });
  }
}
