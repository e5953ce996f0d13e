import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import type { Firmware } from '../../../tools/coconut/firmware.ts';
import { igvmFirmware } from '../../../tools/coconut/igvm-firmware.ts';
import type { Generation } from '../../../tools/coconut/layouts.ts';
import { ovmfFirmware } from '../../../tools/coconut/ovmf-firmware.ts';
import type { IgvmFile, IgvmHeader, PageData } from '../../../tools/igvm/model.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { writeVmsa } from '../../../tools/snp/vmsa-page.ts';
import { buildMiniatureHypervFirmware } from '../../../tools/miniature/hyperv-firmware.ts';
import { ovmf, OVMF_SECTIONS } from '../../support/coconut-parts.ts';
import { expectCvmError } from '../../support/errors.ts';
import { le32 } from '../../support/firmware.ts';

const ALL = 7;
const RESET_VECTOR = '813d7b2c-9558-4d88-8b31-1427a85abe69';
const TDX = 'e47a6535-984a-4798-865e-4685a7bf8ec2';
const IGVM = '784fa70e-3176-4677-8a20-04b68699e374';

function readOvmf(bytes: Uint8Array, generation: Generation = 'bldr', mask = ALL): Firmware {
  return ovmfFirmware(sourceFromBytes(bytes), generation, mask);
}

/** An image with further metadata at 0x800: a distance of 0x1800 from its end. */
function withMetadata(
  guid: string,
  signature: string,
  entries: readonly (readonly number[])[],
  count = entries.length,
): Uint8Array {
  const bytes = ovmf(OVMF_SECTIONS, [[guid, le32(0x1800)]]);
  bytes.set(
    concatBytes(Buffer.from(signature), le32(0, 1, count), ...entries.map((entry) => le32(...entry))),
    0x800,
  );
  return bytes;
}

describe('OVMF', () => {
  test('the end of a real build for SEV', () => {
    const bytes = new Uint8Array(
      readFileSync(new URL('../../vectors/coconut/ovmf_AmdSev_suffix.bin', import.meta.url)),
    );
    const common = { start: 0xffff_f000, secrets: 0x80d000, cpuid: 0x80e000, caa: 0x80f000 };
    const ranges = (generation: Generation): number[][] =>
      readOvmf(bytes, generation).info.prevalidated.map(({ base, sizeBytes }) => [base, sizeBytes]);
    expect(readOvmf(bytes).info).toMatchObject(common);
    expect(ranges('stage2')).toEqual([
      [0x800000, 0x9000],
      [0x80a000, 0x3000],
      [0x810000, 0x1000],
      [0x811000, 0xf000],
    ]);
    expect(ranges('bldr')).toEqual([
      [0x800000, 0x9000],
      [0x80a000, 0x3000],
      [0x810000, 0x10000],
    ]);
  });

  test('the end of a real build for SVSM guests, at the size of the build', () => {
    const bytes = new Uint8Array(3_653_632).fill(0xff);
    const suffix = readFileSync(new URL('../../vectors/coconut/svsm_ovmf_suffix.bin', import.meta.url));
    bytes.set(suffix, bytes.length - suffix.length);
    for (const generation of ['stage2', 'bldr'] as const) {
      const { info, pages } = readOvmf(bytes, generation);
      expect(info).toMatchObject({
        start: 0xffc8_4000,
        sizeBytes: 0x37_c000,
        secrets: 0x80d000,
        cpuid: 0x80e000,
        caa: 0x80f000,
        prevalidated: [
          { base: 0x800000, sizeBytes: 0x9000 },
          { base: 0x80a000, sizeBytes: 0x3000 },
          { base: 0x810000, sizeBytes: 0x10000 },
        ],
      });
      expect(pages.length).toBe(892);
    }
  });

  test('lies below 4 GiB, is for snp and native, and says what it wants', () => {
    const { info, pages, vtom } = readOvmf(ovmf(), 'stage2');
    expect(info).toEqual({
      start: 0xffff_e000,
      sizeBytes: 8192,
      inLowMemory: false,
      secrets: 0x80d000,
      caa: 0x80f000,
      cpuid: 0x80e000,
      memoryMap: { base: 0, sizeBytes: 0 },
      memoryMapPrevalidated: false,
      prevalidated: [
        { base: 0x809000, sizeBytes: 0x1000 },
        { base: 0x810c00, sizeBytes: 0x400 },
      ],
    });
    expect(pages.map(({ gpa, mask }) => [gpa, mask])).toEqual([
      [0xffff_e000, 3],
      [0xffff_f000, 3],
    ]);
    expect(vtom).toBe(0);
  });

  test('ranges that touch are joined in the second generation alone', () => {
    const touching = [
      [0x810000, 0x1000, 1],
      [0x811000, 0xf000, 16],
    ] as const;
    expect(readOvmf(ovmf(touching), 'stage2').info.prevalidated).toHaveLength(2);
    expect(readOvmf(ovmf(touching)).info.prevalidated).toEqual([{ base: 0x810000, sizeBytes: 0x10000 }]);
  });

  test('a reset vector moves it and names its platforms', () => {
    const bytes = ovmf(OVMF_SECTIONS, [[RESET_VECTOR, le32(0xffff_eff0, 4)]]);
    const { info, pages } = readOvmf(bytes);
    expect(info.start).toBe(0xffff_d000);
    expect(pages[0]?.mask).toBe(4);
    expectCvmError(() => readOvmf(bytes, 'bldr', 3), 'IMAGE_FIRMWARE_PLATFORMS', 'format');
  });

  test('IGVM metadata: areas are accepted, the memory map lies in its area; the first generation does not look', () => {
    const bytes = withMetadata(IGVM, 'IGVM', [
      [0x900000, 0x4000, 0x100],
      [0x1000, 0x2000, 0x101],
      [0xa00000, 0x1000, 0x200],
      [1, 1, 0x999],
    ]);
    const { info } = readOvmf(bytes);
    expect(info.memoryMap).toEqual({ base: 0x901000, sizeBytes: 0x2000 });
    expect(info.memoryMapPrevalidated).toBe(true);
    expect(info.prevalidated).toContainEqual({ base: 0x900000, sizeBytes: 0x4000 });
    expect(info.prevalidated).toContainEqual({ base: 0xa00000, sizeBytes: 0x1000 });
    expect(readOvmf(bytes, 'stage2').info.memoryMapPrevalidated).toBe(false);
  });

  test('TDX metadata is looked at', () => {
    expect(readOvmf(withMetadata(TDX, 'TDVF', [new Array<number>(8).fill(0)])).info.start).toBe(0xffff_e000);
  });

  const many = (count: number): (readonly [number, number, number])[] =>
    Array.from({ length: count }, (_, i) => [0x900000 + 0x2000 * i, 0x1000, 1]);
  const rows: readonly (readonly [string, Uint8Array, string])[] = [
    ['half a page', ovmf().subarray(1), 'OVMF_SIZE'],
    ['nine ranges', ovmf(many(9)), 'IMAGE_FIRMWARE_RANGES'],
    [
      'ranges of 4 GiB together',
      ovmf([
        [0, 0x8000_0000, 1],
        [0x8000_0000, 0x8000_0000, 1],
      ]),
      'IMAGE_FIRMWARE_RANGES',
    ],
    [
      'ranges that overlap once joined',
      ovmf([
        [0x900000, 0x1000, 1],
        [0x902000, 0x1000, 1],
        [0x901000, 0x1800, 1],
      ]),
      'IMAGE_FIRMWARE_RANGES',
    ],
    [
      'a reset vector in low memory',
      ovmf(OVMF_SECTIONS, [[RESET_VECTOR, le32(0x10_0ff0, 7)]]),
      'IMAGE_FIRMWARE_PLACE',
    ],
    [
      'a reset vector inside a page',
      ovmf(OVMF_SECTIONS, [[RESET_VECTOR, le32(0xffff_eff1, 7)]]),
      'IMAGE_FIRMWARE_PLACE',
    ],
    ['a reset vector of 4 bytes', ovmf(OVMF_SECTIONS, [[RESET_VECTOR, le32(0)]]), 'OVMF_ENTRY_DATA'],
    [
      'two reset vectors',
      ovmf(OVMF_SECTIONS, [
        [RESET_VECTOR, le32(0, 0)],
        [RESET_VECTOR, le32(0, 0)],
      ]),
      'OVMF_ENTRY_DUPLICATE',
    ],
    ['metadata with another name', withMetadata(TDX, 'IGVM', []), 'OVMF_METADATA_SIGNATURE'],
    ['metadata outside', ovmf(OVMF_SECTIONS, [[IGVM, le32(0x9000)]]), 'OVMF_METADATA_BOUNDS'],
    ['metadata too near the end', ovmf(OVMF_SECTIONS, [[IGVM, le32(15)]]), 'OVMF_METADATA_BOUNDS'],
    ['a distance of 8 bytes', ovmf(OVMF_SECTIONS, [[IGVM, le32(0x1800, 0)]]), 'OVMF_ENTRY_DATA'],
    ['more entries than bytes', withMetadata(TDX, 'TDVF', [], 0xffff_ffff), 'OVMF_METADATA_BOUNDS'],
    [
      'two parameter areas',
      withMetadata(IGVM, 'IGVM', [
        [0, 1, 0x100],
        [9, 1, 0x100],
      ]),
      'IMAGE_FIRMWARE_IGVM_METADATA',
    ],
    [
      'a memory map without its area',
      withMetadata(IGVM, 'IGVM', [[0, 1, 0x101]]),
      'IMAGE_FIRMWARE_IGVM_METADATA',
    ],
    [
      'a memory map outside its area',
      withMetadata(IGVM, 'IGVM', [
        [0x900000, 0x1000, 0x100],
        [0x800, 0x801, 0x101],
      ]),
      'IMAGE_FIRMWARE_IGVM_METADATA',
    ],
  ];
  test.each(rows)('refuses %s', (_, bytes, code) => {
    expectCvmError(() => readOvmf(bytes), code, 'format');
  });
});

describe("Hyper-V's firmware", () => {
  const file = readIgvm(buildMiniatureHypervFirmware());
  const changed = (change: (headers: IgvmHeader[]) => IgvmHeader[]): IgvmFile => ({
    ...file,
    headers: change([...file.headers]),
  });
  const isPageAt =
    (gpa: number) =>
    (header: IgvmHeader): header is PageData =>
      header.kind === 'page-data' && header.gpa === gpa;

  test('keeps its pages but the first and the secrets, and hands its parameters on', () => {
    const { info, pages, parameters, vtom } = igvmFirmware(file, 'stage2', 0x15, 3);
    expect(pages.map(({ gpa, mask }) => [gpa, mask])).toEqual([
      ...[0, 1, 2, 3].map((i) => [0x20_0000 + i * 4096, 0x15]),
      [0x20_6000, 0x15],
    ]);
    expect(info).toMatchObject({
      start: 0x20_0000,
      sizeBytes: 0x7000,
      inLowMemory: true,
      secrets: 0x20_4000,
      caa: 0x20_5000,
      memoryMap: { base: 0x20_8000, sizeBytes: 0x1000 },
      prevalidated: [{ base: 0xa0000, sizeBytes: 0x20_0000 - 0xa0000 }],
    });
    expect(parameters).toEqual([
      { kind: 'parameter-area', sizeBytes: 4096, index: 3, data: undefined },
      { kind: 'parameter', parameter: 'VP_COUNT', index: 3, byteOffset: 0 },
      { kind: 'parameter', parameter: 'ENVIRONMENT_INFO', index: 3, byteOffset: 4 },
      { kind: 'parameter-insert', gpa: 0x20_7000, mask: 0x15, index: 3 },
    ]);
    expect(vtom).toBe(2 ** 46);
    expect(igvmFirmware(file, 'bldr', 0x15, 4).info.prevalidated).toEqual([]);
  });

  test('starts with the registers of its VMSA, at the address of its first page', () => {
    const context = igvmFirmware(file, 'stage2', 1, 3).guestContext!;
    const view = new DataView(context.buffer);
    const word = (at: number): bigint => view.getBigUint64(at, true);
    expect(context.length).toBe(184);
    expect([word(0), word(8), word(16), word(24)]).toEqual([0x8000_0031n, 0x20_9000n, 0x60n, 0x1d00n]);
    expect([view.getUint16(44, true), view.getUint16(46, true)]).toEqual([8, 16]);
    expect(word(48)).toBe(0x20_0000n);
    expect(word(88)).toBe(0x20_4000n);
  });

  const vmsa = (changes: object): IgvmFile =>
    changed((headers) =>
      headers.map((header) => (header.kind === 'vp-context' ? { ...header, ...changes } : header)),
    );
  const rows: readonly (readonly [string, IgvmFile, Generation, number, string])[] = [
    ['no platform of the image', file, 'stage2', 4, 'IMAGE_FIRMWARE_EMPTY'],
    [
      'no start page',
      changed((h) => h.filter((header) => !isPageAt(0)(header))),
      'stage2',
      1,
      'IMAGE_FIRMWARE_START',
    ],
    [
      'no VMSA',
      changed((h) => h.filter(({ kind }) => kind !== 'vp-context')),
      'stage2',
      1,
      'IMAGE_FIRMWARE_START',
    ],
    ['another processor', vmsa({ vpIndex: 1 }), 'stage2', 1, 'IMAGE_FIRMWARE_VP'],
    [
      'a vTOM above all addresses',
      vmsa({
        data: writeVmsa({ segments: {}, registers: { sev_features: 3n, virtual_tom: 1n << 60n } }),
      }),
      'stage2',
      1,
      'IMAGE_FIRMWARE_VTOM',
    ],
    [
      'low memory in the first generation',
      changed((h) =>
        h.map((header) => (isPageAt(0x20_0000)(header) ? { ...header, gpa: 0x9_f000 } : header)),
      ),
      'stage2',
      1,
      'IMAGE_FIRMWARE_PLACE',
    ],
    [
      'pages above 4 GiB',
      changed((h) => h.map((header) => (isPageAt(0x20_0000)(header) ? { ...header, gpa: 2 ** 32 } : header))),
      'bldr',
      1,
      'IMAGE_FIRMWARE_PLACE',
    ],
    [
      'SLIT',
      changed((h) =>
        h.map((header) =>
          header.kind === 'parameter' && header.byteOffset === 4 ? { ...header, parameter: 'SLIT' } : header,
        ),
      ),
      'bldr',
      1,
      'IMAGE_FIRMWARE_DIRECTIVE',
    ],
    [
      'a device tree in the first generation',
      changed((h) =>
        h.map((header) =>
          header.kind === 'parameter' && header.byteOffset === 4
            ? { ...header, parameter: 'DEVICE_TREE' }
            : header,
        ),
      ),
      'stage2',
      1,
      'IMAGE_FIRMWARE_DIRECTIVE',
    ],
    [
      'an error range',
      changed((h) => [...h, { kind: 'error-range', gpa: 0, mask: 1, sizeBytes: 4096 }]),
      'bldr',
      1,
      'IMAGE_FIRMWARE_DIRECTIVE',
    ],
    [
      'an unknown directive',
      changed((h) => [...h, { kind: 'unknown', type: 0x3f0, content: new Uint8Array() }]),
      'bldr',
      1,
      'IMAGE_FIRMWARE_DIRECTIVE',
    ],
    [
      'a memory map beside other parameters',
      changed((h) =>
        h.map((header) =>
          header.kind === 'parameter' && header.byteOffset === 4
            ? { ...header, parameter: 'MEMORY_MAP' }
            : header,
        ),
      ),
      'bldr',
      1,
      'IMAGE_FIRMWARE_PARAMETERS',
    ],
    [
      'a memory map inside its area',
      changed((h) =>
        h.map((header) =>
          header.kind === 'parameter' && header.parameter === 'MEMORY_MAP'
            ? { ...header, byteOffset: 8 }
            : header,
        ),
      ),
      'bldr',
      1,
      'IMAGE_FIRMWARE_PARAMETERS',
    ],
  ];
  test.each(rows)('refuses %s', (_, given, generation, mask, code) => {
    expectCvmError(() => igvmFirmware(given, generation, mask, 4), code, 'format');
  });

  test('what loaders may ignore is ignored', () => {
    const given = changed((h) => [...h, { kind: 'unknown', type: 0x8000_03f0, content: new Uint8Array() }]);
    expect(igvmFirmware(given, 'bldr', 1, 4)).toEqual(igvmFirmware(file, 'bldr', 1, 4));
  });
});
