/**
 * Names, sizes and constants of GuestOS images. Source: dfinity/ic ic-os/guestos/partitions.csv,
 * toolchains/sysimage/{build_ext4_image,verity_sign}.py, ic-os/guestos/defs.bzl.
 */

/** `boot.img`, apparent size in bytes. */
export const BOOT_PARTITION_BYTES = 1024 ** 3;

/** The partition that holds `root.img`: file system, then unused space, then the hash tree. */
export const ROOT_PARTITION_BYTES = 10 * 1024 ** 3;

/** The root file system alone: what the hash tree covers. */
export const ROOT_FILESYSTEM_BYTES = 3 * 1024 ** 3;

/** Where the verity superblock of the root partition stands: 128 MiB before its end. */
export const ROOT_HASH_OFFSET = ROOT_PARTITION_BYTES - 128 * 1024 ** 2;

/** Data and hash blocks of the root partition's tree. */
export const VERITY_BLOCK_BYTES = 4096;

export const VERITY_UUID = '1736291d-aceb-42d7-b044-43ee31d86cd4';
export const VERITY_SALT_HEX = '89bc06702975f10b41dd53e26eb9aef0adde93bc13d73e8f26b496dddefe2483';

/** The directory hash seed of both file systems; their own UUID is all zero (`mkfs.ext4 -U clear`). */
export const EXT4_HASH_SEED = 'c61251eb-100b-48fe-b089-57dea7368612';

/** Members of an update image, in the order in which they are packed. */
export const UPDATE_IMAGE_MEMBERS = ['boot.img', 'root.img', 'VERSION.TXT'] as const;

/** The one member of a `*.tzst` partition file. */
export const PARTITION_MEMBER = 'partition.img';

/** Files at the top of the boot partition. Kernel and initrd are symlinks there. */
export const BOOT_FILES = {
  kernel: 'vmlinuz',
  initrd: 'initrd.img',
  firmware: 'OVMF_SEV.fd',
  bootArgs: 'boot_args',
  version: 'version.txt',
  proposal: 'alternative_guestos_proposal.cbor',
} as const;

/** What the version of an image of the dev network ends with. */
export const DEV_VERSION_SUFFIX = '-dev';

/** What production measures: see launch-measurements.json. */
export const PRODUCTION_VCPUS = 64;
export const PRODUCTION_VCPU_TYPES = ['EPYC-v4', 'EPYC-Genoa', 'EPYC-Turin'] as const;

export interface PartitionRow {
  readonly name: string;
  /** In sectors of 512 bytes. */
  readonly startSector: number;
  readonly sectors: number;
  readonly uuid: string;
}

/** What a disk image expands to. */
export const DISK_BYTES = 50 * 1024 ** 3;

/** Of every disk, as dfinity/ic toolchains/sysimage/build_disk_image.py has it. */
export const DISK_UUID = '2b110bb7-cdec-7d41-b97e-893edcbe5428';

/** The one member of a `disk-img.tar.zst`. */
export const DISK_MEMBER = 'disk.img';

/** The GPT of a GuestOS disk. */
export const PARTITIONS: readonly PartitionRow[] = [
  { name: 'esp', startSector: 2048, sectors: 204800, uuid: 'b78084e2-3363-1346-8c25-d426f26b8928' },
  { name: 'grub', startSector: 206848, sectors: 204800, uuid: '6788e4cf-f456-104e-9a34-a2c58cfb0ee6' },
  { name: 'config', startSector: 411648, sectors: 204800, uuid: 'a5ba3816-beaa-d74d-993e-cfa5aa6ba1f6' },
  { name: 'A_boot', startSector: 616448, sectors: 2097152, uuid: 'ddf618fe-7244-b446-a175-3296e6b9d02e' },
  { name: 'A_root', startSector: 2713600, sectors: 20971520, uuid: '7c0a626e-e5ea-e543-b5c5-300eb8304db7' },
  { name: 'A_var', startSector: 23685120, sectors: 20971520, uuid: '22d2f5a6-1e39-d247-81cf-90c95c113e21' },
  { name: 'B_boot', startSector: 44656640, sectors: 2097152, uuid: 'd5214e4f-f7b0-b945-9a9b-52b9188df4c5' },
  { name: 'B_root', startSector: 46753792, sectors: 20971520, uuid: 'a78bc3a8-376c-054a-96e7-3904b915d0c5' },
  { name: 'B_var', startSector: 67725312, sectors: 20971520, uuid: '2237d1d1-ce96-584e-8ec5-8ae6661faae9' },
];
