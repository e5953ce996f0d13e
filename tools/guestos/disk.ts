import type { ByteSource } from '../bytes/source.ts';
import { gptDisk, PARTITION_TYPES, SECTOR_BYTES, type PartitionTable } from '../gpt/table.ts';
import { DISK_BYTES, DISK_UUID, PARTITIONS } from './layout.ts';

/** The partition table of every GuestOS disk. */
export const GUESTOS_DISK: PartitionTable = {
  diskUuid: DISK_UUID,
  diskSectors: DISK_BYTES / SECTOR_BYTES,
  partitions: PARTITIONS.map(({ name, startSector, sectors, uuid }) => ({
    name,
    type: name === 'esp' ? PARTITION_TYPES.efiSystem : PARTITION_TYPES.linuxFilesystem,
    uuid,
    startSector,
    sectors,
  })),
};

/** The slot that a disk image fills; the other one is empty until the first upgrade. */
export const FILLED_SLOT = { boot: 'A_boot', root: 'A_root' } as const;

export interface DiskContents {
  readonly boot: ByteSource;
  readonly root: ByteSource;
  /** Partition images by name: what this repository does not build (`esp`, `grub`, `config`). */
  readonly others: ReadonlyMap<string, ByteSource>;
}

/**
 * A GuestOS disk: nine partitions, slot A filled.
 * @throws CvmError usage GPT_LAYOUT when a content is larger than its partition, or no partition has its name
 */
export function guestOsDisk({ boot, root, others }: DiskContents): ByteSource {
  return gptDisk(GUESTOS_DISK, new Map([...others, [FILLED_SLOT.boot, boot], [FILLED_SLOT.root, root]]));
}
