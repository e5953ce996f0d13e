import { usageError } from '../errors.ts';

/**
 * Which events the firmware of an image logs into RTMR0: `pre202505` has 13 of them (edk2 up to stable202502),
 * `stable202505` has 17. Source: Dstack-TEE/dstack, dstack-types, pull requests 678 and 693.
 */
export const OVMF_VARIANTS = ['pre202505', 'stable202505'] as const;
export type OvmfVariant = (typeof OVMF_VARIANTS)[number];

export const DEFAULT_VARIANT: OvmfVariant = 'pre202505';

export type Version = readonly [major: number, minor: number, patch: number];

const U32_LIMIT = 2 ** 32;

/** As Rust's u32 parser takes a number: decimal digits, leading zeros, one leading plus. */
function parseU32(text: string): number | undefined {
  if (!/^\+?[0-9]+$/.test(text)) return undefined;
  const digits = text.replace(/^\+?0*(?=[0-9])/, '');
  if (digits.length > 10) return undefined;
  const value = Number(digits);
  return value < U32_LIMIT ? value : undefined;
}

/** A version read by a rule, or why the rule does not take it. */
export type VersionReading = { readonly version: Version } | { readonly problem: string };

/**
 * The version rule: exactly three parts, each an unsigned 32-bit number. The first bad part is named before the count
 * is looked at, as upstream does.
 */
export function readVersion(text: string): VersionReading {
  const parts = text.split('.');
  const numbers = parts.map(parseU32);
  const bad = numbers.indexOf(undefined);
  if (bad >= 0) return { problem: `invalid version component: ${parts[bad] ?? ''}` };
  const [major, minor, patch] = numbers;
  if (numbers.length !== 3 || major === undefined || minor === undefined || patch === undefined) {
    return { problem: `expected MAJOR.MINOR.PATCH, got ${text}` };
  }
  return { version: [major, minor, patch] };
}

/**
 * The version in an image's name: after the last `-`, three numbers and perhaps a fourth part of any text. The name of a
 * release folder ends in a hash (`dstack-0.5.10-4c9bd024`), so it has none.
 */
export function readImageName(name: string): VersionReading {
  const tail = name.slice(name.lastIndexOf('-') + 1);
  const parts = tail.split('.');
  const [major, minor, patch] = parts.slice(0, 3).map(parseU32);
  const isVersion =
    (parts.length === 3 || (parts.length === 4 && parts[3] !== '')) &&
    major !== undefined &&
    minor !== undefined &&
    patch !== undefined;
  if (isVersion) return { version: [major, minor, patch] };
  return { problem: `the part after the last "-" is "${tail}", not X.Y.Z` };
}

/** 0.5.10 up to 0.6.0, and again from 0.6.1: `stable202505`. */
export function variantOfVersion(version: Version): OvmfVariant {
  const atLeast = (bound: Version): boolean => {
    const differing = version.findIndex((part, i) => part !== bound[i]);
    return differing < 0 || (version[differing] as number) > (bound[differing] as number);
  };
  return (atLeast([0, 5, 10]) && !atLeast([0, 6, 0])) || atLeast([0, 6, 1]) ? 'stable202505' : 'pre202505';
}

/** Who asks: the programs of dstack look at different parts of the chain. */
export const VARIANT_CONSUMERS = ['verifier', 'kms', 'vmm', 'build', 'measure', 'diagnose'] as const;
export type VariantConsumer = (typeof VARIANT_CONSUMERS)[number];

/** The links of the chain, in their order of precedence. */
export type VariantSource =
  | '--os-version'
  | 'vm_config.ovmf_variant'
  | 'metadata.ovmf_variant'
  | 'metadata.version'
  | 'vm_config.image'
  | 'default';

const FULL_CHAIN: readonly VariantSource[] = [
  'vm_config.ovmf_variant',
  'metadata.ovmf_variant',
  'metadata.version',
  'vm_config.image',
  'default',
];

const CHAINS: Readonly<Record<VariantConsumer, readonly VariantSource[]>> = {
  verifier: FULL_CHAIN,
  kms: FULL_CHAIN,
  diagnose: FULL_CHAIN,
  vmm: ['metadata.ovmf_variant', 'metadata.version'],
  build: ['metadata.ovmf_variant', 'metadata.version', 'default'],
  measure: ['--os-version', 'metadata.ovmf_variant', 'metadata.version', 'default'],
};

export interface VariantInput {
  /** `ovmf_variant` and `image` of the VmConfig, where there is one. */
  readonly vmConfigVariant?: OvmfVariant | undefined;
  /** A VmConfig's `image`, or what stands for it. */
  readonly image?: string | undefined;
  readonly metadataVariant?: OvmfVariant | undefined;
  readonly metadataVersion?: string | undefined;
  /** `--dstack-os-version` of dstack-mr measure. */
  readonly osVersion?: string | undefined;
}

export interface ConsideredSource {
  readonly source: VariantSource;
  /** What it holds; null when there is nothing. */
  readonly value: string | null;
  readonly result: string;
}

export interface VariantAnswer {
  /** null: nothing says, and the consumer leaves the field out. */
  readonly variant: OvmfVariant | null;
  readonly source: VariantSource | null;
  /** Every link that was looked at, in order; the last is the one that answered. */
  readonly considered: readonly ConsideredSource[];
}

/**
 * The variant of an image's firmware, as a consumer finds it: VmConfig, metadata field, metadata version, image name,
 * default; the first that answers wins. A field beats a version, as 0.5.11 shows: it went back to the older firmware.
 *
 * @throws CvmError usage OS_VERSION where the consumer refuses a version that does not parse
 */
export function resolveVariant(consumer: VariantConsumer, input: VariantInput): VariantAnswer {
  const considered: ConsideredSource[] = [];
  for (const source of CHAINS[consumer]) {
    const { value, variant, result } = ask(source, consumer, input);
    considered.push({ source, value, result });
    if (variant !== undefined) return { variant, source, considered };
  }
  return { variant: null, source: null, considered };
}

interface Reply {
  readonly value: string | null;
  readonly variant?: OvmfVariant;
  readonly result: string;
}

function ask(source: VariantSource, consumer: VariantConsumer, input: VariantInput): Reply {
  const explicit = (variant: OvmfVariant | undefined): Reply =>
    variant === undefined
      ? { value: null, result: 'absent' }
      : { value: variant, variant, result: `says ${variant}` };
  switch (source) {
    case 'vm_config.ovmf_variant':
      return explicit(input.vmConfigVariant);
    case 'metadata.ovmf_variant':
      return explicit(input.metadataVariant);
    case 'metadata.version':
      return fromVersion(input.metadataVersion, readVersion, consumer === 'measure');
    case '--os-version':
      return fromVersion(input.osVersion, readVersion, true);
    case 'vm_config.image':
      return fromVersion(input.image, readImageName, false);
    case 'default':
      return { value: null, variant: DEFAULT_VARIANT, result: `nothing said otherwise: ${DEFAULT_VARIANT}` };
  }
}

function fromVersion(
  text: string | undefined,
  read: (text: string) => VersionReading,
  mustParse: boolean,
): Reply {
  if (text === undefined || text === '') return { value: text ?? null, result: 'absent' };
  const reading = read(text);
  if ('problem' in reading) {
    if (!mustParse) return { value: text, result: reading.problem };
    throw usageError('OS_VERSION', `invalid dstack OS version: ${text}`, {
      facts: [['problem', reading.problem]],
      mend: 'write it as MAJOR.MINOR.PATCH',
    });
  }
  const variant = variantOfVersion(reading.version);
  return { value: text, variant, result: `version ${reading.version.join('.')} has ${variant}` };
}
