import { equalBytes } from '../bytes/compare.ts';
import { crc32 } from '../bytes/crc32.ts';
import { guidFromBytes } from '../bytes/guid.ts';
import { joinU32, readU16, readU32, readU8 } from '../bytes/little-endian.ts';
import { sliceSource, type ByteSource } from '../bytes/source.ts';
import { formatError, type CvmError } from '../errors.ts';
import {
  ENTRY_BYTES,
  ENTRY_COUNT,
  ENTRY_SECTORS,
  FIRST_USABLE_SECTOR,
  GPT_REVISION,
  GPT_SIGNATURE,
  HEADER_BYTES,
  lastUsableSector,
  NAME_UNITS,
  PROTECTIVE_TYPE,
  SECTOR_BYTES,
  type Partition,
  type PartitionTable,
} from './table.ts';

const NO_GUID = '00000000-0000-0000-0000-000000000000';

/**
 * Reads a partition table, with everything that has to agree in it: the protective MBR, both headers with their checksums,
 * both lists of partitions, every partition within the usable sectors, none upon another and none with another's GUID.
 *
 * Tables with other than 128 entries of 128 bytes are refused: every tool writes these.
 * Source: UEFI specification 2.10, section 5.3.
 * @throws CvmError format GPT_MBR | GPT_HEADER | GPT_ENTRIES | GPT_PARTITION
 */
export function readGpt(disk: ByteSource): PartitionTable {
  const diskSectors = Math.floor(disk.sizeBytes / SECTOR_BYTES);
  if (disk.sizeBytes % SECTOR_BYTES !== 0 || diskSectors < 2 * (ENTRY_SECTORS + 1) + 2) {
    throw refusal('GPT_HEADER', 'the disk is no whole number of sectors, or too small for a table', 0);
  }
  checkMbr(disk.read(0, SECTOR_BYTES));
  const last = diskSectors - 1;
  const primary = readHeader(disk, 1);
  const backup = readHeader(disk, last);
  if (primary.other !== last || backup.other !== 1)
    throw refusal('GPT_HEADER', 'the headers do not name each other', SECTOR_BYTES);
  for (const field of ['diskUuid', 'firstUsable', 'lastUsable', 'entriesCrc'] as const) {
    if (primary[field] !== backup[field])
      throw refusal('GPT_HEADER', `the headers differ in ${field}`, last * SECTOR_BYTES);
  }
  if (primary.entriesAt !== 2 || backup.entriesAt !== last - ENTRY_SECTORS)
    throw refusal('GPT_HEADER', 'the lists of partitions are not beside their headers', SECTOR_BYTES);
  const entries = readEntries(disk, primary);
  if (!equalBytes(entries, readEntries(disk, backup)))
    throw refusal('GPT_ENTRIES', 'the two lists of partitions differ', backup.entriesAt * SECTOR_BYTES);
  return {
    diskUuid: primary.diskUuid,
    diskSectors,
    partitions: readPartitions(entries, primary, diskSectors),
  };
}

/**
 * The bytes of a partition.
 * @throws CvmError format GPT_PARTITION when there is not exactly one of that name
 */
export function partitionSource(disk: ByteSource, table: PartitionTable, name: string): ByteSource {
  const [found, ...others] = table.partitions.filter((partition) => partition.name === name);
  if (found === undefined || others.length > 0) {
    throw formatError('GPT_PARTITION', `the disk has not one partition ${name}`, {
      facts: [['partitions', table.partitions.map((partition) => partition.name).join(', ')]],
    });
  }
  return sliceSource(disk, found.startSector * SECTOR_BYTES, found.sectors * SECTOR_BYTES);
}

function checkMbr(mbr: Uint8Array): void {
  const types = [0, 1, 2, 3].map((i) => readU8(mbr, 446 + 16 * i + 4));
  if (readU16(mbr, 510) !== 0xaa55) throw refusal('GPT_MBR', 'the first sector is no boot record', 510);
  if (types[0] !== PROTECTIVE_TYPE || types.slice(1).some((type) => type !== 0))
    throw refusal('GPT_MBR', 'the boot record is not a protective one', 446);
}

interface Header {
  readonly other: number;
  readonly firstUsable: number;
  readonly lastUsable: number;
  readonly diskUuid: string;
  readonly entriesAt: number;
  readonly entriesCrc: number;
}

function readHeader(disk: ByteSource, sector: number): Header {
  const at = sector * SECTOR_BYTES;
  const bytes = disk.read(at, SECTOR_BYTES).slice(0, HEADER_BYTES);
  if (Buffer.from(bytes.subarray(0, 8)).toString('latin1') !== GPT_SIGNATURE)
    throw refusal('GPT_HEADER', 'there is no partition table header', at);
  if (readU32(bytes, 8) !== GPT_REVISION || readU32(bytes, 12) !== HEADER_BYTES)
    throw refusal('GPT_HEADER', 'the header is of another revision or size', at + 8);
  const crc = readU32(bytes, 16);
  bytes.fill(0, 16, 20);
  if (crc32(bytes) !== crc) throw refusal('GPT_HEADER', 'the checksum of the header is wrong', at + 16);
  if (readU32(bytes, 80) !== ENTRY_COUNT || readU32(bytes, 84) !== ENTRY_BYTES)
    throw refusal('GPT_HEADER', `the table has not ${ENTRY_COUNT} entries of ${ENTRY_BYTES} bytes`, at + 80);
  if (sectorAt(bytes, 24) !== sector) throw refusal('GPT_HEADER', 'the header is of another sector', at + 24);
  return {
    other: sectorAt(bytes, 32),
    firstUsable: sectorAt(bytes, 40),
    lastUsable: sectorAt(bytes, 48),
    diskUuid: guidFromBytes(bytes, 56),
    entriesAt: sectorAt(bytes, 72),
    entriesCrc: readU32(bytes, 88),
  };
}

function readEntries(disk: ByteSource, { entriesAt, entriesCrc }: Header): Uint8Array {
  const entries = disk.read(entriesAt * SECTOR_BYTES, ENTRY_COUNT * ENTRY_BYTES);
  if (crc32(entries) === entriesCrc) return entries;
  throw refusal('GPT_ENTRIES', 'the checksum of the list of partitions is wrong', entriesAt * SECTOR_BYTES);
}

function readPartitions(
  entries: Uint8Array,
  { firstUsable, lastUsable }: Header,
  diskSectors: number,
): Partition[] {
  // What a header says may be more than what the tables leave of the disk.
  const first = Math.max(firstUsable, FIRST_USABLE_SECTOR);
  const last = Math.min(lastUsable, lastUsableSector(diskSectors));
  const partitions: Partition[] = [];
  for (let i = 0; i < ENTRY_COUNT; i++) {
    const at = i * ENTRY_BYTES;
    const type = guidFromBytes(entries, at);
    if (type === NO_GUID) continue;
    const startSector = sectorAt(entries, at + 32);
    const endSector = sectorAt(entries, at + 40);
    if (startSector < first || endSector < startSector || endSector > last)
      throw refusal('GPT_PARTITION', `partition ${i + 1} lies outside the usable sectors`, undefined);
    partitions.push({
      name: nameAt(entries, at + 56),
      type,
      uuid: guidFromBytes(entries, at + 16),
      startSector,
      sectors: endSector - startSector + 1,
    });
  }
  if (new Set(partitions.map(({ uuid }) => uuid)).size !== partitions.length)
    throw refusal('GPT_PARTITION', 'two partitions have one GUID', undefined);
  const sorted = partitions.toSorted((a, b) => a.startSector - b.startSector);
  for (const [i, next] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before !== undefined && before.startSector + before.sectors > next.startSector)
      throw refusal('GPT_PARTITION', `partitions ${before.name} and ${next.name} overlap`, undefined);
  }
  return partitions;
}

function nameAt(entries: Uint8Array, at: number): string {
  let name = '';
  for (let unit = 0; unit < NAME_UNITS; unit++) {
    const code = readU16(entries, at + 2 * unit);
    if (code === 0) break;
    name += String.fromCharCode(code);
  }
  return name;
}

/** A sector number; one that no disk has stays above every bound it is compared with. */
function sectorAt(bytes: Uint8Array, offset: number): number {
  return joinU32(readU32(bytes, offset), readU32(bytes, offset + 4));
}

function refusal(code: string, problem: string, at: number | undefined): CvmError {
  return formatError(code, problem, {
    ...(at === undefined ? {} : { facts: [['at byte', at]] }),
    mend: 'take the disk image of a build, whole and unchanged',
  });
}
