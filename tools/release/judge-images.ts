/** What the images of a release prove of themselves: the part of the verdict that needs nobody's word. */
import { equalBytes } from '../bytes/compare.ts';
import { CHUNK_BYTES, readAll, type ByteSource } from '../bytes/source.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import { CvmError, mismatchError, trustError } from '../errors.ts';
import { openExt4, type Ext4Image } from '../ext4/reader.ts';
import { partitionSource, readGpt } from '../gpt/reader.ts';
import { SECTOR_BYTES } from '../gpt/table.ts';
import {
  measureBootPartition,
  readBootProposal,
  requireBootVersion,
  type MeasurePlan,
} from '../guestos/boot-partition.ts';
import { FILLED_SLOT } from '../guestos/disk.ts';
import { BOOT_FILES, DEV_VERSION_SUFFIX, PARTITIONS } from '../guestos/layout.ts';
import { writeLaunchMeasurements, type LaunchMeasurement } from '../guestos/measurements.ts';
import { archiveVersion, verifyRootPartition } from '../guestos/packing.ts';
import { validateGuestOs } from '../guestos/validate.ts';
import type { Lock } from '../lock/lock.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { verifyProposal } from '../proposal/verify.ts';
import type { VerdictLog } from './verdicts.ts';

/** The members of an update image. */
export interface ReleaseImage {
  readonly boot: ByteSource;
  readonly root: ByteSource;
  /** VERSION.TXT. */
  readonly version: ByteSource;
}

export interface ImageClaims extends MeasurePlan {
  /** Whose root key decides. */
  readonly network: NetworkName;
  readonly certificate: Uint8Array;
  readonly request: Uint8Array | undefined;
  /** Reads launch-measurements.json of the release. */
  readonly measurements: () => string;
  readonly chipIds: readonly Uint8Array[];
  readonly lock: Lock;
}

/** Where the root partition says which build it is of. */
const ROOT_VERSION = 'opt/ic/share/version.txt';
const VERSION_LIMIT_BYTES = 4096;

export interface ImageFindings {
  readonly facts: ProposalFacts | undefined;
  readonly rootHash: string | undefined;
  readonly boot: Ext4Image | undefined;
}

/**
 * Takes every step that can be taken from the images' own bytes: the proposal by the network's root key, the launch measured
 * anew from the boot partition, the root hash from all of the root partition, both against what was blessed, the version, and
 * the disk against the update image.
 *
 * @param update the update image's members, or why it cannot be opened
 * @param disk the disk, why it cannot be opened, or undefined when there is none
 */
export function judgeImages(
  log: VerdictLog,
  claims: ImageClaims,
  update: ReleaseImage | CvmError,
  disk: ByteSource | CvmError | undefined,
): ImageFindings {
  const { network, certificate, request, chipIds, lock } = claims;
  const facts = log.take(
    'proposal',
    () => verifyProposal({ certificate, request, trust: { network }, demandRequest: true }),
    ({ proposalId }) => `${proposalId} executed on ${network}; governance was asked for it, anonymously`,
  );
  const image = log.take(
    'update image',
    () => opened(update),
    () => 'boot.img, root.img and VERSION.TXT, nothing else',
  );
  if (image === undefined) {
    for (const name of ['boot certificate', 'measurements', 'blessed', 'root hash', 'version'])
      log.leaveOut(name, 'needs the update image');
    return { facts, rootHash: undefined, boot: undefined };
  }
  const boot = log.take(
    'boot certificate',
    () => {
      const tree = openExt4(image.boot);
      requireCertificate(readBootProposal(tree), certificate);
      return tree;
    },
    () => `/${BOOT_FILES.proposal} on the boot partition is the certificate of the release`,
  );
  const computed =
    boot === undefined
      ? undefined
      : log.take(
          'measurements',
          () => {
            const measured = measureBootPartition(boot, claims);
            requireMeasurements(measured, claims.measurements());
            return measured;
          },
          ({ length }) => `${length} measured anew from the boot partition, equal to the file`,
        );
  if (boot === undefined) log.leaveOut('measurements', 'needs the boot partition');
  if (facts !== undefined && computed !== undefined) {
    log.take(
      'blessed',
      () => validateGuestOs({ facts, measurements: computed, chipIds }),
      ({ checks }) => checks.find(({ name }) => name === 'measurements')?.detail ?? '',
    );
  } else {
    log.leaveOut('blessed', 'needs the proposal and the measurements');
  }
  const rootHash = log.take(
    'root hash',
    () => {
      const recomputed = verifyRootPartition(image.root).rootHash;
      if (facts !== undefined) validateGuestOs({ facts, rootHash: recomputed });
      return recomputed;
    },
    (hash) => `${hash} recomputed from the root partition${facts === undefined ? '' : ', as blessed'}`,
  );
  judgeVersion(log, image, network);
  if (boot !== undefined) judgeBaseVersion(log, boot, lock);
  judgeDisk(log, image, disk);
  return { facts, rootHash, boot };
}

function opened<T>(value: T | CvmError): T {
  if (value instanceof CvmError) throw value;
  return value;
}

function requireCertificate(found: Uint8Array | undefined, certificate: Uint8Array): void {
  if (found !== undefined && equalBytes(found, certificate)) return;
  throw mismatchError(
    'RELEASE_CERTIFICATE',
    'the boot partition does not hold the certificate of the release',
    {
      facts: [
        ['on the boot partition', found === undefined ? 'none' : `${found.length} bytes`],
        ['in the release', `${certificate.length} bytes`],
      ],
      mend: 'do not use the release: its files are not of one build',
    },
  );
}

function requireMeasurements(measured: readonly LaunchMeasurement[], claimed: string): void {
  if (writeLaunchMeasurements(measured) === claimed) return;
  throw mismatchError(
    'RELEASE_MEASUREMENTS',
    'launch-measurements.json is not what the boot partition measures',
    {
      facts: [['measured anew', `${measured.length} measurements`]],
      mend: 'compare it with cvm guestos measure --boot update-img.tar.zst; do not use the release',
    },
  );
}

/** The archive's version against the one below the blessed root hash. */
function judgeVersion(log: VerdictLog, image: ReleaseImage, network: NetworkName): void {
  const name = 'version';
  const archive = log.take(
    `${name} mark`,
    () => {
      const text = utf8FromBytes(readAll(image.version, VERSION_LIMIT_BYTES, 'VERSION.TXT'), 'VERSION.TXT');
      requireVersionMark(text, network);
      return text;
    },
    (text) => `VERSION.TXT is ${text.trimEnd()}`,
  );
  if (archive === undefined) {
    log.leaveOut(name, 'needs VERSION.TXT');
    return;
  }
  log.take(
    name,
    () => {
      const entry = openExt4(image.root).lookup(ROOT_VERSION);
      if (entry?.type !== 'file') return false;
      const expected = archiveVersion(readAll(entry.content, VERSION_LIMIT_BYTES, ROOT_VERSION), network);
      if (expected === archive) return true;
      throw mismatchError('RELEASE_VERSION', 'VERSION.TXT is not the version that the root partition has', {
        facts: [
          ['VERSION.TXT', archive.trimEnd()],
          [`/${ROOT_VERSION}`, expected.trimEnd()],
        ],
        mend: 'do not use the release: its archive was packed with another version',
      });
    },
    (isThere) =>
      isThere
        ? `as /${ROOT_VERSION} below the blessed root hash says`
        : { unproven: `the root partition has no /${ROOT_VERSION}` },
  );
}

function requireVersionMark(text: string, network: NetworkName): void {
  const isDev = text.replace(/\n$/, '').endsWith(DEV_VERSION_SUFFIX);
  if (isDev === (network === 'dev')) return;
  throw trustError(
    'RELEASE_VERSION_MARK',
    'the mark of the dev network in VERSION.TXT does not fit the network asked for',
    {
      facts: [
        ['VERSION.TXT', text.slice(0, 200).trimEnd()],
        ['network', network],
      ],
      mend: isDev
        ? 'never use it in production; look at it with --network dev'
        : 'take the images of one build',
    },
  );
}

function judgeBaseVersion(log: VerdictLog, boot: Ext4Image, { base }: Lock): void {
  const name = 'base commit';
  if ('target' in base) {
    log.leaveOut(name, `the lock names a target, ${base.target}, and no commit`);
    return;
  }
  log.take(
    name,
    () => {
      requireBootVersion(boot, base.commit);
    },
    () => `the boot partition says ${base.commit}, as the lock does`,
  );
}

/** A disk holds the same partitions, and nothing beside them that this repository makes. */
function judgeDisk(log: VerdictLog, image: ReleaseImage, disk: ByteSource | CvmError | undefined): void {
  const name = 'disk image';
  if (disk === undefined) {
    log.leaveOut(name, 'the release has none');
    return;
  }
  const others = log.take(
    name,
    () => {
      const source = opened(disk);
      const table = readGpt(source);
      requireEqual(partitionSource(source, table, FILLED_SLOT.boot), image.boot, FILLED_SLOT.boot);
      requireEqual(partitionSource(source, table, FILLED_SLOT.root), image.root, FILLED_SLOT.root);
      return PARTITIONS.map((row) => row.name).filter(
        (part) =>
          part !== FILLED_SLOT.boot &&
          part !== FILLED_SLOT.root &&
          !isZeroSource(partitionSource(source, table, part)),
      );
    },
    () => `${FILLED_SLOT.boot} and ${FILLED_SLOT.root} are the partitions of the update image, byte for byte`,
  );
  if (others === undefined) return;
  log.take(
    'other partitions',
    () => others,
    (filled) =>
      filled.length === 0 ? 'empty' : { unproven: `${filled.join(', ')}: bound by SHA256SUMS alone` },
  );
}

function requireEqual(partition: ByteSource, image: ByteSource, name: string): void {
  for (let at = 0; at < partition.sizeBytes; at += CHUNK_BYTES) {
    const length = Math.min(CHUNK_BYTES, partition.sizeBytes - at);
    if (isHole(partition, at, length) && isHole(image, at, length)) continue;
    if (Buffer.compare(partition.read(at, length), readPadded(image, at, length)) === 0) continue;
    throw mismatchError('RELEASE_DISK', 'the disk image and the update image hold different partitions', {
      facts: [
        ['partition', name],
        ['differs from byte', at],
      ],
      mend: 'do not use the release: its images are not of one build',
    });
  }
}

/** A partition may be longer than its image: zeros follow. */
function readPadded(source: ByteSource, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const there = Math.min(length, Math.max(0, source.sizeBytes - at));
  if (there > 0) bytes.set(source.read(at, there));
  return bytes;
}

function isHole({ extents }: ByteSource, at: number, length: number): boolean {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const extent = extents[middle];
    if (extent !== undefined && extent.offset + extent.length <= at) low = middle + 1;
    else high = middle;
  }
  const next = extents[low];
  return next === undefined || next.offset >= at + length;
}

function isZeroSource(source: ByteSource): boolean {
  return dataRuns(source, SECTOR_BYTES).next().done === true;
}
