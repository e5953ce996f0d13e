import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { sliceSource, sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { partitionSource, readGpt } from '../../../tools/gpt/reader.ts';
import { ENTRY_BYTES, HEADER_BYTES, SECTOR_BYTES } from '../../../tools/gpt/table.ts';
import { expectCvmError } from '../../support/errors.ts';
import {
  diskBytes,
  ENTRIES_BYTES,
  forged,
  gptPlaces,
  partition,
  seal,
  SMALL_TABLE,
} from '../../support/gpt-disks.ts';

const GOOD = diskBytes();
const PLACES = gptPlaces(GOOD.length);
const CODES = ['GPT_MBR', 'GPT_HEADER', 'GPT_ENTRIES', 'GPT_PARTITION'];

/** What the reader makes of bytes: a table, or the code of a refusal. Anything else is thrown. */
function outcome(disk: Uint8Array): unknown {
  try {
    return readGpt(sourceFromBytes(disk));
  } catch (error) {
    if (error instanceof CvmError && error.kind === 'format') return error.code;
    throw error;
  }
}

/** Flips one bit of each byte, one after the other, and all bits of it. */
function damagedOutcomes(from: number, length: number): Map<number, unknown[]> {
  const disk = GOOD.slice();
  const outcomes = new Map<number, unknown[]>();
  for (let at = from; at < from + length; at++) {
    outcomes.set(
      at - from,
      [1 << (at % 8), 0xff].map((bits) => {
        disk[at] = (GOOD[at] as number) ^ bits;
        return outcome(disk);
      }),
    );
    disk[at] = GOOD[at] as number;
  }
  return outcomes;
}

describe('every damaged byte', () => {
  test('of the boot record is refused where it decides, and changes nothing elsewhere', () => {
    const decides = new Set([450, 466, 482, 498, 510, 511]);
    for (const [at, outcomes] of damagedOutcomes(0, SECTOR_BYTES)) {
      for (const found of outcomes)
        expect(found, `byte ${at}`).toEqual(decides.has(at) ? 'GPT_MBR' : SMALL_TABLE);
    }
  });

  test.each([
    ['primary', PLACES.primary],
    ['backup', PLACES.backup],
  ])('of the %s header is refused; behind it nothing is read', (_, start) => {
    for (const [at, outcomes] of damagedOutcomes(start, SECTOR_BYTES)) {
      for (const found of outcomes)
        expect(found, `byte ${at}`).toEqual(at < HEADER_BYTES ? 'GPT_HEADER' : SMALL_TABLE);
    }
  });

  test.each([
    ['primary', PLACES.primaryEntries],
    ['backup', PLACES.backupEntries],
  ])('of the %s list is refused', { timeout: 60_000 }, (_, start) => {
    for (const [at, outcomes] of damagedOutcomes(start, ENTRIES_BYTES)) {
      for (const found of outcomes) expect(found, `byte ${at}`).toBe('GPT_ENTRIES');
    }
  });

  test('of the partitions is of no interest', () => {
    const disk = GOOD.slice();
    disk.fill(0xff, 34 * SECTOR_BYTES, PLACES.backupEntries);
    expect(outcome(disk)).toEqual(SMALL_TABLE);
  });
});

describe('a disk of another size', () => {
  test.each([0, 1, 511, 512, 1024, 33 * 512, 66 * 512, 67 * 512, GOOD.length - 512, GOOD.length - 1])(
    'cut off after %d bytes, is refused',
    (length) => {
      expect(CODES).toContain(outcome(GOOD.slice(0, length)));
    },
  );

  test('cut off at any sector, is refused', () => {
    for (let sectors = 0; sectors < SMALL_TABLE.diskSectors; sectors++) {
      expect(CODES, `${sectors} sectors`).toContain(outcome(GOOD.slice(0, sectors * SECTOR_BYTES)));
    }
  });

  test.each([1, 512, 1 << 20])('that is %d bytes longer is refused: its backup is not at the end', (more) => {
    const disk = sparseSource(GOOD.length + more, [{ offset: 0, source: sourceFromBytes(GOOD) }]);
    expectCvmError(() => readGpt(disk), 'GPT_HEADER', 'format');
  });

  test('all zeros, or all ones', () => {
    expect(outcome(new Uint8Array(GOOD.length))).toBe('GPT_MBR');
    expect(outcome(new Uint8Array(GOOD.length).fill(0xff))).toBe('GPT_MBR');
  });
});

const sector = (bytes: Uint8Array, at: number, value: number): void => {
  writeU32(bytes, at, value);
  writeU32(bytes, at + 4, Math.floor(value / 2 ** 32));
};

describe('what has right checksums and cannot be', () => {
  test.each<[string, (header: Uint8Array) => void]>([
    ['a newer revision', (header) => writeU32(header, 8, 0x00010001)],
    ['a larger header', (header) => writeU32(header, 12, 96)],
    ['a header of no size', (header) => writeU32(header, 12, 0)],
    ['127 entries', (header) => writeU32(header, 80, 127)],
    ['very many entries', (header) => writeU32(header, 80, 0xffffffff)],
    ['entries of 256 bytes', (header) => writeU32(header, 84, 256)],
    ['entries of no size', (header) => writeU32(header, 84, 0)],
    ['a header of another sector', (header) => sector(header, 24, 5)],
    ['another that is itself', (header) => sector(header, 32, 2)],
    ['another beyond every disk', (header) => header.fill(0xff, 32, 40)],
    ['lists of one place', (header) => sector(header, 72, 2)],
    ['lists beyond every disk', (header) => header.fill(0xff, 72, 80)],
  ])('%s', (_, change) => {
    expectCvmError(() => readGpt(forged(GOOD.slice(), { header: change })), 'GPT_HEADER', 'format');
  });

  test.each<[string, number, number]>([
    ['disk GUID', 56, 1],
    ['first usable sector', 40, 1],
    ['last usable sector', 48, 1],
  ])('headers that differ in their %s', (_, at, more) => {
    const disk = GOOD.slice();
    const header = disk.subarray(PLACES.backup, PLACES.backup + HEADER_BYTES);
    header[at] = (header[at] as number) + more;
    seal(header);
    expect(outcome(disk)).toBe('GPT_HEADER');
  });

  test('two lists that differ, each with its own checksum', () => {
    const disk = GOOD.slice();
    forged(disk, {});
    const other = GOOD.slice();
    forged(other, { entries: (entries) => entries.fill(1, 56, 58) });
    disk.set(other.subarray(PLACES.backupEntries), PLACES.backupEntries);
    expect(outcome(disk)).toBe('GPT_HEADER');
  });

  // Of the first entry: sectors 34 to 43; the second partition is sector 44.
  test.each<[string, number, number]>([
    ['a partition upon the primary table', 33, 43],
    ['a partition upon the boot record', 0, 43],
    ['a partition that ends before it begins', 43, 34],
    ['a partition upon the backup table', 50, 95],
    ['a partition that ends behind the disk', 34, 2000],
    ['a partition that ends beyond exact numbers', 34, 2 ** 63],
    ['a partition that begins beyond exact numbers', 2 ** 63, 2 ** 63],
    ['a partition upon the next', 34, 44],
    ['a partition upon all others', 34, 94],
    ['a partition within another', 60, 61],
  ])('%s', (_, start, end) => {
    const disk = forged(GOOD.slice(), {
      entries: (entries) => {
        sector(entries, 32, start);
        sector(entries, 40, end);
      },
    });
    expectCvmError(() => readGpt(disk), 'GPT_PARTITION', 'format');
  });

  test.each<[string, number, number]>([
    ['behind the disk', 48, 10_000],
    ['upon the backup table', 48, 100],
    ['beyond exact numbers', 48, 2 ** 63],
    ['upon the primary table', 40, 3],
  ])('usable sectors that reach %s, with a partition there', (_, at, value) => {
    const disk = forged(GOOD.slice(), {
      header: (header) => sector(header, at, value),
      entries: (entries) => {
        if (at === 40) sector(entries, 32, value);
        else sector(entries, 2 * ENTRY_BYTES + 40, Math.min(value, 10_000));
      },
    });
    const error = expectCvmError(() => readGpt(disk), 'GPT_PARTITION', 'format');
    expect(error.mend).toBeDefined();
  });

  test('two partitions of one name: neither is the one that was asked for', () => {
    const disk = forged(GOOD.slice(), {
      entries: (entries) => entries.copyWithin(ENTRY_BYTES + 56, 56, ENTRY_BYTES),
    });
    const table = readGpt(disk);
    expectCvmError(() => partitionSource(disk, table, 'first'), 'GPT_PARTITION', 'format');
    expect(partitionSource(disk, table, 'last').sizeBytes).toBe(45 * SECTOR_BYTES);
  });

  test('two partitions of one GUID', () => {
    const disk = forged(GOOD.slice(), {
      entries: (entries) => entries.copyWithin(ENTRY_BYTES + 16, 16, 32),
    });
    expectCvmError(() => readGpt(disk), 'GPT_PARTITION', 'format');
  });

  test.each<[string, number]>([
    ['a second partition in the boot record', 466],
    ['a fourth one', 498],
  ])('%s', (_, at) => {
    const disk = GOOD.slice();
    disk[at] = 0x83;
    expect(outcome(disk)).toBe('GPT_MBR');
  });

  test('an ordinary partition in the boot record', () => {
    const disk = GOOD.slice();
    disk[450] = 0x83;
    expect(outcome(disk)).toBe('GPT_MBR');
  });

  test('any bytes in headers and lists, with right checksums, are a table or a refusal', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 8, max: HEADER_BYTES - 5 }),
        fc.integer({ min: 0, max: 3 * ENTRY_BYTES }),
        fc.uint8Array({ maxLength: 8 }),
        fc.boolean(),
        (headerAt, entryAt, bytes, inHeader) => {
          const disk = GOOD.slice();
          forged(disk, {
            header: (header) => {
              if (inHeader) header.set(bytes.subarray(0, HEADER_BYTES - headerAt), headerAt);
            },
            entries: (entries) => {
              if (!inHeader) entries.set(bytes, entryAt);
            },
          });
          const found = outcome(disk);
          if (typeof found === 'string') {
            expect(CODES).toContain(found);
            return;
          }
          const table = readGpt(sourceFromBytes(disk));
          // Whatever is taken for a table lies on the disk, and has all its bytes.
          for (const { startSector, sectors } of table.partitions) {
            const place = sliceSource(
              sourceFromBytes(disk),
              startSector * SECTOR_BYTES,
              sectors * SECTOR_BYTES,
            );
            expect(place.sizeBytes).toBe(sectors * SECTOR_BYTES);
          }
        },
      ),
      { seed: 11, numRuns: 1000 },
    );
  });
});

describe('what may be', () => {
  test('an empty entry between others, and attributes', () => {
    const disk = forged(GOOD.slice(), {
      entries: (entries) => {
        entries.copyWithin(5 * ENTRY_BYTES, ENTRY_BYTES, 2 * ENTRY_BYTES);
        entries.fill(0, ENTRY_BYTES, 2 * ENTRY_BYTES);
        entries.fill(0xff, 48, 56);
      },
    });
    expect(readGpt(disk).partitions.map(({ name }) => name)).toEqual(['first', 'last', 'second']);
  });

  test('a name of 36 units without an end', () => {
    const disk = forged(GOOD.slice(), {
      entries: (entries) => {
        for (let unit = 0; unit < 36; unit++) writeU16(entries, 56 + 2 * unit, 0xd83d);
      },
    });
    expect(readGpt(disk).partitions[0]?.name).toBe('\ud83d'.repeat(36));
  });

  test('no partitions at all', () => {
    const none = diskBytes({ ...SMALL_TABLE, partitions: [] });
    expect(readGpt(sourceFromBytes(none)).partitions).toEqual([]);
  });
});

describe('partitionSource', () => {
  const disk = (): ByteSource => {
    const bytes = GOOD.slice();
    bytes.fill(7, 44 * SECTOR_BYTES, 45 * SECTOR_BYTES);
    return sourceFromBytes(bytes);
  };

  test('gives exactly the sectors of a partition', () => {
    const found = partitionSource(disk(), SMALL_TABLE, 'second');
    expect(found.sizeBytes).toBe(SECTOR_BYTES);
    expect(found.read(0, SECTOR_BYTES)).toEqual(new Uint8Array(SECTOR_BYTES).fill(7));
  });

  test.each(['', 'Second', 'second\0', 'third'])(
    'has none of the name %j, and says which there are',
    (name) => {
      const error = expectCvmError(
        () => partitionSource(disk(), SMALL_TABLE, name),
        'GPT_PARTITION',
        'format',
      );
      expect(error.facts.join()).toContain('first, second, last');
    },
  );

  test('refuses a table of a larger disk', () => {
    const table = { ...SMALL_TABLE, partitions: [partition('far', 1000, 1)] };
    expectCvmError(() => partitionSource(sliceSource(disk(), 0, GOOD.length), table, 'far'), 'SOURCE_BOUNDS');
  });
});
