import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import type { Trust } from '../../../tools/nns/networks.ts';
import type { ProposalFacts } from '../../../tools/proposal/facts.ts';
import { callRequestId } from '../../../tools/proposal/request.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import type { VerifyProposalOptions } from '../../../tools/proposal/verify.ts';
import { DEV_TIME_NS, devCall, signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { encodeProposalReply } from '../../nns/proposal-reply.ts';
import { DEV_SECRET, answerTree, leaf, makeCertificate, subtree, timeLeaf } from '../../nns/signer.ts';

/** Pairings by the hundred: a busy machine is no failure. */
export const SLOW = { timeout: 120_000 };
export const DEV: Trust = { network: 'dev' };
export const ID = callRequestId(devCall(GOOD_PROPOSAL.proposalId));
export const good = signProposal(GOOD_PROPOSAL);

export const certify = (tree: HashTree): Uint8Array => makeCertificate({ tree, secret: DEV_SECRET });
export const certifyReply = (reply: Uint8Array): Uint8Array =>
  certify(answerTree({ requestId: ID, reply, timeNs: DEV_TIME_NS }));

export function verify(certificate: Uint8Array, options: Partial<VerifyProposalOptions> = {}): ProposalFacts {
  return verifyProposal({ certificate, trust: DEV, ...options });
}

/** The state tree whose `request_status` holds these children. */
export const statuses = (below: HashTree): HashTree =>
  subtree(['request_status', below], ['time', timeLeaf(DEV_TIME_NS)]);
export const replied = (reply = encodeProposalReply(GOOD_PROPOSAL)): HashTree =>
  subtree(['reply', leaf(reply)], ['status', leaf('replied')]);
