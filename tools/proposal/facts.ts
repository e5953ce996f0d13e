import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { trustError } from '../errors.ts';
import type { CvmError, Fact } from '../errors.ts';
import type { Trust } from '../nns/networks.ts';
import { STATUS_EXECUTED, statusName } from './proposal-info.ts';
import type {
  BlessAlternativeGuestOsVersion,
  GuestLaunchMeasurement,
  Opt,
  ProposalInfo,
} from './proposal-info.ts';

export const CHIP_ID_BYTES = 64;
export const MEASUREMENT_BYTES = 48;
const ROOTFS_HASH_DIGITS = 64;
const KERNEL_CMDLINE_LIMIT_BYTES = 100 << 10;
const VCPU_TYPE_LIMIT_BYTES = 100;

export interface BlessedMeasurement {
  /** 48 bytes: the SEV-SNP launch digest of the base release. */
  readonly measurement: Uint8Array;
  readonly kernelCmdline: string | null;
  readonly vcpuType: string | null;
}

/** What an executed proposal blesses, with governance's own rules for it checked again. */
export interface BlessedContent {
  readonly proposalId: bigint;
  readonly status: 'executed';
  readonly title: string | null;
  readonly summary: string;
  readonly url: string;
  /** 64 bytes each, at least one. */
  readonly chipIds: readonly Uint8Array[];
  /** 64 lower-case hex digits: the dm-verity root hash of the new root partition. */
  readonly rootfsHash: string;
  /** At least one. */
  readonly measurements: readonly BlessedMeasurement[];
}

declare const proven: unique symbol;

/**
 * The decision "the NNS executed this proposal". Only `verifyProposal` makes one, from bytes; what goes by a
 * proposal's word takes nothing else, and never reads it back from JSON.
 */
export interface ProposalFacts extends BlessedContent {
  readonly [proven]: true;
  readonly network: Trust['network'];
  /** Nanoseconds since 1970: when the network certified its answer. */
  readonly certifiedTimeNs: bigint;
  /** 32 bytes. */
  readonly requestId: Uint8Array;
  /** Whether the request was at hand, and so canister, method and proposal id are proven. */
  readonly requestBound: boolean;
}

const MEND_REAL =
  'governance lets no such proposal pass: check who signed, and compare with the public dashboard';

/** By status: what a person who holds such a proposal can do. */
const MEND_STATUS: readonly string[] = [
  'the answer says nothing about its status: download it again',
  'wait until the vote is over and the proposal executed, then download it again',
  'the vote said no: submit another proposal and use its id',
  'it was adopted and is about to be executed: download it again in a minute',
  '',
  'it was adopted and its execution failed: submit another proposal and use its id',
];

/**
 * Reads an answer of governance, in the order and with the refusals of the boot code: executed, a proposal, this action, all its
 * parts; then the lengths that governance itself demands (dfinity/ic pull requests 7904, 10245). A proposal that breaks them cannot be real.
 * @throws CvmError trust PROPOSAL_NOT_EXECUTED | PROPOSAL_CONTENT | PROPOSAL_ACTION | PROPOSAL_CHIP_IDS | PROPOSAL_ROOTFS_HASH |
 *   PROPOSAL_MEASUREMENTS | PROPOSAL_ID_MISSING
 */
export function readBlessedContent(info: ProposalInfo): BlessedContent {
  if (info.status !== STATUS_EXECUTED) {
    throw trustError(
      'PROPOSAL_NOT_EXECUTED',
      `Proposal status must be PROPOSAL_STATUS_EXECUTED, but is ${statusName(info.status)}`,
      {
        facts: [
          ['status', info.status],
          ['proposal', info.id[0]?.id ?? 'unknown'],
        ],
        mend: MEND_STATUS[info.status] ?? 'download the proposal again',
      },
    );
  }
  const proposal = info.proposal[0];
  if (proposal === undefined) {
    throw trustError('PROPOSAL_CONTENT', 'the answer has no proposal inside', {
      facts: [['proposal', info.id[0]?.id ?? 'unknown']],
      mend: 'download the proposal again',
    });
  }
  const action = proposal.action[0];
  if (action === undefined) {
    throw trustError('PROPOSAL_ACTION', 'the proposal has another action', {
      facts: [
        ['expected', 'BlessAlternativeGuestOsVersion'],
        ['topic', info.topic],
      ],
      mend: 'check the proposal id: this proposal does not bless a GuestOS',
    });
  }
  const bless = action.BlessAlternativeGuestOsVersion;
  const content = {
    status: 'executed',
    title: proposal.title[0] ?? null,
    summary: proposal.summary,
    url: proposal.url,
    chipIds: chipIds(bless),
    rootfsHash: rootfsHash(bless),
    measurements: measurements(bless),
  } as const;
  return { proposalId: proposalIdOf(info), ...content };
}

/** @throws CvmError trust PROPOSAL_ID_MISSING */
export function proposalIdOf(info: ProposalInfo): bigint {
  const id = info.id[0];
  if (id !== undefined) return id.id;
  throw trustError('PROPOSAL_ID_MISSING', 'the answer does not say which proposal it is', {
    facts: [['id', 'null']],
    mend: MEND_REAL,
  });
}

function chipIds(bless: BlessAlternativeGuestOsVersion): Uint8Array[] {
  const list = present(bless.chip_ids, 'PROPOSAL_CHIP_IDS', 'chip_ids');
  return list.map((chip, i) => {
    if (chip.length !== CHIP_ID_BYTES) {
      throw cannotBeReal(
        'PROPOSAL_CHIP_IDS',
        `chip_ids[${i}]`,
        `${CHIP_ID_BYTES} bytes`,
        `${chip.length} bytes`,
      );
    }
    return new Uint8Array(chip);
  });
}

function rootfsHash(bless: BlessAlternativeGuestOsVersion): string {
  const [text] = bless.rootfs_hash;
  if (text === undefined) throw missing('PROPOSAL_ROOTFS_HASH', 'rootfs_hash');
  if (text.length !== ROOTFS_HASH_DIGITS || !/^[0-9a-fA-F]*$/.test(text)) {
    throw trustError('PROPOSAL_ROOTFS_HASH', 'the rootfs_hash of the proposal is no dm-verity root hash', {
      facts: [
        ['expected', `${ROOTFS_HASH_DIGITS} hex digits`],
        ['found', text.length > 2 * ROOTFS_HASH_DIGITS ? `${text.length} characters` : text],
      ],
      mend: MEND_REAL,
    });
  }
  return text.toLowerCase();
}

function measurements(bless: BlessAlternativeGuestOsVersion): BlessedMeasurement[] {
  const [base] = bless.base_guest_launch_measurements;
  if (base === undefined) throw missing('PROPOSAL_MEASUREMENTS', 'base_guest_launch_measurements');
  const list = present(base.guest_launch_measurements, 'PROPOSAL_MEASUREMENTS', 'guest_launch_measurements');
  return list.map(readMeasurement);
}

function readMeasurement(entry: GuestLaunchMeasurement, index: number): BlessedMeasurement {
  const code = 'PROPOSAL_MEASUREMENTS';
  const where = `guest_launch_measurements[${index}]`;
  const [measurement] = entry.measurement;
  if (measurement === undefined) throw missing(code, `${where}.measurement`);
  if (measurement.length !== MEASUREMENT_BYTES) {
    throw cannotBeReal(
      code,
      `${where}.measurement`,
      `${MEASUREMENT_BYTES} bytes`,
      `${measurement.length} bytes`,
    );
  }
  const [metadata] = entry.metadata;
  const kernelCmdline = metadata?.kernel_cmdline[0] ?? null;
  const vcpuType = metadata?.vcpu_type[0] ?? null;
  checkText(code, `${where}.metadata.kernel_cmdline`, kernelCmdline, 0, KERNEL_CMDLINE_LIMIT_BYTES);
  checkText(code, `${where}.metadata.vcpu_type`, vcpuType, 1, VCPU_TYPE_LIMIT_BYTES);
  return { measurement: new Uint8Array(measurement), kernelCmdline, vcpuType };
}

function checkText(code: string, field: string, text: string | null, least: number, most: number): void {
  if (text === null) return;
  const length = utf8Bytes(text).length;
  if (length >= least && length <= most) return;
  throw cannotBeReal(code, field, `${least} to ${most} bytes`, `${length} bytes`);
}

function present<T>(list: Opt<readonly T[]>, code: string, field: string): readonly T[] {
  const [items] = list;
  if (items === undefined || items.length === 0) throw missing(code, field);
  return items;
}

function missing(code: string, field: string): CvmError {
  return trustError(code, `the proposal lacks ${field}`, {
    facts: [['field', `${field}: missing or empty`]],
    mend: MEND_REAL,
  });
}

function cannotBeReal(code: string, field: string, expected: string, found: string): CvmError {
  const facts: Fact[] = [
    ['field', field],
    ['expected', expected],
    ['found', found],
  ];
  return trustError(code, 'the proposal breaks a rule that governance enforces, so it cannot be real', {
    facts,
    mend: MEND_REAL,
  });
}

/** The form in which facts are shown and stored. Bytes are lower-case hex; texts are as the proposer wrote them. */
export interface ProposalFactsJson {
  readonly proposalId: string;
  readonly network: string;
  readonly status: string;
  readonly certifiedTime: string;
  readonly requestId: string;
  readonly requestBound: boolean;
  readonly title: string | null;
  readonly chipIds: readonly string[];
  readonly rootfsHash: string;
  readonly measurements: readonly {
    readonly measurement: string;
    readonly kernelCmdline: string | null;
    readonly vcpuType: string | null;
  }[];
}

/** For people and reports. Nothing reads it back: whoever needs facts verifies the bytes. */
export function proposalFactsJson(facts: ProposalFacts): ProposalFactsJson {
  return {
    proposalId: facts.proposalId.toString(),
    network: facts.network,
    status: facts.status,
    certifiedTime: isoTime(facts.certifiedTimeNs),
    requestId: bytesToHex(facts.requestId),
    requestBound: facts.requestBound,
    title: facts.title,
    chipIds: facts.chipIds.map(bytesToHex),
    rootfsHash: facts.rootfsHash,
    measurements: facts.measurements.map(({ measurement, kernelCmdline, vcpuType }) => ({
      measurement: bytesToHex(measurement),
      kernelCmdline,
      vcpuType,
    })),
  };
}

/** RFC 3339 in UTC with nanoseconds: `2025-07-23T12:05:54.975000000Z`. */
export function isoTime(timeNs: bigint): string {
  const seconds = new Date(Number(timeNs / 1_000_000_000n) * 1000).toISOString().slice(0, -'.000Z'.length);
  return `${seconds}.${(timeNs % 1_000_000_000n).toString().padStart(9, '0')}Z`;
}
