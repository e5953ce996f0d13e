import { readAll, type ByteSource } from '../bytes/source.ts';
import { rawFromUtf8, utf8FromBytes, type RawText } from '../bytes/text.ts';
import { formatError, mismatchError } from '../errors.ts';
import { DEFAULT_GUEST_FEATURES } from '../snp/guest-features.ts';
import { prepareSnpLaunch, type SnpConfiguration, type SnpLaunch } from '../snp/launch-digest.ts';
import { vcpuTypeSignature } from '../snp/vcpu-types.ts';
import type { TreeEntry } from '../tree/entry.ts';
import {
  parseBootArgs,
  teeCommandLines,
  type BootArgs,
  type Slot,
  type SlotCommandLine,
} from './boot-args.ts';
import { BOOT_FILES } from './layout.ts';
import type { LaunchMeasurement } from './measurements.ts';

/** What a boot partition is looked up in: an ext4 image, or any tree that follows symlinks. */
export interface BootTree {
  /** Follows symlinks in every component; undefined when there is nothing. */
  lookup(path: RawText): TreeEntry | undefined;
}

/** A real boot_args holds a few kilobytes, a certificate some tens. */
const TEXT_LIMIT_BYTES = 1 << 20;
const PROPOSAL_LIMIT_BYTES = 16 << 20;
const VERSION_LIMIT_BYTES = 4096;

/**
 * A file at the top of the boot partition, symlinks resolved; undefined when there is nothing of that name.
 * @throws CvmError format BOOT_FILE_TYPE when the name leads to something other than a regular file
 */
function findBootFile(tree: BootTree, name: string): ByteSource | undefined {
  const entry = tree.lookup(rawFromUtf8(name));
  if (entry === undefined) return undefined;
  if (entry.type !== 'file') {
    throw formatError('BOOT_FILE_TYPE', `/${name} on the boot partition is not a regular file`, {
      facts: [['type', entry.type]],
      mend: 'take the boot partition of a released GuestOS image',
    });
  }
  return entry.content;
}

/** @throws CvmError format BOOT_FILE_MISSING | BOOT_FILE_TYPE */
export function bootFile(tree: BootTree, name: string): ByteSource {
  const file = findBootFile(tree, name);
  if (file !== undefined) return file;
  throw formatError('BOOT_FILE_MISSING', `the boot partition has no /${name}`, {
    mend:
      name === BOOT_FILES.firmware
        ? 'releases without SEV firmware cannot start an SEV guest: take a later base release'
        : 'take the boot partition of a released GuestOS image; a dangling symlink counts as nothing',
  });
}

/**
 * @throws CvmError format BOOT_FILE_MISSING | BOOT_FILE_TYPE | SOURCE_TOO_LARGE | TEXT_NOT_UTF8 (what is measured goes into
 *   JSON as text, so it has to be text)
 */
export function readBootArgs(tree: BootTree): BootArgs {
  const bytes = readAll(bootFile(tree, BOOT_FILES.bootArgs), TEXT_LIMIT_BYTES, '/boot_args');
  return parseBootArgs(utf8FromBytes(bytes, '/boot_args'));
}

/** The certificate of a recovery image, undefined on a boot partition of a normal release. */
export function readBootProposal(tree: BootTree): Uint8Array | undefined {
  const file = findBootFile(tree, BOOT_FILES.proposal);
  return file === undefined ? undefined : readAll(file, PROPOSAL_LIMIT_BYTES, `/${BOOT_FILES.proposal}`);
}

/**
 * Refuses the boot partition of another release.
 * @param expected what version.txt has to say: the release's commit
 * @throws CvmError mismatch IMAGE_VERSION; format BOOT_FILE_MISSING | BOOT_FILE_TYPE | SOURCE_TOO_LARGE | TEXT_NOT_UTF8
 */
export function requireBootVersion(tree: BootTree, expected: string): void {
  const file = bootFile(tree, BOOT_FILES.version);
  const found = utf8FromBytes(readAll(file, VERSION_LIMIT_BYTES, '/version.txt'), '/version.txt').trimEnd();
  if (found === expected) return;
  throw mismatchError('IMAGE_VERSION', 'the boot partition is of another release than it must be', {
    facts: [
      ['expected', expected],
      ['found', found],
    ],
    mend: 'pin the commit that the node ran: commit and sha256 of the lock have to belong together',
  });
}

export interface MeasurePlan {
  /** vCPU counts, at least one. */
  readonly vcpus: readonly number[];
  /** QEMU model names, at least one. */
  readonly vcpuTypes: readonly string[];
}

/** A launch digest with all that it was computed for. */
export interface BootLaunch extends LaunchMeasurement {
  readonly kernelCmdline: string;
  readonly vcpuType: string;
  readonly vcpus: number;
  readonly slot: Slot;
}

/** The files and command lines of a boot partition, prepared to be measured under any plan. */
export interface PreparedBoot {
  readonly cmdlines: readonly SlotCommandLine[];
  readonly launch: SnpLaunch;
}

/**
 * Reads what direct boot measures; firmware, kernel and initrd are hashed once.
 * @throws CvmError format of the files, of boot_args and of the firmware (OVMF_*)
 */
export function prepareBoot(tree: BootTree): PreparedBoot {
  const cmdlines = teeCommandLines(readBootArgs(tree));
  const launch = prepareSnpLaunch({
    firmware: bootFile(tree, BOOT_FILES.firmware),
    kernel: bootFile(tree, BOOT_FILES.kernel),
    initrd: bootFile(tree, BOOT_FILES.initrd),
  });
  return { cmdlines, launch };
}

/** How a node of GuestOS starts its guest: the same for every measurement, planned or explained. */
export function launchConfiguration(vcpuType: string, vcpus: number, cmdline: string): SnpConfiguration {
  return {
    append: cmdline,
    vcpus,
    vcpuSig: vcpuTypeSignature(vcpuType),
    guestFeatures: DEFAULT_GUEST_FEATURES,
    vmmType: 'QEMU',
  };
}

/**
 * The digests of a prepared boot partition: each CPU type with each vCPU count, each of them with the command line of slot
 * A, then B.
 * @throws CvmError usage VCPU_TYPE_UNKNOWN | VCPU_COUNT
 */
export function bootLaunches({ cmdlines, launch }: PreparedBoot, plan: MeasurePlan): BootLaunch[] {
  return plan.vcpuTypes.flatMap((vcpuType) =>
    plan.vcpus.flatMap((vcpus) =>
      cmdlines.map(({ slot, cmdline }) => ({
        measurement: launch.predict(launchConfiguration(vcpuType, vcpus, cmdline)),
        kernelCmdline: cmdline,
        vcpuType,
        vcpus,
        slot,
      })),
    ),
  );
}

/**
 * The launch digests with which a boot partition can start an SEV-SNP guest under QEMU, in the order of {@link bootLaunches}.
 *
 * @throws CvmError usage VCPU_TYPE_UNKNOWN | VCPU_COUNT; format of the files, of boot_args and of the firmware (OVMF_*)
 */
export function measureBootPartition(tree: BootTree, plan: MeasurePlan): LaunchMeasurement[] {
  return bootLaunches(prepareBoot(tree), plan).map(({ measurement, kernelCmdline, vcpuType }) => ({
    measurement,
    kernelCmdline,
    vcpuType,
  }));
}
