import type { DevProposal } from './proposal-reply.ts';
import { STATUS } from './proposal-reply.ts';

/** A proposal with nothing wrong in it. */
export const GOOD_PROPOSAL: DevProposal = {
  proposalId: 139001n,
  title: 'Bless a recovery GuestOS',
  summary: 'The node cannot read its disk.',
  url: 'https://example.com/proposal',
  status: STATUS.executed,
  chipIds: [new Uint8Array(64).fill(0x2a), new Uint8Array(64).fill(0x2b)],
  rootfsHash: '1d'.repeat(32),
  measurements: [
    { measurement: new Uint8Array(48).fill(0x42), kernelCmdline: 'root=/dev/vda', vcpuType: 'EPYC-Genoa' },
    { measurement: new Uint8Array(48).fill(0x43) },
  ],
};
