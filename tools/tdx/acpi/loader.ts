import { concatBytes } from '../../bytes/compare.ts';
import { readU32, writeU32, writeU8 } from '../../bytes/little-endian.ts';
import { rawFromBytes, rawToBytes } from '../../bytes/text.ts';
import { formatError, type CvmError, type Fact } from '../../errors.ts';
import { BLOB_UNIT_BYTES, type AcpiTable } from './tables.ts';

/** The three files that the firmware fetches and measures. */
export interface AcpiBlobs {
  /** `etc/table-loader`, 4096 bytes. */
  readonly loader: Uint8Array;
  /** `etc/acpi/rsdp`, 20 bytes. */
  readonly rsdp: Uint8Array;
  /** `etc/acpi/tables`. */
  readonly tables: Uint8Array;
}

const COMMAND_BYTES = 128;
const LOADER_UNIT_BYTES = 4096;
const NAME_BYTES = 56;
const RSDP_BYTES = 20;
const TABLES_FILE = 'etc/acpi/tables';
const RSDP_FILE = 'etc/acpi/rsdp';
const CHECKSUM_AT = 9;
const RSDT_ENTRIES_AT = 36;

/** @param rsdtOffset where the RSDT lies in the tables blob */
function rsdp(rsdtOffset: number): Uint8Array {
  const bytes = new Uint8Array(RSDP_BYTES);
  bytes.set(rawToBytes('RSD PTR '), 0);
  bytes.set(rawToBytes('BOCHS '), 9);
  writeU32(bytes, 16, rsdtOffset);
  return bytes;
}

function command(kind: number, write: (bytes: Uint8Array) => void): Uint8Array {
  const bytes = new Uint8Array(COMMAND_BYTES);
  writeU32(bytes, 0, kind);
  write(bytes);
  return bytes;
}

function nameAt(bytes: Uint8Array, at: number, name: string): void {
  bytes.set(rawToBytes(name), at);
}

function allocate(file: string, align: number, zone: number): Uint8Array {
  return command(1, (bytes) => {
    nameAt(bytes, 4, file);
    writeU32(bytes, 4 + NAME_BYTES, align);
    writeU8(bytes, 8 + NAME_BYTES, zone);
  });
}

function pointer(file: string, offset: number, sizeBytes: number): Uint8Array {
  return command(2, (bytes) => {
    nameAt(bytes, 4, file);
    nameAt(bytes, 4 + NAME_BYTES, TABLES_FILE);
    writeU32(bytes, 4 + 2 * NAME_BYTES, offset);
    writeU8(bytes, 8 + 2 * NAME_BYTES, sizeBytes);
  });
}

function checksum(file: string, resultOffset: number, start: number, length: number): Uint8Array {
  return command(3, (bytes) => {
    nameAt(bytes, 4, file);
    writeU32(bytes, 4 + NAME_BYTES, resultOffset);
    writeU32(bytes, 8 + NAME_BYTES, start);
    writeU32(bytes, 12 + NAME_BYTES, length);
  });
}

/**
 * The other two files, which the tables determine: RSDP, and the commands by which the firmware allocates, links and sums.
 *
 *   command   128 bytes: u32 kind, then
 *   1 alloc   file name (56), u32 alignment, u8 zone
 *   2 pointer file name (56), pointee's file name (56), u32 offset, u8 size
 *   3 sum     file name (56), u32 result offset, u32 start, u32 length
 *
 * Source: QEMU hw/acpi/bios-linker-loader.c.
 */
export function linkTables(blob: Uint8Array, tables: readonly AcpiTable[]): AcpiBlobs {
  const find = (signature: string): AcpiTable => {
    const [found, second] = tables.filter((table) => table.signature === signature);
    if (found !== undefined && second === undefined) return found;
    throw blobError(`does not have exactly one ${signature}`, []);
  };
  const sum = (table: AcpiTable): Uint8Array =>
    checksum(TABLES_FILE, table.offset + CHECKSUM_AT, table.offset, table.length);
  const facp = find('FACP');
  const rsdt = find('RSDT');
  const entries = (rsdt.length - RSDT_ENTRIES_AT) / 4;
  const commands = [
    allocate(RSDP_FILE, 16, 2),
    allocate(TABLES_FILE, 64, 1),
    sum(find('DSDT')),
    pointer(TABLES_FILE, facp.offset + 36, 4),
    pointer(TABLES_FILE, facp.offset + 40, 4),
    pointer(TABLES_FILE, facp.offset + 140, 8),
    sum(facp),
    ...tables.filter(({ signature }) => !['FACS', 'DSDT', 'FACP', 'RSDT'].includes(signature)).map(sum),
    ...Array.from({ length: entries }, (_, i) =>
      pointer(TABLES_FILE, rsdt.offset + RSDT_ENTRIES_AT + 4 * i, 4),
    ),
    sum(rsdt),
    pointer(RSDP_FILE, 16, 4),
    checksum(RSDP_FILE, 8, 0, RSDP_BYTES),
  ];
  const bytes = concatBytes(...commands);
  const loader = new Uint8Array(Math.ceil(bytes.length / LOADER_UNIT_BYTES) * LOADER_UNIT_BYTES);
  loader.set(bytes);
  return { loader, rsdp: rsdp(rsdt.offset), tables: blob };
}

const EXPECTED = ['FACS', 'DSDT', 'FACP', 'APIC', 'SRAT', 'MCFG', 'WAET', 'RSDT'];
const BLOB_LIMIT_BYTES = 16 << 20;

/**
 * The tables in a captured blob.
 * @throws CvmError format ACPI_BLOB
 */
export function readTables(blob: Uint8Array): AcpiTable[] {
  if (blob.length === 0 || blob.length % BLOB_UNIT_BYTES !== 0 || blob.length > BLOB_LIMIT_BYTES) {
    throw blobError(`is not a multiple of ${BLOB_UNIT_BYTES} bytes`, [['size', `${blob.length} bytes`]]);
  }
  const tables: AcpiTable[] = [];
  for (let offset = 0; tables.at(-1)?.signature !== 'RSDT';) {
    const signature = rawFromBytes(blob.subarray(offset, offset + 4));
    const length = offset + 8 <= blob.length ? readU32(blob, offset + 4) : 0;
    if (!EXPECTED.includes(signature) || length < 36 || offset + length > blob.length) {
      throw blobError('holds something that is no table of such a guest', [
        ['at', offset],
        ['signature', signature],
        ['length', length],
      ]);
    }
    tables.push({ signature, offset, length });
    offset += length;
  }
  return tables;
}

function blobError(problem: string, facts: readonly Fact[]): CvmError {
  return formatError('ACPI_BLOB', `the ACPI tables blob ${problem}`, {
    facts,
    mend: 'give etc/acpi/tables as QEMU hands it over, padding included',
  });
}
