import type { CallContent } from '../../tools/proposal/request.ts';
import { callRequestId, encodeCallContent, proposalCall } from '../../tools/proposal/request.ts';
import { encodeProposalReply } from './proposal-reply.ts';
import type { DevProposal } from './proposal-reply.ts';
import { DEV_SECRET, answerTree, makeCertificate } from './signer.ts';

/** When the dev network was asked and answered, always: bytes are functions of inputs. */
export const DEV_INGRESS_EXPIRY_NS = 1_770_000_000_000_000_000n;
export const DEV_TIME_NS = DEV_INGRESS_EXPIRY_NS - 240_000_000_000n;
const DEV_NONCE = Uint8Array.from({ length: 16 }, (_, i) => i);

/** The fixed question about a proposal. */
export function devCall(proposalId: bigint): CallContent {
  return proposalCall(proposalId, DEV_INGRESS_EXPIRY_NS, DEV_NONCE);
}

/** The two files that a download would leave behind, signed by the dev network. */
export function signProposal(proposal: DevProposal): {
  readonly certificate: Uint8Array;
  readonly request: Uint8Array;
} {
  const call = devCall(proposal.proposalId);
  const reply = encodeProposalReply(proposal);
  const tree = answerTree({ requestId: callRequestId(call), reply, timeNs: DEV_TIME_NS });
  return { certificate: makeCertificate({ tree, secret: DEV_SECRET }), request: encodeCallContent(call) };
}
