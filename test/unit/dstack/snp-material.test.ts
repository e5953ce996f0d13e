import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { decodeCbor } from '../../../tools/cbor/decode.ts';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import type { CborMap, CborValue } from '../../../tools/cbor/value.ts';
import {
  decodeSnpMaterial,
  encodeSnpMaterial,
  snpLaunchOf,
  snpLaunchSteps,
  snpMaterial,
  vcpuTypeName,
  type SnpMaterial,
} from '../../../tools/dstack/snp-material.ts';
import { readSevFirmware } from '../../../tools/dstack/sev-firmware.ts';
import { snpLaunchDigest } from '../../../tools/snp/launch-digest.ts';
import { vcpuTypeSignature } from '../../../tools/snp/vcpu-types.ts';
import { CMDLINE, initrdI, kernelK, sevFirmwareS } from '../../support/dstack.ts';
import { expectCvmError } from '../../support/errors.ts';
import { APPEND, firmwareS, INITRD, KERNEL, le32 } from '../../support/firmware.ts';

const V4 = vcpuTypeSignature('EPYC-v4');
const material = snpMaterial({
  firmware: sourceFromBytes(sevFirmwareS()),
  kernel: sourceFromBytes(kernelK()),
  initrd: sourceFromBytes(initrdI()),
  cmdline: ` ${CMDLINE}\n`,
});

describe('the reference vectors', () => {
  test('the firmware S', () => {
    expect(bytesToHex(material.ovmfHash)).toBe(
      '7c0f80f0a8d0ab1ee23fe763b255b8b210bb71113febcda60d76c00e84512f0cc141ffaa61be7bd22164736e85ec52d3',
    );
    expect(material).toMatchObject({ cmdline: CMDLINE, hashesTableGpa: 0x4000, resetEip: 0xfffffff0 });
  });

  test('the launch of the whole bundle', () => {
    expect(bytesToHex(snpLaunchOf(material, { vcpus: 2, vcpuSig: V4, guestFeatures: 1n }))).toBe(
      '927091e631379ba808df553e1e646ba019a21d685af44149c08700b9a3f769f44b5d2847073286c88b2d7217c4dbd5f3',
    );
  });

  test('upstream’s launch from hashes alone', () => {
    const upstream: SnpMaterial = {
      cmdline: `console=ttyS0 dstack.rootfs_hash=${'33'.repeat(32)}`,
      ovmfHash: new Uint8Array(48).fill(0x44),
      kernelHash: new Uint8Array(32).fill(0x55),
      initrdHash: new Uint8Array(32).fill(0x66),
      hashesTableGpa: 0x801000,
      resetEip: 0xfffffff0,
      sections: [
        { gpa: 0x100000, sizeBytes: 0x2000, type: 1 },
        { gpa: 0x800000, sizeBytes: 0x1000, type: 0x10 },
        { gpa: 0x810000, sizeBytes: 0x1000, type: 2 },
        { gpa: 0x820000, sizeBytes: 0x1000, type: 3 },
      ],
    };
    expect(bytesToHex(snpLaunchOf(upstream, { vcpus: 2, vcpuSig: V4, guestFeatures: 1n }))).toBe(
      '88b48404819692fd2a5068f1a07bf1973bbcaa1314adc670705f9388762a759faf889f8e2c71fe1ec892554415257960',
    );
  });
});

test('agrees with the SNP commands on any firmware that both read', () => {
  const parts = { firmware: firmwareS(), kernel: KERNEL, initrd: INITRD };
  const guest = { vcpus: 3, vcpuSig: V4, guestFeatures: 0x21n };
  const ours = snpMaterial({
    firmware: sourceFromBytes(parts.firmware),
    kernel: sourceFromBytes(KERNEL),
    initrd: sourceFromBytes(INITRD),
    cmdline: APPEND,
  });
  expect(snpLaunchOf(ours, guest)).toEqual(
    snpLaunchDigest({ ...parts, append: APPEND, vmmType: 'QEMU', ...guest }),
  );
});

test('steps end with the digest', () => {
  const steps = snpLaunchSteps(material, { vcpus: 2, vcpuSig: V4, guestFeatures: 1n }, 4096);
  expect(steps.map(({ name }) => name)).toEqual([
    'firmware',
    'SNP_SEC_MEM',
    'SNP_SECRETS',
    'CPUID',
    'SNP_KERNEL_HASHES',
    'VMSA 0',
    'VMSA 1',
  ]);
  expect(steps[0]).toMatchObject({ gpa: 0xfffff000, pages: 1 });
});

describe('the CBOR document', () => {
  const bytes = encodeSnpMaterial(material);

  test('reads back', () => {
    expect(decodeSnpMaterial(bytes)).toEqual(material);
  });

  const edited = (edit: (map: Map<string, CborValue>) => void): Uint8Array => {
    const map = new Map(decodeCbor(bytes) as CborMap);
    edit(map);
    return encodeCbor(map);
  };
  test.each<[string, (map: Map<string, CborValue>) => void, string]>([
    ['another version', (m) => void m.set('version', 2n), 'MATERIAL_VERSION'],
    ['a version that is a text', (m) => void m.set('version', '3'), 'MATERIAL_VERSION'],
    ['no version', (m) => void m.delete('version'), 'MATERIAL_FIELD'],
    ['a missing hash', (m) => void m.delete('ovmf_hash'), 'MATERIAL_FIELD'],
    ['a short hash', (m) => void m.set('kernel_hash', new Uint8Array(31)), 'MATERIAL_FIELD'],
    ['a command line of bytes', (m) => void m.set('cmdline', new Uint8Array(3)), 'MATERIAL_FIELD'],
    ['an address of 33 bits', (m) => void m.set('reset_eip', 1n << 32n), 'MATERIAL_FIELD'],
    ['a negative address', (m) => void m.set('hashes_table_gpa', -1n), 'MATERIAL_FIELD'],
    ['sections that are a map', (m) => void m.set('ovmf_sections', new Map()), 'MATERIAL_FIELD'],
    ['sections that are numbers', (m) => void m.set('ovmf_sections', [1n]), 'MATERIAL_FIELD'],
    ['no place for hashes', (m) => void m.set('ovmf_sections', []), 'SEV_FIRMWARE_NO_HASHES'],
  ])('refused: %s', (_, edit, code) => {
    expectCvmError(() => decodeSnpMaterial(edited(edit)), code, 'format');
  });

  test('refused: no map, no CBOR', () => {
    expectCvmError(() => decodeSnpMaterial(encodeCbor([])), 'MATERIAL_FIELD', 'format');
    expectCvmError(() => decodeSnpMaterial(bytes.subarray(1)), 'CBOR_TRAILING', 'format');
  });
});

describe('a SEV firmware is refused', () => {
  const broken = (edit: (image: Uint8Array) => void): Uint8Array => {
    const image = sevFirmwareS();
    edit(image);
    return image;
  };
  test.each<[string, (image: Uint8Array) => void, string]>([
    ['without its signature', (i) => void i.fill(0, 512, 513), 'SEV_FIRMWARE_METADATA'],
    ['of another version', (i) => i.set(le32(2), 520), 'SEV_FIRMWARE_METADATA'],
    ['with too many sections', (i) => i.set(le32(65), 524), 'SEV_FIRMWARE_METADATA'],
    ['with a section of a type that nobody knows', (i) => i.set(le32(9), 536), 'SEV_FIRMWARE_SECTION'],
    ['with a section between pages', (i) => i.set(le32(0x1001), 528), 'SEV_FIRMWARE_SECTION'],
    ['with a section of half a page', (i) => i.set(le32(0x800), 532), 'SEV_FIRMWARE_SECTION'],
    ['with an empty section', (i) => i.set(le32(0), 532), 'SEV_FIRMWARE_SECTION'],
    ['with a section of all memory', (i) => i.set(le32(0xfffff000), 532), 'SEV_FIRMWARE_SECTION'],
    ['with two pages for hashes', (i) => i.set(le32(0x2000), 568), 'SEV_FIRMWARE_SECTION'],
    ['without a page for hashes', (i) => i.set(le32(1), 572), 'SEV_FIRMWARE_NO_HASHES'],
    [
      'without an entry for hashes',
      (i) => void i.fill(0, 4096 - 32 - 84 + 6, 4096 - 32 - 84 + 7),
      'SEV_FIRMWARE_ENTRY',
    ],
    ['without a footer', (i) => void i.fill(0, 4096 - 34, 4096 - 33), 'OVMF_NO_FOOTER'],
  ])('%s', (_, edit, code) => {
    expectCvmError(() => readSevFirmware(sourceFromBytes(broken(edit))), code, 'format');
  });

  test('cut short anywhere', () => {
    for (let size = 0; size < 4096; size += 64) {
      expectCvmError(
        () => readSevFirmware(sourceFromBytes(sevFirmwareS().slice(0, size))),
        size < 50 ? 'OVMF_TOO_SHORT' : 'OVMF_NO_FOOTER',
      );
    }
  });
});

test('vCPU types in any case', () => {
  expect(vcpuTypeName('epyc-MILAN')).toBe('EPYC-Milan');
  expectCvmError(() => vcpuTypeName('EPYC-v9'), 'VCPU_TYPE_UNKNOWN', 'usage');
  expectCvmError(() => vcpuTypeName(''), 'VCPU_TYPE_UNKNOWN', 'usage');
});
