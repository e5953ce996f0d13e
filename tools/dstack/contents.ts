import { readAll, type ByteSource } from '../bytes/source.ts';
import { formatError, trustError, type CvmError } from '../errors.ts';
import { BUNDLE_FILES, readMetadata, type BundleMetadata } from './metadata.ts';

/** What stands under a name in a bundle, links followed. */
export type BundleItem =
  | { readonly kind: 'file'; readonly content: ByteSource }
  /** A symbolic link that leads out of the bundle, or to nothing. */
  | { readonly kind: 'escape'; readonly target: string }
  | { readonly kind: 'dangling'; readonly target: string }
  | { readonly kind: 'other'; readonly what: string };

/** A bundle as it lies before a reader. */
export interface BundleContents {
  /** `folder`: a directory, or an archive of one; `flat`: an archive for verifiers, without its root file system. */
  readonly form: 'folder' | 'flat';
  /** The folder's own name, where it has one. */
  readonly name: string | undefined;
  readonly items: ReadonlyMap<string, BundleItem>;
}

export const METADATA_LIMIT_BYTES = 1 << 20;

/** The roles of files, with the names that the VMM gives them in errors. */
export const ARTIFACTS = [
  { label: 'Initrd', key: 'initrd', of: (metadata) => metadata.initrd },
  { label: 'Kernel', key: 'kernel', of: (metadata) => metadata.kernel },
  { label: 'Hda', key: 'hda', of: (metadata) => metadata.hda },
  { label: 'Rootfs', key: 'rootfs', of: (metadata) => metadata.rootfs },
  { label: 'Bios', key: 'bios', of: (metadata) => metadata.bios },
  { label: 'SEV bios', key: 'bios-sev', of: (metadata) => metadata.biosSev },
] as const satisfies readonly {
  readonly label: string;
  readonly key: string;
  readonly of: (metadata: BundleMetadata) => string | undefined;
}[];

export type ArtifactLabel = (typeof ARTIFACTS)[number]['label'];

/** @throws CvmError format BUNDLE_NO_METADATA | BUNDLE_METADATA_FILE, those of readMetadata */
export function bundleMetadata(contents: BundleContents): BundleMetadata {
  return readMetadata(readAll(metadataFile(contents), METADATA_LIMIT_BYTES, BUNDLE_FILES.metadata));
}

function metadataFile(contents: BundleContents): ByteSource {
  const item = contents.items.get(BUNDLE_FILES.metadata);
  if (item === undefined) {
    throw formatError('BUNDLE_NO_METADATA', `${BUNDLE_FILES.metadata} not found in the bundle`, {
      facts: [['found', [...contents.items.keys()].slice(0, 20).join(', ') || 'nothing']],
      mend: 'give the folder or archive of one dstack image',
    });
  }
  return requireFile('Metadata', BUNDLE_FILES.metadata, item);
}

/**
 * A file that metadata.json names, by the VMM's rules: joined to the folder, links resolved, inside, regular.
 *
 * @throws CvmError trust ARTIFACT_ESCAPES; format ARTIFACT_MISSING | ARTIFACT_NOT_A_FILE | ARTIFACT_NOT_FLAT
 */
export function artifact(contents: BundleContents, label: string, name: string): ByteSource {
  if (name.startsWith('/') || name.split('/').includes('..')) throw escapes(label, name, name);
  if (name === '' || name.includes('/')) {
    throw formatError('ARTIFACT_NOT_FLAT', `${label} is not the name of a file in the bundle: ${name}`, {
      mend: 'name a file that lies directly in the bundle: the manifest can list no other',
    });
  }
  const item = contents.items.get(name);
  if (item === undefined) throw missing(label, name);
  return requireFile(label, name, item);
}

/** @throws CvmError as {@link artifact} */
export function requireFile(label: string, name: string, item: BundleItem): ByteSource {
  switch (item.kind) {
    case 'file':
      return item.content;
    case 'escape':
      throw escapes(label, name, item.target);
    case 'dangling':
      throw missing(label, name);
    case 'other':
      throw formatError('ARTIFACT_NOT_A_FILE', `${label} is not a file: ${name}`, {
        facts: [['found', item.what]],
      });
  }
}

function missing(label: string, name: string): CvmError {
  return formatError('ARTIFACT_MISSING', `${label} does not exist: ${name}`, {
    mend: 'the VMM refuses such an image on every platform: add the file, or take its key out of metadata.json',
  });
}

function escapes(label: string, name: string, target: string): CvmError {
  return trustError('ARTIFACT_ESCAPES', `${label} escapes image directory: ${name}`, {
    facts: [['leads to', target]],
    mend: 'an image names files of its own folder only: do not use this one',
  });
}

/** Who is going to start the image. */
export const PLATFORMS = ['tdx', 'sev-snp'] as const;
export type Platform = (typeof PLATFORMS)[number];

export interface FirmwareChoice {
  readonly platform: Platform;
  /** File name in the bundle. */
  readonly firmware: string;
  /** The key of metadata.json that names it. */
  readonly field: 'bios' | 'bios-sev';
  readonly why: string;
}

/**
 * The firmware that a VMM must take: on SEV-SNP `bios-sev` and, without it, `bios`; on TDX always `bios`.
 * Source: Dstack-TEE/dstack vmm/src/app/qemu.rs.
 *
 * @throws CvmError format FIRMWARE_MISSING when metadata.json names none
 */
export function chooseFirmware(metadata: BundleMetadata, platform: Platform): FirmwareChoice {
  const { bios, biosSev } = metadata;
  if (platform === 'sev-snp' && biosSev !== undefined) {
    const why = 'SEV-SNP takes bios-sev where metadata.json names it: the TDX firmware has no SEV tables';
    return { platform, firmware: biosSev, field: 'bios-sev', why };
  }
  if (bios === undefined) {
    const needed =
      platform === 'sev-snp'
        ? 'bios-sev/bios is required for amd sev-snp os_image_hash'
        : 'bios is required for tdx';
    throw formatError('FIRMWARE_MISSING', needed, {
      ...(biosSev === undefined ? {} : { facts: [['bios-sev', biosSev]] as const }),
      mend: 'TDX never takes bios-sev: add the key bios and its file',
    });
  }
  const why =
    platform === 'sev-snp'
      ? 'SEV-SNP falls back to bios: metadata.json has no bios-sev'
      : biosSev === undefined
        ? 'TDX takes bios'
        : 'TDX takes bios and never bios-sev';
  return { platform, firmware: bios, field: 'bios', why };
}
