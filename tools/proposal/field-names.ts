import { idlLabelToId } from '@dfinity/candid';

/**
 * Names that occur in answers of governance: on the wire there are only their hashes. Source: dfinity/ic,
 * rs/nns/governance/canister/governance.did. A name that is not here is shown by its number; its value is shown all the
 * same.
 */
const NAMES: readonly string[] = [
  // ProposalInfo
  'id',
  'status',
  'topic',
  'failure_reason',
  'ballots',
  'proposal_timestamp_seconds',
  'reward_event_round',
  'deadline_timestamp_seconds',
  'failed_timestamp_seconds',
  'reject_cost_e8s',
  'derived_proposal_information',
  'latest_tally',
  'total_potential_voting_power',
  'reward_status',
  'decided_timestamp_seconds',
  'proposal',
  'proposer',
  'executed_timestamp_seconds',
  'success_value',
  'error_message',
  'error_type',
  'vote',
  'voting_power',
  'no',
  'yes',
  'total',
  'timestamp_seconds',
  // Proposal
  'url',
  'title',
  'summary',
  'action',
  'self_describing_action',
  'type_name',
  'type_description',
  'value',
  // Action
  'BlessAlternativeGuestOsVersion',
  'RegisterKnownNeuron',
  'DeregisterKnownNeuron',
  'ManageNeuron',
  'UpdateCanisterSettings',
  'InstallCode',
  'StopOrStartCanister',
  'CreateServiceNervousSystem',
  'ExecuteNnsFunction',
  'RewardNodeProvider',
  'RewardNodeProviders',
  'OpenSnsTokenSwap',
  'SetSnsTokenSwapOpenTimeWindow',
  'SetDefaultFollowees',
  'ManageNetworkEconomics',
  'ApproveGenesisKyc',
  'AddOrRemoveNodeProvider',
  'Motion',
  'FulfillSubnetRentalRequest',
  'TakeCanisterSnapshot',
  'LoadCanisterSnapshot',
  'CreateCanisterAndInstallCode',
  'UpdateStandardEngineReplicaVersion',
  // BlessAlternativeGuestOsVersion
  'chip_ids',
  'rootfs_hash',
  'base_guest_launch_measurements',
  'guest_launch_measurements',
  'measurement',
  'metadata',
  'kernel_cmdline',
  'vcpu_type',
  // Motion, ExecuteNnsFunction
  'motion_text',
  'nns_function',
  'payload',
];

const BY_ID: ReadonlyMap<number, string> = new Map(NAMES.map((name) => [idlLabelToId(name), name]));

/** Tuples number their fields; no name hashes to so little. */
const TUPLE_LIMIT = 256;

/** The name of a field or variant tag; `_<hash>_` where it is not known, as Candid's own tools write it. */
export function fieldName(id: number): string {
  return BY_ID.get(id) ?? (id < TUPLE_LIMIT ? `${id}` : `_${id}_`);
}
