/**
 * What a node does when it boots a GuestOS, replayed on files: whether the root partition opens, and if not by the command line's
 * root hash, whether the proposal on the boot partition opens it. Source: dfinity/ic rs/ic_os/open_rootfs.
 */
import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { CvmError } from '../errors.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { verifyProposal } from '../proposal/verify.ts';
import { rootHashesOf, teeCommandLines } from './boot-args.ts';
import {
  measureBootPartition,
  readBootArgs,
  readBootProposal,
  type BootTree,
  type MeasurePlan,
} from './boot-partition.ts';

/** What a node's firmware attests. Undefined fields are not known, and not checked. */
export interface Attested {
  /** 64 bytes. */
  readonly chipId: Uint8Array | undefined;
  /** 48 bytes. */
  readonly measurement: Uint8Array | undefined;
  /** The guest policy of the report. */
  readonly policy: bigint | undefined;
}

export interface BootCheckInput {
  readonly boot: BootTree;
  /** 64 lower-case hex digits: of the root partition that stands beside it. */
  readonly rootHash: string;
  readonly network: NetworkName;
  readonly attested: Attested;
  /** How the node may launch; decides which measurements it can have. */
  readonly plan: MeasurePlan;
}

export type BootStepName =
  'command-line' | 'proposal' | 'certificate' | 'chip-id' | 'measurement' | 'launch' | 'policy' | 'root-hash';

export interface BootStep {
  readonly name: BootStepName;
  readonly status: 'ok' | 'failed' | 'unknown';
  readonly detail: string;
}

export interface BootCheck {
  /** `normal`: by the command line. `recovery`: by the proposal. `no`: the node stops. */
  readonly boots: 'normal' | 'recovery' | 'no';
  /** Whether nothing that the node looks at was left out. */
  readonly complete: boolean;
  readonly steps: readonly BootStep[];
  /** The code of the error that stops it, if one of ours does. */
  readonly code: string | null;
}

/** Bit 19 of the guest policy: the host may read the guest's memory. Source: SEV-SNP firmware ABI, table 9. */
const POLICY_DEBUG = 1n << 19n;

/**
 * Goes through the steps of the boot code in their order and stops where the node would.
 * @throws CvmError format of the boot partition's own files: what cannot be read says nothing about booting
 */
export function checkBoot(input: BootCheckInput): BootCheck {
  const steps: BootStep[] = [];
  const step = (name: BootStepName, status: BootStep['status'], detail: string): void => {
    steps.push({ name, status, detail });
  };
  const done = (boots: BootCheck['boots'], code: string | null = null): BootCheck => ({
    boots,
    complete: steps.every(({ status }) => status !== 'unknown'),
    steps,
    code,
  });
  const named = new Set(
    teeCommandLines(readBootArgs(input.boot)).flatMap(({ cmdline }) => rootHashesOf(cmdline)),
  );
  const onLine = [...named].join(', ') || 'nothing';
  if (named.size === 1 && named.has(input.rootHash)) {
    step(
      'command-line',
      'ok',
      `root_hash=${input.rootHash} opens the root partition: no proposal is looked at`,
    );
    return done('normal');
  }
  step(
    'command-line',
    'ok',
    `root_hash=${onLine} does not open the root partition; the node looks for a proposal`,
  );

  const certificate = readBootProposal(input.boot);
  if (certificate === undefined) {
    step('proposal', 'failed', 'the boot partition holds none');
    return done('no', 'PROPOSAL_ABSENT');
  }
  step('proposal', 'ok', `${certificate.length} bytes on the boot partition`);
  let facts: ProposalFacts;
  try {
    // The node has no request: what it believes is the certificate alone.
    facts = verifyProposal({ certificate, trust: { network: input.network } });
  } catch (error) {
    if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
    step('certificate', 'failed', `${error.code}: ${error.message}`);
    return done('no', error.code);
  }
  step('certificate', 'ok', `proposal ${facts.proposalId} executed on ${input.network}`);
  const refused = checkAttested(input, facts, step);
  if (refused !== undefined) return done('no', refused);
  if (facts.rootfsHash !== input.rootHash) {
    step(
      'root-hash',
      'failed',
      `the proposal names ${facts.rootfsHash}, the root partition has ${input.rootHash}`,
    );
    return done('no', 'ROOT_HASH_MISMATCH');
  }
  step('root-hash', 'ok', `the root partition opens with the proposal's ${facts.rootfsHash}`);
  return done('recovery');
}

/** @returns the code of what stops the boot, undefined when nothing does */
function checkAttested(
  { attested, boot, plan }: BootCheckInput,
  facts: ProposalFacts,
  step: (name: BootStepName, status: BootStep['status'], detail: string) => void,
): string | undefined {
  const { chipId, measurement, policy } = attested;
  if (chipId === undefined) {
    step('chip-id', 'unknown', `not given; must be one of ${facts.chipIds.length} listed`);
  } else if (facts.chipIds.some((listed) => equalBytes(listed, chipId))) {
    step('chip-id', 'ok', 'listed');
  } else {
    step('chip-id', 'failed', `${bytesToHex(chipId)} is not among the ${facts.chipIds.length} listed`);
    return 'CHIP_NOT_LISTED';
  }
  const isBlessed = (digest: Uint8Array): boolean =>
    facts.measurements.some((blessed) => equalBytes(blessed.measurement, digest));
  const launches = measureBootPartition(boot, plan);
  if (measurement === undefined) {
    const possible = launches.filter((launch) => isBlessed(launch.measurement)).length;
    if (possible === 0) {
      step(
        'launch',
        'failed',
        `none of the ${launches.length} ways to launch this boot partition is blessed`,
      );
      return 'MEASUREMENT_NOT_BLESSED';
    }
    step('launch', 'ok', `${possible} of ${launches.length} ways to launch this boot partition are blessed`);
    step('measurement', 'unknown', 'not given; must be one of those');
  } else if (isBlessed(measurement)) {
    step('measurement', 'ok', 'blessed');
    const own = launches.find((launch) => equalBytes(launch.measurement, measurement));
    const how =
      own === undefined
        ? 'but this boot partition does not launch with it as measured here: the report is of another base, or of other vCPUs'
        : `this boot partition launches with it on ${own.vcpuType ?? 'an unknown CPU'}`;
    step('launch', own === undefined ? 'unknown' : 'ok', how);
  } else {
    step(
      'measurement',
      'failed',
      `${bytesToHex(measurement)} is not among the ${facts.measurements.length} blessed`,
    );
    return 'MEASUREMENT_NOT_BLESSED';
  }
  if (policy === undefined) {
    step('policy', 'unknown', 'no report given');
  } else if ((policy & POLICY_DEBUG) !== 0n) {
    step('policy', 'failed', `0x${policy.toString(16)} lets the host debug the guest`);
    return 'GUEST_POLICY';
  } else {
    step('policy', 'ok', `0x${policy.toString(16)} does not let the host debug the guest`);
  }
  return undefined;
}
