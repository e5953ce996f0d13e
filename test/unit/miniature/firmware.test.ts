import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { buildMiniatureFirmware, DEFAULT_FIRMWARE_PAGES } from '../../../tools/miniature/firmware.ts';
import { snpLaunchDigest } from '../../../tools/snp/launch-digest.ts';
import { parseOvmf, requireSections } from '../../../tools/snp/ovmf.ts';
import { vcpuTypeSignature } from '../../../tools/snp/vcpu-types.ts';
import { expectCvmError } from '../../support/errors.ts';

const PAGE = 4096;

describe('the miniature firmware', () => {
  const firmware = buildMiniatureFirmware();
  const ovmf = parseOvmf(firmware);

  test('is 1 MiB that ends at 4 GiB', () => {
    expect(firmware.length).toBe(DEFAULT_FIRMWARE_PAGES * PAGE);
    expect(ovmf.loadGpa).toBe(0xfff0_0000);
  });

  test('has the tables of an AmdSev build, and one entry that readers must skip', () => {
    expect(ovmf.resetEip).toBe(0x80b004);
    expect(ovmf.hashTable).toEqual({ base: 0x810c00, sizeBytes: 0x400 });
    expect(ovmf.metadataOffset).toBe(firmware.length - 0x400);
    expect(ovmf.table.map(({ guid }) => guid)).toEqual([
      '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
      '7255371f-3a3b-4b04-927b-1da6efa8d454',
      '4c2eb361-7d9b-4cc3-8081-127c90d3d294',
      'dc886566-984a-4798-a75e-5585a7bf67cc',
    ]);
  });

  test('has a section of every type, kernel hashes last', () => {
    expect(requireSections(ovmf).map(({ gpa, sizeBytes, type }) => [gpa, sizeBytes, type])).toEqual([
      [0x800000, 0x9000, 1],
      [0x80a000, 0x3000, 1],
      [0x80d000, 0x1000, 2],
      [0x80e000, 0x1000, 3],
      [0x80f000, 0x1000, 4],
      [0x811000, 0x1f000, 1],
      [0x810000, 0x1000, 0x10],
    ]);
  });

  test('the sections do not overlap, and the hash table lies in the page of kernel hashes', () => {
    const ranges = requireSections(ovmf).toSorted((a, b) => a.gpa - b.gpa);
    for (const [i, range] of ranges.entries()) {
      const next = ranges[i + 1];
      if (next !== undefined) expect(range.gpa + range.sizeBytes).toBeLessThanOrEqual(next.gpa);
    }
    expect((ovmf.hashTable?.base ?? 0) & ~0xfff).toBe(0x810000);
  });

  test('starts at its reset vector with a near jump back into itself', () => {
    const vector = firmware.subarray(firmware.length - 16);
    const distance = new DataView(vector.buffer, vector.byteOffset).getInt16(1, true);
    expect(vector[0]).toBe(0xe9);
    // 0xfff0 + 3 + distance, modulo 64 KiB, is where the code stands: 0x200 before the end. It opens with cli.
    expect((0xfff3 + distance) & 0xffff).toBe(0xfe00);
    expect(firmware[firmware.length - 0x200]).toBe(0xfa);
  });

  test('has no two equal pages', () => {
    const pages = Array.from({ length: DEFAULT_FIRMWARE_PAGES }, (_, i) =>
      bytesToHex(firmware.subarray(i * PAGE, i * PAGE + 64)),
    );
    expect(new Set(pages).size).toBe(pages.length);
  });

  test('has the same bytes every time, and no clock or name in them', () => {
    expect(buildMiniatureFirmware()).toEqual(firmware);
  });

  test.each([2, 16, 4096])('parses at %i pages', (pages) => {
    expect(requireSections(parseOvmf(buildMiniatureFirmware(pages)))).toHaveLength(7);
  });

  test.each([0, 1, 4097, 2.5, -1, Number.NaN])('rejects %s pages', (pages) => {
    expectCvmError(() => buildMiniatureFirmware(pages), 'FIRMWARE_PAGES', 'usage');
  });
});

describe('measured', () => {
  const firmware = buildMiniatureFirmware(16);
  const configuration: Parameters<typeof snpLaunchDigest>[0] = {
    firmware,
    vcpus: 1,
    vcpuSig: vcpuTypeSignature('EPYC-v4'),
    guestFeatures: 1n,
    vmmType: 'QEMU',
  };
  const digest = (bytes: Uint8Array): string =>
    bytesToHex(snpLaunchDigest({ ...configuration, firmware: bytes }));

  test('two pages swapped make another launch digest', () => {
    const swapped = Uint8Array.from(firmware);
    swapped.set(firmware.subarray(0, PAGE), PAGE);
    swapped.set(firmware.subarray(PAGE, 2 * PAGE), 0);
    expect(digest(swapped)).not.toBe(digest(firmware));
  });

  test('a command line can be bound: there is a page for kernel hashes', () => {
    const kernel = Uint8Array.of(1, 2, 3);
    const [a, b] = ['slot=A', 'slot=B'].map((append) =>
      bytesToHex(snpLaunchDigest({ ...configuration, kernel, append })),
    );
    expect(a).not.toBe(b);
  });
});
