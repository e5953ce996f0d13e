import { bytesToHex } from '../bytes/hex.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { mismatchError, trustError } from '../errors.ts';
import type { Fact } from '../errors.ts';
import { verifyCertificate } from '../nns/certificate.ts';
import type { VerifiedCertificate } from '../nns/certificate.ts';
import { DIGEST_BYTES, certifiedPaths, lookup, lookupSubtree } from '../nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../nns/networks.ts';
import type { Trust } from '../nns/networks.ts';
import { StageLog } from '../nns/stages.ts';
import { readBlessedContent } from './facts.ts';
import type { BlessedContent, ProposalFacts } from './facts.ts';
import { decodeProposalInfo } from './proposal-info.ts';
import { checkRequestBinding, readCallContent } from './request.ts';

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
 * @throws CvmError format or trust of {@link verifyCertificate}, `decodeProposalInfo`, `readBlessedContent`, `readCallContent`,
 *   `checkRequestBinding`
 * @throws CvmError trust PROPOSAL_REQUEST_STATUS | PROPOSAL_REQUEST_COUNT | PROPOSAL_REQUEST_ID | PROPOSAL_NOT_REPLIED |
 *   PROPOSAL_REPLY_MISSING | REQUEST_MISSING
 * @throws CvmError mismatch PROPOSAL_ID
 */
export function verifyProposal(options: VerifyProposalOptions): ProposalFacts {
  const { trust, request, demandRequest = false, log = new StageLog() } = options;
  const certificate = verifyCertificate({
    certificate: options.certificate,
    rootKey: rootKeyOf(trust),
    canisterId: GOVERNANCE_CANISTER_ID,
    log,
  });
  const requestId = log.run(
    'request id',
    () => certifiedRequestId(certificate),
    (id) => bytesToHex(id),
  );
  const reply = log.run(
    'reply',
    () => certifiedReply(certificate, requestId),
    (bytes) => `replied, ${bytes.length} bytes`,
  );
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
  log.run(
    'request',
    () => {
      checkProposalId(content, options.proposalId);
      if (request !== undefined) {
        checkRequestBinding(readCallContent(request), requestId, content.proposalId);
      } else if (demandRequest) {
        throw requestMissing(content);
      }
    },
    () =>
      request === undefined
        ? 'not given: which question was answered is not proven'
        : 'asked for this proposal',
  );
  return brand(content, certificate, requestId, trust, request !== undefined);
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

/**
 * The one request that a certificate tells about.
 * @throws CvmError trust PROPOSAL_REQUEST_STATUS | PROPOSAL_REQUEST_COUNT | PROPOSAL_REQUEST_ID
 */
export function certifiedRequestId({ tree }: VerifiedCertificate): Uint8Array {
  const statuses = lookupSubtree(['request_status'], tree);
  if (statuses.status !== 'found' || statuses.tree.kind === 'pruned') {
    throw trustError('PROPOSAL_REQUEST_STATUS', 'request_status not found in certificate', {
      facts: [['/request_status', statuses.status === 'found' ? 'pruned' : statuses.status]],
      mend: 'this certificate answers no call: download the proposal again',
    });
  }
  const ids = new Map<string, Uint8Array>();
  for (const { path } of certifiedPaths(statuses.tree)) {
    const [id] = path;
    if (id !== undefined) ids.set(bytesToHex(id), id);
  }
  const [only] = ids.values();
  if (only === undefined || ids.size !== 1) {
    throw trustError('PROPOSAL_REQUEST_COUNT', `Expected exactly one request ID, found ${ids.size}`, {
      facts: [...ids.keys()].slice(0, 4).map((id): Fact => ['request id', id]),
    });
  }
  if (only.length !== DIGEST_BYTES) {
    throw trustError('PROPOSAL_REQUEST_ID', 'the request id in the certificate has the wrong length', {
      facts: [
        ['expected', `${DIGEST_BYTES} bytes`],
        ['found', `${only.length} bytes`],
      ],
    });
  }
  return only;
}

/**
 * What the canister replied to a request: Candid bytes.
 * @throws CvmError trust PROPOSAL_NOT_REPLIED | PROPOSAL_REPLY_MISSING
 */
export function certifiedReply({ tree }: VerifiedCertificate, requestId: Uint8Array): Uint8Array {
  const at = (leaf: string) => lookup(['request_status', requestId, leaf], tree);
  const status = at('status');
  const statusText = status.status === 'found' ? asText(status.value) : status.status;
  if (status.status !== 'found' || statusText !== 'replied') {
    const message = at('reject_message');
    throw trustError('PROPOSAL_NOT_REPLIED', 'the call that this certificate is about was not replied', {
      facts: [
        ['expected status', 'replied'],
        ['found', statusText],
        ...(message.status === 'found' ? ([['reject message', asText(message.value)]] as const) : []),
      ],
      mend: 'download the proposal again',
    });
  }
  const reply = at('reply');
  if (reply.status !== 'found') {
    throw trustError('PROPOSAL_REPLY_MISSING', 'the reply was cut out of the certificate', {
      facts: [['reply', reply.status]],
      mend: 'the signature holds for a pruned certificate too: get one that shows the reply',
    });
  }
  return reply.value;
}

function asText(bytes: Uint8Array): string {
  if (bytes.length > 4096) return `${bytes.length} bytes of text`;
  try {
    return utf8FromBytes(bytes);
  } catch {
    return `0x${bytesToHex(bytes)}`;
  }
}

function checkProposalId(content: BlessedContent, expected: bigint | undefined): void {
  if (expected === undefined || content.proposalId === expected) return;
  throw mismatchError('PROPOSAL_ID', 'the certificate is about another proposal', {
    facts: [
      ['expected', expected],
      ['found', content.proposalId],
    ],
    mend: `download proposal ${expected}, or expect ${content.proposalId}`,
  });
}

function requestMissing(content: BlessedContent): Error {
  return trustError('REQUEST_MISSING', 'the certificate comes without the request that it answers', {
    facts: [
      ['proposal', content.proposalId],
      ['why', 'alone it does not say which canister, method and argument were asked'],
    ],
    mend: `run the environment's pin target with --proposal=${content.proposalId}: it fetches both; or cvm proposal download`,
  });
}
