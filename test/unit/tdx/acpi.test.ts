import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { dsdtParts } from '../../../tools/tdx/acpi/dsdt.ts';
import { linkTables, readTables } from '../../../tools/tdx/acpi/loader.ts';
import { acpiTables } from '../../../tools/tdx/acpi/tables.ts';
import { qemuProfile } from '../../../tools/tdx/qemu-profile.ts';
import type { VmShape } from '../../../tools/tdx/vm-shape.ts';
import { expectCvmError } from '../../support/errors.ts';

const MIB = 2 ** 20;
const BASE: VmShape = {
  profile: 'E',
  pic: false,
  cpuCount: 1,
  memoryBytes: 2048 * MIB,
  pciHole64Bytes: 0,
  hugepages: false,
  numGpus: 0,
  numNvswitches: 0,
  numNics: 1,
  numVerityVolumes: 0,
  hotplugOff: false,
};
const shape = (change: Partial<VmShape> = {}): VmShape => ({ ...BASE, ...change });
const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));
const sha384 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha384', bytes));
const acpi = (version: string): Partial<VmShape> => ({ profile: qemuProfile(version).acpi });

describe('the tables blob: dstack’s golden values', () => {
  test.each<[string, Partial<VmShape>, string]>([
    ['none', {}, '09f99e5dcf36b80a9258e849b3a9a70e7914244008e6a92a689eb22e4cc17a8f'],
    ['QEMU 9.1.0', acpi('9.1.0'), 'ff0c03c7f4026a95b0b2f2e08cef7d501a3a44b4df036c9f26de91828f0215f6'],
    ['QEMU 9.2.1', acpi('9.2.1'), 'b183eba66c6e96556f28cefe60ca92620b82488fcefaf66167aad61e2b2e73d1'],
    ['QEMU 11.0.0', acpi('11.0.0'), 'e211dd453e651ef320d28c65d23f578e96468614614e7b1172f18df5052d0f1f'],
    ['2 vCPUs', { cpuCount: 2 }, '1362c6f473801b34f93df4e2966b2d3350f7f9113750da78a2cb799177157da8'],
    ['64 vCPUs', { cpuCount: 64 }, '089fda95fb5d45ba9a5f46ebc99d85e1331daa4dd38f60597eec9a3d95c94bb5'],
    ['256 vCPUs', { cpuCount: 256 }, 'd1c3291dbdf0ccc4acdecce5f78fbe80e0ca7d6d803a62c9f5b59ee8c7e0a1b5'],
    ['no NIC', { numNics: 0 }, '93a140bbc031dc313ed4011b838c8b22ffdecb474435d9fcb294be97194c953c'],
    ['2 NICs', { numNics: 2 }, 'fbf083121cc3b46b3b7913e45e635e6bb31e11f0cb6e029aa504bc4de68e2d64'],
    [
      '1 verity volume',
      { numVerityVolumes: 1 },
      'fbf083121cc3b46b3b7913e45e635e6bb31e11f0cb6e029aa504bc4de68e2d64',
    ],
    [
      '1 GPU, hotplug off',
      { numGpus: 1, hotplugOff: true },
      '0948490885eb9a777d553c7c0c529e3647533f4251b394f2f7f0a9862dadb4ca',
    ],
    [
      '1 GPU + 4 NVSwitches, hotplug off',
      { numGpus: 1, numNvswitches: 4, hotplugOff: true },
      '323e607f82db7a002bd6a71e7a6ac1ed746e94e3daba75dde2958751861c1a57',
    ],
    [
      '2 vCPUs, 2049 MiB, hugepages, 1 GPU',
      { cpuCount: 2, memoryBytes: 2049 * MIB, hugepages: true, numGpus: 1 },
      '646e5cc620fd7819f8f4756c712619d2a72c29a175fc04b79867cee80e67cf82',
    ],
    [
      '2 vCPUs, 2816 MiB, hugepages, 1 GPU',
      { cpuCount: 2, memoryBytes: 2816 * MIB, hugepages: true, numGpus: 1 },
      '3bf181108245994ceb7e983b1fa62009dcd56f7b49fd1e96ef15eb07d04aefc9',
    ],
  ])('%s', (_, change, expected) => {
    expect(sha256(acpiTables(shape(change)).blob)).toBe(expected);
  });
});

describe('sizes', () => {
  test('of each part of the DSDT', () => {
    const parts = dsdtParts(shape({ numNics: 0 }));
    expect(parts.map(({ aml }) => aml.length)).toEqual([
      74, 316, 351, 19, 5475, 21, 1062, 28, 350, 42, 60, 411, 13,
    ]);
  });
  test.each<[VmShape['profile'], number, number]>([
    ['A', 1, 8202],
    ['B', 1, 8220],
    ['C', 1, 8287],
    ['D', 1, 8274],
    ['E', 1, 8275],
    ['E', 2, 8358],
    ['E', 4, 8530],
    ['E', 16, 9563],
    ['E', 64, 13693],
    ['E', 256, 30230],
  ])('of the DSDT, profile %s, %i vCPUs', (profile, cpuCount, length) => {
    const { tables } = acpiTables(shape({ profile, cpuCount }));
    expect(tables.find(({ signature }) => signature === 'DSDT')).toEqual({
      signature: 'DSDT',
      offset: 64,
      length,
    });
  });
});

test('hardware: a guest of 2 vCPUs and 2 GiB under QEMU 8.2.2', () => {
  const { blob, tables } = acpiTables(shape({ profile: 'A', pic: true, cpuCount: 2 }));
  const blobs = linkTables(blob, tables);
  expect(sha384(blobs.loader)).toBe(
    '095d04cf26fe03aef6e3561fa24c1aa1cea93f4aeaf563b1f9f7616184c53454875925759434769cec2490acb563a337',
  );
  expect(sha384(blobs.rsdp)).toBe(
    '8d9a4d4777a1bc77ecd9d8d37a4628129a80052a510320159a20a923bd07a0e90d8d1f2e1ebf088992b25f0d0fa672ef',
  );
  expect(sha384(blobs.tables)).toBe(
    '3070721e169bc41884724cb0e6b3082e1baf249083d8b389181ba50b9afa951057876c380b8870e8c2facf2eff67a2b6',
  );
});

test('a captured blob reads back to its tables', () => {
  for (const change of [{}, { hugepages: true }, { cpuCount: 256 }]) {
    const { blob, tables } = acpiTables(shape(change));
    expect(readTables(blob)).toEqual(tables);
  }
});

describe('refused', () => {
  test.each<[string, Partial<VmShape>, string]>([
    ['root ports with hotplug: a GPU', { numGpus: 1 }, 'ACPI_HOTPLUG_PORTS'],
    [
      'root ports with hotplug: an NVSwitch',
      { numNvswitches: 1, hugepages: true, numGpus: 1 },
      'ACPI_HOTPLUG_PORTS',
    ],
    ['no processor', { cpuCount: 0 }, 'CPU_COUNT'],
    ['more processors than have names', { cpuCount: 4097 }, 'CPU_COUNT'],
    ['no memory', { memoryBytes: 0 }, 'MEMORY_SIZE'],
    ['half a page', { memoryBytes: 2 ** 30 + 2048 }, 'MEMORY_SIZE'],
    ['more NICs than slots', { numNics: 28 }, 'PCI_SLOTS'],
    ['NICs without end', { numNics: 2 ** 32 - 1 }, 'PCI_SLOTS'],
    ['more root ports than slots', { numGpus: 27, hotplugOff: true }, 'PCI_SLOTS'],
    ['root ports without end', { numNvswitches: 2 ** 32 - 1, hotplugOff: true }, 'PCI_SLOTS'],
  ])('%s', (_, change, code) => {
    expectCvmError(() => acpiTables(shape(change)), code, 'usage');
  });

  test.each<[string, (blob: Uint8Array) => Uint8Array]>([
    ['nothing', () => new Uint8Array(0)],
    ['no multiple', (blob) => blob.slice(1)],
    ['zeros', (blob) => blob.slice().fill(0)],
    ['a table that ends behind the blob', (blob) => blob.slice().fill(0xff, 68, 72)],
    ['a table of no length', (blob) => blob.slice().fill(0, 68, 72)],
  ])('a captured blob: %s', (_, edit) => {
    expectCvmError(() => readTables(edit(acpiTables(shape()).blob)), 'ACPI_BLOB', 'format');
  });
});
