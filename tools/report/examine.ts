/**
 * From bytes to what a page says. Nothing is taken over from an earlier step of the build: no verdict, no measurement and no root
 * hash is read from a file; all of it is computed here, by the functions that decide whether an image is packed.
 */
import { bytesToHex } from '../bytes/hex.ts';
import { digestBytes, digestSource } from '../bytes/digest.ts';
import { readAll, type ByteSource } from '../bytes/source.ts';
import { rawFromUtf8, utf8FromBytes } from '../bytes/text.ts';
import { CvmError } from '../errors.ts';
import { checkContentSize } from '../ext4/content-limit.ts';
import { openExt4, type Ext4Image } from '../ext4/reader.ts';
import { slotOf } from '../guestos/boot-args.ts';
import {
  bootFile,
  bootLaunches,
  launchConfiguration,
  prepareBoot,
  readBootArgs,
  readBootProposal,
  type BootLaunch,
  type MeasurePlan,
  type PreparedBoot,
} from '../guestos/boot-partition.ts';
import { BOOT_FILES } from '../guestos/layout.ts';
import {
  requireNothingOfProposal,
  validateRelease,
  verifyRootPartition,
  type VerifiedRoot,
} from '../guestos/packing.ts';
import { refusalOf, validateGuestOs } from '../guestos/validate.ts';
import { rootKeyOf, type NetworkName } from '../nns/networks.ts';
import { StageLog } from '../nns/stages.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { verifyProposal } from '../proposal/verify.ts';
import { cmdlineHash } from '../snp/kernel-hashes.ts';
import { checkLock, requireLock } from './lock-check.ts';
import type {
  BaseReport,
  BootReport,
  Certification,
  CommandLine,
  Component,
  FileFact,
  LaunchStepReport,
  Outcome,
  Report,
} from './model.ts';
import { treeDifference } from './tree-difference.ts';

export interface ExamineInput extends MeasurePlan {
  readonly label: string | null;
  readonly network: NetworkName;
  /** The boot partition of the image; undefined before the vote, when the base's own is looked at. */
  readonly boot: ByteSource | undefined;
  readonly root: ByteSource;
  /** Of a recovery image: what its boot partition was made from. */
  readonly base: { readonly boot: ByteSource; readonly file: FileFact } | undefined;
  readonly request: Uint8Array | undefined;
  /** Name and text of the lock. */
  readonly lock: { readonly name: string; readonly text: string } | undefined;
  readonly chipIds: readonly Uint8Array[];
  readonly version: string | null;
}

/** A report without the image's own digest: that costs as much as all the rest, and a refused image has none. */
export type Examined = Omit<Report, 'image'>;

/**
 * Verifies everything that can be verified, in the order in which packing does, and goes on after a refusal to say what there is.
 *
 * @throws CvmError format of the partitions and of the lock: of what cannot be read nothing can be said; usage VCPU_TYPE_UNKNOWN |
 *   VCPU_COUNT
 */
export function examine(input: ExamineInput): Examined {
  const { network, plan } = {
    network: input.network,
    plan: { vcpus: input.vcpus, vcpuTypes: input.vcpuTypes },
  };
  const refusals = new Refusals();
  const baseImage = input.base === undefined ? undefined : openBoot(input.base.boot);
  const image = input.boot === undefined ? baseImage : openBoot(input.boot);
  if (image === undefined) {
    throw new CvmError('usage', 'REPORT_INPUT', 'there is neither a boot partition nor a base release', {
      mend: 'give the image, its partitions, or before the vote the base release',
    });
  }

  const root = refusals.attempt(() => verifyRootPartition(input.root));
  const certificate = readBootProposal(image);
  const certification =
    certificate === undefined || input.boot === undefined
      ? null
      : certify(certificate, input.request, network, refusals);
  const prepared = prepareBoot(image);
  const launches = bootLaunches(prepared, plan);
  const base =
    input.base === undefined || baseImage === undefined ? null : baseReport(input.base.file, baseImage);
  const lock =
    input.lock === undefined
      ? null
      : checkLock(input.lock.name, input.lock.text, { network, base, certification });
  if (lock !== null) refusals.attempt(() => requireLock(lock));

  const outcome = refusals.outcome(network, () =>
    decide({ input, image, plan, root, certification, launches }),
  );
  // Before the vote it is the base that is looked at: compared with itself it would say nothing.
  const other = input.boot === undefined ? undefined : baseImage;
  return {
    label: input.label,
    network,
    isBeforeVote: input.boot === undefined,
    outcome,
    version: input.version,
    root: root ?? null,
    certification,
    boot: bootReport(image, other, prepared, launches, plan, certification?.facts ?? null),
    base,
    lock,
    tree: treeDifference(image.entries(), other?.entries()),
    chipIds: input.chipIds.map(bytesToHex),
  };
}

/** What was refused on the way. The first is what packing would have stopped at. */
class Refusals {
  #first: CvmError | undefined;

  /** The result, or undefined after a refusal. Malformed certificates are refused like others; our bugs are not caught. */
  attempt<T>(step: () => T): T | undefined {
    try {
      return step();
    } catch (error) {
      if (!(error instanceof CvmError) || error.kind === 'bug' || error.kind === 'usage') throw error;
      this.#first ??= error;
      return undefined;
    }
  }

  outcome(network: NetworkName, decision: () => Outcome): Outcome {
    const decided = this.#first === undefined ? this.attempt(decision) : undefined;
    if (this.#first !== undefined) return { kind: 'refused', refusal: refusalOf(this.#first, network) };
    // attempt() gives undefined after a refusal alone.
    return decided as Outcome;
  }
}

interface DecideInput {
  readonly input: ExamineInput;
  readonly image: Ext4Image;
  readonly plan: MeasurePlan;
  readonly root: VerifiedRoot | undefined;
  readonly certification: Certification | null;
  readonly launches: readonly BootLaunch[];
}

/** The decision of packing. @throws CvmError mismatch, of `validateGuestOs` and `validateRelease` */
function decide({ input, image, plan, root, certification, launches }: DecideInput): Outcome {
  if (input.boot === undefined) return { kind: 'not-voted' };
  const rootHash = root?.rootHash;
  if (certification === null) {
    requireNothingOfProposal(input);
    return {
      kind: 'release',
      verdict: validateRelease(readBootArgs(image), rootHash ?? '', input.network),
    };
  }
  const { facts } = certification;
  if (facts === null || rootHash === undefined) throw new CvmError('bug', 'INTERNAL', 'a refusal was lost');
  return {
    kind: 'blessed',
    verdict: validateGuestOs({
      facts,
      measurements: launches,
      rootHash,
      chipIds: input.chipIds,
      launch: { boot: image, plan },
    }),
  };
}

function certify(
  certificate: Uint8Array,
  request: Uint8Array | undefined,
  network: NetworkName,
  refusals: Refusals,
): Certification {
  const log = new StageLog();
  const facts = refusals.attempt(() =>
    verifyProposal({
      certificate,
      request,
      trust: { network },
      demandRequest: network === 'mainnet',
      log,
    }),
  );
  return {
    rootKey: bytesToHex(rootKeyOf({ network })),
    certificate: factOf(BOOT_FILES.proposal, certificate),
    request: request === undefined ? null : factOf('the request', request),
    stages: log.stages,
    facts: facts ?? null,
  };
}

function factOf(name: string, bytes: Uint8Array): FileFact {
  return { name, sizeBytes: bytes.length, sha256: bytesToHex(digestBytes('sha256', bytes)) };
}

function openBoot(source: ByteSource): Ext4Image {
  const image = openExt4(source);
  checkContentSize(image.nodes());
  return image;
}

function baseReport(file: FileFact, image: Ext4Image): BaseReport {
  return { file, version: versionOf(image) };
}

const VERSION_LIMIT_BYTES = 4096;

/** The line in `/version.txt`; null when there is none. */
function versionOf(image: Ext4Image): string | null {
  const entry = image.lookup(rawFromUtf8(BOOT_FILES.version));
  if (entry?.type !== 'file' || entry.content.sizeBytes > VERSION_LIMIT_BYTES) return null;
  try {
    return utf8FromBytes(readAll(entry.content, VERSION_LIMIT_BYTES, '/version.txt')).trimEnd();
  } catch (error) {
    if (error instanceof CvmError && error.code === 'TEXT_NOT_UTF8') return null;
    throw error;
  }
}

const ROLES = [
  ['firmware', BOOT_FILES.firmware],
  ['kernel', BOOT_FILES.kernel],
  ['initrd', BOOT_FILES.initrd],
] as const;

function bootReport(
  image: Ext4Image,
  base: Ext4Image | undefined,
  prepared: PreparedBoot,
  launches: readonly BootLaunch[],
  plan: MeasurePlan,
  facts: ProposalFacts | null,
): BootReport {
  const blessed =
    facts?.measurements.map((entry) => ({ ...entry, hex: bytesToHex(entry.measurement) })) ?? [];
  const digests = new Set(blessed.map(({ hex }) => hex));
  const computed = new Set(launches.map(({ measurement }) => bytesToHex(measurement)));
  return {
    version: versionOf(image),
    components: ROLES.map(([role, name]) => component(image, base, role, name)),
    commandLines: commandLinesOf(prepared, base),
    plan: { vcpus: [...plan.vcpus], vcpuTypes: [...plan.vcpuTypes] },
    launches: launches.map(({ measurement, vcpuType, vcpus, slot }) => ({
      measurement: bytesToHex(measurement),
      vcpuType,
      vcpus,
      slot,
      blessed: facts === null ? null : digests.has(bytesToHex(measurement)),
    })),
    steps: stepsOf(prepared, launches[0]),
    otherBlessed: blessed
      .filter(({ hex }) => !computed.has(hex))
      .map(({ hex, vcpuType, kernelCmdline }) => ({
        measurement: hex,
        vcpuType,
        slot: (kernelCmdline === null ? undefined : slotOf(kernelCmdline)) ?? null,
        hasCommandLine: kernelCmdline !== null,
      })),
  };
}

function component(
  image: Ext4Image,
  base: Ext4Image | undefined,
  role: Component['role'],
  name: string,
): Component {
  const content = bootFile(image, name);
  const sha256 = bytesToHex(digestSource('sha256', content));
  const theirs = base?.lookup(rawFromUtf8(name));
  const same =
    base === undefined
      ? null
      : theirs?.type === 'file' && bytesToHex(digestSource('sha256', theirs.content)) === sha256;
  return {
    role,
    name,
    path: image.lookup(rawFromUtf8(name))?.path ?? '',
    sizeBytes: content.sizeBytes,
    sha256,
    sameAsBase: same,
  };
}

function commandLinesOf({ cmdlines }: PreparedBoot, base: Ext4Image | undefined): CommandLine[] {
  const theirs = base === undefined ? undefined : readBootArgs(base);
  return cmdlines.map(({ slot, cmdline }) => {
    const name = `BOOT_ARGS_TEE_${slot}`;
    return {
      slot,
      name,
      text: cmdline,
      sha256: bytesToHex(cmdlineHash(cmdline)),
      sameAsBase: theirs === undefined ? null : theirs.get(name)?.value === cmdline,
    };
  });
}

/** Every page that enters one launch; the pages of all vCPUs but the first are the same and stand as one row. */
function stepsOf({ launch }: PreparedBoot, first: BootLaunch | undefined): LaunchStepReport[] {
  if (first === undefined) return [];
  const steps = launch.explain(launchConfiguration(first.vcpuType, first.vcpus, first.kernelCmdline));
  const rows = steps
    .filter(({ name, what }) => what !== 'vmsa' || name === 'VMSA 0')
    .map(({ name, pageType, gpa, pages, contentSha384 }) => ({
      name,
      pageType,
      gpa: `0x${gpa.toString(16)}`,
      pages,
      content: contentSha384 === undefined ? null : bytesToHex(contentSha384),
    }));
  const second = steps.find(({ name }) => name === 'VMSA 1');
  if (second?.contentSha384 === undefined) return rows;
  return [
    ...rows,
    {
      name: first.vcpus === 2 ? 'VMSA 1' : `VMSA 1 to ${first.vcpus - 1}`,
      pageType: second.pageType,
      gpa: `0x${second.gpa.toString(16)}`,
      pages: first.vcpus - 1,
      content: bytesToHex(second.contentSha384),
    },
  ];
}
