import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readU32 } from '../../../tools/bytes/little-endian.ts';
import { buildImage } from '../../../tools/coconut/build-image.ts';
import type { ImageOptions, ImageParts } from '../../../tools/coconut/image-input.ts';
import { COMPORTS, HYPERVISORS, PLATFORMS } from '../../../tools/coconut/recipe.ts';
import { CvmError } from '../../../tools/errors.ts';
import { headersOfKind, type IgvmFile } from '../../../tools/igvm/model.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { vmsaRegister } from '../../../tools/snp/vmsa-page.ts';
import { writeIgvm } from '../../../tools/igvm/writer.ts';
import { buildMiniatureHypervFirmware } from '../../../tools/miniature/hyperv-firmware.ts';
import { buildMiniatureSvsm } from '../../../tools/miniature/svsm.ts';
import {
  BLDR_KERNEL,
  bldrOptions,
  buildElf,
  fill,
  FS_IMAGE,
  KERNEL_BASE,
  LOADER,
  ovmf,
  parts,
  STAGE1,
  STAGE2_KERNEL,
  stage2Options,
} from '../../support/coconut-parts.ts';
import { expectCvmError } from '../../support/errors.ts';

const STAGE2_PARTS = parts({ kernel: STAGE2_KERNEL, loader: LOADER });
const BLDR_PARTS = parts({ kernel: BLDR_KERNEL, loader: LOADER });
const source = (bytes: Uint8Array): ImageParts['fs'] => parts({ kernel: bytes }).kernel;
const HYPERV = source(buildMiniatureHypervFirmware());

function vmsaOf(file: IgvmFile): Uint8Array {
  return headersOfKind(file, 'vp-context').find(({ mask }) => mask === 1)!.data;
}

function pageAt(file: IgvmFile, gpa: number): Uint8Array {
  return headersOfKind(file, 'page-data').find((page) => page.gpa === gpa)!.data!;
}

describe('what the vectors do not show', () => {
  test('Hyper-V firmware: parameters before the areas of the image, the guest context behind the memory map', () => {
    const file = buildImage(stage2Options({ hypervisor: 'hyper-v' }), { ...STAGE2_PARTS, firmware: HYPERV });
    const areas = headersOfKind(file, 'parameter-area').map(({ index }) => index);
    expect(areas).toEqual([3, 1, 2, 0]);
    const inserts = headersOfKind(file, 'parameter-insert').map(({ gpa }) => gpa);
    const map = inserts[1]!;
    expect(readU32(pageAt(file, map + 4096), 0)).toBe(0x8000_0031);
    expect(headersOfKind(file, 'supported-platform')[0]?.sharedGpaBoundary).toBe(2 ** 46);
    expect(vmsaRegister(vmsaOf(file), 'sev_features')).toBe(0xbn);
  });

  test('bldr with Hyper-V firmware: memory first, the guest context behind the parameter block, VTL 2', () => {
    const file = buildImage(bldrOptions({ hypervisor: 'hyper-v' }), { ...BLDR_PARTS, firmware: HYPERV });
    const kinds = file.headers.slice(2).map(({ kind }) => kind);
    expect(kinds.slice(0, 2)).toEqual(['required-memory', 'parameter-area']);
    expect(headersOfKind(file, 'parameter-area').map(({ index }) => index)).toEqual([4, 1, 2, 3, 0]);
    const general = headersOfKind(file, 'parameter-insert').at(-1)!.gpa;
    expect(readU32(pageAt(file, general - 4096), 0)).toBe(0x8000_0031);
    const block = pageAt(file, general - 8192);
    expect([readU32(block, 0), readU32(block, 4), readU32(block, 28)]).toEqual([0x6000, 0x2000, 0x1000]);
    // Accepted: below bldr, and from its end up to the firmware.
    expect([readU32(block, 84), readU32(block, 88), readU32(block, 92)]).toEqual([2, 0, 0x10000]);
    expect(readU32(block, 96) + readU32(block, 100)).toBe(0x20_0000);
    expect(headersOfKind(file, 'supported-platform')[0]?.highestVtl).toBe(2);
  });

  test('bldr with symbols: table and names lie behind the secrets page', () => {
    const file = buildImage(bldrOptions(), { ...BLDR_PARTS, kernel: source(buildMiniatureSvsm())! });
    const texts = headersOfKind(file, 'page-data').map(({ data }) =>
      Buffer.from(data ?? []).toString('latin1'),
    );
    expect(texts.filter((text) => text.startsWith('\0start\0notice\0heap\0'))).toHaveLength(1);
  });

  test('a kernel that starts by itself is in 64-bit mode', () => {
    const file = buildImage(bldrOptions({ hypervisor: 'hyper-v' }), parts({ kernel: BLDR_KERNEL }));
    const vmsa = vmsaOf(file);
    expect(vmsaRegister(vmsa, 'rip')).toBe(KERNEL_BASE);
    expect(vmsaRegister(vmsa, 'cr0')).toBe(0x8000_0031n);
    expect(vmsaRegister(vmsa, 'efer')).toBe(0x1d00n);
    expect(vmsaRegister(vmsa, 'rsi')).toBe(0x4000n);
  });

  test('no-vtom takes the vTOM from the VMSA, not from the platform', () => {
    const file = buildImage(bldrOptions({ hypervisor: 'hyper-v', noVtom: true }), BLDR_PARTS);
    expect(vmsaRegister(vmsaOf(file), 'virtual_tom')).toBe(0n);
    expect(vmsaRegister(vmsaOf(file), 'sev_features')).toBe(0x29n);
    expect(headersOfKind(file, 'supported-platform')[0]?.sharedGpaBoundary).toBe(2 ** 46);
  });

  test('Vanadium has registers of its own', () => {
    for (const file of [
      buildImage(stage2Options({ hypervisor: 'vanadium' }), STAGE2_PARTS),
      buildImage(bldrOptions({ hypervisor: 'vanadium' }), BLDR_PARTS),
    ]) {
      expect(vmsaRegister(vmsaOf(file), 'pat')).toBe(0x70106n);
      expect(vmsaRegister(vmsaOf(file), 'dr6')).toBe(0xffff_0ff0n);
      expect(vmsaRegister(vmsaOf(file), 'dr7')).toBe(0x400n);
    }
  });
});

describe('refusals', () => {
  const load = { flags: 5, offset: 0x1000, vaddr: KERNEL_BASE, fileBytes: 16, memBytes: 16 };
  const kernel = (changes: object, content = fill(16, 1)): ImageParts => ({
    ...BLDR_PARTS,
    kernel: source(buildElf([{ ...load, ...changes }], [[0x1000, content]]))!,
  });
  const dynamic = (tag: number, value: number): ImageParts => {
    const entry = new Uint8Array(32);
    entry[0] = tag;
    entry[8] = value;
    return {
      ...BLDR_PARTS,
      kernel: source(
        buildElf(
          [
            { ...load, fileBytes: 32, memBytes: 32 },
            { ...load, type: 2, fileBytes: 32, memBytes: 32, align: 8n },
          ],
          [[0x1000, entry]],
        ),
      )!,
    };
  };
  const rows: readonly (readonly [string, ImageOptions, ImageParts, string])[] = [
    ['no snp', stage2Options({ platforms: ['tdp'] }), STAGE2_PARTS, 'IMAGE_POLICY'],
    [
      'stage1 without tdp',
      stage2Options(),
      { ...STAGE2_PARTS, stage1: source(STAGE1) },
      'IMAGE_STAGE1_PLATFORM',
    ],
    ['no stage2', stage2Options(), parts({ kernel: STAGE2_KERNEL }), 'IMAGE_PART_MISSING'],
    [
      'an empty stage2',
      stage2Options(),
      parts({ kernel: STAGE2_KERNEL, loader: new Uint8Array() }),
      'IMAGE_PART_EMPTY',
    ],
    [
      'an empty file system',
      stage2Options(),
      { ...STAGE2_PARTS, fs: source(new Uint8Array()) },
      'IMAGE_PART_EMPTY',
    ],
    [
      'a stage1 of 4097 bytes',
      stage2Options({ platforms: ['snp', 'tdp'] }),
      { ...STAGE2_PARTS, stage1: source(fill(4097, 1)) },
      'IMAGE_STAGE1_SIZE',
    ],
    [
      'bldr: a stage1 of two pages',
      bldrOptions({ platforms: ['snp', 'tdp'] }),
      { ...BLDR_PARTS, stage1: source(fill(8192, 1)) },
      'IMAGE_STAGE1_SIZE',
    ],
    [
      'bldr: tdp without stage1',
      bldrOptions({ platforms: ['snp', 'tdp'] }),
      BLDR_PARTS,
      'IMAGE_PART_MISSING',
    ],
    ['no bldr on qemu', bldrOptions(), parts({ kernel: BLDR_KERNEL }), 'IMAGE_PART_MISSING'],
    [
      'bldr up to the file system',
      bldrOptions(),
      { ...BLDR_PARTS, loader: source(fill(0x7f0000, 1)) },
      'IMAGE_OVERLAP',
    ],
    [
      'bldr up to the firmware',
      bldrOptions({ hypervisor: 'hyper-v' }),
      { ...BLDR_PARTS, firmware: HYPERV, loader: source(fill(0x200000, 1)) },
      'IMAGE_OVERLAP',
    ],
    ['a flat kernel', bldrOptions(), { ...BLDR_PARTS, kernel: source(STAGE2_KERNEL)! }, 'ELF_KIND'],
    ['a kernel of nothing', bldrOptions(), kernel({ fileBytes: 0, memBytes: 0 }), 'IMAGE_KERNEL_SIZE'],
    ['a kernel of 17 MiB', bldrOptions(), kernel({ memBytes: 17 << 20 }), 'IMAGE_KERNEL_SIZE'],
    ['a kernel without room behind it', bldrOptions(), kernel({ memBytes: 16 << 20 }), 'IMAGE_KERNEL_SIZE'],
    [
      'a kernel inside a page',
      bldrOptions(),
      kernel({ vaddr: KERNEL_BASE + 8n, align: 1n }),
      'IMAGE_KERNEL_ALIGNMENT',
    ],
    [
      'a kernel beside 2 MiB',
      bldrOptions(),
      kernel({ vaddr: KERNEL_BASE + 0x1000n }),
      'IMAGE_KERNEL_ALIGNMENT',
    ],
    [
      'a kernel at the self map',
      bldrOptions(),
      kernel({ vaddr: 0xffff_f680_0000_0000n }),
      'IMAGE_KERNEL_ADDRESS',
    ],
    [
      'a kernel at the end of a GiB',
      bldrOptions(),
      kernel({ vaddr: KERNEL_BASE + 0x3fe0_0000n }),
      'IMAGE_KERNEL_ADDRESS',
    ],
    [
      'a kernel at the end of all',
      bldrOptions(),
      kernel({ vaddr: 2n ** 64n - 0x20_0000n }),
      'IMAGE_KERNEL_ADDRESS',
    ],
    ['relocations', bldrOptions(), dynamic(8, 24), 'IMAGE_KERNEL_RELOCATIONS'],
    [
      'OVMF for hyper-v',
      stage2Options({ hypervisor: 'hyper-v' }),
      { ...STAGE2_PARTS, firmware: source(ovmf()) },
      'IGVM_MAGIC',
    ],
    ['an IGVM file for qemu', stage2Options(), { ...STAGE2_PARTS, firmware: HYPERV }, 'OVMF_NO_FOOTER'],
    [
      'firmware and stage1 at one address',
      stage2Options({ platforms: ['snp', 'tdp'] }),
      {
        ...STAGE2_PARTS,
        stage1: source(STAGE1),
        firmware: source(
          ovmf(undefined, [
            ['813d7b2c-9558-4d88-8b31-1427a85abe69', Uint8Array.of(0xf0, 0xff, 0xff, 0xff, 5, 0, 0, 0)],
          ]),
        ),
      },
      'IMAGE_OVERLAP',
    ],
  ];
  test.each(rows)('%s', (_, options, given, code) => {
    expectCvmError(() => buildImage(options, given), code, 'format');
  });

  test.each([
    ['below bldr', 0x8000, 'bldr ends at'],
    ['in the kernel region', 0x800_0000, 'kernel region'],
  ])('firmware %s, though no page of it meets another', (_, gpa, fact) => {
    const file = readIgvm(buildMiniatureHypervFirmware());
    const headers = file.headers.map((header) =>
      header.kind === 'page-data' && header.gpa === 0x20_0000 ? { ...header, gpa } : header,
    );
    const firmware = source(writeIgvm({ ...file, headers }));
    const options = bldrOptions({ hypervisor: 'hyper-v' });
    const error = expectCvmError(() => buildImage(options, { ...BLDR_PARTS, firmware }), 'IMAGE_OVERLAP');
    expect(error.facts.map(([name]) => name)).toContain(fact);
  });

  test('a dynamic section without relocations is none', () => {
    expect(buildImage(bldrOptions(), dynamic(0, 24)).headers.length).toBeGreaterThan(10);
  });
});

test('any image is built, read back as it was meant, and depends on nothing else', () => {
  const platforms = fc.subarray([...PLATFORMS]).map((list) => [...new Set(['snp' as const, ...list])]);
  const size = fc.integer({ min: 1, max: 20000 });
  fc.assert(
    fc.property(
      fc.record({
        isStage2: fc.boolean(),
        hypervisor: fc.constantFrom(...HYPERVISORS),
        platforms,
        comport: fc.constantFrom(...COMPORTS),
        noVtom: fc.boolean(),
        policy: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      }),
      fc.record({ loader: size, fs: fc.option(fc.constant(FS_IMAGE)), firmware: fc.boolean() }),
      ({ isStage2, ...chosen }, sizes) => {
        const options = isStage2 ? stage2Options(chosen) : bldrOptions(chosen);
        const firmware = chosen.hypervisor === 'hyper-v' ? buildMiniatureHypervFirmware() : ovmf();
        const given = parts({
          kernel: isStage2 ? STAGE2_KERNEL : BLDR_KERNEL,
          loader: fill(sizes.loader, 0x90),
          ...(chosen.platforms.includes('tdp') ? { stage1: STAGE1 } : {}),
          ...(sizes.fs === null ? {} : { fs: sizes.fs }),
          ...(sizes.firmware ? { firmware } : {}),
        });
        const bytes = writeIgvm(buildImage(options, given));
        expect(
          writeIgvm(buildImage({ ...options, platforms: chosen.platforms.toReversed() }, given)),
        ).toEqual(bytes);
        const file = readIgvm(bytes);
        expect(writeIgvm(file)).toEqual(bytes);
        expect(headersOfKind(file, 'supported-platform')).toHaveLength(chosen.platforms.length);
        expect(headersOfKind(file, 'guest-policy')[0]?.policy).toBe(chosen.policy);
        const gpas = headersOfKind(file, 'page-data').map(({ gpa }) => gpa);
        expect(gpas).toEqual(gpas.toSorted((a, b) => a - b));
      },
    ),
    { seed: 8, numRuns: 150 },
  );
});

test('fuzz: any kernel is laid out or refused by name', () => {
  const whole = buildMiniatureSvsm();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(64 + 3 * 56 - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (changes) => {
        const bytes = whole.slice();
        for (const [at, value] of changes) bytes[at] = value;
        try {
          buildImage(bldrOptions(), { ...BLDR_PARTS, kernel: source(bytes)! });
        } catch (error) {
          expect(error).toBeInstanceOf(CvmError);
          expect((error as CvmError).kind).toBe('format');
        }
      },
    ),
    { seed: 8, numRuns: 1000 },
  );
});
