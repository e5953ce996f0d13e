/** What the commands on TDX registers have in common: a bundle, a VM, and where its ACPI tables come from. */
import { hexToBytes } from '../bytes/hex.ts';
import type { ByteSource } from '../bytes/source.ts';
import { artifact, bundleMetadata, chooseFirmware, type BundleContents } from '../dstack/contents.ts';
import type { BundleMetadata } from '../dstack/metadata.ts';
import { OVMF_VARIANTS, resolveVariant, type VariantAnswer } from '../dstack/ovmf-variant.ts';
import type { VmConfig } from '../dstack/vm-config.ts';
import { CvmError, mismatchError, usageError } from '../errors.ts';
import { prepareTdxImage, type AcpiSource, type TdxArtifacts, type TdxImage } from '../tdx/image.ts';
import { REGISTER_BYTES } from '../tdx/register.ts';
import { choiceOption, readSmallFile } from './bundle-files.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { fileAhead, type DigestsAhead } from './digests-ahead.ts';
import { resolvePath } from './files.ts';
import { textOption } from './options.ts';

export const ACPI_OPTIONS: readonly OptionSpec[] = [
  { flags: '--acpi-tables <file>', description: 'captured etc/acpi/tables, instead of generated ones' },
  {
    flags: '--acpi-digests <list>',
    description: 'SHA-384 of loader, RSDP and tables, comma-separated, instead',
  },
];

export const VARIANT_OPTION: OptionSpec = {
  flags: '--ovmf-variant <variant>',
  description: `instead of what the chain says: ${OVMF_VARIANTS.join(', ')}`,
  values: OVMF_VARIANTS,
};

const BLOB_LIMIT_BYTES = 16 << 20;

/** @throws CvmError usage OPTION_CONTRADICTION | OPTION_DIGESTS; format HEX_* */
export function acpiOption(options: OptionValues, io: Io): AcpiSource {
  const tables = textOption(options, 'acpiTables');
  const digests = textOption(options, 'acpiDigests');
  if (tables !== undefined && digests !== undefined) {
    throw usageError('OPTION_CONTRADICTION', '--acpi-tables and --acpi-digests exclude each other', {
      mend: 'give one',
    });
  }
  if (tables !== undefined) {
    return {
      kind: 'blob',
      blob: readSmallFile(resolvePath(io, tables), BLOB_LIMIT_BYTES, 'the ACPI tables'),
    };
  }
  if (digests === undefined) return { kind: 'generate' };
  const [loader, rsdp, blob, ...others] = digests
    .split(',')
    .map((text) => hexToBytes(text, '--acpi-digests', REGISTER_BYTES));
  if (loader === undefined || rsdp === undefined || blob === undefined || others.length > 0) {
    throw usageError('OPTION_DIGESTS', '--acpi-digests takes three digests', {
      facts: [['found', digests.split(',').length]],
      mend: 'give those of loader, RSDP and tables, in this order, as in the event log',
    });
  }
  return { kind: 'digests', digests: { loader, rsdp, tables: blob } };
}

/** The files of a bundle that TDX measures. @throws CvmError format ARTIFACT_*, FIRMWARE_MISSING; trust ARTIFACT_ESCAPES */
export function tdxArtifacts(contents: BundleContents, metadata: BundleMetadata): TdxArtifacts {
  return {
    firmware: artifact(contents, 'Bios', chooseFirmware(metadata, 'tdx').firmware),
    kernel: artifact(contents, 'Kernel', metadata.kernel),
    initrd: artifact(contents, 'Initrd', metadata.initrd),
    cmdline: metadata.cmdline ?? '',
  };
}

/** @throws CvmError as {@link tdxArtifacts}; format TDVF_* */
export function bundleTdxImage(
  contents: BundleContents,
  metadata: BundleMetadata,
  ahead?: InitrdAhead,
): TdxImage {
  const artifacts = tdxArtifacts(contents, metadata);
  // The thread went by metadata that nobody had verified.
  const initrdSha384 = ahead?.initrd === artifacts.initrd ? () => ahead.thread.wait(0) : undefined;
  return prepareTdxImage({ ...artifacts, initrdSha384 });
}

interface InitrdAhead {
  readonly initrd: ByteSource;
  readonly thread: DigestsAhead;
}

/**
 * A thread that hashes what the bundle, which is not verified yet, calls its initrd, where that saves time: it is the
 * largest of what TDX measures.
 */
export function initrdAhead(contents: BundleContents): InitrdAhead | undefined {
  let initrd: ByteSource;
  try {
    initrd = artifact(contents, 'Initrd', bundleMetadata(contents).initrd);
  } catch (error) {
    // Whoever verifies the bundle says so, in the order of the checks.
    if (error instanceof CvmError) return undefined;
    throw error;
  }
  const thread = fileAhead(initrd);
  return thread && { initrd, thread };
}

/** Where no VmConfig names an image, the folder's name stands for it. */
export function withImageName(options: OptionValues, config: VmConfig, contents: BundleContents): VmConfig {
  return textOption(options, 'vmConfig') === undefined ? { ...config, image: contents.name } : config;
}

/** @throws CvmError usage OPTION_CHOICE */
export function variantOf(options: OptionValues, config: VmConfig, metadata: BundleMetadata): VariantAnswer {
  const given = textOption(options, 'ovmfVariant');
  if (given !== undefined) {
    return { variant: choiceOption(given, OVMF_VARIANTS, '--ovmf-variant'), source: null, considered: [] };
  }
  return resolveVariant('verifier', {
    vmConfigVariant: config.ovmfVariant,
    metadataVariant: metadata.ovmfVariant,
    metadataVersion: metadata.version,
    image: config.image,
  });
}

/** @throws CvmError mismatch OS_IMAGE_HASH */
export function requireSameImage(config: VmConfig, osImageHash: string): void {
  if (config.osImageHash === '' || config.osImageHash === osImageHash) return;
  throw mismatchError('OS_IMAGE_HASH', 'the VmConfig is of another image than the bundle', {
    facts: [
      ['os_image_hash of the VmConfig', config.osImageHash],
      ['digest of the bundle', osImageHash],
    ],
    mend: 'give the bundle that the VM was started with',
  });
}
