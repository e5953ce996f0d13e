import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  readImageName,
  readVersion,
  resolveVariant,
  VARIANT_CONSUMERS,
  variantOfVersion,
  type OvmfVariant,
  type VariantConsumer,
  type VariantInput,
  type VariantSource,
} from '../../../tools/dstack/ovmf-variant.ts';
import { expectCvmError } from '../../support/errors.ts';

type Row = readonly [
  vmConfig: OvmfVariant | undefined,
  field: OvmfVariant | undefined,
  version: string | undefined,
  image: string,
  variant: OvmfVariant,
  source: VariantSource,
];

// The first four rows are upstream's tests of dstack pull request 678.
const ROWS: readonly Row[] = [
  [undefined, undefined, undefined, 'dstack-0.5.9', 'pre202505', 'vm_config.image'],
  [undefined, undefined, undefined, 'dstack-0.5.10', 'stable202505', 'vm_config.image'],
  [undefined, undefined, undefined, 'dstack-nvidia-dev-0.6.1', 'stable202505', 'vm_config.image'],
  [undefined, undefined, undefined, 'dstack', 'pre202505', 'default'],
  [undefined, undefined, '0.5.10', 'dstack-0.5.10-4c9bd024', 'stable202505', 'metadata.version'],
  [undefined, undefined, undefined, 'dstack-0.5.10-4c9bd024', 'pre202505', 'default'],
  [undefined, 'pre202505', '0.5.11', 'dstack-0.5.11', 'pre202505', 'metadata.ovmf_variant'],
  ['stable202505', 'pre202505', '0.5.9', 'dstack-0.5.9', 'stable202505', 'vm_config.ovmf_variant'],
  [undefined, undefined, '0.6.0', 'dstack-0.5.10', 'pre202505', 'metadata.version'],
  [undefined, undefined, '0.5.10.rc1', 'dstack-0.5.10.rc1', 'stable202505', 'vm_config.image'],
  [undefined, undefined, 'v0.5.10', 'dstack-0.5.9', 'pre202505', 'vm_config.image'],
];

test.each(ROWS)(
  'the chain: %s, %s, %s, %s → %s',
  (vmConfigVariant, metadataVariant, metadataVersion, image, variant, source) => {
    const answer = resolveVariant('verifier', { vmConfigVariant, metadataVariant, metadataVersion, image });
    expect(answer).toMatchObject({ variant, source });
    expect(answer.considered.at(-1)?.source).toBe(source);
  },
);

test('regression: the release folder of 0.5.10, nowhere a variant field', () => {
  const image = 'dstack-0.5.10-4c9bd024';
  const known = resolveVariant('verifier', { image, metadataVersion: '0.5.10' });
  expect(known).toMatchObject({ variant: 'stable202505', source: 'metadata.version' });
  const unknown = resolveVariant('verifier', { image, metadataVersion: '' });
  expect(unknown).toEqual({
    variant: 'pre202505',
    source: 'default',
    considered: [
      { source: 'vm_config.ovmf_variant', value: null, result: 'absent' },
      { source: 'metadata.ovmf_variant', value: null, result: 'absent' },
      { source: 'metadata.version', value: '', result: 'absent' },
      {
        source: 'vm_config.image',
        value: image,
        result: 'the part after the last "-" is "4c9bd024", not X.Y.Z',
      },
      { source: 'default', value: null, result: 'nothing said otherwise: pre202505' },
    ],
  });
});

// Section 3.5: what the tagged releases answer.
test.each<[string, OvmfVariant | undefined, OvmfVariant]>([
  ['0.5.7', undefined, 'pre202505'],
  ['0.5.8', undefined, 'pre202505'],
  ['0.5.9', undefined, 'pre202505'],
  ['0.5.10', undefined, 'stable202505'],
  ['0.5.11', 'pre202505', 'pre202505'],
  ['0.6.0', 'pre202505', 'pre202505'],
  ['0.6.0.a2', 'pre202505', 'pre202505'],
])('release %s, field %s: %s', (metadataVersion, metadataVariant, variant) => {
  expect(resolveVariant('verifier', { metadataVersion, metadataVariant }).variant).toBe(variant);
});

describe('consumers', () => {
  const full: VariantInput = {
    vmConfigVariant: 'stable202505',
    metadataVariant: 'pre202505',
    metadataVersion: '0.5.9',
    image: 'dstack-0.5.10',
    osVersion: '0.5.10',
  };
  test.each<[VariantConsumer, readonly VariantSource[]]>([
    [
      'verifier',
      ['vm_config.ovmf_variant', 'metadata.ovmf_variant', 'metadata.version', 'vm_config.image', 'default'],
    ],
    [
      'kms',
      ['vm_config.ovmf_variant', 'metadata.ovmf_variant', 'metadata.version', 'vm_config.image', 'default'],
    ],
    [
      'diagnose',
      ['vm_config.ovmf_variant', 'metadata.ovmf_variant', 'metadata.version', 'vm_config.image', 'default'],
    ],
    ['vmm', ['metadata.ovmf_variant', 'metadata.version']],
    ['build', ['metadata.ovmf_variant', 'metadata.version', 'default']],
    ['measure', ['--os-version', 'metadata.ovmf_variant', 'metadata.version', 'default']],
  ])('%s', (consumer, sources) => {
    expect(resolveVariant(consumer, full).source).toBe(sources[0]);
    expect(resolveVariant(consumer, {}).considered.map(({ source }) => source)).toEqual(sources);
  });

  test('the VMM leaves the field out when nothing says', () => {
    expect(resolveVariant('vmm', { metadataVersion: 'x', image: 'dstack-0.5.10' })).toMatchObject({
      variant: null,
      source: null,
    });
  });

  test('dstack-mr measure refuses a version that does not parse, the others pass it over', () => {
    for (const consumer of VARIANT_CONSUMERS.filter((name) => name !== 'measure')) {
      expect(resolveVariant(consumer, { metadataVersion: '0.5.x' }).source).not.toBe('metadata.version');
    }
    const metadata = expectCvmError(
      () => resolveVariant('measure', { metadataVersion: '0.5.x' }),
      'OS_VERSION',
      'usage',
    );
    expect(metadata.message).toBe('invalid dstack OS version: 0.5.x');
    expectCvmError(() => resolveVariant('measure', { osVersion: '1.2' }), 'OS_VERSION', 'usage');
    expect(resolveVariant('measure', { metadataVersion: '' }).source).toBe('default');
  });
});

describe('the version rule', () => {
  test.each<[string, OvmfVariant]>([
    ['0.0.0', 'pre202505'],
    ['0.5.9', 'pre202505'],
    ['0.5.10', 'stable202505'],
    ['0.5.4294967295', 'stable202505'],
    ['0.6.0', 'pre202505'],
    ['0.6.1', 'stable202505'],
    ['1.0.0', 'stable202505'],
    ['00.05.+010', 'stable202505'],
  ])('%s: %s', (text, variant) => {
    const reading = readVersion(text);
    if (!('version' in reading)) throw new Error(reading.problem);
    expect(variantOfVersion(reading.version)).toBe(variant);
  });

  test.each<[string, string]>([
    ['', 'invalid version component: '],
    ['0.5', 'expected MAJOR.MINOR.PATCH, got 0.5'],
    ['0.5.10.1', 'expected MAJOR.MINOR.PATCH, got 0.5.10.1'],
    ['0.5.10.rc1', 'invalid version component: rc1'],
    ['0.x.y', 'invalid version component: x'],
    ['0.5.', 'invalid version component: '],
    ['v0.5.10', 'invalid version component: v0'],
    ['0.5.4294967296', 'invalid version component: 4294967296'],
    ['0.5.-1', 'invalid version component: -1'],
    ['0.5.++1', 'invalid version component: ++1'],
    ['0.5. 1', 'invalid version component:  1'],
    ['0.5.+', 'invalid version component: +'],
    ['0.5.1e3', 'invalid version component: 1e3'],
  ])('%j is refused: %s', (text, problem) => {
    expect(readVersion(text)).toEqual({ problem });
  });

  test('is the order of tuples', () => {
    const part = fc.integer({ min: 0, max: 12 });
    fc.assert(
      fc.property(part, part, part, (major, minor, patch) => {
        const key = major * 10_000 + minor * 100 + patch;
        const expected = (key >= 510 && key < 600) || key >= 601 ? 'stable202505' : 'pre202505';
        expect(variantOfVersion([major, minor, patch])).toBe(expected);
      }),
      { seed: 7, numRuns: 1000 },
    );
  });
});

test.each<[string, readonly number[] | undefined]>([
  ['dstack-0.5.10', [0, 5, 10]],
  ['dstack-0.5.10.rc1', [0, 5, 10]],
  ['dstack-dev-0.5.10.a.b', undefined],
  ['dstack-0.5.10.', undefined],
  ['dstack-0.5', undefined],
  ['0.5.10', [0, 5, 10]],
  ['dstack-', undefined],
  ['dstack-0..10', undefined],
  ['0.5.9-0.5.10', [0, 5, 10]],
  ['dstack-0.5.10-4c9bd024', undefined],
])('the name %s', (name, version) => {
  const reading = readImageName(name);
  expect('version' in reading ? reading.version : undefined).toEqual(version);
});
