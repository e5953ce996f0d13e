import { describe, expect, test } from 'vitest';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { partitionSource, readGpt } from '../../../tools/gpt/reader.ts';
import { SECTOR_BYTES } from '../../../tools/gpt/table.ts';
import { FILLED_SLOT, GUESTOS_DISK, guestOsDisk } from '../../../tools/guestos/disk.ts';
import { expectCvmError } from '../../support/errors.ts';

const bytes = (length: number, fill: number): ByteSource =>
  sourceFromBytes(new Uint8Array(length).fill(fill));
const NOTHING: ReadonlyMap<string, ByteSource> = new Map();

/** dfinity/ic ic-os/guestos/partitions.csv, in sectors. */
const CSV = `
  esp     2048  204800   B78084E2-3363-1346-8C25-D426F26B8928
  grub    206848 204800   6788E4CF-F456-104E-9A34-A2C58CFB0EE6
  config  411648 204800   A5BA3816-BEAA-D74D-993E-CFA5AA6BA1F6
  A_boot  616448 2097152  DDF618FE-7244-B446-A175-3296E6B9D02E
  A_root  2713600 20971520 7C0A626E-E5EA-E543-B5C5-300EB8304DB7
  A_var   23685120 20971520 22D2F5A6-1E39-D247-81CF-90C95C113E21
  B_boot  44656640 2097152 D5214E4F-F7B0-B945-9A9B-52B9188DF4C5
  B_root  46753792 20971520 A78BC3A8-376C-054A-96E7-3904B915D0C5
  B_var   67725312 20971520 2237D1D1-CE96-584E-8EC5-8AE6661FAAE9`;

describe('a GuestOS disk', () => {
  const disk = guestOsDisk({
    boot: bytes(1000, 1),
    root: bytes(2000, 2),
    others: new Map([['esp', bytes(3000, 3)]]),
  });
  const table = readGpt(disk);

  test('has 50 GiB and the nine partitions of the release', () => {
    expect(disk.sizeBytes).toBe(50 * 2 ** 30);
    const expected = CSV.trim()
      .split('\n')
      .map((line) => line.trim().split(/ +/));
    expect(
      table.partitions.map(({ name, startSector, sectors, uuid }) => [
        name,
        `${startSector}`,
        `${sectors}`,
        uuid.toUpperCase(),
      ]),
    ).toEqual(expected);
    expect(table).toEqual(GUESTOS_DISK);
  });

  test('marks esp, and only esp, as EFI system partition', () => {
    expect(table.partitions.map(({ type }) => type.slice(0, 8))).toEqual([
      'c12a7328',
      ...Array.from({ length: 8 }, () => '0fc63daf'),
    ]);
  });

  test('has slot A filled, slot B and what was not given empty', () => {
    const firstByte = (name: string): number | undefined => partitionSource(disk, table, name).read(0, 1)[0];
    expect(table.partitions.map(({ name }) => firstByte(name))).toEqual([3, 0, 0, 1, 2, 0, 0, 0, 0]);
    for (const name of ['A_var', 'B_boot', 'B_root', 'B_var'])
      expect(partitionSource(disk, table, name).extents).toEqual([]);
  });

  test('has zeros behind a content that is shorter than its partition', () => {
    const boot = partitionSource(disk, table, FILLED_SLOT.boot);
    expect(boot.sizeBytes).toBe(2 ** 30);
    expect(boot.read(998, 4)).toEqual(Uint8Array.of(1, 1, 0, 0));
    expect(boot.extents).toEqual([{ offset: 0, length: 1000 }]);
  });

  test('stores little beside its contents', () => {
    const stored = disk.extents.reduce((sum, { length }) => sum + length, 0);
    expect(stored).toBe(512 + 2 * (512 + 128 * 128) + 6000);
  });
});

describe('a GuestOS disk that cannot be', () => {
  const sectorsOf = (name: string): number =>
    GUESTOS_DISK.partitions.find((partition) => partition.name === name)?.sectors ?? 0;
  const tooLarge = (name: string): ByteSource => sparseSource(sectorsOf(name) * SECTOR_BYTES + 1, []);

  test.each<[string, Partial<Parameters<typeof guestOsDisk>[0]>]>([
    ['a boot partition of more than 1 GiB', { boot: tooLarge('A_boot') }],
    ['a root partition of more than 10 GiB', { root: tooLarge('A_root') }],
    ['an esp of more than 100 MiB', { others: new Map([['esp', tooLarge('esp')]]) }],
    ['a partition of an unknown name', { others: new Map([['data', bytes(1, 1)]]) }],
    ['a name in another case', { others: new Map([['ESP', bytes(1, 1)]]) }],
    ['an empty name', { others: new Map([['', bytes(1, 1)]]) }],
  ])('refuses %s', (_, over) => {
    expectCvmError(
      () => guestOsDisk({ boot: bytes(1, 1), root: bytes(1, 2), others: NOTHING, ...over }),
      'GPT_LAYOUT',
      'usage',
    );
  });

  test('takes partitions that are exactly full', () => {
    const full = (name: string): ByteSource => sparseSource(sectorsOf(name) * SECTOR_BYTES, []);
    const disk = guestOsDisk({ boot: full('A_boot'), root: full('A_root'), others: NOTHING });
    expect(readGpt(disk)).toEqual(GUESTOS_DISK);
  });

  test('nobody gets another boot partition into slot A as one of the others', () => {
    const disk = guestOsDisk({
      boot: bytes(1, 1),
      root: bytes(1, 2),
      others: new Map([[FILLED_SLOT.boot, bytes(1, 9)]]),
    });
    expect(partitionSource(disk, GUESTOS_DISK, FILLED_SLOT.boot).read(0, 1)).toEqual(Uint8Array.of(1));
  });
});
