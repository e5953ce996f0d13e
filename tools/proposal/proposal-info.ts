import { IDL } from '@dfinity/candid';
import { checkShape, idlType, wireTypeName } from '../candid/shape.ts';
import type { Shape } from '../candid/shape.ts';
import type { CandidMessage } from '../candid/types.ts';
import { readCandid } from '../candid/wire.ts';
import { formatError, trustError } from '../errors.ts';

/** Candid's `opt` as `@dfinity/candid` gives it. */
export type Opt<T> = readonly [] | readonly [T];

export interface GuestLaunchMeasurement {
  readonly measurement: Opt<Uint8Array>;
  readonly metadata: Opt<{ readonly kernel_cmdline: Opt<string>; readonly vcpu_type: Opt<string> }>;
}

/** The action by which the NNS blesses a recovery root file system. */
export interface BlessAlternativeGuestOsVersion {
  readonly chip_ids: Opt<readonly Uint8Array[]>;
  readonly rootfs_hash: Opt<string>;
  readonly base_guest_launch_measurements: Opt<{
    readonly guest_launch_measurements: Opt<readonly GuestLaunchMeasurement[]>;
  }>;
}

/** The part of governance's answer that a decision rests on. Field names are those of its interface. */
export interface ProposalInfo {
  readonly id: Opt<{ readonly id: bigint }>;
  readonly status: number;
  readonly topic: number;
  readonly executed_timestamp_seconds: bigint;
  readonly proposal: Opt<{
    readonly url: string;
    readonly title: Opt<string>;
    readonly summary: string;
    readonly action: Opt<{ readonly BlessAlternativeGuestOsVersion: BlessAlternativeGuestOsVersion }>;
  }>;
}

const BLOB: Shape = { vec: 'nat8' };

const MEASUREMENT: Shape = {
  record: {
    measurement: { opt: BLOB },
    metadata: { opt: { record: { kernel_cmdline: { opt: 'text' }, vcpu_type: { opt: 'text' } } } },
  },
};

const ACTION: Shape = {
  variant: {
    BlessAlternativeGuestOsVersion: {
      record: {
        chip_ids: { opt: { vec: BLOB } },
        rootfs_hash: { opt: 'text' },
        base_guest_launch_measurements: {
          opt: { record: { guest_launch_measurements: { opt: { vec: MEASUREMENT } } } },
        },
      },
    },
  },
};

/**
 * `opt ProposalInfo` cut down to what is read. Source: dfinity/ic, rs/nns/governance/canister/governance.did. The
 * whole type has some 128 parts; Candid skips what is not named.
 */
const REPLY: Shape = {
  opt: {
    record: {
      id: { opt: { record: { id: 'nat64' } } },
      status: 'int32',
      topic: 'int32',
      executed_timestamp_seconds: 'nat64',
      proposal: {
        opt: { record: { url: 'text', title: { opt: 'text' }, summary: 'text', action: { opt: ACTION } } },
      },
    },
  },
};

/**
 * The reply of `get_proposal_info`, decoded. An `action` of another kind decodes as none, as Candid has it; a field
 * of the right name and another type is refused, where Candid would read null.
 *
 * @throws CvmError format CANDID_MALFORMED | CANDID_TYPE
 * @throws CvmError trust PROPOSAL_MISSING when the reply says that there is no such proposal, or says something else altogether
 */
export function decodeProposalInfo(reply: Uint8Array): ProposalInfo {
  const message = readReply(reply);
  if (message.types.length > 1) {
    throw formatError('CANDID_TYPE', 'the reply of the governance canister has more than one value', {
      facts: [['values', message.types.length]],
      mend: 'this is no answer of get_proposal_info: fetch it again',
    });
  }
  const ref = message.types[0];
  const [info] = decodeReply(reply) ?? [];
  if (ref === undefined || info === undefined) {
    throw trustError('PROPOSAL_MISSING', 'the reply does not contain a proposal', {
      facts: [
        ['expected', 'opt record, not null'],
        ['found', ref === undefined ? 'no value' : wireTypeName(message, ref)],
      ],
      mend: 'check the proposal id: governance knows no such proposal, hides it, or was asked something else',
    });
  }
  checkShape(message, ref, REPLY, 'ProposalInfo');
  return info;
}

/** The reply with all its types and values. @throws CvmError format CANDID_MALFORMED */
export function readReply(reply: Uint8Array): CandidMessage {
  return readCandid(reply, 'reply of the governance canister');
}

function decodeReply(reply: Uint8Array): Opt<ProposalInfo> | undefined {
  try {
    // A copy: the decoder looks at the buffer behind a view.
    const [value] = IDL.decode([idlType(REPLY)], new Uint8Array(reply));
    return value as Opt<ProposalInfo> | undefined;
  } catch (cause) {
    throw formatError('CANDID_MALFORMED', 'the reply of the governance canister does not decode', {
      facts: [['decoder', cause instanceof Error ? cause.message : String(cause)]],
      mend: 'no canister answers so: fetch it again',
      cause,
    });
  }
}

/** The statuses of a proposal: dfinity/ic, ProposalStatus. */
const STATUS_NAMES: readonly string[] = ['UNSPECIFIED', 'OPEN', 'REJECTED', 'ADOPTED', 'EXECUTED', 'FAILED'];
export const STATUS_EXECUTED = 4;

export function statusName(status: number): string {
  const name = STATUS_NAMES[status];
  return name === undefined ? `${status}` : `PROPOSAL_STATUS_${name}`;
}
