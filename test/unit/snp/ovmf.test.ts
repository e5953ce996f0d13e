import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { guidToBytes } from '../../../tools/bytes/guid.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sparseSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { prepareSnpLaunch } from '../../../tools/snp/launch-digest.ts';
import {
  parseOvmf,
  requireHashTableBase,
  requireResetEip,
  requireSections,
  requireSvsmLaunchOffset,
  sectionName,
} from '../../../tools/snp/ovmf.ts';
import { expectCvmError } from '../../support/errors.ts';
import {
  buildFirmware,
  firmwareS,
  GUID,
  le16,
  le32,
  S_ENTRIES,
  S_SECTIONS,
  svsmV,
} from '../../support/firmware.ts';

function patched(image: Uint8Array, offset: number, bytes: Uint8Array): Uint8Array {
  const copy = image.slice();
  copy.set(bytes, offset);
  return copy;
}

describe('OVMF tables', () => {
  test('the synthetic images are those of the recorded digests', () => {
    expect(bytesToHex(digestBytes('sha256', firmwareS()))).toBe(
      'd89291b52bd9c4ff0a45d17f2a9cf3e93d3091ae35eafb031c4944e0d8514e5e',
    );
    expect(bytesToHex(digestBytes('sha256', svsmV()))).toBe(
      '17d49bf597a44d9182f1cdf3c1e54d955b3104c2e5df23ac161ca7e304abcc99',
    );
  });

  test('everything stands where the image says', () => {
    const ovmf = parseOvmf(firmwareS());
    expect(ovmf).toMatchObject({
      sizeBytes: 8192,
      loadGpa: 0xffffe000,
      resetEip: 0x80b004,
      hashTable: { base: 0x805c00, sizeBytes: 0x400 },
      metadataOffset: 0x1000,
      svsmLaunchOffset: undefined,
    });
    expect(ovmf.sections?.map(({ gpa, sizeBytes, type }) => [gpa, sizeBytes, type])).toEqual(S_SECTIONS);
    expect(ovmf.table.map(({ guid, offset }) => [guid, offset])).toEqual([
      [GUID.resetBlock, 0x1fb8],
      [GUID.hashTable, 0x1f9e],
      [GUID.metadata, 0x1f88],
    ]);
    expect(parseOvmf(svsmV()).svsmLaunchOffset).toBe(0x20);
  });

  test('unknown entries are kept and skipped', () => {
    const guid = '4c2eb361-7d9b-4cc3-8081-127c90d3d294';
    const ovmf = parseOvmf(
      buildFirmware({ entries: [[guid, le32(1, 2)], ...S_ENTRIES], sections: S_SECTIONS }),
    );
    expect(ovmf.table.at(-1)).toMatchObject({ guid, data: le32(1, 2) });
    expect(ovmf.resetEip).toBe(0x80b004);
  });

  test('a hash table at base 0 is no hash table', () => {
    const ovmf = parseOvmf(buildFirmware({ entries: [[GUID.hashTable, le32(0, 0)]] }));
    expect(ovmf.hashTable).toBeUndefined();
  });

  test('absent entries are absent, and an error only for who needs them', () => {
    const ovmf = parseOvmf(buildFirmware({ entries: [] }));
    expect(ovmf).toMatchObject({ table: [], resetEip: undefined, hashTable: undefined, sections: undefined });
    expectCvmError(() => requireResetEip(ovmf, 1), 'OVMF_NO_RESET_BLOCK', 'format');
    expectCvmError(() => requireHashTableBase(ovmf), 'OVMF_NO_HASH_TABLE', 'format');
    expectCvmError(() => requireSections(ovmf), 'OVMF_NO_METADATA', 'format');
    expectCvmError(() => requireSvsmLaunchOffset(ovmf), 'OVMF_NO_SVSM_INFO', 'format');
  });

  test('section names', () => {
    expect(S_SECTIONS.map(([, , type]) => sectionName(type))).toEqual([
      'SNP_SEC_MEM',
      'SNP_SECRETS',
      'CPUID',
      'SVSM_CAA',
      'SNP_SEC_MEM',
      'SNP_KERNEL_HASHES',
    ]);
    expect(sectionName(0x77)).toBe('type 0x77');
  });
});

describe('malformed OVMF tables', () => {
  const s = firmwareS();
  const footer = s.length - 50;
  const entries = (...list: (readonly [string, Uint8Array])[]): Uint8Array =>
    buildFirmware({ entries: list });
  const oneSection = (gpa: number, sizeBytes: number, type: number): Uint8Array =>
    buildFirmware({ entries: S_ENTRIES, sections: [[gpa, sizeBytes, type]] });

  test.each<[string, () => Uint8Array, string]>([
    ['a file of 49 bytes', () => s.slice(-49), 'OVMF_TOO_SHORT'],
    ['an empty file', () => new Uint8Array(), 'OVMF_TOO_SHORT'],
    ['another footer GUID', () => patched(s, footer + 2, guidToBytes(GUID.metadata)), 'OVMF_NO_FOOTER'],
    ['a table shorter than its footer', () => patched(s, footer, le16(17)), 'OVMF_FOOTER_SIZE'],
    ['a table longer than the file', () => patched(s, footer, le16(8193 - 32)), 'OVMF_FOOTER_SIZE'],
    ['an entry of 17 bytes', () => patched(s, footer - 18, le16(17)), 'OVMF_ENTRY_SIZE'],
    ['an entry of 0 bytes, which would never end', () => patched(s, footer - 18, le16(0)), 'OVMF_ENTRY_SIZE'],
    ['bytes before the first entry', () => patched(s, footer, le16(0x58 + 5)), 'OVMF_ENTRY_SIZE'],
    ['an entry that starts before the table', () => patched(s, footer - 18, le16(0x58)), 'OVMF_ENTRY_BOUNDS'],
    [
      'two reset blocks, of which tools read different ones',
      () => entries([GUID.resetBlock, le32(1)], [GUID.resetBlock, le32(1)]),
      'OVMF_ENTRY_DUPLICATE',
    ],
    ['a reset block of 3 bytes', () => entries([GUID.resetBlock, new Uint8Array(3)]), 'OVMF_ENTRY_DATA'],
    ['a hash table entry of 4 bytes', () => entries([GUID.hashTable, le32(1)]), 'OVMF_ENTRY_DATA'],
    ['metadata before the file', () => entries([GUID.metadata, le32(8193)]), 'OVMF_METADATA_BOUNDS'],
    ['metadata at the very end', () => entries([GUID.metadata, le32(15)]), 'OVMF_METADATA_BOUNDS'],
    ['another metadata signature', () => patched(s, 0x1000, le32(0x56455342)), 'OVMF_METADATA_SIGNATURE'],
    ['metadata version 2', () => patched(s, 0x1008, le32(2)), 'OVMF_METADATA_VERSION'],
    ['a length that does not fit the count', () => patched(s, 0x1004, le32(0x59)), 'OVMF_METADATA_LENGTH'],
    ['more sections than the file holds', () => patched(s, 0x100c, le32(0xffffffff)), 'OVMF_METADATA_BOUNDS'],
    ['a section of unknown type', () => oneSection(0x800000, 0x1000, 5), 'OVMF_SECTION_TYPE'],
    [
      'a section type whose low byte alone is known',
      () => oneSection(0x800000, 0x1000, 0x101),
      'OVMF_SECTION_TYPE',
    ],
    ['a section that ends inside a page', () => oneSection(0x800000, 0x1001, 1), 'OVMF_SECTION_SIZE'],
    ['a section that starts inside a page', () => oneSection(0x800800, 0x1000, 1), 'OVMF_SECTION_ALIGNMENT'],
    ['a section past 4 GiB', () => oneSection(0xfffff000, 0x2000, 4), 'OVMF_SECTION_BOUNDS'],
    [
      'sections that together ask for more than 4 GiB',
      () =>
        buildFirmware({
          entries: S_ENTRIES,
          sections: [
            [0, 0xfffff000, 1],
            [0, 0xfffff000, 1],
          ],
        }),
      'OVMF_SECTION_BOUNDS',
    ],
    ['an image that ends inside a page', () => concatBytes(new Uint8Array(1), s), 'OVMF_SIZE'],
  ])('refuses %s', (_, image, code) => {
    expectCvmError(() => prepareSnpLaunch({ firmware: image() }), code, 'format');
  });

  test('refuses an image larger than the room above the I/O APIC, without reading it', () => {
    const huge = sparseSource(2 ** 40, [
      {
        offset: 2 ** 40 - 8192,
        source: { sizeBytes: 8192, extents: [], read: (at, n) => s.subarray(at, at + n) },
      },
    ]);
    expectCvmError(() => parseOvmf(huge), 'OVMF_TOO_LARGE', 'format');
  });

  test('refuses AP reset address 0 with two vCPUs, and takes it with one', () => {
    const ovmf = parseOvmf(entries([GUID.resetBlock, le32(0)]));
    expect(requireResetEip(ovmf, 1)).toBe(0);
    expectCvmError(() => requireResetEip(ovmf, 2), 'OVMF_RESET_ADDRESS', 'format');
  });

  test('no bytes make the parser fail in another way than by name', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ at: fc.integer({ min: -0x100, max: -1 }), byte: fc.integer({ min: 0, max: 255 }) }),
          { maxLength: 12 },
        ),
        fc.array(
          fc.record({ at: fc.integer({ min: 0x1000, max: 0x1060 }), byte: fc.integer({ min: 0, max: 255 }) }),
          {
            maxLength: 6,
          },
        ),
        fc.integer({ min: 0, max: 8192 }),
        (tail, metadata, cut) => {
          const image = s.slice();
          for (const { at, byte } of tail) image[image.length + at] = byte;
          for (const { at, byte } of metadata) image[at] = byte;
          try {
            const ovmf = parseOvmf(image.subarray(cut));
            requireSections(ovmf);
          } catch (error) {
            expect(error).toBeInstanceOf(CvmError);
            expect((error as CvmError).kind).toBe('format');
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test('random tables are read back as they were written', () => {
    const guid = fc
      .uint8Array({ minLength: 16, maxLength: 16 })
      .map((b) => bytesToHex(b).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'));
    fc.assert(
      fc.property(fc.array(fc.tuple(guid, fc.uint8Array({ maxLength: 40 })), { maxLength: 10 }), (list) => {
        const ovmf = parseOvmf(buildFirmware({ entries: list }));
        expect(ovmf.table.map((entry) => [entry.guid, bytesToHex(entry.data)])).toEqual(
          list.map(([id, data]) => [id, bytesToHex(data)]).reverse(),
        );
      }),
    );
  });
});
