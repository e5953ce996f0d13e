import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import { openFile } from '../../tools/commands/files.ts';
import { CvmError } from '../../tools/errors.ts';
import { readGpt } from '../../tools/gpt/reader.ts';
import { gptDisk, PARTITION_TYPES, SECTOR_BYTES, type PartitionTable } from '../../tools/gpt/table.ts';
import { GUESTOS_DISK, guestOsDisk } from '../../tools/guestos/disk.ts';
import { ENTRIES_BYTES, gptPlaces, partition, SMALL_TABLE } from '../support/gpt-disks.ts';
import { scratchFolder } from '../support/run-command.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const sfdisk = findOracle('sfdisk');
const sgdisk = findOracle('sgdisk');
const gptTest = oracleTest({ sfdisk, sgdisk });
const sfdiskTest = oracleTest({ sfdisk });

let folder = '';
beforeAll(() => {
  folder = scratchFolder();
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** As a sparse file. */
function writeDisk(name: string, disk: ByteSource): string {
  const path = join(folder, name);
  const handle = openSync(path, 'w');
  ftruncateSync(handle, disk.sizeBytes);
  for (const { offset, length } of disk.extents)
    writeSync(handle, disk.read(offset, length), 0, length, offset);
  closeSync(handle);
  return path;
}

interface Said {
  readonly status: number | null;
  readonly text: string;
}

function run(program: string | undefined, args: readonly string[], input?: string): Said {
  const { status, stdout, stderr } = spawnSync(program ?? '', args, {
    env: ORACLE_ENV,
    encoding: 'utf8',
    input,
  });
  return { status, text: stdout + stderr };
}

/** What sfdisk reads, in the words of our table. */
function sfdiskTable(path: string, diskSectors: number): PartitionTable {
  const { partitiontable } = JSON.parse(
    execFileSync(sfdisk ?? '', ['--json', path], { env: ORACLE_ENV, encoding: 'utf8' }),
  ) as {
    readonly partitiontable: {
      readonly label: string;
      readonly id: string;
      readonly sectorsize: number;
      readonly firstlba: number;
      readonly lastlba: number;
      readonly partitions?: readonly {
        readonly start: number;
        readonly size: number;
        readonly type: string;
        readonly uuid: string;
        readonly name?: string;
      }[];
    };
  };
  expect(partitiontable).toMatchObject({
    label: 'gpt',
    sectorsize: SECTOR_BYTES,
    firstlba: 34,
    lastlba: diskSectors - 34,
  });
  return {
    diskUuid: partitiontable.id.toLowerCase(),
    diskSectors,
    partitions: (partitiontable.partitions ?? []).map(({ name = '', start, size, type, uuid }) => ({
      name,
      type: type.toLowerCase(),
      uuid: uuid.toLowerCase(),
      startSector: start,
      sectors: size,
    })),
  };
}

/** It mends damage in memory and then finds no problems, but says so. */
const SGDISK_DAMAGE = /ERROR|corrupt|CRC/;

const LARGE: PartitionTable = {
  diskUuid: 'fedcba98-7654-3210-fedc-ba9876543210',
  diskSectors: 2 ** 32 + 4096,
  partitions: [
    partition('Grüße, 世界', 2048, 100),
    partition('far', 2 ** 32 + 5, 1000),
    partition('x'.repeat(36), 4096, 2 ** 31, { type: PARTITION_TYPES.efiSystem }),
  ],
};

describe('our tables in the eyes of others', () => {
  const disks: readonly (readonly [string, PartitionTable, () => ByteSource])[] = [
    ['a small disk', SMALL_TABLE, () => gptDisk(SMALL_TABLE, new Map())],
    [
      'a disk without partitions',
      { ...SMALL_TABLE, partitions: [] },
      () => gptDisk({ ...SMALL_TABLE, partitions: [] }, new Map()),
    ],
    ['a disk of more than 2 TiB', LARGE, () => gptDisk(LARGE, new Map())],
    [
      'a GuestOS disk',
      GUESTOS_DISK,
      () => {
        const bytes = sourceFromBytes(new Uint8Array(5000).fill(1));
        return guestOsDisk({ boot: bytes, root: bytes, others: new Map([['esp', bytes]]) });
      },
    ],
  ];
  for (const [name, table, disk] of disks) {
    gptTest(`${name}: sfdisk and sgdisk find nothing wrong, and read what was written`, () => {
      const path = writeDisk('ours', disk());
      const verified = run(sfdisk, ['--verify', path]);
      expect(verified.status, verified.text).toBe(0);
      expect(verified.text).not.toMatch(/corrupt|mismatch|not? valid|overlap/i);
      const checked = run(sgdisk, ['-v', path]).text;
      expect(checked).toContain('No problems found');
      expect(checked).not.toMatch(SGDISK_DAMAGE);
      expect(sfdiskTable(path, table.diskSectors)).toEqual(table);
    });
  }
});

describe('tables of others in our eyes', () => {
  sfdiskTest('what sfdisk wrote is read as sfdisk reads it', () => {
    const path = writeDisk('theirs', { ...sourceFromBytes(new Uint8Array(0)), sizeBytes: 64 << 20 });
    const script = [
      'label: gpt',
      'label-id: 01234567-89AB-CDEF-0123-456789ABCDEF',
      'first-lba: 34',
      `start=2048, size=4096, type=U, name="esp"`,
      `start=34, size=1, type=L, name="tiny"`,
      `start=8192, type=L, name="rest ü", attrs="RequiredPartition"`,
    ].join('\n');
    const { status, text } = run(sfdisk, ['--quiet', path], script);
    expect(status, text).toBe(0);
    const file = openFile(path);
    try {
      const ours = readGpt(file);
      expect(ours.partitions.map(({ name }) => name)).toEqual(['esp', 'tiny', 'rest ü']);
      expect(ours).toEqual(sfdiskTable(path, ours.diskSectors));
    } finally {
      file.close();
    }
  });

  gptTest('a table of the same layout has the same bytes, made by sgdisk', () => {
    const path = writeDisk('sgdisk', {
      ...sourceFromBytes(new Uint8Array(0)),
      sizeBytes: SMALL_TABLE.diskSectors * 512,
    });
    const args = SMALL_TABLE.partitions.flatMap(({ name, type, uuid, startSector, sectors }, i) => [
      `--new=${i + 1}:${startSector}:${startSector + sectors - 1}`,
      `--typecode=${i + 1}:${type}`,
      `--partition-guid=${i + 1}:${uuid}`,
      `--change-name=${i + 1}:${name}`,
    ]);
    const { status, text } = run(sgdisk, [
      '--set-alignment=1',
      ...args,
      `--disk-guid=${SMALL_TABLE.diskUuid}`,
      path,
    ]);
    expect(status, text).toBe(0);
    const file = openFile(path);
    const ours = gptDisk(SMALL_TABLE, new Map());
    try {
      const { primary, primaryEntries, backup, backupEntries } = gptPlaces(ours.sizeBytes);
      for (const [at, length] of [
        [primary, 512],
        [primaryEntries, ENTRIES_BYTES],
        [backupEntries, ENTRIES_BYTES],
        [backup, 512],
      ] as const) {
        expect(Buffer.from(file.read(at, length)).toString('hex'), `at ${at}`).toBe(
          Buffer.from(ours.read(at, length)).toString('hex'),
        );
      }
      // CHS ends differ between programs; everything else of the protective partition does not.
      const record = (disk: ByteSource): string => {
        const entry = Buffer.from(disk.read(446, 66));
        entry.fill(0, 5, 8);
        return entry.toString('hex');
      };
      expect(record(file)).toBe(record(ours));
    } finally {
      file.close();
    }
  });
});

describe('damage', () => {
  const { primary, primaryEntries, backup, backupEntries } = gptPlaces(
    SMALL_TABLE.diskSectors * SECTOR_BYTES,
  );

  for (const [name, at] of [
    ['the primary header', primary + 57],
    ['the backup header', backup + 57],
    ['the primary list', primaryEntries + 60],
    ['the backup list', backupEntries + 60],
  ] as const) {
    gptTest(`in ${name} is seen by sgdisk and by us`, () => {
      const path = writeDisk('damaged', gptDisk(SMALL_TABLE, new Map()));
      const handle = openSync(path, 'r+');
      const byte = new Uint8Array(1);
      readSync(handle, byte, 0, 1, at);
      writeSync(handle, Uint8Array.of((byte[0] as number) ^ 1), 0, 1, at);
      closeSync(handle);
      expect(run(sgdisk, ['-v', path]).text).toMatch(SGDISK_DAMAGE);
      const file = openFile(path);
      try {
        expect(() => readGpt(file)).toThrow(CvmError);
      } finally {
        file.close();
      }
    });
  }
});
