import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { DEFAULT_VM_CONFIG } from '../../../tools/dstack/vm-config.ts';
import { tdxGuest } from '../../../tools/dstack/tdx-guest.ts';
import { authenticodeSha384 } from '../../../tools/tdx/authenticode.ts';
import { COMPARED_REGISTERS } from '../../../tools/tdx/compare.ts';
import { prepareTdxImage, type TdxMeasurement } from '../../../tools/tdx/image.ts';
import { loadKernel } from '../../../tools/tdx/kernel-header.ts';
import { memoryRanges, tdHob } from '../../../tools/tdx/td-hob.ts';
import { parseTdvf } from '../../../tools/tdx/tdvf.ts';
import { CMDLINE, initrdI, kernelK, STANDARD_SECTIONS, tdvf1, tdvfFirmware } from '../../support/dstack.ts';
import { expectCvmError } from '../../support/errors.ts';

const standard = parseTdvf(tdvfFirmware(STANDARD_SECTIONS));
const MIB = 2 ** 20;

test('HOB ranges tile memory: they ascend, touch or leave the hole below 4 GiB, and sum up to all of it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0x821, max: 2 ** 26 }), (pages) => {
      const memory = pages * 4096;
      const ranges = memoryRanges(standard, memory);
      expect(ranges.reduce((sum, { length }) => sum + length, 0)).toBe(memory);
      for (const [i, range] of ranges.entries()) {
        const previous = ranges[i - 1];
        const end = previous === undefined ? 0 : previous.start + previous.length;
        const isHigh = range.start === 2 ** 32 && end === 0x8000_0000 && memory >= 0xb000_0000;
        expect(range.start === end || isHigh).toBe(true);
        expect(range.length).toBeGreaterThan(0);
      }
      const accepted = ranges.filter((range) => range.accepted).map(({ start, length }) => [start, length]);
      expect(accepted).toEqual([
        [0x800000, 0x6000],
        [0x809000, 0x2000],
        [0x80b000, 0x2000],
        [0x810000, 0x10000],
      ]);
      expect(tdHob(standard, memory)).toHaveLength(56 + 48 * ranges.length);
    }),
    { seed: 11, numRuns: 500 },
  );
});

test.each<[number, string]>([
  [0, 'MEMORY_SIZE'],
  [-4096, 'MEMORY_SIZE'],
  [4097, 'MEMORY_SIZE'],
  [0.5, 'MEMORY_SIZE'],
  [2 ** 52, 'MEMORY_SIZE'],
  [4096, 'MEMORY_TOO_SMALL'],
  [0x81f000, 'MEMORY_TOO_SMALL'],
])('memory of %d bytes: %s', (bytes, code) => {
  expectCvmError(() => memoryRanges(standard, bytes), code, 'usage');
});

describe('a flipped byte changes exactly the registers that it should', () => {
  const measure = (
    part: 'firmware' | 'kernel' | 'initrd' | 'none',
    at: number,
    cmdline = CMDLINE,
  ): TdxMeasurement => {
    const files = { firmware: tdvf1(), kernel: kernelK(), initrd: initrdI() };
    if (part !== 'none') files[part][at] = (files[part][at] ?? 0) ^ 0x55;
    const config = { ...DEFAULT_VM_CONFIG, cpuCount: 1, memorySize: 2048 * MIB, qemuVersion: '8.2.2' };
    return prepareTdxImage({
      firmware: sourceFromBytes(files.firmware),
      kernel: sourceFromBytes(files.kernel),
      initrd: sourceFromBytes(files.initrd),
      cmdline,
    }).measure(tdxGuest(config, 'pre202505', false));
  };
  const base = measure('none', 0);
  const changed = (other: TdxMeasurement): string[] =>
    COMPARED_REGISTERS.filter(
      (name) => Buffer.compare(base[name] ?? new Uint8Array(), other[name] ?? new Uint8Array()) !== 0,
    );

  const inRange = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max });
  test.each<[string, 'firmware' | 'kernel' | 'initrd', fc.Arbitrary<number>, string[]]>([
    // The descriptor and the table lie in BFV too, whose every byte is measured; these bytes leave it readable.
    ['the boot volume', 'firmware', inRange(0x4000, 0x6fef), ['mrtd']],
    ['the variable store', 'firmware', inRange(0, 0x3fff), ['rtmr0']],
    ['the initrd', 'initrd', inRange(0, 123456), ['rtmr2']],
    ['code of the kernel', 'kernel', inRange(0x400, 0x5fff), ['rtmr1']],
  ])('%s', (_, part, places, registers) => {
    fc.assert(
      fc.property(places, (at) => {
        expect(changed(measure(part, at))).toEqual(registers);
      }),
      { seed: 11, numRuns: 40 },
    );
  });

  test('the command line', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (text) => {
        expect(changed(measure('none', 0, CMDLINE + text))).toEqual(['rtmr2']);
      }),
      { seed: 11, numRuns: 40 },
    );
  });

  test('what QEMU overwrites in the header does not show, nor does the checksum', () => {
    for (const at of [0x210, 0x218, 0x21f, 0x224, 0x228, 0x58 + 64])
      expect(changed(measure('kernel', at)), `0x${at.toString(16)}`).toEqual([]);
    expect(changed(measure('kernel', 0x1f1))).toEqual(['rtmr1']);
  });
});

describe('a kernel is refused', () => {
  const edited = (edit: (view: DataView, bytes: Uint8Array) => void): Uint8Array => {
    const bytes = kernelK();
    edit(new DataView(bytes.buffer), bytes);
    return bytes;
  };
  test.each<[string, Uint8Array, string]>([
    ['that is none', new Uint8Array(0x2000), 'PE_SIGNATURE'],
    ['of nothing', new Uint8Array(0), 'PE_SIGNATURE'],
    ['whose PE header lies outside', edited((v) => v.setUint32(0x3c, 0xffffffff, true)), 'PE_SIGNATURE'],
    [
      'whose optional header is cut off',
      edited((v) => v.setUint32(0x3c, 0x5ff0, true))
        .fill(0)
        .map((_, i, all) =>
          i === 0x3c ? 0xf0 : i === 0x3d ? 0x5f : i === 0x5ff0 ? 0x50 : i === 0x5ff1 ? 0x45 : (all[i] ?? 0),
        ),
      'PE_HEADER',
    ],
    ['of an unknown kind', edited((v) => v.setUint16(0x58, 0x107, true)), 'PE_HEADER'],
    [
      'whose headers are larger than the file',
      edited((v) => v.setUint32(0x58 + 60, 0x7000, true)),
      'PE_HEADER',
    ],
    ['whose headers are too small', edited((v) => v.setUint32(0x58 + 60, 0x80, true)), 'PE_HEADER'],
    ['with a section outside', edited((v) => v.setUint32(0x170 + 20, 0x10000, true)), 'PE_SECTION'],
    ['with a section in the headers', edited((v) => v.setUint32(0x148 + 20, 0, true)), 'PE_SECTION'],
    ['with sections that overlap', edited((v) => v.setUint32(0x170 + 20, 0x600, true)), 'PE_SECTION'],
    ['with more sections than bytes', edited((v) => v.setUint16(0x46, 0xffff, true)), 'PE_HEADER'],
    [
      'with certificates larger than the file',
      edited((_, bytes) => bytes.set([1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 0x58 + 144)),
      'PE_HEADER',
    ],
  ])('%s', (_, bytes, code) => {
    expectCvmError(() => authenticodeSha384(sourceFromBytes(bytes)), code, 'format');
  });

  test('whatever bytes: a digest or an error of the house', () => {
    fc.assert(
      fc.property(inBytes(), ([at, value]) => {
        const bytes = kernelK();
        bytes[at] = value;
        try {
          expect(authenticodeSha384(sourceFromBytes(bytes))).toHaveLength(48);
        } catch (error) {
          expect((error as { code?: string }).code).toMatch(/^PE_/);
        }
      }),
      { seed: 11, numRuns: 500 },
    );
  });

  test('too short for QEMU, too old for an initrd, or with an initrd too large for memory', () => {
    const load = (bytes: Uint8Array, initrd: number, memory: number) => () =>
      loadKernel(sourceFromBytes(bytes), initrd, memory);
    expectCvmError(load(kernelK().slice(0, 0xfff), 1, 2 ** 30), 'KERNEL_TOO_SHORT', 'format');
    expectCvmError(
      load(
        edited((v) => v.setUint16(0x206, 0x1ff, true)),
        1,
        2 ** 30,
      ),
      'KERNEL_PROTOCOL',
      'format',
    );
    expectCvmError(load(kernelK(), 2 ** 30, 2 ** 30), 'INITRD_TOO_LARGE', 'format');
    expectCvmError(load(kernelK(), 2 ** 20, 0x28000), 'INITRD_TOO_LARGE', 'format');
    expectCvmError(load(kernelK(), 1, 1), 'MEMORY_SIZE', 'usage');
    expect(load(kernelK(), 0, 2 ** 30)().initrdAddress).toBeUndefined();
  });
});

function inBytes(): fc.Arbitrary<[number, number]> {
  return fc.tuple(fc.integer({ min: 0, max: 0x3ff }), fc.integer({ min: 0, max: 255 }));
}
