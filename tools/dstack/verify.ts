import { equalBytes } from '../bytes/compare.ts';
import { digestSource } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { readAll } from '../bytes/source.ts';
import { showRaw } from '../bytes/text.ts';
import { formatError, mismatchError, trustError, type Fact } from '../errors.ts';
import { rootfsHash } from './cmdline.ts';
import {
  ARTIFACTS,
  artifact,
  bundleMetadata,
  chooseFirmware,
  requireFile,
  type BundleContents,
} from './contents.ts';
import {
  bundleDigest,
  isFlatName,
  readDigest,
  readSums,
  SUMS_LIMIT_BYTES,
  type SumEntry,
} from './manifest.ts';
import { BUNDLE_FILES, type BundleMetadata } from './metadata.ts';
import { resolveVariant } from './ovmf-variant.ts';
import { encodeSnpMaterial, snpMaterial } from './snp-material.ts';
import { encodeTdxMaterial, tdxMaterial } from './tdx-material.ts';

/** By whose rules a bundle is looked at: a verifier has no use for the root file system, a VMM needs every file. */
export const BUNDLE_ROLES = ['vmm', 'verifier'] as const;
export type BundleRole = (typeof BUNDLE_ROLES)[number];

/** How a file is bound to the digest. */
export type Binding =
  /** Its sha256 stands in the manifest. */
  | 'listed'
  /** The digest is over it, or it states the digest. */
  | 'digest'
  /** Its launch digest stands in a listed document, and was computed again. */
  | 'measured'
  /** Named by a listed document; its content was not looked at here. */
  | 'referenced'
  /** By nothing. */
  | 'none';

export interface VerifiedFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly binding: Binding;
  /** Of listed files: 64 hex digits. */
  readonly sha256?: string;
  readonly note?: string;
}

export interface BundleReport {
  /** 64 hex digits. */
  readonly osImageHash: string;
  readonly role: BundleRole;
  readonly metadata: BundleMetadata;
  /** 64 hex digits, from the command line. */
  readonly rootfsHash: string;
  readonly files: readonly VerifiedFile[];
}

export interface VerifyOptions {
  readonly role?: BundleRole;
  /** What the bundle must be: 64 hex digits. */
  readonly osImageHash?: string;
  /** false for whoever measures the files anyway: the measurement documents are then not computed again. */
  readonly computesMaterials?: boolean;
}

/** Files that image builds leave in a bundle without listing them. */
const KNOWN_UNLISTED: ReadonlyMap<string, string> = new Map([
  [BUNDLE_FILES.sums, ''],
  [BUNDLE_FILES.digest, ''],
  ['digest.sev.txt', 'of a short-lived format: no reader takes it'],
  ['disk.raw', 'cloud disk: measured by its own platform'],
  ['auth_hash.txt', 'cloud artefact'],
  ['measurement.gcp.eventlog.bin', 'cloud artefact'],
]);

/**
 * Whether a bundle is what its digest says, by the rules of dstack's verifier and VMM, and stricter where those two would
 * look at different files.
 *
 * In this order: manifest, digest, listed files, metadata, the files it names, the rest of the bundle, the measurement
 * documents, which are computed again from the files.
 *
 * @throws CvmError format SUMS_*, DIGEST_INVALID, METADATA_*, JSON_*, CMDLINE_*, ARTIFACT_*, BUNDLE_NO_*;
 *   mismatch OS_IMAGE_HASH | BUNDLE_DIGEST | BUNDLE_CHECKSUM | BUNDLE_MATERIAL;
 *   trust BUNDLE_LISTED_MISSING | BUNDLE_UNCOMMITTED | BUNDLE_UNLISTED | ARTIFACT_ESCAPES
 */
export function verifyBundle(contents: BundleContents, options: VerifyOptions = {}): BundleReport {
  const role = options.role ?? (contents.form === 'flat' ? 'verifier' : 'vmm');
  const sumsItem = contents.items.get(BUNDLE_FILES.sums);
  if (sumsItem === undefined) {
    throw formatError('BUNDLE_NO_SUMS', `${BUNDLE_FILES.sums} not found in the bundle`, {
      facts: [['found', shownNames(contents)]],
      mend: 'give the folder or archive of one dstack image',
    });
  }
  const sums = readAll(
    requireFile('Manifest', BUNDLE_FILES.sums, sumsItem),
    SUMS_LIMIT_BYTES,
    BUNDLE_FILES.sums,
  );
  const entries = readSums(sums);
  const osImageHash = bundleDigest(sums);
  checkDigests(contents, osImageHash, options.osImageHash);
  checkListed(contents, entries);
  const metadata = bundleMetadata(contents);
  const listed = new Map(entries.map((entry) => [entry.name, entry.sha256]));
  requireCommitted(listed, metadata);
  // A VMM may start an image without; no verifier can measure one.
  if (role === 'verifier') chooseFirmware(metadata, 'tdx');
  if (metadata.cmdline === undefined || metadata.cmdline.trim() === '') {
    throw formatError(
      'CMDLINE_MISSING',
      `${BUNDLE_FILES.metadata} has no command line: nothing binds the root file system`,
    );
  }
  const root = rootfsHash(metadata.cmdline, BUNDLE_FILES.metadata);
  checkArtifacts(contents, metadata, role);
  checkUnlisted(contents, listed, metadata);
  const measured =
    options.computesMaterials === false ? new Set<string>() : checkMaterials(contents, listed, metadata);
  return {
    osImageHash,
    role,
    metadata,
    rootfsHash: bytesToHex(root),
    files: [...contents.items].map(([name, item]) => {
      const sizeBytes = item.kind === 'file' ? item.content.sizeBytes : 0;
      return { name, sizeBytes, ...bindingOf(name, listed, metadata, measured) };
    }),
  };
}

function shownNames(contents: BundleContents): string {
  const names = [...contents.items.keys()];
  return names.slice(0, 20).map(showRaw).join(', ') || 'nothing';
}

function checkDigests(contents: BundleContents, found: string, demanded: string | undefined): void {
  if (demanded !== undefined && demanded.toLowerCase() !== found) {
    throw mismatchError('OS_IMAGE_HASH', `os_image_hash does not match sha256(${BUNDLE_FILES.sums})`, {
      facts: [
        ['expected', demanded.toLowerCase()],
        ['found', found],
      ],
      mend: 'this is another image than the one that is meant: fetch the bundle of that digest',
    });
  }
  const item = contents.items.get(BUNDLE_FILES.digest);
  if (item === undefined) return;
  const stated = readDigest(
    readAll(requireFile('Digest', BUNDLE_FILES.digest, item), 1 << 12, BUNDLE_FILES.digest),
  );
  if (stated === found) return;
  throw mismatchError('BUNDLE_DIGEST', `${BUNDLE_FILES.digest} is not the digest of ${BUNDLE_FILES.sums}`, {
    facts: [
      [BUNDLE_FILES.digest, stated],
      [`sha256(${BUNDLE_FILES.sums})`, found],
    ],
    mend: 'one of the two was changed: fetch the bundle again',
  });
}

function checkListed(contents: BundleContents, entries: readonly SumEntry[]): void {
  if (!entries.some(({ name }) => name === BUNDLE_FILES.metadata)) {
    throw trustError('BUNDLE_UNCOMMITTED', `${BUNDLE_FILES.sums} does not list ${BUNDLE_FILES.metadata}`, {
      mend: 'what the digest does not cover can be exchanged: do not use this bundle',
    });
  }
  const absent = entries.filter(({ name }) => !contents.items.has(name)).map(({ name }) => name);
  if (absent.length > 0) {
    throw trustError('BUNDLE_LISTED_MISSING', 'files that the manifest lists are not in the bundle', {
      facts: [
        ['missing', absent.join(', ')],
        ['found', shownNames(contents)],
      ],
      mend: 'the bundle is incomplete: fetch it again',
    });
  }
  const changed: Fact[] = [];
  for (const { name, sha256 } of entries) {
    const item = contents.items.get(name);
    if (item === undefined) continue;
    const found = bytesToHex(digestSource('sha256', requireFile('Listed file', name, item)));
    if (found !== sha256) changed.push([name, `listed ${sha256}, found ${found}`]);
  }
  if (changed.length === 0) return;
  throw mismatchError(
    'BUNDLE_CHECKSUM',
    `Checksum verification failed: ${changed.map(([name]) => name).join(', ')}`,
    {
      facts: changed,
      mend: 'these files are not the ones that were measured: fetch the bundle again',
    },
  );
}

/** What is measured or decides on measuring has to be covered by the digest. */
function requireCommitted(listed: ReadonlyMap<string, string>, metadata: BundleMetadata): void {
  for (const [key, name] of [
    ['kernel', metadata.kernel],
    ['initrd', metadata.initrd],
    ['bios', metadata.bios],
  ] as const) {
    if (name === undefined || listed.has(name) || !isFlatName(name)) continue;
    throw trustError('BUNDLE_UNCOMMITTED', `the manifest does not list the file that ${key} names`, {
      facts: [
        ['key', key],
        ['file', name],
        ['listed', [...listed.keys()].join(', ')],
      ],
      mend: 'what the digest does not cover can be exchanged: do not use this bundle',
    });
  }
}

function checkArtifacts(contents: BundleContents, metadata: BundleMetadata, role: BundleRole): void {
  for (const { label, key, of } of ARTIFACTS) {
    const name = of(metadata);
    if (name === undefined) continue;
    // A verifier deletes what is not listed, so these may be gone; what is there must still be a file.
    const isOptional = role === 'verifier' && (key === 'rootfs' || key === 'hda' || key === 'bios-sev');
    if (isOptional && isFlatName(name) && !contents.items.has(name)) continue;
    artifact(contents, label, name);
  }
}

function checkUnlisted(
  contents: BundleContents,
  listed: ReadonlyMap<string, string>,
  metadata: BundleMetadata,
): void {
  const named = new Set(ARTIFACTS.map(({ of }) => of(metadata)));
  for (const [name, item] of contents.items) {
    if (item.kind !== 'file') requireFile('File', name, item);
    if (listed.has(name) || named.has(name) || KNOWN_UNLISTED.has(name)) continue;
    throw trustError(
      'BUNDLE_UNLISTED',
      'the bundle holds a file that neither the manifest nor the metadata names',
      {
        facts: [
          ['file', showRaw(name)],
          ['listed', [...listed.keys()].join(', ')],
        ],
        mend: 'nothing says what it is for: take it out of the bundle',
      },
    );
  }
}

/** @returns names of the firmware that a listed document commits to */
function checkMaterials(
  contents: BundleContents,
  listed: ReadonlyMap<string, string>,
  metadata: BundleMetadata,
): ReadonlySet<string> {
  const measured = new Set<string>();
  const kernel = artifact(contents, 'Kernel', metadata.kernel);
  const initrd = artifact(contents, 'Initrd', metadata.initrd);
  const cmdline = metadata.cmdline ?? '';
  if (listed.has(BUNDLE_FILES.tdxMaterial) && metadata.bios !== undefined) {
    const { variant } = resolveVariant('build', {
      metadataVariant: metadata.ovmfVariant,
      metadataVersion: metadata.version,
    });
    const material = tdxMaterial({
      firmware: artifact(contents, 'Bios', metadata.bios),
      kernel,
      initrd,
      cmdline,
      variant: variant ?? 'pre202505',
      patchesHeader: !metadata.kernelHeaderNormalized,
    });
    requireSame(contents, BUNDLE_FILES.tdxMaterial, encodeTdxMaterial(material));
    measured.add(metadata.bios);
  }
  const sevFirmware = metadata.biosSev ?? metadata.bios;
  if (listed.has(BUNDLE_FILES.snpMaterial) && sevFirmware !== undefined && contents.items.has(sevFirmware)) {
    const firmware = artifact(contents, 'SEV bios', sevFirmware);
    requireSame(
      contents,
      BUNDLE_FILES.snpMaterial,
      encodeSnpMaterial(snpMaterial({ firmware, kernel, initrd, cmdline })),
    );
    measured.add(sevFirmware);
  }
  return measured;
}

function requireSame(contents: BundleContents, name: string, computed: Uint8Array): void {
  const stated = readAll(artifact(contents, 'Measurement', name), 1 << 20, name);
  if (equalBytes(stated, computed)) return;
  throw mismatchError('BUNDLE_MATERIAL', `${name} is not what the files of the bundle measure to`, {
    facts: [
      ['stated', `${stated.length} bytes`],
      ['computed', `${computed.length} bytes`],
      ['first difference', `byte ${computed.findIndex((byte, i) => byte !== stated[i])}`],
    ],
    mend: 'a firmware was exchanged, or the document is of another version: fetch the bundle again',
  });
}

function bindingOf(
  name: string,
  listed: ReadonlyMap<string, string>,
  metadata: BundleMetadata,
  measured: ReadonlySet<string>,
): { readonly binding: Binding; readonly sha256?: string; readonly note?: string } {
  const sha256 = listed.get(name);
  if (sha256 !== undefined) return { binding: 'listed', sha256 };
  if (measured.has(name)) return { binding: 'measured', note: `through ${BUNDLE_FILES.snpMaterial}` };
  if (name === metadata.rootfs || name === metadata.hda) {
    return {
      binding: 'referenced',
      note: 'through dstack.rootfs_hash, checked by the guest; not computed here',
    };
  }
  if (name === BUNDLE_FILES.sums || name === BUNDLE_FILES.digest) return { binding: 'digest' };
  if (name === metadata.biosSev) return { binding: 'none', note: 'its name is listed, its content is not' };
  return { binding: 'none', note: KNOWN_UNLISTED.get(name) ?? '' };
}
