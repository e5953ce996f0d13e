import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { formatError, type CvmError } from '../errors.ts';
import { variantField } from './metadata.ts';
import type { OvmfVariant } from './ovmf-variant.ts';
import { asObject, jsonKind, parseJsonObject, type JsonObject } from './strict-json.ts';

/** The two documents that a verifier gets instead of the files, base64. */
export interface InlineMeasurement {
  /** sha256sum.txt. */
  readonly checksumFile: string;
  /** measurement.tdx.cbor. */
  readonly measurement: string;
}

/** What a VMM says of the VM that it started: the input of every verifier besides the image. */
export interface VmConfig {
  /** Lower-case hex; empty when not stated. */
  readonly osImageHash: string;
  readonly cpuCount: number;
  /** Bytes. */
  readonly memorySize: number;
  /** true selects the two-pass order, whatever its name says. */
  readonly qemuSinglePassAddPages: boolean | undefined;
  readonly pic: boolean | undefined;
  readonly qemuVersion: string | undefined;
  /** Bytes; 0 is QEMU's own choice. */
  readonly pciHole64Size: number;
  readonly hugepages: boolean;
  readonly numGpus: number;
  readonly numNvswitches: number;
  readonly numNics: number;
  readonly numVerityVolumes: number;
  readonly swtpm: boolean;
  readonly hotplugOff: boolean;
  readonly image: string | undefined;
  readonly hostShareMode: string;
  readonly ovmfVariant: OvmfVariant | undefined;
  readonly tdxAttestationVariant: 'legacy' | 'lite';
  readonly tdxMeasurement: InlineMeasurement | undefined;
  /** Of other clouds: kept as they are. */
  readonly gcpMeasurement: JsonObject | undefined;
  readonly awsMeasurement: JsonObject | undefined;
}

/** What serde fills in for absent keys. */
export const DEFAULT_VM_CONFIG: VmConfig = {
  osImageHash: '',
  cpuCount: 0,
  memorySize: 0,
  qemuSinglePassAddPages: undefined,
  pic: undefined,
  qemuVersion: undefined,
  pciHole64Size: 0,
  hugepages: false,
  numGpus: 0,
  numNvswitches: 0,
  numNics: 1,
  numVerityVolumes: 0,
  swtpm: false,
  hotplugOff: false,
  image: undefined,
  hostShareMode: '',
  ovmfVariant: undefined,
  tdxAttestationVariant: 'legacy',
  tdxMeasurement: undefined,
  gcpMeasurement: undefined,
  awsMeasurement: undefined,
};

const U32_MAX = 2 ** 32 - 1;

/**
 * Reads a VmConfig. Absent keys have their defaults, unknown ones are ignored; null counts as absent where a key may be
 * absent and is refused elsewhere. Source: Dstack-TEE/dstack dstack-types/src/lib.rs.
 *
 * @throws CvmError format VM_CONFIG_TYPE | VM_CONFIG_VALUE | METADATA_VARIANT | METADATA_TYPE, those of parseJsonObject
 */
export function readVmConfig(bytes: Uint8Array, what = 'vm_config'): VmConfig {
  const object = parseJsonObject(bytes, what);
  const fields = new Fields(object, what);
  const attestation = fields.text('tdx_attestation_variant') ?? 'legacy';
  if (attestation !== 'legacy' && attestation !== 'lite') {
    throw valueError(what, 'tdx_attestation_variant', attestation, 'legacy or lite');
  }
  const hash = fields.text('os_image_hash') ?? '';
  return {
    osImageHash: bytesToHex(hexToBytes(hash, `os_image_hash of ${what}`)),
    cpuCount: fields.number('cpu_count', U32_MAX) ?? 0,
    memorySize: fields.number('memory_size') ?? 0,
    qemuSinglePassAddPages: fields.optional('qemu_single_pass_add_pages', 'boolean') as boolean | undefined,
    pic: fields.optional('pic', 'boolean') as boolean | undefined,
    qemuVersion: fields.optional('qemu_version', 'string') as string | undefined,
    pciHole64Size: fields.number('pci_hole64_size') ?? 0,
    hugepages: fields.flag('hugepages'),
    numGpus: fields.number('num_gpus', U32_MAX) ?? 0,
    numNvswitches: fields.number('num_nvswitches', U32_MAX) ?? 0,
    numNics: fields.number('num_nics', U32_MAX) ?? 1,
    numVerityVolumes: fields.number('num_verity_volumes', U32_MAX) ?? 0,
    swtpm: fields.flag('swtpm'),
    hotplugOff: fields.flag('hotplug_off'),
    image: fields.optional('image', 'string') as string | undefined,
    hostShareMode: fields.text('host_share_mode') ?? '',
    ovmfVariant: object['ovmf_variant'] === null ? undefined : variantField(object, what),
    tdxAttestationVariant: attestation,
    tdxMeasurement: readInline(fields.object('tdx_measurement'), what),
    gcpMeasurement: fields.object('gcp_measurement'),
    awsMeasurement: fields.object('aws_measurement'),
  };
}

function readInline(object: JsonObject | undefined, what: string): InlineMeasurement | undefined {
  if (object === undefined) return undefined;
  const fields = new Fields(object, `${what}, tdx_measurement`);
  const text = (key: string): string => {
    const value = fields.text(key);
    if (value !== undefined) return value;
    throw valueError(`${what}, tdx_measurement`, key, 'nothing', 'base64');
  };
  return { checksumFile: text('checksum_file'), measurement: text('measurement') };
}

class Fields {
  readonly #object: JsonObject;
  readonly #what: string;

  constructor(object: JsonObject, what: string) {
    this.#object = object;
    this.#what = what;
  }

  /** A value that has a default: null is no value of it. */
  #plain(key: string, type: 'string' | 'number' | 'boolean'): unknown {
    if (!Object.hasOwn(this.#object, key)) return undefined;
    const value = this.#object[key];
    if (typeof value === type) return value;
    throw formatError('VM_CONFIG_TYPE', `${key} in ${this.#what} is not a ${type}`, {
      facts: [
        ['key', key],
        ['expected', `a ${type}`],
        ['found', jsonKind(value)],
      ],
      mend: `write a ${type}, or leave ${key} out for its default`,
    });
  }

  optional(key: string, type: 'string' | 'boolean'): unknown {
    return this.#object[key] === null ? undefined : this.#plain(key, type);
  }

  text(key: string): string | undefined {
    return this.#plain(key, 'string') as string | undefined;
  }

  flag(key: string): boolean {
    return (this.#plain(key, 'boolean') as boolean | undefined) ?? false;
  }

  number(key: string, max = Number.MAX_SAFE_INTEGER): number | undefined {
    const value = this.#plain(key, 'number') as number | undefined;
    if (value === undefined || (value >= 0 && value <= max)) return value;
    throw valueError(this.#what, key, `${value}`, `0 to ${max}`);
  }

  object(key: string): JsonObject | undefined {
    const value = this.#object[key];
    return value === undefined || value === null ? undefined : asObject(value, `${this.#what}, ${key}`);
  }
}

function valueError(what: string, key: string, found: string, range: string): CvmError {
  return formatError('VM_CONFIG_VALUE', `${key} in ${what} has a value that it cannot have`, {
    facts: [
      ['key', key],
      ['found', found],
      ['expected', range],
    ],
  });
}

/** As JSON, keys in the order in which dstack serialises them; what is absent or default is left out where dstack does. */
export function vmConfigJson(config: VmConfig): JsonObject {
  const given = (key: string, value: unknown, isLeftOut = value === undefined): JsonObject =>
    isLeftOut ? {} : { [key]: value };
  const { tdxMeasurement } = config;
  return {
    os_image_hash: config.osImageHash,
    cpu_count: config.cpuCount,
    memory_size: config.memorySize,
    ...given('qemu_single_pass_add_pages', config.qemuSinglePassAddPages),
    ...given('pic', config.pic),
    ...given('qemu_version', config.qemuVersion),
    pci_hole64_size: config.pciHole64Size,
    hugepages: config.hugepages,
    num_gpus: config.numGpus,
    num_nvswitches: config.numNvswitches,
    ...given('num_nics', config.numNics, config.numNics === 1),
    ...given('num_verity_volumes', config.numVerityVolumes, config.numVerityVolumes === 0),
    ...given('swtpm', config.swtpm, !config.swtpm),
    hotplug_off: config.hotplugOff,
    ...given('image', config.image),
    host_share_mode: config.hostShareMode,
    ...given('ovmf_variant', config.ovmfVariant),
    ...given(
      'tdx_attestation_variant',
      config.tdxAttestationVariant,
      config.tdxAttestationVariant === 'legacy',
    ),
    ...given(
      'tdx_measurement',
      tdxMeasurement === undefined
        ? undefined
        : { checksum_file: tdxMeasurement.checksumFile, measurement: tdxMeasurement.measurement },
    ),
    ...given('gcp_measurement', config.gcpMeasurement),
    ...given('aws_measurement', config.awsMeasurement),
  };
}

/** SHA-256 of the compact JSON, 64 hex digits: the name under which a verifier caches measurements. */
export function measurementCacheKey(config: VmConfig): string {
  return bytesToHex(digestBytes('sha256', utf8Bytes(JSON.stringify(vmConfigJson(config)))));
}
