import { formatError } from '../errors.ts';
import { COMPAT, INCOMPAT, RO_COMPAT } from './layout.ts';

/** The three feature words of a superblock. */
export interface Features {
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
}

/** The names that mke2fs and dumpe2fs use. */
const NAMES: Readonly<Record<keyof Features, ReadonlyMap<number, string>>> = {
  compat: new Map([
    [COMPAT.dirPrealloc, 'dir_prealloc'],
    [COMPAT.imagicInodes, 'imagic_inodes'],
    [COMPAT.hasJournal, 'has_journal'],
    [COMPAT.extAttr, 'ext_attr'],
    [COMPAT.resizeInode, 'resize_inode'],
    [COMPAT.dirIndex, 'dir_index'],
    [COMPAT.sparseSuper2, 'sparse_super2'],
    [COMPAT.fastCommit, 'fast_commit'],
    [COMPAT.stableInodes, 'stable_inodes'],
    [COMPAT.orphanFile, 'orphan_file'],
  ]),
  incompat: new Map([
    [INCOMPAT.compression, 'compression'],
    [INCOMPAT.filetype, 'filetype'],
    [INCOMPAT.recover, 'needs_recovery'],
    [INCOMPAT.journalDevice, 'journal_dev'],
    [INCOMPAT.metaBg, 'meta_bg'],
    [INCOMPAT.extents, 'extent'],
    [INCOMPAT.is64bit, '64bit'],
    [INCOMPAT.mmp, 'mmp'],
    [INCOMPAT.flexBg, 'flex_bg'],
    [INCOMPAT.eaInode, 'ea_inode'],
    [INCOMPAT.dirData, 'dirdata'],
    [INCOMPAT.checksumSeed, 'metadata_csum_seed'],
    [INCOMPAT.largeDir, 'large_dir'],
    [INCOMPAT.inlineData, 'inline_data'],
    [INCOMPAT.encrypt, 'encrypt'],
    [INCOMPAT.casefold, 'casefold'],
  ]),
  roCompat: new Map([
    [RO_COMPAT.sparseSuper, 'sparse_super'],
    [RO_COMPAT.largeFile, 'large_file'],
    [RO_COMPAT.btreeDir, 'btree_dir'],
    [RO_COMPAT.hugeFile, 'huge_file'],
    [RO_COMPAT.gdtChecksum, 'uninit_bg'],
    [RO_COMPAT.dirNlink, 'dir_nlink'],
    [RO_COMPAT.extraIsize, 'extra_isize'],
    [RO_COMPAT.quota, 'quota'],
    [RO_COMPAT.bigalloc, 'bigalloc'],
    [RO_COMPAT.metadataChecksum, 'metadata_csum'],
    [RO_COMPAT.readOnly, 'read-only'],
    [RO_COMPAT.project, 'project'],
    [RO_COMPAT.sharedBlocks, 'shared_blocks'],
    [RO_COMPAT.verity, 'verity'],
    [RO_COMPAT.orphanPresent, 'orphan_present'],
  ]),
};

const READABLE_INCOMPAT =
  INCOMPAT.filetype |
  INCOMPAT.metaBg |
  INCOMPAT.extents |
  INCOMPAT.is64bit |
  INCOMPAT.mmp |
  INCOMPAT.flexBg |
  INCOMPAT.eaInode |
  INCOMPAT.checksumSeed |
  INCOMPAT.largeDir |
  INCOMPAT.inlineData;

/** The names of all set bits, lowest bit first, compat before incompat before ro_compat. */
export function featureNames(features: Features): string[] {
  return (['compat', 'incompat', 'roCompat'] as const).flatMap((set) => wordNames(set, features[set]));
}

function wordNames(set: keyof Features, word: number): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const mask = (1 << bit) >>> 0;
    if ((word & mask) !== 0) names.push(NAMES[set].get(mask) ?? `${set}:0x${mask.toString(16)}`);
  }
  return names;
}

/**
 * Refuses a file system whose content cannot be read as it stands. Compatible and read-only-compatible bits never
 * stop a reader, known or not.
 * @throws CvmError format EXT4_NEEDS_RECOVERY | EXT4_ENCRYPTED | EXT4_JOURNAL_DEVICE | EXT4_FEATURE_UNSUPPORTED
 */
export function checkReadable(features: Features): void {
  const { incompat } = features;
  if ((incompat & INCOMPAT.journalDevice) !== 0) {
    throw formatError('EXT4_JOURNAL_DEVICE', 'this is an external ext4 journal, not a file system', {
      mend: 'give the image of the file system that the journal belongs to',
    });
  }
  if ((incompat & INCOMPAT.recover) !== 0) {
    throw formatError('EXT4_NEEDS_RECOVERY', 'the ext4 journal holds changes that are not yet in place', {
      facts: [['feature', 'needs_recovery']],
      mend: 'replay the journal first: mount the image read-write and unmount it, or run e2fsck -fy on it',
    });
  }
  if ((incompat & INCOMPAT.encrypt) !== 0) {
    throw formatError('EXT4_ENCRYPTED', 'the ext4 file system may hold encrypted names and contents', {
      facts: [['feature', 'encrypt']],
      mend: 'copy the tree to a file system made without the encrypt feature',
    });
  }
  const unreadable = (incompat & ~READABLE_INCOMPAT) >>> 0;
  if (unreadable !== 0) {
    const names = wordNames('incompat', unreadable).join(' ');
    throw formatError(
      'EXT4_FEATURE_UNSUPPORTED',
      'the ext4 file system uses features that change its format',
      {
        facts: [
          ['unsupported', names],
          ['feature_incompat', `0x${incompat.toString(16)}`],
        ],
        mend: 'make the file system again without these features (mke2fs -O ^name)',
      },
    );
  }
}
