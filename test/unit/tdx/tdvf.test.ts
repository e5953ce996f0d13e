import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { mrtd } from '../../../tools/tdx/mrtd.ts';
import { parseTdvf } from '../../../tools/tdx/tdvf.ts';
import {
  STANDARD_SECTIONS,
  TDVF_1_SECTIONS,
  tdvf1,
  tdvfFirmware,
  type TdvfRow,
} from '../../support/dstack.ts';
import { expectCvmError } from '../../support/errors.ts';
import { le16, le32 } from '../../support/firmware.ts';

test('the sections of tdvf-1 and its MRTD in both orders', () => {
  const sections = parseTdvf(tdvf1());
  expect(sections.map(({ type }) => type)).toEqual(['BFV', 'CFV', 'TEMP_MEM', 'TD_HOB', 'PERM_MEM']);
  expect(bytesToHex(mrtd(tdvf1(), sections, 'single-pass'))).toBe(
    '218f65e291138bf6a2027ab87a3d1cda04ad4675421ee2fd0b457e6d501d26ecfff38072acf0f6cc0c97735567b64e1b',
  );
  expect(bytesToHex(mrtd(tdvf1(), sections, 'two-pass'))).toBe(
    '595e669a17cebd538908ae1972cb87c49022db5411eb395dbf604b708d80d6efbea0ae71c78001c91ab8dc276f14f076',
  );
});

test('a byte changes MRTD where the section says so, and nowhere else', () => {
  const sections = parseTdvf(tdvf1());
  const of = (edit: (image: Uint8Array) => void): string => {
    const image = tdvf1();
    edit(image);
    return bytesToHex(mrtd(image, sections, 'two-pass'));
  };
  const base = of(() => undefined);
  expect(of((image) => image.fill((image[0x4000] ?? 0) ^ 1, 0x4000, 0x4001))).not.toBe(base);
  expect(of((image) => image.fill((image[0] ?? 0) ^ 1, 0, 1))).toBe(base);
});

const DESCRIPTOR = 0x7000;
const TABLE = 0x8000 - 32 - 62;
const edited = (edit: (image: Uint8Array) => void): Uint8Array => {
  const image = tdvf1();
  edit(image);
  return image;
};
const section = (change: TdvfRow): Uint8Array => tdvfFirmware([change, ...TDVF_1_SECTIONS.slice(1)]);

describe('one named error for', () => {
  test.each<[string, Uint8Array, string, string]>([
    ['nothing', new Uint8Array(0), 'TDVF_FOOTER', 'Invalid footer GUID'],
    ['no footer', edited((i) => i.fill(0, TABLE + 46, TABLE + 62)), 'TDVF_FOOTER', 'Invalid footer GUID'],
    [
      'a table longer than the file',
      edited((i) => i.set(le16(0xffff), TABLE + 44)),
      'TDVF_TABLE',
      'Invalid tables length',
    ],
    [
      'a table shorter than its own head',
      edited((i) => i.set(le16(17), TABLE + 44)),
      'TDVF_TABLE',
      'Invalid tables length',
    ],
    [
      'an entry of no length',
      edited((i) => i.set(le16(0), TABLE + 26)),
      'TDVF_ENTRY',
      'Invalid entry length',
    ],
    [
      'an entry that leaves the table',
      edited((i) => i.set(le16(100), TABLE + 26)),
      'TDVF_ENTRY',
      'Invalid entry length',
    ],
    [
      'no descriptor',
      edited((i) => i.fill(0, TABLE + 6, TABLE + 22)),
      'TDVF_MISSING',
      'Missing TDVF metadata',
    ],
    [
      'a descriptor outside',
      edited((i) => i.set(le32(0x8001), TABLE)),
      'TDVF_DESCRIPTOR',
      'Invalid TDVF descriptor',
    ],
    [
      'a descriptor at the end',
      edited((i) => i.set(le32(15), TABLE)),
      'TDVF_DESCRIPTOR',
      'Invalid TDVF descriptor',
    ],
    [
      'another signature',
      edited((i) => i.fill(0, DESCRIPTOR, DESCRIPTOR + 1)),
      'TDVF_DESCRIPTOR',
      'Invalid TDVF descriptor',
    ],
    [
      'another version',
      edited((i) => i.set(le32(2), DESCRIPTOR + 8)),
      'TDVF_VERSION',
      'Unsupported TDVF version',
    ],
    [
      'more sections than bytes',
      edited((i) => i.set(le32(0xffffffff), DESCRIPTOR + 12)),
      'TDVF_SECTION_COUNT',
      'Invalid TDVF descriptor',
    ],
    [
      'no section',
      edited((i) => i.set(le32(16, 1, 0), DESCRIPTOR + 4)),
      'TDVF_SECTION_COUNT',
      'Invalid TDVF descriptor',
    ],
    [
      'a length that does not fit',
      edited((i) => i.set(le32(17), DESCRIPTOR + 4)),
      'TDVF_SECTION_COUNT',
      'Invalid TDVF descriptor',
    ],
    [
      'an unknown type',
      section([0x4000, 0x4000, 0xffffc000, 0x4000, 99, 1]),
      'TDVF_SECTION_TYPE',
      'Unknown section type',
    ],
    [
      'an address between pages',
      section([0x4000, 0x4000, 0xffffc001, 0x4000, 0, 1]),
      'TDVF_SECTION_ALIGNMENT',
      'Section memory address not aligned',
    ],
    [
      'a size between pages',
      section([0x4000, 0, 0xffffc000, 0x4001, 0, 0]),
      'TDVF_SECTION_SIZE',
      'Section memory data size not aligned',
    ],
    [
      'less memory than bytes',
      section([0x4000, 0x4000, 0xffffc000, 0x3000, 0, 1]),
      'TDVF_SECTION_RAW',
      'Section memory data size less than raw',
    ],
    [
      'bytes outside the file',
      section([0x5000, 0x4000, 0xffffc000, 0x4000, 0, 1]),
      'TDVF_SECTION_BOUNDS',
      'Section outside',
    ],
    [
      'content that is not there',
      section([0x4000, 0, 0xffffc000, 0x4000, 0, 1]),
      'TDVF_SECTION_EXTEND',
      'beyond its bytes',
    ],
    [
      'overlapping sections',
      section([0x4000, 0x4000, 0xffffa000, 0x4000, 0, 1]),
      'TDVF_SECTION_OVERLAP',
      'overlap',
    ],
    [
      'memory without end',
      section([0, 0, 0x1000000, 0xf0000000, 4, 0]),
      'TDVF_MEASURED_SIZE',
      'larger than any',
    ],
  ])('%s', (_, image, code, words) => {
    const error = expectCvmError(() => parseTdvf(image), code, 'format');
    expect(error.message).toContain('Failed to parse TDVF metadata: ');
    expect(error.message).toContain(words);
  });

  test('a firmware cut short anywhere', () => {
    for (let size = 0; size < 0x8000; size += 0x333) {
      expect(() => parseTdvf(tdvf1().slice(0, size))).toThrow(/Failed to parse TDVF metadata/);
    }
  });
});

test('the standard sections parse', () => {
  expect(parseTdvf(tdvfFirmware(STANDARD_SECTIONS))).toHaveLength(6);
});
