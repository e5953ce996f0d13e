import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readU16, readU32 } from '../../../tools/bytes/little-endian.ts';
import { sourceFromBytes, type ByteSource } from '../../../tools/bytes/source.ts';
import { partitionSource, readGpt } from '../../../tools/gpt/reader.ts';
import {
  FIRST_USABLE_SECTOR,
  gptDisk,
  lastUsableSector,
  PARTITION_TYPES,
  SECTOR_BYTES,
  type Partition,
  type PartitionTable,
} from '../../../tools/gpt/table.ts';
import { expectCvmError } from '../../support/errors.ts';
import { diskBytes, ENTRIES_BYTES, gptPlaces, partition, SMALL_TABLE } from '../../support/gpt-disks.ts';

const bytes = (length: number, fill = 0x5a): ByteSource => sourceFromBytes(new Uint8Array(length).fill(fill));
const hex = (from: Uint8Array, at: number, length: number): string =>
  Buffer.from(from.subarray(at, at + length)).toString('hex');
const sectorAt = (from: Uint8Array, at: number): bigint => Buffer.from(from).readBigUInt64LE(at);

describe('the protective boot record', () => {
  test('is one partition of type EE over the whole disk', () => {
    const disk = diskBytes();
    // UEFI 2.10, table 5.4: CHS 0/0/2, type, CHS at its end, start 1, sectors of the disk less one.
    expect(hex(disk, 446, 16)).toBe('00000200eeffffff010000007f000000');
    expect(disk.subarray(0, 446).every((byte) => byte === 0)).toBe(true);
    expect(disk.subarray(462, 510).every((byte) => byte === 0)).toBe(true);
    expect(readU16(disk, 510)).toBe(0xaa55);
  });

  test('stops counting where 32 bits do', () => {
    const disk = gptDisk({ ...SMALL_TABLE, diskSectors: 2 ** 32 + 1000 }, new Map());
    expect(readU32(disk.read(0, 512), 458)).toBe(0xffffffff);
    expect(readGpt(disk).diskSectors).toBe(2 ** 32 + 1000);
  });
});

describe('the two headers', () => {
  const disk = diskBytes();
  const { primary, primaryEntries, backup, backupEntries } = gptPlaces(disk.length);

  test.each([
    ['primary', primary, 1n, 127n, 2n, primaryEntries],
    ['backup', backup, 127n, 1n, 95n, backupEntries],
  ])('the %s one has every field of the specification', (_, at, own, other, entriesAt, entries) => {
    const header = disk.slice(at, at + SECTOR_BYTES);
    expect(Buffer.from(header.subarray(0, 8)).toString('latin1')).toBe('EFI PART');
    expect(hex(header, 8, 8)).toBe('000001005c000000');
    expect(readU32(header, 20)).toBe(0);
    expect([24, 32, 40, 48, 72].map((offset) => sectorAt(header, offset))).toEqual([
      own,
      other,
      34n,
      94n,
      entriesAt,
    ]);
    expect(hex(header, 56, 16)).toBe('33221100554477668899aabbccddeeff');
    expect([readU32(header, 80), readU32(header, 84)]).toEqual([128, 128]);
    expect(readU32(header, 88)).toBe(crc32(disk.subarray(entries, entries + ENTRIES_BYTES)));
    expect(header.subarray(92).every((byte) => byte === 0)).toBe(true);
    const crc = readU32(header, 16);
    header.fill(0, 16, 20);
    expect(crc32(header.subarray(0, 92))).toBe(crc);
  });

  test('both lists are alike', () => {
    expect(hex(disk, primaryEntries, ENTRIES_BYTES)).toBe(hex(disk, backupEntries, ENTRIES_BYTES));
  });

  test('an entry has type, GUID, first and last sector, no attributes, and its name', () => {
    expect(hex(disk, primaryEntries, 16)).toBe('28732ac11ff8d211ba4b00a0c93ec93b');
    expect(hex(disk, primaryEntries + 16, 8)).toBe('67452301ab89efcd');
    expect(sectorAt(disk, primaryEntries + 32)).toBe(34n);
    expect(sectorAt(disk, primaryEntries + 40)).toBe(43n);
    expect(sectorAt(disk, primaryEntries + 48)).toBe(0n);
    expect(Buffer.from(disk.subarray(primaryEntries + 56, primaryEntries + 128)).toString('utf16le')).toBe(
      'first'.padEnd(36, '\0'),
    );
  });
});

describe('what a disk holds', () => {
  test('contents at their places, zeros behind them and everywhere else', () => {
    const disk = diskBytes(
      SMALL_TABLE,
      new Map([
        ['last', bytes(700)],
        ['first', bytes(5120, 1)],
      ]),
    );
    expect(disk.length).toBe(128 * 512);
    expect(disk.subarray(34 * 512, 44 * 512).every((byte) => byte === 1)).toBe(true);
    expect(disk.subarray(44 * 512, 50 * 512).every((byte) => byte === 0)).toBe(true);
    expect(disk.subarray(50 * 512, 50 * 512 + 700).every((byte) => byte === 0x5a)).toBe(true);
    expect(disk.subarray(50 * 512 + 700, 95 * 512).every((byte) => byte === 0)).toBe(true);
  });

  test('what is empty costs nothing', () => {
    const stored = gptDisk(SMALL_TABLE, new Map()).extents.reduce((sum, { length }) => sum + length, 0);
    expect(stored).toBe(512 + 2 * (512 + ENTRIES_BYTES));
  });

  test('partitions keep the order that they are given in, whatever their places are', () => {
    const partitions = SMALL_TABLE.partitions.toReversed();
    const contents = new Map([
      ['first', bytes(3)],
      ['last', bytes(2)],
    ]);
    const disk = gptDisk({ ...SMALL_TABLE, partitions }, contents);
    expect(readGpt(disk).partitions).toEqual(partitions);
  });

  test('any table that can be is read back as it was written, with every content', () => {
    const anyTable = fc
      .array(
        fc.record({
          gap: fc.nat(40),
          sectors: fc.integer({ min: 1, max: 50 }),
          name: fc.string({ maxLength: 36 }),
        }),
        { maxLength: 12 },
      )
      .chain((rows) => {
        let at = FIRST_USABLE_SECTOR;
        const partitions = rows.map(({ gap, sectors, name }, i): Partition => {
          const startSector = at + gap;
          at = startSector + sectors;
          // NUL ends a name, and no two may be alike.
          return partition(`${i}${name.replaceAll('\0', '')}`.slice(0, 36), startSector, sectors, {
            uuid: `00000000-0000-0000-0000-${i.toString(16).padStart(12, '0')}`,
          });
        });
        return fc.record({
          partitions: fc.shuffledSubarray(partitions, { minLength: partitions.length }),
          diskSectors: fc.nat(100).map((more) => at + 34 + more),
          diskUuid: fc.uuid(),
        });
      });
    fc.assert(
      fc.property(anyTable, (table) => {
        const contents = new Map(table.partitions.map(({ name }, i) => [name, bytes(i + 1, i + 1)]));
        const disk = gptDisk(table, contents);
        expect(readGpt(disk)).toEqual(table);
        for (const [name, content] of contents) {
          const found = partitionSource(disk, table, name);
          expect(found.read(0, content.sizeBytes)).toEqual(content.read(0, content.sizeBytes));
        }
      }),
      { seed: 9, numRuns: 60 },
    );
  });
});

describe('tables that cannot be', () => {
  const last = lastUsableSector(SMALL_TABLE.diskSectors);

  test.each<[string, Partial<PartitionTable>, ReadonlyMap<string, ByteSource>?]>([
    ['a partition upon the primary table', { partitions: [partition('a', 33, 1)] }],
    ['a partition at sector 0', { partitions: [partition('a', 0, 1)] }],
    ['a partition before the disk', { partitions: [partition('a', -1, 1)] }],
    ['a partition upon the backup table', { partitions: [partition('a', last, 2)] }],
    ['a partition behind the disk', { partitions: [partition('a', 1000, 1)] }],
    ['a partition without size', { partitions: [partition('a', 40, 0)] }],
    ['a partition of negative size', { partitions: [partition('a', 40, -1)] }],
    ['half a sector', { partitions: [partition('a', 40, 0.5)] }],
    ['a partition at half a sector', { partitions: [partition('a', 40.5, 1)] }],
    ['a partition at no number', { partitions: [partition('a', Number.NaN, 1)] }],
    ['a partition beyond exact numbers', { partitions: [partition('a', 40, 2 ** 53)] }],
    ['two partitions that share a sector', { partitions: [partition('a', 40, 5), partition('b', 44, 5)] }],
    ['the same in other order', { partitions: [partition('b', 44, 5), partition('a', 40, 5)] }],
    ['a partition within another', { partitions: [partition('a', 40, 20), partition('b', 45, 1)] }],
    [
      'two partitions of one name',
      { partitions: [partition('a', 40, 1), partition('a', 50, 1, { uuid: SMALL_TABLE.diskUuid })] },
    ],
    [
      'two partitions of one GUID',
      {
        partitions: [
          partition('a', 40, 1),
          partition('b', 50, 1, { uuid: partition('a', 0, 1).uuid.toUpperCase() }),
        ],
      },
    ],
    ['a name of 37 units', { partitions: [partition('x'.repeat(37), 40, 1)] }],
    [
      '129 partitions',
      { diskSectors: 1000, partitions: Array.from({ length: 129 }, (_, i) => partition(`${i}`, 40 + i, 1)) },
    ],
    ['a content that is larger than its partition', {}, new Map([['second', bytes(513)]])],
    ['a content of no partition', {}, new Map([['third', bytes(1)]])],
  ])('refuses %s', (_, over, contents = new Map<string, ByteSource>()) => {
    expectCvmError(() => gptDisk({ ...SMALL_TABLE, ...over }, contents), 'GPT_LAYOUT', 'usage');
  });

  test.each(['', 'x', SMALL_TABLE.diskUuid.replaceAll('-', ''), `{${SMALL_TABLE.diskUuid}}`])(
    'refuses the GUID %j',
    (uuid) => {
      expectCvmError(() => gptDisk({ ...SMALL_TABLE, diskUuid: uuid }, new Map()), 'GUID_INVALID');
      const partitions = [partition('a', 40, 1, { uuid })];
      expectCvmError(() => gptDisk({ ...SMALL_TABLE, partitions }, new Map()), 'GUID_INVALID');
    },
  );

  test.each([0, 1, 33, 66, 67])('refuses a disk of %d sectors with anything in it', (diskSectors) => {
    expectCvmError(() => gptDisk({ ...SMALL_TABLE, diskSectors }, new Map()), 'GPT_LAYOUT', 'usage');
  });

  test('takes what just fits: 128 partitions, a name of 36 units, the first and the last sector', () => {
    const partitions = Array.from({ length: 128 }, (_, i) =>
      partition(`${i}`.padStart(36, 'x'), 34 + i, 1, {
        uuid: `00000000-0000-0000-0000-${`${i}`.padStart(12, '0')}`,
      }),
    );
    const table = { ...SMALL_TABLE, diskSectors: 34 + 128 + 33, partitions };
    expect(readGpt(gptDisk(table, new Map()))).toEqual(table);
    expect(new Set(partitions.map(({ type }) => type))).toEqual(new Set([PARTITION_TYPES.linuxFilesystem]));
  });
});
