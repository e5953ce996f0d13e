import { concatBytes } from '../../bytes/compare.ts';
import { writeU16, writeU32, writeU8 } from '../../bytes/little-endian.ts';
import { rawToBytes } from '../../bytes/text.ts';
import { lowMemoryBytes } from '../td-hob.ts';
import type { VmShape } from '../vm-shape.ts';
import { dsdtParts } from './dsdt.ts';
import { madtProcessor } from './processors.ts';

/** A table and where it lies in the blob. */
export interface AcpiTable {
  /** Four characters: `DSDT`. */
  readonly signature: string;
  readonly offset: number;
  readonly length: number;
}

/** QEMU's `etc/acpi/tables`, before the firmware links and sums it. */
export interface AcpiTables {
  readonly blob: Uint8Array;
  readonly tables: readonly AcpiTable[];
}

/** The blob is padded to a multiple of this. */
export const BLOB_UNIT_BYTES = 0x2_0000;

const HEADER_BYTES = 36;
const FACS_BYTES = 64;
const FOUR_GIB = 0x1_0000_0000;
const GIB = 2 ** 30;

/**
 * The tables blob that QEMU hands to a guest of this shape: FACS, DSDT, FACP, APIC, SRAT (with huge pages), MCFG, WAET,
 * RSDT, then zeros. Pointers between tables are offsets in the blob, checksums are zero.
 *
 * Source: QEMU hw/i386/acpi-build.c, hw/acpi/aml-build.c.
 * @throws CvmError usage CPU_COUNT | MEMORY_SIZE | PCI_SLOTS | ACPI_HOTPLUG_PORTS
 */
export function acpiTables(shape: VmShape): AcpiTables {
  const contents: (readonly [signature: string, bytes: Uint8Array])[] = [
    ['FACS', facs()],
    ['DSDT', table('DSDT', 1, ...dsdtParts(shape).map(({ aml }) => aml))],
    ['FACP', facp(shape)],
    ['APIC', madt(shape)],
    ...(shape.hugepages ? ([['SRAT', srat(shape)]] as const) : []),
    ['MCFG', mcfg()],
    ['WAET', table('WAET', 1, u32(2))],
  ];
  const tables: AcpiTable[] = [];
  let offset = 0;
  for (const [signature, bytes] of contents) {
    tables.push({ signature, offset, length: bytes.length });
    offset += bytes.length;
  }
  const linked = tables.filter(({ signature }) => signature !== 'FACS' && signature !== 'DSDT');
  const rsdt = table('RSDT', 1, ...linked.map((entry) => u32(entry.offset)));
  tables.push({ signature: 'RSDT', offset, length: rsdt.length });
  const bytes = concatBytes(...contents.map(([, content]) => content), rsdt);
  const blob = new Uint8Array(Math.ceil(bytes.length / BLOB_UNIT_BYTES) * BLOB_UNIT_BYTES);
  blob.set(bytes);
  return { blob, tables };
}

function u32(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  for (const [i, value] of values.entries()) writeU32(bytes, 4 * i, value);
  return bytes;
}

function u64(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(8 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setBigUint64(8 * i, BigInt(value), true);
  return bytes;
}

/**
 * A table with its header, 36 bytes: signature, u32 length, u8 revision, u8 checksum 0, "BOCHS ", "BXPC    ", u32 1,
 * "BXPC", u32 1.
 */
function table(signature: string, revision: number, ...body: readonly Uint8Array[]): Uint8Array {
  const length = HEADER_BYTES + body.reduce((sum, part) => sum + part.length, 0);
  return concatBytes(
    rawToBytes(signature),
    u32(length),
    Uint8Array.of(revision, 0),
    rawToBytes('BOCHS BXPC    '),
    u32(1),
    rawToBytes('BXPC'),
    u32(1),
    ...body,
  );
}

function facs(): Uint8Array {
  const bytes = new Uint8Array(FACS_BYTES);
  bytes.set(rawToBytes('FACS'));
  writeU32(bytes, 4, FACS_BYTES);
  return bytes;
}

/** Fixed hardware; offsets from the start of the table. */
function facp(shape: VmShape): Uint8Array {
  const bytes = new Uint8Array(244);
  bytes.set(table('FACP', 3, new Uint8Array(208)));
  const words: readonly (readonly [at: number, value: number])[] = [
    [40, FACS_BYTES],
    [56, 0x600],
    [64, 0x604],
    [76, 0x608],
    [80, 0x620],
    // Above eight processors, logical addressing has no room.
    [112, 0x84a5 | (shape.cpuCount > 8 ? 0x4_0000 : 0)],
    [120, 0xcf9],
    [140, FACS_BYTES],
  ];
  for (const [at, value] of words) writeU32(bytes, at, value);
  const halves = [
    [46, 9],
    [96, 0xfff],
    [98, 0xfff],
    [109, 2],
  ] as const;
  for (const [at, value] of halves) writeU16(bytes, at, value);
  const single = [
    [44, 1],
    [88, 4],
    [89, 2],
    [91, 4],
    [92, 16],
    [108, 0x32],
    [116, 1],
    [117, 8],
    [128, 0x0f],
  ] as const;
  for (const [at, value] of single) writeU8(bytes, at, value);
  const addresses = [
    [148, 32, 0x600],
    [172, 16, 0x604],
    [208, 32, 0x608],
    [220, 128, 0x620],
  ] as const;
  for (const [at, bits, port] of addresses) {
    writeU8(bytes, at, 1);
    writeU8(bytes, at + 1, bits);
    writeU32(bytes, at + 4, port);
  }
  return bytes;
}

/** Interrupt controllers. */
function madt(shape: VmShape): Uint8Array {
  const ids = Array.from({ length: shape.cpuCount }, (_, id) => id);
  const override = (irq: number, gsi: number, flags: number): Uint8Array =>
    concatBytes(Uint8Array.of(2, 0x0a, 0, irq), u32(gsi), Uint8Array.of(flags, 0));
  const overrides =
    shape.profile === 'A'
      ? Array.from({ length: 16 }, (_, irq) => override(irq, irq === 0 ? 2 : irq, 5))
      : [override(0, 2, 0), ...[5, 9, 10, 11].map((irq) => override(irq, irq, 0x0d))];
  const nmi =
    shape.cpuCount <= 255
      ? Uint8Array.of(4, 6, 0xff, 0, 0, 1)
      : concatBytes(Uint8Array.of(0x0a, 0x0c, 0, 0), u32(0xffff_ffff), Uint8Array.of(1, 0, 0, 0));
  return table(
    'APIC',
    3,
    u32(0xfee0_0000, shape.pic ? 1 : 0),
    ...ids.map(madtProcessor),
    Uint8Array.of(1, 0x0c, 0, 0),
    u32(0xfec0_0000, 0),
    ...overrides,
    nmi,
  );
}

/** Where memory continues when the 64-bit window would meet AMD's reserved range. */
const HIGH_MEMORY_FAR = 0x100_0000_0000;
const RESERVED_RANGE = 0xfd_0000_0000;
const DEFAULT_HOLE_BYTES = 32 * GIB;

/** Processors and memory of the one node there is. */
function srat(shape: VmShape): Uint8Array {
  const low = lowMemoryBytes(shape.memoryBytes);
  const high = shape.memoryBytes - low;
  const hole = shape.pciHole64Bytes === 0 ? DEFAULT_HOLE_BYTES : shape.pciHole64Bytes;
  const windowEnd = Math.ceil((FOUR_GIB + high) / GIB) * GIB + hole - 1;
  const highBase = windowEnd >= RESERVED_RANGE ? HIGH_MEMORY_FAR : FOUR_GIB;
  const memory = (base: number, length: number): Uint8Array =>
    concatBytes(
      Uint8Array.of(1, 0x28, 0, 0, 0, 0, 0, 0),
      u64(base, length),
      u32(0, length > 0 ? 1 : 0),
      u64(0),
    );
  const ids = Array.from({ length: shape.cpuCount }, (_, id) => id);
  return table(
    'SRAT',
    1,
    u32(1),
    u64(0),
    ...ids.map((id) =>
      id < 255
        ? concatBytes(Uint8Array.of(0, 0x10, 0, id), u32(1, 0, 0))
        : concatBytes(Uint8Array.of(2, 0x18, 0, 0), u32(0, id, 1, 0, 0)),
    ),
    memory(0, Math.min(low, 0xa_0000)),
    low > 0x10_0000 ? memory(0x10_0000, low - 0x10_0000) : memory(0, 0),
    high > 0 ? memory(highBase, high) : memory(0, 0),
  );
}

/** The configuration space of PCI Express. */
function mcfg(): Uint8Array {
  return table('MCFG', 1, new Uint8Array(8), u64(0xe000_0000), Uint8Array.of(0, 0, 0, 255), u32(0));
}
