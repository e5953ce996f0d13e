import { hexToBytes } from '../bytes/hex.ts';
import { readAll } from '../bytes/source.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { formatError, usageError } from '../errors.ts';
import type { MeasurePlan } from '../guestos/boot-partition.ts';
import { PRODUCTION_VCPU_TYPES, PRODUCTION_VCPUS } from '../guestos/layout.ts';
import { isNetworkName, NETWORK_NAMES, type NetworkName } from '../nns/networks.ts';
import { CHIP_ID_BYTES } from '../proposal/facts.ts';
import { VCPU_LIMIT } from '../snp/launch-digest.ts';
import { vcpuTypeSignature } from '../snp/vcpu-types.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { parseDecimal, parseList, textOption, textsOption } from './options.ts';

/** Certificates, requests, measurements, templates: all far smaller. */
const SMALL_FILE_LIMIT_BYTES = 16 << 20;

const ROOT_HASH_BYTES = 32;

export const NETWORK_OPTION: OptionSpec = {
  flags: '--network <name>',
  description: `whose root key decides: ${NETWORK_NAMES.join(' or ')}`,
  defaultValue: 'mainnet',
  values: NETWORK_NAMES,
};

export const CHIP_ID_OPTION: OptionSpec = {
  flags: '--chip-id <hex>',
  description: 'chip that the proposal must list, 128 hex digits; may be repeated',
  repeatable: true,
};

export const PLAN_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--vcpus <list>',
    description: 'vCPU counts at launch, comma-separated',
    defaultValue: `${PRODUCTION_VCPUS}`,
  },
  {
    flags: '--vcpu-types <list>',
    description: 'QEMU CPU models, comma-separated, in the order of the output',
    defaultValue: PRODUCTION_VCPU_TYPES.join(','),
  },
];

/** @throws CvmError usage OPTION_LIST | OPTION_NUMBER | VCPU_TYPE_UNKNOWN */
export function planOption(options: OptionValues): MeasurePlan {
  const vcpus = parseList(textOption(options, 'vcpus') ?? `${PRODUCTION_VCPUS}`, '--vcpus').map((text) =>
    parseDecimal(text, '--vcpus', 1, VCPU_LIMIT),
  );
  const vcpuTypes = parseList(
    textOption(options, 'vcpuTypes') ?? PRODUCTION_VCPU_TYPES.join(','),
    '--vcpu-types',
  );
  for (const name of vcpuTypes) vcpuTypeSignature(name);
  return { vcpus, vcpuTypes };
}

/** @throws CvmError usage NETWORK_UNKNOWN */
export function networkOption(options: OptionValues): NetworkName {
  const name = textOption(options, 'network') ?? 'mainnet';
  if (isNetworkName(name)) return name;
  throw usageError('NETWORK_UNKNOWN', 'there is no such network', {
    facts: [
      ['found', name],
      ['known', NETWORK_NAMES.join(', ')],
    ],
  });
}

/** @throws CvmError format HEX_INVALID | HEX_LENGTH */
export function chipIdsOption(options: OptionValues): Uint8Array[] {
  return textsOption(options, 'chipId').map((text) => hexToBytes(text, '--chip-id', CHIP_ID_BYTES));
}

/** A whole small file. @throws CvmError format SOURCE_TOO_LARGE, and those of opening */
export function readSmallFile(io: Io, path: string, what: string): Uint8Array {
  const file = openFile(resolvePath(io, path));
  try {
    return readAll(file, SMALL_FILE_LIMIT_BYTES, what).slice();
  } finally {
    file.close();
  }
}

/** @throws CvmError format TEXT_NOT_UTF8 and as {@link readSmallFile} */
export function readSmallText(io: Io, path: string, what: string): string {
  return utf8FromBytes(readSmallFile(io, path, what), what);
}

/** A file named by an option that may be absent. */
export function optionalFile(
  io: Io,
  options: OptionValues,
  name: string,
  what: string,
): Uint8Array | undefined {
  const path = textOption(options, name);
  return path === undefined ? undefined : readSmallFile(io, path, what);
}

/**
 * A verity root hash in a file: 64 hex digits and at most a newline.
 * @returns lower-case hex
 * @throws CvmError format ROOT_HASH_TEXT
 */
export function readRootHashFile(io: Io, path: string): string {
  return parseRootHash(readSmallText(io, path, 'the root hash file').replace(/\n$/, ''), path);
}

/** A verity root hash, or the path of a file that holds one. */
export function rootHashOption(io: Io, text: string): string {
  return /^[0-9a-fA-F]+$/.test(text) && text.length === 2 * ROOT_HASH_BYTES
    ? text.toLowerCase()
    : readRootHashFile(io, text);
}

function parseRootHash(text: string, where: string): string {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
  throw formatError('ROOT_HASH_TEXT', 'a root hash is 64 hex digits', {
    facts: [
      ['file', where],
      ['found', text.slice(0, 100)],
    ],
    mend: 'give the partition-root-hash file of a build, or the digits themselves',
  });
}
