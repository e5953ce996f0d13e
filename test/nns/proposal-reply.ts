import { IDL } from '@dfinity/candid';

/** A proposal as a test wants governance to have it. Texts and lengths are not checked: tests need wrong ones too. */
export interface DevProposal {
  readonly proposalId: bigint;
  readonly title: string | null;
  readonly summary: string;
  readonly url: string;
  readonly status: number;
  readonly chipIds: readonly Uint8Array[];
  readonly rootfsHash: string;
  readonly measurements: readonly DevMeasurement[];
}

export interface DevMeasurement {
  readonly measurement: Uint8Array;
  readonly kernelCmdline?: string;
  readonly vcpuType?: string;
}

export const STATUS = { open: 1, rejected: 2, adopted: 3, executed: 4, failed: 5 } as const;

const BLOB = IDL.Vec(IDL.Nat8);

const BLESS = IDL.Record({
  chip_ids: IDL.Opt(IDL.Vec(BLOB)),
  rootfs_hash: IDL.Opt(IDL.Text),
  base_guest_launch_measurements: IDL.Opt(
    IDL.Record({
      guest_launch_measurements: IDL.Opt(
        IDL.Vec(
          IDL.Record({
            measurement: IDL.Opt(BLOB),
            metadata: IDL.Opt(
              IDL.Record({ kernel_cmdline: IDL.Opt(IDL.Text), vcpu_type: IDL.Opt(IDL.Text) }),
            ),
          }),
        ),
      ),
    }),
  ),
});

/** Two of the many other actions, so that the reply is a variant among variants. */
export const ACTION = IDL.Variant({
  BlessAlternativeGuestOsVersion: BLESS,
  ExecuteNnsFunction: IDL.Record({ nns_function: IDL.Int32, payload: BLOB }),
  Motion: IDL.Record({ motion_text: IDL.Text }),
});

const BALLOT = IDL.Record({ vote: IDL.Int32, voting_power: IDL.Nat64 });
const TALLY = IDL.Record({ no: IDL.Nat64, yes: IDL.Nat64, total: IDL.Nat64, timestamp_seconds: IDL.Nat64 });
const FAILURE = IDL.Record({ error_message: IDL.Text, error_type: IDL.Int32 });
const PROPOSAL = IDL.Record({
  url: IDL.Text,
  title: IDL.Opt(IDL.Text),
  summary: IDL.Text,
  action: IDL.Opt(ACTION),
});

/** `ProposalInfo` with every field that governance's interface had when this was written, but few actions. */
export const PROPOSAL_INFO = IDL.Record({
  id: IDL.Opt(IDL.Record({ id: IDL.Nat64 })),
  status: IDL.Int32,
  topic: IDL.Int32,
  failure_reason: IDL.Opt(FAILURE),
  ballots: IDL.Vec(IDL.Tuple(IDL.Nat64, BALLOT)),
  proposal_timestamp_seconds: IDL.Nat64,
  reward_event_round: IDL.Nat64,
  deadline_timestamp_seconds: IDL.Opt(IDL.Nat64),
  failed_timestamp_seconds: IDL.Nat64,
  reject_cost_e8s: IDL.Nat64,
  latest_tally: IDL.Opt(TALLY),
  reward_status: IDL.Int32,
  decided_timestamp_seconds: IDL.Nat64,
  proposal: IDL.Opt(PROPOSAL),
  proposer: IDL.Opt(IDL.Record({ id: IDL.Nat64 })),
  executed_timestamp_seconds: IDL.Nat64,
  total_potential_voting_power: IDL.Opt(IDL.Nat64),
});

const TOPIC_NODE_ADMIN = 5;
const DEV_SECONDS = 1_769_990_000n;

/** The Candid value of {@link PROPOSAL_INFO}, open for a test to change before it is encoded. */
export function proposalInfoValue(proposal: DevProposal): Record<string, unknown> {
  const opt = <T>(value: T | null | undefined): T[] => (value === null || value === undefined ? [] : [value]);
  const bless = {
    chip_ids: [proposal.chipIds],
    rootfs_hash: [proposal.rootfsHash],
    base_guest_launch_measurements: [
      {
        guest_launch_measurements: [
          proposal.measurements.map(({ measurement, kernelCmdline, vcpuType }) => ({
            measurement: [measurement],
            metadata: [{ kernel_cmdline: opt(kernelCmdline), vcpu_type: opt(vcpuType) }],
          })),
        ],
      },
    ],
  };
  return {
    id: [{ id: proposal.proposalId }],
    status: proposal.status,
    topic: TOPIC_NODE_ADMIN,
    failure_reason: [],
    ballots: [[1n, { vote: 1, voting_power: 100n }]],
    proposal_timestamp_seconds: DEV_SECONDS,
    reward_event_round: 0n,
    deadline_timestamp_seconds: [DEV_SECONDS + 600n],
    failed_timestamp_seconds: 0n,
    reject_cost_e8s: 1_000_000_000n,
    latest_tally: [{ no: 0n, yes: 100n, total: 100n, timestamp_seconds: DEV_SECONDS + 60n }],
    reward_status: 1,
    decided_timestamp_seconds: DEV_SECONDS + 60n,
    proposal: [
      {
        url: proposal.url,
        title: opt(proposal.title),
        summary: proposal.summary,
        action: [{ BlessAlternativeGuestOsVersion: bless }],
      },
    ],
    proposer: [{ id: 1n }],
    executed_timestamp_seconds: proposal.status === STATUS.executed ? DEV_SECONDS + 61n : 0n,
    total_potential_voting_power: [100n],
  };
}

/** The reply of `get_proposal_info` for a proposal, or for one that does not exist. */
export function encodeProposalReply(proposal: DevProposal | null): Uint8Array {
  return encodeReplyValue(proposal === null ? [] : [proposalInfoValue(proposal)]);
}

export function encodeReplyValue(value: readonly unknown[]): Uint8Array {
  return new Uint8Array(IDL.encode([IDL.Opt(PROPOSAL_INFO)], [value]));
}
