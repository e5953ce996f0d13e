/**
 * Why nothing that a boot partition launches with is blessed: its own firmware, kernel and initrd are measured again, with what the
 * proposal records beside its digests. What is found explains a refusal; it is never a reason to accept.
 */
import { bytesToHex } from '../bytes/hex.ts';
import type { BlessedMeasurement } from '../proposal/facts.ts';
import { initrdFileHash, kernelFileHash } from '../snp/kernel-hashes.ts';
import { prepareSnpLaunch } from '../snp/launch-digest.ts';
import { describeSignature } from '../snp/search-report.ts';
import { searchLaunch, type Candidate, type SearchMatch, type SearchSpace } from '../snp/search.ts';
import { VCPU_MODELS, VCPU_TYPES, vcpuTypeSignature } from '../snp/vcpu-types.ts';
import { commandLines, rootHashesOf, slotOf, teeCommandLines, type BootArgs } from './boot-args.ts';
import { bootFile, readBootArgs, type BootTree, type MeasurePlan } from './boot-partition.ts';
import { BOOT_FILES } from './layout.ts';

/** A proposal may record thousands of command lines; a release has two. */
const RECORDED_LINES_LIMIT = 64;
const MOST_VCPUS = 64;
/** A proposal may bless thousands; the likeliest are looked for. */
const EXPECTED_LIMIT = 256;

/** One blessed digest that this boot partition's files give under other circumstances. */
export interface NearMatch {
  /** 96 hex digits. */
  readonly measurement: string;
  readonly vcpus: number;
  readonly vcpuType: string;
  readonly kernelCmdline: string;
  readonly guestFeatures: string;
  /** What differs from how it was measured, likeliest first. */
  readonly differences: readonly string[];
}

export interface NearestLaunch {
  /** Digests compared. */
  readonly tried: number;
  readonly matches: readonly NearMatch[];
  /** `root_hash=` of the base's command lines, and of those that the proposal records. */
  readonly baseRootHashes: readonly string[];
  readonly blessedRootHashes: readonly string[];
}

/**
 * Looks for blessed digests among: the base's command lines and all recorded ones, all CPU types, 1 to 64 vCPUs, and the guest
 * features that hosts are known for.
 * @throws CvmError format of the boot partition's files
 */
export function nearestLaunch(
  boot: BootTree,
  plan: MeasurePlan,
  blessed: readonly BlessedMeasurement[],
): NearestLaunch {
  const args = readBootArgs(boot);
  const own = teeCommandLines(args).map(({ cmdline }) => cmdline);
  const recorded = [
    ...new Set(blessed.flatMap(({ kernelCmdline }) => (kernelCmdline === null ? [] : [kernelCmdline]))),
  ].slice(0, RECORDED_LINES_LIMIT);
  const space = searchSpace(boot, args, own, recorded, plan, blessed);
  const { matches, tried } = searchLaunch(
    space,
    blessed.slice(0, EXPECTED_LIMIT).map(({ measurement }) => measurement),
  );
  return {
    tried,
    matches: matches.map((match) => describe(match, own, plan)),
    baseRootHashes: [...new Set(own.flatMap(rootHashesOf))],
    blessedRootHashes: [...new Set(recorded.flatMap(rootHashesOf))],
  };
}

function searchSpace(
  boot: BootTree,
  args: BootArgs,
  own: readonly string[],
  recorded: readonly string[],
  plan: MeasurePlan,
  blessed: readonly BlessedMeasurement[],
): SearchSpace {
  const { ovmf, firmwareDigest } = prepareSnpLaunch({ firmware: bootFile(boot, BOOT_FILES.firmware) });
  const certain = <T>(value: T): Candidate<T> => ({ value, surprise: 0 });
  const candidates = <T>(surprise: number, values: readonly T[]): Candidate<T>[] =>
    values.map((value) => ({ value, surprise }));
  const types = blessed.flatMap(({ vcpuType }) =>
    vcpuType !== null && VCPU_TYPES.includes(vcpuType) ? [vcpuType] : [],
  );
  // Releases from before SEV command lines were measured over the plain ones.
  const plain = [...commandLines(args).values()].filter((line) => !own.includes(line));
  return {
    firmwares: [certain({ name: BOOT_FILES.firmware, ovmf, firmwareDigest })],
    kernels: [
      certain({ name: BOOT_FILES.kernel, sha256: kernelFileHash(bootFile(boot, BOOT_FILES.kernel)) }),
    ],
    initrds: [
      certain({ name: BOOT_FILES.initrd, sha256: initrdFileHash(bootFile(boot, BOOT_FILES.initrd)) }),
    ],
    cmdlines: [...candidates(0, own), ...candidates(1, recorded), ...candidates(2, plain)],
    vmmTypes: [certain('QEMU')],
    vcpuSigs: [
      ...candidates(0, plan.vcpuTypes.map(vcpuTypeSignature)),
      ...candidates(1, [...new Set(types)].map(vcpuTypeSignature)),
      ...candidates(
        2,
        VCPU_MODELS.map(({ sig }) => sig),
      ),
    ],
    // DebugSwap was a host kernel's default for a while.
    guestFeatures: [certain(0x1n), { value: 0x21n, surprise: 2 }],
    fpuStates: [certain('reset'), { value: 'zero', surprise: 2 }],
    rdxValues: [certain(undefined)],
    vcpuLimits: [MOST_VCPUS],
  };
}

function describe(
  { expected, configuration }: SearchMatch,
  own: readonly string[],
  plan: MeasurePlan,
): NearMatch {
  const { vcpus, vcpuSig, guestFeatures, fpu, append = '' } = configuration;
  const planned = plan.vcpuTypes.find((type) => vcpuTypeSignature(type) === vcpuSig);
  const differences = [
    ...(plan.vcpus.includes(vcpus) ? [] : [`${vcpus} vCPUs, not ${plan.vcpus.join(' or ')}`]),
    ...(planned !== undefined ? [] : [`CPU ${describeSignature(vcpuSig)}, not ${plan.vcpuTypes.join(', ')}`]),
    ...(own.includes(append)
      ? []
      : [`the command line that the proposal records (slot ${slotOf(append) ?? 'unknown'})`]),
    ...(guestFeatures === 0x1n ? [] : [`guest features 0x${guestFeatures.toString(16)}, not 0x1`]),
    ...(fpu === undefined || fpu === 'reset' ? [] : ['a host kernel older than Linux 6.10']),
  ];
  return {
    measurement: bytesToHex(expected),
    vcpus,
    vcpuType: planned ?? describeSignature(vcpuSig),
    kernelCmdline: append,
    guestFeatures: `0x${guestFeatures.toString(16)}`,
    differences,
  };
}

/** What a search tells a person: one finding and its mend. Undefined when it tells nothing that metadata does not. */
export function nearestLaunchFinding({
  matches,
  tried,
  baseRootHashes,
  blessedRootHashes,
}: NearestLaunch): { readonly finding: string; readonly mend: string } | undefined {
  const others = blessedRootHashes.filter((hash) => !baseRootHashes.includes(hash));
  const isOther = others.length > 0 && !blessedRootHashes.some((hash) => baseRootHashes.includes(hash));
  const release = `the proposal blesses another release: its command lines have root_hash=${others[0] ?? ''}, this base has root_hash=${baseRootHashes[0] ?? 'nothing'}`;
  const mend =
    'pin the base release that the node runs and the proposal was made for; verdict.json has the details';
  const [first] = matches;
  if (isOther) {
    const same =
      first === undefined ? '' : '; firmware, kernel and initrd of this base would give what is blessed';
    return { finding: `${release}${same}`, mend };
  }
  if (first === undefined) return undefined;
  return {
    finding: `${first.measurement} is blessed, and this base gives it with ${first.differences.join(' and ')} (${tried} combinations tried)`,
    mend:
      'measure as the node launches: vCPU count and CPU type have to be those of its VM; if they are, the proposal was made ' +
      'for another VM; verdict.json has the details',
  };
}
