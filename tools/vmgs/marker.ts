/**
 * The provisioning marker, file id 18: who formatted a store, and why. For diagnosis; nothing decides by it. One JSON
 * object, compact, its seven keys in this order. Source: openvmm, `vm/vmgs/vmgs_format` (`VmgsProvisioningMarker`),
 * pull request 2727.
 *
 * | key                 | value                                                             |
 * | ------------------- | ----------------------------------------------------------------- |
 * | provisioner         | one of {@link PROVISIONERS}                                       |
 * | reason              | one of {@link REASONS}                                            |
 * | tpm_version         | text                                                              |
 * | tpm_nvram_size      | bytes of the vTPM blob of a new store                             |
 * | akcert_size         | bytes of the NV index of the attestation key's certificate        |
 * | akcert_attrs        | its TPMA_NV word: 0x and lower-case hex without leading zeros     |
 * | provisioner_version | text, such as a git revision; `hcl_version` in drafts             |
 */
import { equalBytes } from '../bytes/compare.ts';
import { utf8Bytes, utf8FromBytes } from '../bytes/text.ts';
import { formatError, usageError, type CvmError, type Fact } from '../errors.ts';
import { nearestWord } from '../nearest.ts';

export const PROVISIONERS = [
  'unknown',
  'hcl',
  'openhcl',
  'cpsvmgstoolcvm',
  'havmgstooltvm',
  'hclpostprovisioning',
] as const;
export type Provisioner = (typeof PROVISIONERS)[number];

export const REASONS = ['empty', 'failure', 'request', 'unknown'] as const;
export type Reason = (typeof REASONS)[number];

export interface Marker {
  readonly provisioner: Provisioner;
  readonly reason: Reason;
  readonly tpmVersion: string;
  readonly tpmNvramSize: number;
  readonly akcertSize: number;
  /** The TPMA_NV word, 32 bits. */
  readonly akcertAttrs: number;
  readonly provisionerVersion: string;
}

/** What a marker of ours says where nothing else is asked for: it never claims to be OpenHCL's. */
export const DEFAULT_MARKER: Marker = {
  provisioner: 'unknown',
  reason: 'request',
  tpmVersion: '1.38',
  tpmNvramSize: 32_768,
  akcertSize: 4096,
  // authwrite, ownerread, authread, no dictionary attack, platform create
  akcertAttrs: 0x4206_0004,
  provisionerVersion: '',
};

/** A marker larger than a block is none. */
export const MARKER_LIMIT_BYTES = 4096;

const TEXT_KEYS = [
  'provisioner',
  'reason',
  'tpm_version',
  'tpm_nvram_size',
  'akcert_size',
  'akcert_attrs',
  'provisioner_version',
] as const;
const OLD_VERSION_KEY = 'hcl_version';

/** The marker's keys and values as they stand in the file. */
export function markerFields(marker: Marker): Readonly<Record<(typeof TEXT_KEYS)[number], string | number>> {
  return {
    provisioner: marker.provisioner,
    reason: marker.reason,
    tpm_version: marker.tpmVersion,
    tpm_nvram_size: marker.tpmNvramSize,
    akcert_size: marker.akcertSize,
    akcert_attrs: `0x${marker.akcertAttrs.toString(16)}`,
    provisioner_version: marker.provisionerVersion,
  };
}

/** The bytes of a marker. @throws CvmError usage MARKER_TOO_LARGE | MARKER_TEXT */
export function encodeMarker(marker: Marker): Uint8Array {
  for (const text of [marker.tpmVersion, marker.provisionerVersion]) {
    if (!text.isWellFormed()) throw usageError('MARKER_TEXT', 'a text of the marker is no Unicode text');
  }
  const bytes = utf8Bytes(JSON.stringify(markerFields(marker)));
  if (bytes.length <= MARKER_LIMIT_BYTES) return bytes;
  throw usageError('MARKER_TOO_LARGE', 'the marker is larger than it may be', {
    facts: [
      ['size', `${bytes.length} bytes`],
      ['limit', `${MARKER_LIMIT_BYTES} bytes`],
    ],
    mend: 'shorten its texts',
  });
}

/** A marker that was read. */
export interface ParsedMarker {
  readonly marker: Marker;
  /** In what it differs from what OpenHCL writes; empty for a marker to the byte. */
  readonly deviations: readonly string[];
}

/**
 * Reads a marker. Spaces, another order, more keys and the older name of the version are read, and told.
 * @throws CvmError format MARKER_TOO_LARGE | MARKER_JSON | MARKER_FIELD
 */
export function parseMarker(bytes: Uint8Array): ParsedMarker {
  if (bytes.length > MARKER_LIMIT_BYTES) {
    throw formatError('MARKER_TOO_LARGE', 'the provisioning marker is larger than a marker may be', {
      facts: [
        ['size', `${bytes.length} bytes`],
        ['limit', `${MARKER_LIMIT_BYTES} bytes`],
      ],
    });
  }
  const fields = parseObject(bytes);
  const versionKey = fields.has('provisioner_version') ? 'provisioner_version' : OLD_VERSION_KEY;
  const marker: Marker = {
    provisioner: choice(fields, 'provisioner', PROVISIONERS),
    reason: choice(fields, 'reason', REASONS),
    tpmVersion: text(fields, 'tpm_version'),
    tpmNvramSize: unsigned(fields, 'tpm_nvram_size'),
    akcertSize: unsigned(fields, 'akcert_size'),
    akcertAttrs: attributes(text(fields, 'akcert_attrs')),
    provisionerVersion: text(fields, versionKey, 'provisioner_version'),
  };
  return { marker, deviations: deviationsOf(bytes, fields, marker) };
}

function deviationsOf(bytes: Uint8Array, fields: ReadonlyMap<string, unknown>, marker: Marker): string[] {
  if (equalBytes(bytes, utf8Bytes(JSON.stringify(markerFields(marker))))) return [];
  const known: readonly string[] = TEXT_KEYS;
  const more = [...fields.keys()].filter((key) => !known.includes(key) && key !== OLD_VERSION_KEY);
  const order = [...fields.keys()].filter((key) => known.includes(key));
  const wanted = TEXT_KEYS.filter((key) => fields.has(key));
  const found = [
    ...(fields.has(OLD_VERSION_KEY) ? ['the version is called hcl_version, as in drafts'] : []),
    ...(more.length > 0 ? [`more keys: ${more.join(', ')}`] : []),
    ...(order.join() === wanted.join() ? [] : ['the keys are in another order']),
  ];
  return found.length > 0 ? found : ['the text is not compact, or written in another way'];
}

function parseObject(bytes: Uint8Array): Map<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(utf8FromBytes(bytes, 'the provisioning marker'));
  } catch (cause) {
    throw formatError('MARKER_JSON', 'the provisioning marker is no JSON text in UTF-8', {
      facts: [['size', `${bytes.length} bytes`]],
      mend: 'file 18 was not written by a provisioner: see it with cvm vmgs dump -i 18',
      cause,
    });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return new Map(Object.entries(value));
  throw formatError('MARKER_JSON', 'the provisioning marker is no JSON object', {
    mend: 'file 18 was not written by a provisioner: see it with cvm vmgs dump -i 18',
  });
}

function text(fields: ReadonlyMap<string, unknown>, key: string, shown = key): string {
  const value = fields.get(key);
  if (typeof value === 'string') return value;
  throw fieldError(shown, 'text', value);
}

function unsigned(fields: ReadonlyMap<string, unknown>, key: string): number {
  const value = fields.get(key);
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw fieldError(key, 'a whole number', value);
}

function choice<T extends string>(fields: ReadonlyMap<string, unknown>, key: string, known: readonly T[]): T {
  const value = fields.get(key);
  const found = known.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw fieldError(key, `one of ${known.join(', ')}`, value);
}

function attributes(value: string): number {
  if (/^0x(0|[1-9a-f][0-9a-f]{0,7})$/.test(value)) return Number(value);
  throw fieldError('akcert_attrs', '0x and lower-case hex without leading zeros, 32 bits', value);
}

function fieldError(key: string, expected: string, found: unknown): CvmError {
  return formatError('MARKER_FIELD', 'a field of the provisioning marker is missing or wrong', {
    facts: [
      ['field', key],
      ['expected', expected],
      ['found', found === undefined ? 'nothing' : JSON.stringify(found).slice(0, 100)],
    ],
    mend: 'the marker was not written by a known provisioner',
  });
}

/** @throws CvmError usage MARKER_VALUE */
export function parseProvisioner(value: string): Provisioner {
  return parseChoice(value, PROVISIONERS, 'provisioner');
}

/** @throws CvmError usage MARKER_VALUE */
export function parseReason(value: string): Reason {
  return parseChoice(value, REASONS, 'reason');
}

/** A TPMA_NV word as it is typed. @throws CvmError usage MARKER_VALUE */
export function parseAkcertAttrs(value: string): number {
  if (/^0[xX][0-9a-fA-F]{1,8}$/.test(value)) return Number(value);
  throw valueError('akcert_attrs', value, ['0x and up to 8 hex digits'], undefined);
}

function parseChoice<T extends string>(value: string, known: readonly T[], what: string): T {
  const found = known.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw valueError(what, value, known, nearestWord(value.toLowerCase(), known));
}

function valueError(
  what: string,
  found: string,
  known: readonly string[],
  nearest: string | undefined,
): CvmError {
  const facts: Fact[] = [
    ['field', what],
    ['found', found],
    ['known', known.join(', ')],
  ];
  return usageError('MARKER_VALUE', 'a value of the marker is not one of those it may have', {
    facts,
    ...(nearest === undefined ? {} : { nearest }),
  });
}
