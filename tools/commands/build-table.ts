import type { CommandEntry } from './command.ts';

/**
 * The commands that build actions run. Whatever is imported from here ends up in `cvm-build.mjs`, so nothing here
 * may reach a socket, an agent or a private key: a test looks.
 */
export const BUILD_COMMANDS: readonly CommandEntry[] = [
  {
    noun: 'ext4',
    verb: 'build',
    summary: 'write an ext4 image from a tar archive',
    load: () => import('./ext4-build.ts'),
  },
  {
    noun: 'ext4',
    verb: 'cat',
    summary: 'write one file of an ext4 image',
    load: () => import('./ext4-cat.ts'),
  },
  {
    noun: 'ext4',
    verb: 'extract',
    summary: 'take an ext4 image apart',
    load: () => import('./ext4-extract.ts'),
  },
  {
    noun: 'ext4',
    verb: 'list',
    summary: 'list the files of an ext4 image',
    load: () => import('./ext4-list.ts'),
  },
  {
    noun: 'ext4',
    verb: 'put',
    summary: 'put a file into an existing ext4 image',
    load: () => import('./ext4-put.ts'),
  },
  {
    noun: 'file',
    verb: 'sha256',
    summary: 'write the sha256 of a file',
    load: () => import('./file-sha256.ts'),
  },
  {
    noun: 'guestos',
    verb: 'boot-args',
    summary: 'put a root hash into the kernel command lines',
    load: () => import('./guestos-boot-args.ts'),
  },
  {
    noun: 'guestos',
    verb: 'boot-partition',
    summary: 'write a boot partition from a tree',
    load: () => import('./guestos-boot-partition.ts'),
  },
  {
    noun: 'guestos',
    verb: 'extract-boot',
    summary: 'take the boot partition of an image apart',
    load: () => import('./guestos-extract-boot.ts'),
  },
  {
    noun: 'guestos',
    verb: 'measure',
    summary: 'compute the launch measurements of a boot partition',
    load: () => import('./guestos-measure.ts'),
  },
  {
    noun: 'guestos',
    verb: 'not-for-production',
    summary: 'write the notice that stands beside images of the dev network',
    load: () => import('./guestos-not-for-production.ts'),
  },
  {
    noun: 'guestos',
    verb: 'payload',
    summary: 'write what a proposer submits',
    load: () => import('./guestos-payload.ts'),
  },
  {
    noun: 'guestos',
    verb: 'root-partition',
    summary: 'write a root partition with its hash tree from a tree',
    load: () => import('./guestos-root-partition.ts'),
  },
  {
    noun: 'guestos',
    verb: 'update-image',
    summary: 'validate two partitions and pack them into an update image',
    load: () => import('./guestos-update-image.ts'),
  },
  {
    noun: 'guestos',
    verb: 'validate',
    summary: 'decide whether what was built is what was blessed',
    load: () => import('./guestos-validate.ts'),
  },
  {
    noun: 'lock',
    verb: 'fail',
    summary: 'fail with the error of a lock that cannot be used',
    load: () => import('./lock-fail.ts'),
  },
  {
    noun: 'miniature',
    verb: 'blob',
    summary: 'make deterministic filler',
    load: () => import('./miniature-blob.ts'),
  },
  {
    noun: 'miniature',
    verb: 'firmware',
    summary: 'make a firmware image with the tables that are measured',
    load: () => import('./miniature-firmware.ts'),
  },
  {
    noun: 'miniature',
    verb: 'kernel',
    summary: 'make a kernel that prints its command line and powers off',
    load: () => import('./miniature-kernel.ts'),
  },
  {
    noun: 'partition',
    verb: 'build',
    summary: 'write a partition from a tree: ext4, hash tree, sparse tar and zstd in one go',
    load: () => import('./partition-build.ts'),
  },
  {
    noun: 'proposal',
    verb: 'verify',
    summary: 'verify a certified proposal and show what it proves',
    load: () => import('./proposal-verify.ts'),
  },
  {
    noun: 'snp',
    verb: 'measure',
    summary: 'compute an SEV-SNP launch digest',
    load: () => import('./snp-measure.ts'),
  },
  {
    noun: 'tree',
    verb: 'cpio',
    summary: 'make an initial RAM disk from a listing',
    load: () => import('./tree-cpio.ts'),
  },
  {
    noun: 'tree',
    verb: 'tar',
    summary: 'make a tar archive from a listing',
    load: () => import('./tree-tar.ts'),
  },
  {
    noun: 'verity',
    verb: 'format',
    summary: 'write a dm-verity hash tree and print its root hash',
    load: () => import('./verity-format.ts'),
  },
  {
    noun: 'verity',
    verb: 'verify',
    summary: 'recompute a dm-verity hash tree and compare',
    load: () => import('./verity-verify.ts'),
  },
];
