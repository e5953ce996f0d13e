/** Disks with partition tables, and what no honest writer makes of them. */
import { crc32 } from 'node:zlib';
import { writeU32 } from '../../tools/bytes/little-endian.ts';
import { sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import {
  ENTRY_BYTES,
  ENTRY_COUNT,
  ENTRY_SECTORS,
  gptDisk,
  HEADER_BYTES,
  PARTITION_TYPES,
  SECTOR_BYTES,
  type Partition,
  type PartitionTable,
} from '../../tools/gpt/table.ts';

export const ENTRIES_BYTES = ENTRY_COUNT * ENTRY_BYTES;

export function partition(
  name: string,
  startSector: number,
  sectors: number,
  over: Partial<Partition> = {},
): Partition {
  const digits = Buffer.from(name.padEnd(6, '.')).toString('hex', 0, 6);
  return {
    name,
    type: PARTITION_TYPES.linuxFilesystem,
    uuid: `01234567-89ab-cdef-0123-${digits}`,
    startSector,
    sectors,
    ...over,
  };
}

/** 128 sectors: usable are 34 to 94. */
export const SMALL_TABLE: PartitionTable = {
  diskUuid: '00112233-4455-6677-8899-aabbccddeeff',
  diskSectors: 128,
  partitions: [
    partition('first', 34, 10, { type: PARTITION_TYPES.efiSystem }),
    partition('second', 44, 1),
    partition('last', 50, 45),
  ],
};

/** A small disk's bytes, for a test to change. */
export function diskBytes(
  table: PartitionTable = SMALL_TABLE,
  contents: ReadonlyMap<string, ByteSource> = new Map(),
): Uint8Array {
  const disk = gptDisk(table, contents);
  return disk.read(0, disk.sizeBytes).slice();
}

/** Where the parts of both tables are, in bytes. */
export function gptPlaces(sizeBytes: number): {
  readonly primary: number;
  readonly primaryEntries: number;
  readonly backup: number;
  readonly backupEntries: number;
} {
  return {
    primary: SECTOR_BYTES,
    primaryEntries: 2 * SECTOR_BYTES,
    backup: sizeBytes - SECTOR_BYTES,
    backupEntries: sizeBytes - (1 + ENTRY_SECTORS) * SECTOR_BYTES,
  };
}

/** Changes both headers and both lists alike and makes all checksums right again. */
export function forged(
  disk: Uint8Array,
  change: {
    readonly header?: (header: Uint8Array) => void;
    readonly entries?: (entries: Uint8Array) => void;
  },
): ByteSource {
  const places = gptPlaces(disk.length);
  for (const [at, entriesAt] of [
    [places.primary, places.primaryEntries],
    [places.backup, places.backupEntries],
  ] as const) {
    const entries = disk.subarray(entriesAt, entriesAt + ENTRIES_BYTES);
    change.entries?.(entries);
    const header = disk.subarray(at, at + HEADER_BYTES);
    writeU32(header, 88, crc32(entries));
    change.header?.(header);
    seal(header);
  }
  return sourceFromBytes(disk);
}

/** Makes the checksum of a header right again. */
export function seal(header: Uint8Array): void {
  writeU32(header, 16, 0);
  writeU32(header, 16, crc32(header));
}
