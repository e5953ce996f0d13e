import { describe, expect, test } from 'vitest';
import { CACHE_VERSION, readCacheEntry, writeCacheEntry } from '../../../tools/dstack/measurement-cache.ts';
import {
  DEFAULT_VM_CONFIG,
  measurementCacheKey,
  readVmConfig,
  vmConfigJson,
} from '../../../tools/dstack/vm-config.ts';
import { expectCvmError } from '../../support/errors.ts';

const read = (value: unknown): ReturnType<typeof readVmConfig> =>
  readVmConfig(new Uint8Array(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))));

test('a VmConfig of all defaults, and its cache key', () => {
  expect(read('{}')).toEqual(DEFAULT_VM_CONFIG);
  expect(JSON.stringify(vmConfigJson(DEFAULT_VM_CONFIG))).toBe(
    '{"os_image_hash":"","cpu_count":0,"memory_size":0,"pci_hole64_size":0,"hugepages":false,"num_gpus":0,' +
      '"num_nvswitches":0,"hotplug_off":false,"host_share_mode":""}',
  );
  expect(measurementCacheKey(DEFAULT_VM_CONFIG)).toBe(
    'c29cabd92088055f90883286c7ee5b222fe740a334753dec42492e9491898b70',
  );
});

const FULL = {
  os_image_hash: 'ab'.repeat(32),
  cpu_count: 2,
  memory_size: 2147483648,
  qemu_single_pass_add_pages: false,
  pic: true,
  qemu_version: '8.2.2',
  pci_hole64_size: 1,
  hugepages: true,
  num_gpus: 1,
  num_nvswitches: 2,
  num_nics: 3,
  num_verity_volumes: 4,
  swtpm: true,
  hotplug_off: true,
  image: 'dstack-0.5.10',
  host_share_mode: '9p',
  ovmf_variant: 'stable202505',
  tdx_attestation_variant: 'lite',
  tdx_measurement: { checksum_file: 'YQ==', measurement: 'Yg==' },
  gcp_measurement: { a: 1 },
  aws_measurement: { b: 2 },
};

test('every key survives, in the order of the serialisation', () => {
  expect(JSON.stringify(vmConfigJson(read(FULL)))).toBe(JSON.stringify(FULL));
  const shuffled = Object.fromEntries(Object.entries(FULL).reverse());
  expect(JSON.stringify(vmConfigJson(read({ ...shuffled, spec_version: 1 })))).toBe(JSON.stringify(FULL));
});

test('every key is part of the cache key', () => {
  const base = measurementCacheKey(read(FULL));
  for (const key of Object.keys(FULL)) {
    const changed = Object.fromEntries(Object.entries(FULL).filter(([name]) => name !== key));
    expect(measurementCacheKey(read(changed)), key).not.toBe(base);
  }
});

describe('null', () => {
  const OPTIONAL = [
    'qemu_single_pass_add_pages',
    'pic',
    'qemu_version',
    'image',
    'ovmf_variant',
    'tdx_measurement',
    'gcp_measurement',
    'aws_measurement',
  ];
  test.each(OPTIONAL)('is absence of %s', (key) => {
    expect(read({ [key]: null })).toEqual(DEFAULT_VM_CONFIG);
  });
  test.each(Object.keys(FULL).filter((key) => !OPTIONAL.includes(key)))('is refused for %s', (key) => {
    expectCvmError(() => read({ [key]: null }), 'VM_CONFIG_TYPE', 'format');
  });
});

test.each<[string, unknown, string]>([
  ['a text for a number', { cpu_count: '2' }, 'VM_CONFIG_TYPE'],
  ['a number for a text', { image: 1 }, 'VM_CONFIG_TYPE'],
  ['a number for a flag', { pic: 1 }, 'VM_CONFIG_TYPE'],
  ['a negative count', { num_nics: -1 }, 'VM_CONFIG_VALUE'],
  ['a count of more than 32 bits', { cpu_count: 4294967296 }, 'VM_CONFIG_VALUE'],
  ['a size that no double holds', '{"memory_size":18446744073709551615}', 'JSON_NUMBER'],
  ['a fraction', '{"cpu_count":1.5}', 'JSON_NUMBER'],
  ['hex that is none', { os_image_hash: 'xy' }, 'HEX_INVALID'],
  ['an unknown variant', { ovmf_variant: 'stable202508' }, 'METADATA_VARIANT'],
  ['a variant that is no text', { ovmf_variant: 1 }, 'METADATA_TYPE'],
  ['an unknown attestation', { tdx_attestation_variant: 'none' }, 'VM_CONFIG_VALUE'],
  ['a measurement that is no object', { tdx_measurement: [] }, 'JSON_NOT_OBJECT'],
  ['half a measurement', { tdx_measurement: { measurement: '' } }, 'VM_CONFIG_VALUE'],
  ['a list', [], 'JSON_NOT_OBJECT'],
  ['no JSON', '{', 'JSON_INVALID'],
  ['a key twice', '{"cpu_count":1,"cpu_count":2}', 'JSON_DUPLICATE_KEY'],
])('refused: %s', (_, value, code) => {
  expectCvmError(() => read(value), code, 'format');
});

describe('a cache entry', () => {
  const registers = {
    mrtd: new Uint8Array(48).fill(1),
    rtmr0: new Uint8Array(48).fill(2),
    rtmr1: new Uint8Array(48).fill(3),
    rtmr2: new Uint8Array(48).fill(4),
  };
  const text = Buffer.from(writeCacheEntry(registers)).toString();

  test('is version 3 and reads back', () => {
    expect(text).toBe(
      `{"version":3,"measurements":{"mrtd":"${'01'.repeat(48)}","rtmr0":"${'02'.repeat(48)}",` +
        `"rtmr1":"${'03'.repeat(48)}","rtmr2":"${'04'.repeat(48)}"}}`,
    );
    expect(CACHE_VERSION).toBe(3);
    expect(readCacheEntry(Buffer.from(text))).toEqual(registers);
  });

  test.each<[string, string]>([
    ['version 1', text.replace('"version":3', '"version":1')],
    ['version 2', text.replace('"version":3', '"version":2')],
    ['a version of tomorrow', text.replace('"version":3', '"version":4')],
    ['a version that is a text', text.replace('"version":3', '"version":"3"')],
    ['no version', text.replace('"version":3,', '')],
    ['half an entry', text.slice(0, 100)],
    ['nothing', ''],
    ['a missing register', text.replace('"rtmr2"', '"rtmr3"')],
    ['a short register', text.replace('0101"', '01"')],
    ['a register that is no hex', text.replace('0101"', '01xx"')],
    ['a register that is a number', text.replace(/"rtmr0":"[^"]*"/, '"rtmr0":1')],
    ['no measurements', '{"version":3}'],
    ['a list', '[]'],
  ])('counts as absent: %s', (_, content) => {
    expect(readCacheEntry(Buffer.from(content))).toBeUndefined();
  });
});
