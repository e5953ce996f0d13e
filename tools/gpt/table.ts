/**
 * GUID partition tables: protective MBR, primary and backup header, 128 entries each.
 * Source: UEFI specification 2.10, sections 5.2.3 (protective MBR) and 5.3 (GPT disk layout). Sectors of 512 bytes.
 */

import { crc32 } from '../bytes/crc32.ts';
import { guidToBytes } from '../bytes/guid.ts';
import { writeU16, writeU32 } from '../bytes/little-endian.ts';
import { sparseSource, sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { usageError } from '../errors.ts';

export const SECTOR_BYTES = 512;
export const ENTRY_COUNT = 128;
export const ENTRY_BYTES = 128;
export const ENTRY_SECTORS = (ENTRY_COUNT * ENTRY_BYTES) / SECTOR_BYTES;
export const HEADER_BYTES = 92;
export const NAME_UNITS = 36;
export const GPT_SIGNATURE = 'EFI PART';
export const GPT_REVISION = 0x00010000;

/** Well-known partition types. */
export const PARTITION_TYPES = {
  efiSystem: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  linuxFilesystem: '0fc63daf-8483-4772-8e79-3d69d8477de4',
} as const;

export interface Partition {
  /** At most 36 UTF-16 units. */
  readonly name: string;
  readonly type: string;
  /** The unique partition GUID, by which a node finds its partitions. */
  readonly uuid: string;
  readonly startSector: number;
  readonly sectors: number;
}

export interface PartitionTable {
  readonly diskUuid: string;
  readonly diskSectors: number;
  readonly partitions: readonly Partition[];
}

/** The first sector behind the primary table. */
export const FIRST_USABLE_SECTOR = 2 + ENTRY_SECTORS;

/** The last sector before the backup table. */
export function lastUsableSector(diskSectors: number): number {
  return diskSectors - ENTRY_SECTORS - 2;
}

/**
 * A disk with a partition table and, in some of its partitions, contents.
 *
 * @param contents by partition name; what is shorter than its partition is followed by zeros, partitions without any are zero
 * @throws CvmError usage GPT_LAYOUT when partitions overlap, leave the usable sectors, share a name or GUID, or a content does
 *   not fit
 */
export function gptDisk(table: PartitionTable, contents: ReadonlyMap<string, ByteSource>): ByteSource {
  checkTable(table, contents);
  const { diskSectors, partitions } = table;
  const entries = writeEntries(partitions);
  const last = diskSectors - 1;
  const metadata = (sector: number, bytes: Uint8Array): { offset: number; source: ByteSource } => ({
    offset: sector * SECTOR_BYTES,
    source: sourceFromBytes(bytes),
  });
  const filled = partitions
    .toSorted((a, b) => a.startSector - b.startSector)
    .flatMap(({ name, startSector }) => {
      const source = contents.get(name);
      return source === undefined ? [] : [{ offset: startSector * SECTOR_BYTES, source }];
    });
  return sparseSource(diskSectors * SECTOR_BYTES, [
    metadata(0, protectiveMbr(diskSectors)),
    metadata(1, writeHeader(table, entries, { own: 1, other: last, entriesAt: 2 })),
    metadata(2, entries),
    ...filled,
    metadata(last - ENTRY_SECTORS, entries),
    metadata(last, writeHeader(table, entries, { own: last, other: 1, entriesAt: last - ENTRY_SECTORS })),
  ]);
}

/** One partition of type EEh over the whole disk, so that tools which know no GPT leave it alone. */
function protectiveMbr(diskSectors: number): Uint8Array {
  const mbr = new Uint8Array(SECTOR_BYTES);
  const entry = 446;
  // CHS 0/0/2 to the largest that CHS can say.
  mbr.set([0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff], entry);
  writeU32(mbr, entry + 8, 1);
  writeU32(mbr, entry + 12, Math.min(0xffffffff, diskSectors - 1));
  writeU16(mbr, 510, 0xaa55);
  return mbr;
}

interface Places {
  readonly own: number;
  readonly other: number;
  readonly entriesAt: number;
}

/** UEFI 2.10, table 5.5; both CRCs are those of IEEE 802.3. */
function writeHeader(
  table: PartitionTable,
  entries: Uint8Array,
  { own, other, entriesAt }: Places,
): Uint8Array {
  const header = new Uint8Array(SECTOR_BYTES);
  header.set(Buffer.from(GPT_SIGNATURE, 'latin1'));
  writeU32(header, 8, GPT_REVISION);
  writeU32(header, 12, HEADER_BYTES);
  writeSector(header, 24, own);
  writeSector(header, 32, other);
  writeSector(header, 40, FIRST_USABLE_SECTOR);
  writeSector(header, 48, lastUsableSector(table.diskSectors));
  header.set(guidToBytes(table.diskUuid), 56);
  writeSector(header, 72, entriesAt);
  writeU32(header, 80, ENTRY_COUNT);
  writeU32(header, 84, ENTRY_BYTES);
  writeU32(header, 88, crc32(entries));
  writeU32(header, 16, crc32(header.subarray(0, HEADER_BYTES)));
  return header;
}

/** UEFI 2.10, table 5.6: type, GUID, first and last sector, attributes, name in UTF-16. */
function writeEntries(partitions: readonly Partition[]): Uint8Array {
  const entries = new Uint8Array(ENTRY_COUNT * ENTRY_BYTES);
  for (const [i, { name, type, uuid, startSector, sectors }] of partitions.entries()) {
    const at = i * ENTRY_BYTES;
    entries.set(guidToBytes(type), at);
    entries.set(guidToBytes(uuid), at + 16);
    writeSector(entries, at + 32, startSector);
    writeSector(entries, at + 40, startSector + sectors - 1);
    for (let unit = 0; unit < name.length; unit++)
      writeU16(entries, at + 56 + 2 * unit, name.charCodeAt(unit));
  }
  return entries;
}

function writeSector(bytes: Uint8Array, offset: number, sector: number): void {
  writeU32(bytes, offset, sector);
  writeU32(bytes, offset + 4, Math.floor(sector / 2 ** 32));
}

function checkTable(
  { diskSectors, partitions }: PartitionTable,
  contents: ReadonlyMap<string, ByteSource>,
): void {
  const refuse = (problem: string, partition: Partition | undefined): never => {
    throw usageError('GPT_LAYOUT', `the partition table cannot be: ${problem}`, {
      facts: [
        ['disk', `${diskSectors} sectors`],
        ...(partition === undefined
          ? []
          : [
              ['partition', partition.name] as const,
              [
                'sectors',
                `${partition.startSector} to ${partition.startSector + partition.sectors - 1}`,
              ] as const,
            ]),
      ],
    });
  };
  if (!Number.isSafeInteger(diskSectors) || lastUsableSector(diskSectors) < FIRST_USABLE_SECTOR)
    refuse('the disk has no room for two tables', undefined);
  if (partitions.length > ENTRY_COUNT) refuse(`it has more than ${ENTRY_COUNT} partitions`, undefined);
  let end = FIRST_USABLE_SECTOR;
  for (const partition of partitions.toSorted((a, b) => a.startSector - b.startSector)) {
    const { name, startSector, sectors } = partition;
    if (!Number.isSafeInteger(startSector) || !Number.isSafeInteger(sectors) || sectors < 1)
      refuse('a partition has no size', partition);
    if (startSector < end) refuse('a partition begins before the one before it ends', partition);
    end = startSector + sectors;
    if (end - 1 > lastUsableSector(diskSectors))
      refuse('a partition ends behind the usable sectors', partition);
    if (name.length > NAME_UNITS) refuse('a name is too long', partition);
    const content = contents.get(name);
    if (content !== undefined && content.sizeBytes > sectors * SECTOR_BYTES)
      refuse(`its content of ${content.sizeBytes} bytes does not fit`, partition);
  }
  const names = partitions.map(({ name }) => name);
  const uuids = partitions.map(({ uuid }) => uuid.toLowerCase());
  if (new Set(names).size !== names.length) refuse('two partitions have one name', undefined);
  if (new Set(uuids).size !== uuids.length) refuse('two partitions have one GUID', undefined);
  for (const name of contents.keys())
    if (!names.includes(name)) refuse(`it has no partition ${name}`, undefined);
}

/** The type byte of a protective partition. */
export const PROTECTIVE_TYPE = 0xee;
