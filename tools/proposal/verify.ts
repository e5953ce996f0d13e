import { mismatchError, trustError } from '../errors.ts';
import type { CvmError } from '../errors.ts';
import type { VerifiedCertificate } from '../nns/certificate.ts';
import type { Trust } from '../nns/networks.ts';
import { StageLog } from '../nns/stages.ts';
import { verifyAnswer } from './answer.ts';
import { readBlessedContent } from './facts.ts';
import type { BlessedContent, ProposalFacts } from './facts.ts';
import { decodeProposalInfo } from './proposal-info.ts';
import { checkQuestion, readCallContent } from './request.ts';

export interface VerifyProposalOptions {
  /** The certificate, as downloaded or as upstream's tools store it. */
  readonly certificate: Uint8Array;
  /** The `content` of the call that was answered. */
  readonly request?: Uint8Array | undefined;
  readonly trust: Trust;
  /** Refuse a certificate that comes without its request. Builds for mainnet say true. */
  readonly demandRequest?: boolean;
  /** Refuse any other proposal. */
  readonly proposalId?: bigint | undefined;
  readonly log?: StageLog;
}

/**
 * Decides whether the NNS executed a proposal that blesses a GuestOS, and what it blesses. The steps are those of the boot code
 * (dfinity/ic rs/ic_os/open_rootfs) in its order, with its messages; after them come the checks that it leaves out:
 * governance's length rules, the proposal's id, and the request that the certificate answers.
 * No clock is asked: a proposal once executed stays executed.
 *
 * @throws CvmError format or trust of {@link verifyAnswer}, `decodeProposalInfo`, `readBlessedContent`, `readCallContent`,
 *   `checkRequestBinding`
 * @throws CvmError trust REQUEST_MISSING
 * @throws CvmError mismatch PROPOSAL_ID
 */
export function verifyProposal(options: VerifyProposalOptions): ProposalFacts {
  const { trust, request, demandRequest = false, log = new StageLog() } = options;
  const { certificate, requestId, reply } = verifyAnswer(options.certificate, trust, log, request);
  const info = log.run(
    'proposal',
    () => decodeProposalInfo(reply),
    ({ id }) => `id ${id[0]?.id ?? 'missing'}`,
  );
  const content = log.run(
    'action',
    () => readBlessedContent(info),
    ({ chipIds, measurements }) =>
      `executed, blesses ${chipIds.length} chips and ${measurements.length} measurements`,
  );
  const expected = options.proposalId;
  if (expected !== undefined) {
    log.run(
      'proposal id',
      () => {
        checkProposalId(content, expected);
      },
      () => `${expected}, as expected`,
    );
  }
  checkRequest(request, content.proposalId, demandRequest, log);
  return brand(content, certificate, requestId, trust, request !== undefined);
}

/**
 * The question: what the request asks, whose id {@link verifyAnswer} has compared. The last step, as it needs the proposal's id.
 * @param demanded whether a missing request is refused
 */
export function checkRequest(
  request: Uint8Array | undefined,
  proposalId: bigint,
  demanded: boolean,
  log: StageLog,
): void {
  if (request === undefined && !demanded) {
    log.leaveOut(
      'question',
      'no request given: which canister, method and argument were asked is not proven',
    );
    return;
  }
  log.run(
    'question',
    () => {
      if (request === undefined) throw requestMissing(proposalId);
      checkQuestion(readCallContent(request), proposalId);
    },
    () => `governance was asked for proposal ${proposalId}, anonymously`,
  );
}

/** The one place where the brand is given. */
function brand(
  content: BlessedContent,
  certificate: VerifiedCertificate,
  requestId: Uint8Array,
  trust: Trust,
  requestBound: boolean,
): ProposalFacts {
  const facts = {
    ...content,
    network: trust.network,
    certifiedTimeNs: certificate.timeNs,
    requestId,
    requestBound,
  };
  return facts as ProposalFacts;
}

function checkProposalId(content: BlessedContent, expected: bigint): void {
  if (content.proposalId === expected) return;
  throw mismatchError('PROPOSAL_ID', 'the certificate is about another proposal', {
    facts: [
      ['expected', expected],
      ['found', content.proposalId],
    ],
    mend: `download proposal ${expected}, or expect ${content.proposalId}`,
  });
}

function requestMissing(proposalId: bigint): CvmError {
  return trustError('REQUEST_MISSING', 'the certificate comes without the request that it answers', {
    facts: [
      ['proposal', proposalId],
      ['why', 'alone it does not say which canister, method and argument were asked'],
    ],
    mend:
      `fetch a certificate with its request: run the environment's target pin with --proposal=${proposalId}, ` +
      `or cvm proposal download --proposal ${proposalId} --output-dir .`,
  });
}
