import { digestSource } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { CvmError, usageError } from '../errors.ts';
import { treeToTar } from '../tar/tree.ts';
import { NO_XATTRS, type TreeEntry } from '../tree/entry.ts';
import { rootfsHash } from './cmdline.ts';
import { bundleDigest, LISTED_FILES, writeDigest, writeSums } from './manifest.ts';
import { BUNDLE_FILES, writeMetadata, type MetadataParameters } from './metadata.ts';
import { encodeSnpMaterial, snpMaterial } from './snp-material.ts';
import { encodeTdxMaterial, tdxMaterial } from './tdx-material.ts';

/** The files that a bundle is made of. */
export interface BundleParts {
  /** TDX firmware. */
  readonly ovmf: ByteSource;
  /** SEV firmware: with it, metadata.json names it and its launch material is listed. */
  readonly ovmfSev?: ByteSource;
  readonly kernel: ByteSource;
  readonly initrd: ByteSource;
  /** GPT disk with the dm-verity root file system; bound by the command line, listed nowhere. */
  readonly rootfs: ByteSource;
}

/** `four`: the files of releases up to 0.5.x; `cbor`: with the documents for verifiers that download nothing. */
export const MANIFEST_GENERATIONS = ['cbor', 'four'] as const;
export type ManifestGeneration = (typeof MANIFEST_GENERATIONS)[number];

export interface Bundle {
  /** All files by name, sha256sum.txt and digest.txt among them. */
  readonly files: ReadonlyMap<string, ByteSource>;
  /** `os_image_hash`: 64 hex digits. */
  readonly digest: string;
}

/**
 * Makes a bundle: metadata.json, the measurement documents, sha256sum.txt and digest.txt beside the parts.
 *
 * @throws CvmError usage METADATA_*, BUNDLE_NO_TDX_MATERIAL | BUNDLE_NO_SNP_MATERIAL when a part cannot be measured;
 *   format CMDLINE_*
 */
export function buildBundle(
  parts: BundleParts,
  parameters: Omit<MetadataParameters, 'hasSevFirmware'>,
  generation: ManifestGeneration,
): Bundle {
  const { ovmf, ovmfSev, kernel, initrd, rootfs } = parts;
  const { cmdline } = parameters;
  rootfsHash(cmdline, 'the command line');
  const metadata = writeMetadata({ ...parameters, hasSevFirmware: ovmfSev !== undefined });
  const files = new Map<string, ByteSource>([
    [BUNDLE_FILES.bios, ovmf],
    [BUNDLE_FILES.kernel, kernel],
    [BUNDLE_FILES.initrd, initrd],
    [BUNDLE_FILES.metadata, sourceFromBytes(metadata)],
    [BUNDLE_FILES.rootfs, rootfs],
  ]);
  if (ovmfSev !== undefined) files.set(BUNDLE_FILES.biosSev, ovmfSev);
  if (generation === 'cbor') {
    const tdx = measured('TDX', BUNDLE_FILES.bios, () =>
      tdxMaterial({
        firmware: ovmf,
        kernel,
        initrd,
        cmdline,
        variant: parameters.ovmfVariant,
        patchesHeader: true,
      }),
    );
    files.set(BUNDLE_FILES.tdxMaterial, sourceFromBytes(encodeTdxMaterial(tdx)));
    if (ovmfSev !== undefined) {
      const snp = measured('SNP', BUNDLE_FILES.biosSev, () =>
        snpMaterial({ firmware: ovmfSev, kernel, initrd, cmdline }),
      );
      files.set(BUNDLE_FILES.snpMaterial, sourceFromBytes(encodeSnpMaterial(snp)));
    }
  }
  const sums = writeSums(
    LISTED_FILES.flatMap((name) => {
      const content = files.get(name);
      return content === undefined ? [] : [{ name, sha256: bytesToHex(digestSource('sha256', content)) }];
    }),
  );
  files.set(BUNDLE_FILES.sums, sourceFromBytes(sums));
  files.set(BUNDLE_FILES.digest, sourceFromBytes(writeDigest(sums)));
  return { files, digest: bundleDigest(sums) };
}

/** A part that cannot be measured makes no bundle with measurements; the part's own error says why. */
function measured<T>(platform: 'TDX' | 'SNP', firmware: string, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof CvmError) || cause.kind === 'bug') throw cause;
    throw usageError(
      `BUNDLE_NO_${platform}_MATERIAL`,
      `the parts cannot be measured for ${platform}: ${cause.message}`,
      {
        facts: [['code', cause.code], ['firmware', firmware], ...cause.facts],
        mend: `${cause.mend ?? 'use a firmware and a kernel that can be measured'}; or --manifest=four, which lists no measurements`,
        cause,
      },
    );
  }
}

/** The order in which the bare-metal archive has its files. */
const ARCHIVE_ORDER: readonly string[] = [
  BUNDLE_FILES.rootfs,
  BUNDLE_FILES.kernel,
  BUNDLE_FILES.bios,
  BUNDLE_FILES.digest,
  BUNDLE_FILES.sums,
  BUNDLE_FILES.initrd,
  BUNDLE_FILES.metadata,
  BUNDLE_FILES.tdxMaterial,
  BUNDLE_FILES.biosSev,
  BUNDLE_FILES.snpMaterial,
];

/** The files of a bundle as a tree: owner 0, mode 0644, time 0. */
export function bundleTree(bundle: Bundle): TreeEntry[] {
  return [folder(''), ...fileEntries(bundle, '', [...bundle.files.keys()])];
}

/** `<name>.tar`: everything below one folder, in upstream's order. */
export function bareMetalTar(bundle: Bundle, name: string): Generator<Uint8Array> {
  const entries = [folder(name), ...fileEntries(bundle, `${name}/`, ARCHIVE_ORDER)];
  return treeToTar(entries, { order: 'given' });
}

/** `mr_<digest>.tar`: what verifiers download. No root file system, no folder, names in byte order. */
export function measurementTar(bundle: Bundle): Generator<Uint8Array> {
  const names = [...bundle.files.keys()].filter((name) => !name.startsWith('rootfs'));
  return treeToTar(fileEntries(bundle, '', names));
}

function fileEntries(bundle: Bundle, prefix: string, names: readonly string[]): TreeEntry[] {
  return names.flatMap((name) => {
    const content = bundle.files.get(name);
    if (content === undefined) return [];
    return [{ ...OWNERLESS, path: `${prefix}${name}`, mode: 0o644, type: 'file', content }];
  });
}

const OWNERLESS = { uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, xattrs: NO_XATTRS } as const;

function folder(path: string): TreeEntry {
  return { ...OWNERLESS, path, mode: 0o755, type: 'dir' };
}
