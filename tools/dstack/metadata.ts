import { utf8Bytes } from '../bytes/text.ts';
import { formatError, usageError } from '../errors.ts';
import { OVMF_VARIANTS, type OvmfVariant } from './ovmf-variant.ts';
import { jsonKind, parseJsonObject, type JsonObject } from './strict-json.ts';

/** What metadata.json of a bundle says. Absent optional keys are undefined. */
export interface BundleMetadata {
  /** File name of the TDX firmware. */
  readonly bios: string | undefined;
  /** File name of the SEV firmware: key `bios-sev`. */
  readonly biosSev: string | undefined;
  readonly kernel: string;
  readonly cmdline: string | undefined;
  readonly initrd: string;
  readonly rootfs: string | undefined;
  /** Of old images. */
  readonly hda: string | undefined;
  /** `X.Y.Z`, perhaps with `.suffix`; empty when absent. */
  readonly version: string;
  readonly gitRevision: string | undefined;
  readonly sharedRo: boolean;
  readonly isDev: boolean;
  readonly ovmfVariant: OvmfVariant | undefined;
  /** Newer images: firmware measures the kernel as the file has it, whatever QEMU does to its header. */
  readonly kernelHeaderNormalized: boolean;
}

/** What a bundle is written from; names of files are fixed. */
export interface MetadataParameters {
  readonly cmdline: string;
  readonly version: string;
  readonly gitRevision: string;
  readonly sharedRo: boolean;
  readonly isDev: boolean;
  readonly ovmfVariant: OvmfVariant;
  readonly hasSevFirmware: boolean;
}

/** Names of the files of a bundle that is written today. */
export const BUNDLE_FILES = {
  bios: 'ovmf.fd',
  biosSev: 'ovmf-sev.fd',
  kernel: 'bzImage',
  initrd: 'initramfs.cpio.gz',
  rootfs: 'rootfs.img.parted.verity',
  metadata: 'metadata.json',
  sums: 'sha256sum.txt',
  digest: 'digest.txt',
  tdxMaterial: 'measurement.tdx.cbor',
  snpMaterial: 'measurement.snp.cbor',
} as const;

export const UNKNOWN_REVISION = '<unknown>';

/**
 * metadata.json, byte for byte as dstack's image build writes it: four blanks of indent, keys in this order, `bios-sev`
 * directly after `bios` and only with a SEV firmware, LF after the brace. Source: Dstack-TEE/dstack os/image/assemble.sh.
 *
 * The original puts values in without escaping. Values that JSON would have to escape are refused, so the bytes are the
 * same and always valid.
 *
 * @throws CvmError usage METADATA_ESCAPE | METADATA_VERSION | METADATA_REVISION
 */
export function writeMetadata(parameters: MetadataParameters): Uint8Array {
  const { cmdline, version, gitRevision } = parameters;
  for (const [name, value] of Object.entries({ cmdline, version, gitRevision })) requirePlain(name, value);
  if (!/^(0|[1-9][0-9]{0,9})(\.(0|[1-9][0-9]{0,9})){2}(\.[0-9A-Za-z_+-]+)?$/.test(version)) {
    throw usageError('METADATA_VERSION', 'the version is not X.Y.Z, with or without .suffix', {
      facts: [['found', version]],
      mend: 'write it as 0.5.11 or 0.6.0.a2: verifiers take the firmware variant from it when nothing else says',
    });
  }
  if (gitRevision !== UNKNOWN_REVISION && !/^[0-9a-f]{40}$/.test(gitRevision)) {
    throw usageError('METADATA_REVISION', 'the git revision is not 40 lower-case hex digits', {
      facts: [['found', gitRevision]],
      mend: `give a full commit, or leave it out, which writes ${UNKNOWN_REVISION}`,
    });
  }
  const text = (key: string, value: string): string => `"${key}": "${value}"`;
  const lines = [
    text('bios', BUNDLE_FILES.bios),
    ...(parameters.hasSevFirmware ? [text('bios-sev', BUNDLE_FILES.biosSev)] : []),
    text('kernel', BUNDLE_FILES.kernel),
    text('cmdline', cmdline),
    text('initrd', BUNDLE_FILES.initrd),
    text('rootfs', BUNDLE_FILES.rootfs),
    text('version', version),
    text('git_revision', gitRevision),
    `"shared_ro": ${parameters.sharedRo}`,
    `"is_dev": ${parameters.isDev}`,
    text('ovmf_variant', parameters.ovmfVariant),
  ];
  return utf8Bytes(`{\n${lines.map((line) => `    ${line}`).join(',\n')}\n}\n`);
}

/** Printable ASCII without quote and backslash is what JSON, a shell and a kernel all leave alone. */
function requirePlain(name: string, value: string): void {
  const bad = /[^\x20-\x7e]|["\\]/u.exec(value);
  if (bad === null) return;
  throw usageError('METADATA_ESCAPE', `the value of ${name} holds a character that JSON has to escape`, {
    facts: [
      ['character', `U+${(bad[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`],
      ['at', `character ${bad.index}`],
      ['value', value.slice(0, 200)],
    ],
    mend: 'use printable ASCII without " and \\',
  });
}

/**
 * Reads metadata.json. Unknown keys are ignored, as all readers do; a known key of another type, an unknown variant and
 * null are refused. The document is never written back: what is hashed are the bytes that came.
 *
 * @throws CvmError format METADATA_MISSING_KEY | METADATA_TYPE | METADATA_VARIANT, those of parseJsonObject
 */
export function readMetadata(bytes: Uint8Array): BundleMetadata {
  const object = parseJsonObject(bytes, BUNDLE_FILES.metadata);
  const optional = (key: string): string | undefined => field(object, key, 'string') as string | undefined;
  const required = (key: string): string => {
    const value = optional(key);
    if (value !== undefined) return value;
    throw formatError('METADATA_MISSING_KEY', `${BUNDLE_FILES.metadata} has no ${key}`, {
      facts: [['keys', Object.keys(object).join(', ')]],
      mend: 'this is not the metadata of a dstack image: take the file from its bundle',
    });
  };
  const flag = (key: string): boolean => (field(object, key, 'boolean') as boolean | undefined) ?? false;
  return {
    bios: optional('bios'),
    biosSev: optional('bios-sev'),
    kernel: required('kernel'),
    cmdline: optional('cmdline'),
    initrd: required('initrd'),
    rootfs: optional('rootfs'),
    hda: optional('hda'),
    version: optional('version') ?? '',
    gitRevision: optional('git_revision'),
    sharedRo: flag('shared_ro'),
    isDev: flag('is_dev'),
    ovmfVariant: variantField(object, BUNDLE_FILES.metadata),
    kernelHeaderNormalized: flag('kernel_header_normalized'),
  };
}

function field(object: JsonObject, key: string, type: 'string' | 'boolean'): unknown {
  if (!Object.hasOwn(object, key)) return undefined;
  const value = object[key];
  if (typeof value === type) return value;
  throw formatError('METADATA_TYPE', `${key} in ${BUNDLE_FILES.metadata} is not a ${type}`, {
    facts: [
      ['key', key],
      ['expected', `a ${type}`],
      ['found', jsonKind(value)],
    ],
    mend: 'a key that does not apply is left out, never null',
  });
}

/**
 * The field `ovmf_variant` of metadata.json or of a VmConfig.
 * @throws CvmError format METADATA_TYPE | METADATA_VARIANT
 */
export function variantField(object: JsonObject, what: string): OvmfVariant | undefined {
  const value = object['ovmf_variant'];
  if (value === undefined) return undefined;
  if (typeof value !== 'string') {
    throw formatError('METADATA_TYPE', `ovmf_variant in ${what} is not a string`, {
      facts: [
        ['key', 'ovmf_variant'],
        ['found', jsonKind(value)],
      ],
    });
  }
  const variant = OVMF_VARIANTS.find((known) => known === value);
  if (variant !== undefined) return variant;
  throw formatError('METADATA_VARIANT', `${what} names an ovmf_variant that no reader knows`, {
    facts: [
      ['found', value],
      ['known', OVMF_VARIANTS.join(', ')],
    ],
    mend: 'readers refuse the whole document: correct the field or use a newer tool',
  });
}
