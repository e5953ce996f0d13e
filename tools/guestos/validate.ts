import { jsonText } from '../bytes/text.ts';
import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { CvmError, mismatchError, type ErrorDetails, type Fact } from '../errors.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { slotOf } from './boot-args.ts';
import type { BootTree, MeasurePlan } from './boot-partition.ts';
import type { LaunchMeasurement } from './measurements.ts';
import { nearestBlessed } from './nearest-blessed.ts';
import { nearestLaunch, nearestLaunchFinding, type NearestLaunch } from './nearest-launch.ts';

export interface ValidationInput {
  /** From verified bytes; nothing else can make one. */
  readonly facts: ProposalFacts;
  /** Of the base release, as measured from its boot partition. */
  readonly measurements?: readonly LaunchMeasurement[] | undefined;
  /** 64 lower-case hex digits: of the new root partition. */
  readonly rootHash?: string | undefined;
  /** 64 bytes each: the nodes that are to start the image. All of them must be listed. */
  readonly chipIds?: readonly Uint8Array[] | undefined;
  /** Where the measurements come from: read once more to explain why none of them is blessed, and only then. */
  readonly launch?: { readonly boot: BootTree; readonly plan: MeasurePlan } | undefined;
}

/** No measurement is blessed, and what was found out about it. */
export class NotBlessedError extends CvmError {
  /** Undefined when there was no boot partition to look into. */
  readonly nearestLaunch: NearestLaunch | undefined;

  constructor(details: ErrorDetails, nearest: NearestLaunch | undefined) {
    super(
      'mismatch',
      'MEASUREMENT_NOT_BLESSED',
      'no SEV-SNP launch measurement of the boot partition is among those that the proposal blesses',
      details,
    );
    this.nearestLaunch = nearest;
  }
}

export type CheckName = 'proposal' | 'measurements' | 'root-hash' | 'chip-id';

export interface Check {
  readonly name: CheckName;
  /** A check that fails is an error, never a verdict. */
  readonly status: 'ok' | 'skipped';
  readonly detail: string;
}

/** A measurement that is both computed and blessed. Texts are as computed here; null where unknown. */
export interface Match {
  readonly measurement: string;
  readonly slot: string | null;
  readonly vcpuType: string | null;
  readonly kernelCmdline: string | null;
}

/** What is known to fit the proposal. It exists only when every check that was made has passed. */
export interface Verdict {
  readonly ok: true;
  readonly network: ProposalFacts['network'];
  readonly proposalId: string;
  readonly requestBound: boolean;
  readonly rootHash: string | null;
  readonly checks: readonly Check[];
  readonly matched: readonly Match[];
}

/**
 * Decides whether a recovery image fits an executed proposal: some measurement of the base is blessed, the root hash is the
 * proposal's, the chips are listed. What is not given is skipped, and the verdict says so.
 *
 * @throws CvmError mismatch MEASUREMENT_NOT_BLESSED | ROOT_HASH_MISMATCH | CHIP_NOT_LISTED
 */
export function validateGuestOs(input: ValidationInput): Verdict {
  const { facts } = input;
  const measured = checkMeasurements(input);
  return {
    ok: true,
    network: facts.network,
    proposalId: facts.proposalId.toString(),
    requestBound: facts.requestBound,
    rootHash: input.rootHash ?? null,
    checks: [
      {
        name: 'proposal',
        status: 'ok',
        detail: facts.requestBound
          ? `proposal ${facts.proposalId} executed on ${facts.network}, bound to its request`
          : `proposal ${facts.proposalId} executed on ${facts.network}; without its request, which call was answered is not proven`,
      },
      measured.check,
      checkRootHash(facts, input.rootHash),
      checkChips(facts, input.chipIds ?? []),
    ],
    matched: measured.matched,
  };
}

function checkMeasurements({ facts, measurements, launch }: ValidationInput): {
  readonly check: Check;
  readonly matched: readonly Match[];
} {
  if (measurements === undefined) return { check: skipped('measurements'), matched: [] };
  const blessed = new Set(facts.measurements.map(({ measurement }) => bytesToHex(measurement)));
  const matched = measurements
    .map(({ measurement, kernelCmdline, vcpuType }): Match => ({
      measurement: bytesToHex(measurement),
      slot: (kernelCmdline === null ? undefined : slotOf(kernelCmdline)) ?? null,
      vcpuType,
      kernelCmdline,
    }))
    .filter(({ measurement }) => blessed.has(measurement));
  if (matched.length === 0) throw notBlessed(facts, measurements, launch);
  const names = matched.map(({ slot, vcpuType }) => `${vcpuType ?? 'unknown CPU'} slot ${slot ?? 'unknown'}`);
  return {
    check: {
      name: 'measurements',
      status: 'ok',
      detail: `${matched.length} of ${measurements.length} measurements are among the ${blessed.size} blessed: ${[...new Set(names)].join(', ')}`,
    },
    matched,
  };
}

function notBlessed(
  facts: ProposalFacts,
  measurements: readonly LaunchMeasurement[],
  launch: ValidationInput['launch'],
): NotBlessedError {
  const shown = measurements.slice(0, 4);
  const searched =
    launch === undefined ? undefined : nearestLaunch(launch.boot, launch.plan, facts.measurements);
  const nearest =
    (searched === undefined ? undefined : nearestLaunchFinding(searched)) ??
    nearestBlessed(measurements, facts.measurements);
  return new NotBlessedError(
    {
      facts: [
        ['proposal', facts.proposalId],
        ['network', facts.network],
        ['blessed', `${facts.measurements.length} measurements`],
        ['computed', `${measurements.length} measurements`],
        ...shown.map(({ measurement, vcpuType }): Fact => [
          vcpuType ?? 'unknown CPU',
          bytesToHex(measurement),
        ]),
        ...(measurements.length > shown.length
          ? [['more', `${measurements.length - shown.length}`] satisfies Fact]
          : []),
        ...(searched === undefined ? [] : [['combinations tried', searched.tried] satisfies Fact]),
      ],
      nearest: nearest.finding,
      mend: nearest.mend,
    },
    searched,
  );
}

function checkRootHash(facts: ProposalFacts, rootHash: string | undefined): Check {
  if (rootHash === undefined) return skipped('root-hash');
  if (rootHash !== facts.rootfsHash) {
    throw mismatchError('ROOT_HASH_MISMATCH', 'the root partition is not the one that the proposal names', {
      facts: [
        ['proposal', facts.proposalId],
        ['proposal rootfs_hash', facts.rootfsHash],
        ['verity root hash', rootHash],
      ],
      mend: 'build the root partition from the revision that the proposal was made from, or put a new proposal to the vote',
    });
  }
  return { name: 'root-hash', status: 'ok', detail: `root hash ${rootHash}` };
}

/** At most so many differing hex digits are a slip of the hand. */
const TYPING_SLIPS = 8;

function checkChips(facts: ProposalFacts, chipIds: readonly Uint8Array[]): Check {
  if (chipIds.length === 0) return skipped('chip-id');
  for (const chipId of chipIds) {
    if (!facts.chipIds.some((listed) => equalBytes(listed, chipId))) throw notListed(facts, chipId);
  }
  const count = chipIds.length === 1 ? 'the chip is' : `all ${chipIds.length} chips are`;
  return { name: 'chip-id', status: 'ok', detail: `${count} among the ${facts.chipIds.length} listed` };
}

function notListed(facts: ProposalFacts, chipId: Uint8Array): Error {
  const wanted = bytesToHex(chipId);
  const listed = facts.chipIds.map((chip) => bytesToHex(chip));
  const near = listed.find((chip) => differingDigits(chip, wanted) <= TYPING_SLIPS);
  return mismatchError('CHIP_NOT_LISTED', 'the proposal does not list this chip', {
    facts: [
      ['proposal', facts.proposalId],
      ['chip id', wanted],
      ['listed', `${listed.length} chips`],
      ...listed.slice(0, 4).map((chip, i): Fact => [`chip ${i + 1}`, chip]),
    ],
    ...(near === undefined
      ? {}
      : { nearest: `${near} differs in ${differingDigits(near, wanted)} digits: a slip?` }),
    mend: 'take the chip id from the node itself; a chip that is not listed needs a new proposal',
  });
}

function differingDigits(a: string, b: string): number {
  let count = Math.abs(a.length - b.length);
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) count++;
  return count;
}

function skipped(name: CheckName): Check {
  return { name, status: 'skipped', detail: 'not given' };
}

/** Why something does not fit, for the record: an image is never made from it. */
export interface Refusal {
  readonly ok: false;
  readonly network: ProposalFacts['network'];
  readonly error: {
    readonly code: string;
    readonly message: string;
    /** Names may repeat. */
    readonly facts: readonly (readonly [name: string, value: string])[];
    readonly nearest: string | null;
    readonly mend: string | null;
  };
  /** What else the base's files were measured with; null when that was not the question. */
  readonly nearestLaunch: NearestLaunch | null;
}

/** A refusal as a record. */
export function refusalOf(error: CvmError, network: ProposalFacts['network']): Refusal {
  return {
    ok: false,
    network,
    error: {
      code: error.code,
      message: error.message,
      facts: error.facts.map(([name, value]) => [name, String(value)] as const),
      nearest: error.nearest ?? null,
      mend: error.mend ?? null,
    },
    nearestLaunch: error instanceof NotBlessedError ? (error.nearestLaunch ?? null) : null,
  };
}

/** One line of JSON and a newline; keys in the order of {@link Verdict}. */
export function verdictJson(verdict: Verdict | Refusal): string {
  return `${jsonText(verdict)}\n`;
}
