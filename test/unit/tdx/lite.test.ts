import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { buildBundle } from '../../../tools/dstack/bundle.ts';
import { tdxGuest } from '../../../tools/dstack/tdx-guest.ts';
import { openLite } from '../../../tools/dstack/tdx-lite.ts';
import { decodeTdxMaterial, encodeTdxMaterial } from '../../../tools/dstack/tdx-material.ts';
import { DEFAULT_VM_CONFIG, type VmConfig } from '../../../tools/dstack/vm-config.ts';
import { prepareTdxImage } from '../../../tools/tdx/image.ts';
import { readTdHobWitness, tdHobWitness } from '../../../tools/tdx/td-hob.ts';
import { parseTdvf } from '../../../tools/tdx/tdvf.ts';
import {
  CMDLINE,
  fileOf,
  initrdI,
  kernelK,
  parameters,
  STANDARD_SECTIONS,
  tdvf1,
  tdvfFirmware,
  wholeParts,
} from '../../support/dstack.ts';
import { expectCvmError } from '../../support/errors.ts';

const bundle = buildBundle(wholeParts(), parameters('0.6.0'), 'cbor');
const sums = fileOf(bundle, 'sha256sum.txt');
const material = fileOf(bundle, 'measurement.tdx.cbor');
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));

const lite = (change: Partial<VmConfig> = {}): VmConfig => ({
  ...DEFAULT_VM_CONFIG,
  osImageHash: bundle.digest,
  cpuCount: 2,
  memorySize: 2 ** 32,
  qemuVersion: '8.2.2',
  tdxAttestationVariant: 'lite',
  tdxMeasurement: { checksumFile: base64(sums), measurement: base64(material) },
  ...change,
});

const inline = (checksumFile: Uint8Array | string, measurement: Uint8Array | string): Partial<VmConfig> => ({
  ...(typeof checksumFile === 'string' ? {} : { osImageHash: sha256(checksumFile) }),
  tdxMeasurement: {
    checksumFile: typeof checksumFile === 'string' ? checksumFile : base64(checksumFile),
    measurement: typeof measurement === 'string' ? measurement : base64(measurement),
  },
});
/** The manifest with another document listed. */
const listing = (document: Uint8Array): Uint8Array =>
  new Uint8Array(Buffer.from(Buffer.from(sums).toString().replace(sha256(material), sha256(document))));

test.each(['8.2.2', '9.1.0'])('the registers are those of the files, QEMU %s', (qemuVersion) => {
  for (const memorySize of [2 ** 31, 0xb000_0000, 2 ** 36]) {
    const config = lite({ qemuVersion, memorySize });
    const guest = { ...tdxGuest(config, 'pre202505', false), assumesEmptyCfv: true };
    const files = prepareTdxImage({
      firmware: sourceFromBytes(tdvf1()),
      kernel: sourceFromBytes(kernelK()),
      initrd: sourceFromBytes(initrdI()),
      cmdline: CMDLINE,
    }).measure(guest);
    const { mrtd, rtmr0, rtmr1, rtmr2 } = openLite(config).image.measure(guest);
    expect({ mrtd, rtmr0, rtmr1, rtmr2 }).toEqual({
      mrtd: files.mrtd,
      rtmr0: files.rtmr0,
      rtmr1: files.rtmr1,
      rtmr2: files.rtmr2,
    });
  }
});

describe('refused', () => {
  test.each<[string, Partial<VmConfig>, string, RegExp]>([
    ['no measurement', { tdxMeasurement: undefined }, 'LITE_MISSING', /./],
    [
      'another image',
      { osImageHash: '00'.repeat(32) },
      'LITE_OS_IMAGE_HASH',
      /^os_image_hash mismatch: expected sha256\(sha256sum\.txt\)=55be.*, actual=0000/,
    ],
    ['no image', { osImageHash: '' }, 'LITE_OS_IMAGE_HASH', /./],
    [
      'another document',
      inline(sums, encodeTdxMaterial({ ...decodeTdxMaterial(material), variant: 'stable202505' })),
      'LITE_MEASUREMENT_HASH',
      /^measurement\.tdx\.cbor hash mismatch: sha256sum\.txt=a269.*, actual=/,
    ],
    [
      'a manifest without the document',
      inline(Buffer.from(`${'0'.repeat(64)}  ovmf.fd\n`), material),
      'LITE_UNLISTED',
      /sha256sum\.txt is missing measurement\.tdx\.cbor/,
    ],
    [
      'another variant',
      { ovmfVariant: 'stable202505' },
      'LITE_VARIANT',
      /tdx measurement ovmf_variant mismatch/,
    ],
    ['memory below 2816 MiB', { memorySize: 0xb000_0000 - 4096 }, 'LITE_MEMORY', /./],
    ['memory below 2 GiB', { memorySize: 2 ** 30 }, 'LITE_MEMORY', /./],
    ['no base64', inline('%%%', material), 'LITE_BASE64', /./],
    ['unpadded base64', inline('YQ', material), 'LITE_BASE64', /./],
    [
      'a document that is none',
      inline(listing(Uint8Array.of(0xa0)), Uint8Array.of(0xa0)),
      'MATERIAL_FIELD',
      /./,
    ],
  ])('%s', (_, change, code, message) => {
    expect(expectCvmError(() => openLite(lite(change)), code).message).toMatch(message);
  });

  test('QEMU from 10.2 on, whose kernel digest the document does not hold', () => {
    const config = lite({ qemuVersion: '10.2.0' });
    expectCvmError(
      () => openLite(config).image.measure(tdxGuest(config, 'pre202505', false)),
      'LITE_QEMU',
      'usage',
    );
  });
});

describe('the TD HOB witness', () => {
  test('reads back to its ranges', () => {
    for (const image of [tdvf1(), tdvfFirmware(STANDARD_SECTIONS)]) {
      const witness = tdHobWitness(parseTdvf(image));
      expect(tdHobWitness(readTdHobWitness(witness))).toEqual(witness);
    }
  });
  test.each([
    '',
    '80',
    '00',
    '000001',
    '00000100',
    '0000010000',
    '0001010001',
    '000003000100010101',
    '00000200020101',
    '80000001000001',
    'ffffffffffffffffff7f0001',
    '000041',
  ])('refused: %s', (hex) => {
    expectCvmError(
      () => readTdHobWitness(new Uint8Array(Buffer.from(hex, 'hex'))),
      hex === '0001010001' ? 'TDVF_NO_TD_HOB' : 'TD_HOB_WITNESS',
      'format',
    );
  });
});
