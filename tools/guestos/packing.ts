import { sliceSource, sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes, utf8FromBytes, jsonText } from '../bytes/text.ts';
import { formatError, mismatchError, usageError } from '../errors.ts';
import { openExt4 } from '../ext4/reader.ts';
import type { NetworkName } from '../nns/networks.ts';
import { verifyProposal } from '../proposal/verify.ts';
import type { SparseMember } from '../tar/sparse.ts';
import { verifyVerity } from '../verity/verify.ts';
import { commandLines, rootHashesOf, teeCommandLines } from './boot-args.ts';
import { measureBootPartition, readBootArgs, readBootProposal, type MeasurePlan } from './boot-partition.ts';
import { DEV_VERSION_SUFFIX, ROOT_HASH_OFFSET, UPDATE_IMAGE_MEMBERS } from './layout.ts';
import { validateGuestOs, type Verdict } from './validate.ts';

export interface PackingInput extends MeasurePlan {
  /** The boot partition's bytes: ext4. */
  readonly boot: ByteSource;
  /** The root partition's bytes: data, and the hash tree at {@link ROOT_HASH_OFFSET}. */
  readonly root: ByteSource;
  /** Whose root key decides. Nothing else can be asked. */
  readonly network: NetworkName;
  /** The request that the certificate on the boot partition answers. Mainnet demands it. */
  readonly request?: Uint8Array | undefined;
  /** Chips that the proposal must list. */
  readonly chipIds?: readonly Uint8Array[] | undefined;
}

/** A boot partition without a proposal: a release of its own, whose command lines name its root partition. */
export interface ReleaseVerdict {
  readonly ok: true;
  readonly network: NetworkName;
  readonly proposalId: null;
  readonly rootHash: string;
  readonly checks: readonly { readonly name: 'boot-args'; readonly status: 'ok'; readonly detail: string }[];
}

/**
 * The check that no update image gets around, made from the bytes that are packed:
 *
 * - the root hash is recomputed from all data blocks of the root partition and must be the one that its tree has;
 * - with a proposal on the boot partition, its certificate is verified anew, firmware, kernel, initrd and command lines on
 *   the partition are measured anew, and all of it must be what the proposal blesses;
 * - without one, every command line must name the recomputed root hash: a recovery boot partition that lost its proposal
 *   is refused here, as its command lines name the base's root partition.
 *
 * @throws CvmError format of the partitions; trust of the certificate; mismatch MEASUREMENT_NOT_BLESSED |
 *   ROOT_HASH_MISMATCH | CHIP_NOT_LISTED | BOOT_ARGS_ROOT_HASH | ROOT_NOT_COVERED, and those of `verifyVerity`; usage PROPOSAL_ABSENT
 */
export function validatePacking(input: PackingInput): Verdict | ReleaseVerdict {
  const boot = openExt4(input.boot);
  const certificate = readBootProposal(boot);
  const { rootHash } = verifyRootPartition(input.root);
  if (certificate === undefined) {
    requireNothingOfProposal(input);
    return validateRelease(readBootArgs(boot), rootHash, input.network);
  }
  const facts = verifyProposal({
    certificate,
    request: input.request,
    trust: { network: input.network },
    demandRequest: input.network === 'mainnet',
  });
  const measurements = measureBootPartition(boot, input);
  return validateGuestOs({
    facts,
    measurements,
    rootHash,
    chipIds: input.chipIds,
    launch: { boot, plan: input },
  });
}

/**
 * Refuses what only goes with a proposal, for a boot partition without one.
 * @throws CvmError usage PROPOSAL_ABSENT
 */
export function requireNothingOfProposal({
  request,
  chipIds = [],
}: Pick<PackingInput, 'request' | 'chipIds'>): void {
  if (request === undefined && chipIds.length === 0) return;
  throw usageError(
    'PROPOSAL_ABSENT',
    'a request or a chip id was given, but the boot partition holds no proposal',
    {
      mend: 'give the boot partition of the recovery image, or leave both out',
    },
  );
}

/** What a root partition proved to be. */
export interface VerifiedRoot {
  /** 64 lower-case hex digits. */
  readonly rootHash: string;
  /** How much of the partition, from its start on, the root hash stands for. */
  readonly coveredBytes: number;
  readonly filesystemBytes: number;
}

/**
 * The root hash of a root partition, recomputed from all its data, of which its file system must be part.
 * @throws CvmError mismatch ROOT_NOT_COVERED, and those of `verifyVerity` and `openExt4`
 */
export function verifyRootPartition(root: ByteSource): VerifiedRoot {
  const { rootHash, parameters } = verifyVerity(root, ROOT_HASH_OFFSET);
  const coveredBytes = parameters.dataBlocks * parameters.dataBlockBytes;
  const { info } = openExt4(sliceSource(root, 0, ROOT_HASH_OFFSET));
  if (info.sizeBytes > coveredBytes) {
    throw mismatchError('ROOT_NOT_COVERED', 'the hash tree covers a part of the root file system only', {
      facts: [
        ['file system', `${info.sizeBytes} bytes`],
        ['covered', `${coveredBytes} bytes`],
      ],
      mend: 'make the hash tree over the whole file system',
    });
  }
  return { rootHash: bytesToHex(rootHash), coveredBytes, filesystemBytes: info.sizeBytes };
}

/**
 * The decision on a boot partition without a proposal.
 * @throws CvmError format BOOT_ARGS_*; mismatch BOOT_ARGS_ROOT_HASH
 */
export function validateRelease(
  args: ReturnType<typeof readBootArgs>,
  rootHash: string,
  network: NetworkName,
): ReleaseVerdict {
  teeCommandLines(args);
  const lines = commandLines(args);
  for (const [name, cmdline] of lines) {
    const found = rootHashesOf(cmdline);
    if (found.length === 1 && found[0] === rootHash) continue;
    throw mismatchError('BOOT_ARGS_ROOT_HASH', `${name} does not name the root partition that is packed`, {
      facts: [
        ['root hash of the partition', rootHash],
        ['root_hash= in boot_args', found.join(' ') || 'none'],
      ],
      nearest: 'a recovery boot partition whose proposal was left out looks like this',
      mend: 'pack the boot and root partition of one build, or the recovery boot partition with its proposal',
    });
  }
  return {
    ok: true,
    network,
    proposalId: null,
    rootHash,
    checks: [
      {
        name: 'boot-args',
        status: 'ok',
        detail: `${[...lines.keys()].join(', ')} name root hash ${rootHash}`,
      },
    ],
  };
}

/** The members of an update image, in their order. @param version as of {@link archiveVersion} */
export function updateImageMembers(boot: ByteSource, root: ByteSource, version: string): SparseMember[] {
  const [bootName, rootName, versionName] = UPDATE_IMAGE_MEMBERS;
  return [
    { name: bootName, source: boot },
    { name: rootName, source: root },
    { name: versionName, source: sourceFromBytes(utf8Bytes(version)) },
  ];
}

const VERSION = /^[0-9A-Za-z][0-9A-Za-z._+-]{0,127}$/;

/**
 * VERSION.TXT of an archive: the version of the build, marked when it is of the dev network.
 * @param file one line, with or without its newline
 * @throws CvmError format VERSION_TEXT; mismatch VERSION_NETWORK when a version marked dev is to go into a mainnet image
 */
export function archiveVersion(file: Uint8Array, network: NetworkName): string {
  const version = utf8FromBytes(file, 'the version file').replace(/\n$/, '');
  if (!VERSION.test(version)) {
    throw formatError('VERSION_TEXT', 'the version is not one line of letters, digits and . _ + -', {
      facts: [['found', version.slice(0, 200)]],
    });
  }
  if (network === 'dev') return `${version}${DEV_VERSION_SUFFIX}\n`;
  if (version.endsWith(DEV_VERSION_SUFFIX)) {
    throw mismatchError('VERSION_NETWORK', 'a version marked dev cannot go into a mainnet image', {
      facts: [['version', version]],
      mend: 'build with the version of a release',
    });
  }
  return `${version}\n`;
}

/** One line of JSON and a newline. */
export function packingVerdictJson(verdict: Verdict | ReleaseVerdict): string {
  return `${jsonText(verdict)}\n`;
}
