import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { CvmError } from '../../../tools/errors.ts';
import {
  FIELDS,
  readSetupHeader,
  SETUP_CODE_OFFSET,
  writeBzImage,
  type BzImageParts,
} from '../../../tools/miniature/bzimage.ts';
import { expectCvmError } from '../../support/errors.ts';

const PARTS: BzImageParts = {
  setupCode: new Uint8Array(100).fill(0xf4),
  kernelCode: new Uint8Array(1000).fill(0x90),
  version: '1.2.3 test',
  cmdlineSize: 2047,
  initSize: 0x10000,
};

function field(image: Uint8Array, offset: number, length: number): string {
  return bytesToHex(image.subarray(offset, offset + length));
}

function changed(offset: number, ...bytes: readonly number[]): Uint8Array {
  const image = writeBzImage(PARTS);
  image.set(bytes, offset);
  return image;
}

describe('the setup header, field by field (boot.rst)', () => {
  const image = writeBzImage(PARTS);
  const fields: readonly (readonly [string, number, string])[] = [
    ['setup_sects: five sectors with the boot sector', 0x1f1, '04'],
    ['syssize in paragraphs: 1000 bytes and a checksum make 63', 0x1f4, '3f000000'],
    ['vid_mode normal', 0x1fa, 'ffff'],
    ['boot_flag', 0x1fe, '55aa'],
    ['a short jump to the end of the header', 0x200, 'eb66'],
    ['HdrS', 0x202, '48647253'],
    ['protocol 2.12', 0x206, '0c02'],
    ['kernel_version, less 0x200', 0x20e, 'cc00'],
    ['type_of_loader is the loader’s', 0x210, '00'],
    ['LOADED_HIGH and nothing else', 0x211, '01'],
    ['code32_start', 0x214, '00001000'],
    ['no initrd yet', 0x218, '0000000000000000'],
    ['no command line yet', 0x228, '00000000'],
    ['initrd_addr_max', 0x22c, 'ffffff7f'],
    ['kernel_alignment', 0x230, '00100000'],
    ['not relocatable', 0x234, '00'],
    ['no 64-bit entry, no EFI', 0x236, '0000'],
    ['cmdline_size', 0x238, 'ff070000'],
    ['no payload, no setup_data', 0x248, '00000000000000000000000000000000'],
    ['pref_address', 0x258, '0000100000000000'],
    ['init_size', 0x260, '00000100'],
    ['no handover', 0x264, '00000000'],
    ['then the code', 0x268, 'f4f4f4f4'],
  ];
  test.each(fields)('%s', (_name, offset, hex) => {
    expect(field(image, offset, hex.length / 2)).toBe(hex);
  });

  test('the boot sector of old is empty', () => {
    expect(image.subarray(0, 0x1f1).every((byte) => byte === 0)).toBe(true);
  });

  test('the file’s CRC-32 without inversion is 0', () => {
    expect(crc32(image)).toBe(0xffffffff);
  });

  test('the file ends where syssize says', () => {
    const { kernelOffset, kernelBytes } = readSetupHeader(image);
    expect(image.length).toBe(kernelOffset + kernelBytes);
  });
});

test('what is written is read back, whatever the lengths', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 20_000 }),
      fc.integer({ min: 0, max: 5000 }),
      fc.stringMatching(/^[ -~]{0,60}$/),
      (setupBytes, kernelBytes, version) => {
        const kernelCode = new Uint8Array(kernelBytes).fill(0xcc);
        const image = writeBzImage({
          ...PARTS,
          setupCode: new Uint8Array(setupBytes).fill(1),
          kernelCode,
          version,
        });
        const header = readSetupHeader(image);
        expect(header).toMatchObject({ protocol: 0x20c, version, loadedHigh: true, cmdlineSize: 2047 });
        expect(header.setupSectors).toBeGreaterThanOrEqual(4);
        expect(image.subarray(header.kernelOffset, header.kernelOffset + kernelBytes)).toEqual(kernelCode);
        expect(crc32(image)).toBe(0xffffffff);
      },
    ),
  );
});

describe('what is not written', () => {
  test('rejects real-mode code beyond 32 KiB', () => {
    expectCvmError(() => writeBzImage({ ...PARTS, setupCode: new Uint8Array(0x8000) }), 'INTERNAL', 'bug');
  });

  test('rejects a kernel larger than the memory it asks for', () => {
    expectCvmError(() => writeBzImage({ ...PARTS, initSize: 999 }), 'INTERNAL', 'bug');
  });
});

describe('what is not read', () => {
  const image = writeBzImage(PARTS);

  test('rejects every truncation of the real-mode part, and reads the header without the kernel', () => {
    const { kernelOffset } = readSetupHeader(image);
    for (let length = 0; length < kernelOffset; length++) {
      expectCvmError(() => readSetupHeader(image.subarray(0, length)), 'BZIMAGE_TRUNCATED', 'format');
    }
    expect(readSetupHeader(image.subarray(0, kernelOffset)).kernelBytes).toBe(63 * 16);
  });

  test.each([
    ['another boot flag', changed(FIELDS.bootFlag, 0x54), 'BZIMAGE_MAGIC'],
    ['another magic', changed(FIELDS.magic, 0x68), 'BZIMAGE_MAGIC'],
    ['boot protocol 2.05, which has no cmdline_size', changed(FIELDS.version, 0x05), 'BZIMAGE_PROTOCOL'],
    [
      'a version text behind the setup sectors',
      changed(FIELDS.kernelVersion, 0x00, 0x08),
      'BZIMAGE_VERSION_TEXT',
    ],
    [
      'a version text far outside the file',
      changed(FIELDS.kernelVersion, 0xff, 0xff),
      'BZIMAGE_VERSION_TEXT',
    ],
  ])('rejects %s', (_name, bytes, code) => {
    expectCvmError(() => readSetupHeader(bytes), code, 'format');
  });

  test('rejects a version text without an end', () => {
    const bytes = writeBzImage(PARTS);
    bytes.fill(0x41, SETUP_CODE_OFFSET, 0xa00);
    expectCvmError(() => readSetupHeader(bytes), 'BZIMAGE_VERSION_TEXT', 'format');
  });

  test('setup_sects 0 means four, and no version pointer means none', () => {
    expect(readSetupHeader(changed(FIELDS.setupSects, 0)).setupSectors).toBe(4);
    expect(readSetupHeader(changed(FIELDS.kernelVersion, 0, 0)).version).toBeUndefined();
  });

  test('any bytes at all are read or refused as malformed', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(0x300), fc.nat(255)), { maxLength: 20 }), (changes) => {
        const bytes = writeBzImage(PARTS);
        for (const [offset, value] of changes) bytes[offset] = value;
        try {
          readSetupHeader(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(CvmError);
          expect((error as CvmError).kind).toBe('format');
        }
      }),
    );
  });
});
