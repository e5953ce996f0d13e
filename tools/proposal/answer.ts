import { bytesToHex } from '../bytes/hex.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { trustError } from '../errors.ts';
import type { Fact } from '../errors.ts';
import { verifyCertificate } from '../nns/certificate.ts';
import type { VerifiedCertificate } from '../nns/certificate.ts';
import { DIGEST_BYTES, certifiedPaths, lookup, lookupSubtree } from '../nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../nns/networks.ts';
import type { Trust } from '../nns/networks.ts';
import type { StageLog } from '../nns/stages.ts';
import { checkRequestId, readCallContent } from './request.ts';

/** What governance replied to one call, whatever it means. */
export interface VerifiedAnswer {
  readonly certificate: VerifiedCertificate;
  /** 32 bytes. */
  readonly requestId: Uint8Array;
  /** Candid bytes. */
  readonly reply: Uint8Array;
}

/**
 * From a certificate to the reply in it: the network signed it for governance, it tells about one call, and that call was
 * replied. Which call it was, the certificate alone does not say: with the request, its id is recomputed and compared.
 * @param request `content` of the call, CBOR
 * @throws CvmError format of `readCallContent`, trust REQUEST_ID
 * @throws CvmError format or trust of {@link verifyCertificate}, {@link certifiedRequestId}, {@link certifiedReply}
 */
export function verifyAnswer(
  certificateBytes: Uint8Array,
  trust: Trust,
  log: StageLog,
  request?: Uint8Array,
): VerifiedAnswer {
  const certificate = verifyCertificate({
    certificate: certificateBytes,
    rootKey: rootKeyOf(trust),
    canisterId: GOVERNANCE_CANISTER_ID,
    log,
  });
  const requestId = log.run(
    'request id',
    () => certifiedRequestId(certificate),
    (id) => bytesToHex(id),
  );
  if (request !== undefined) {
    log.run(
      'request',
      () => {
        checkRequestId(readCallContent(request), requestId);
      },
      () => 'its recomputed id is the certified one',
    );
  }
  const reply = log.run(
    'reply',
    () => certifiedReply(certificate, requestId),
    (bytes) => `replied, ${bytes.length} bytes`,
  );
  return { certificate, requestId, reply };
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
      facts:
        ids.size === 0
          ? [['request_status', 'shows no request']]
          : [...ids.keys()].slice(0, 4).map((id): Fact => ['request id', id]),
      mend: 'a certificate has to be about one call: download the proposal again',
    });
  }
  if (only.length !== DIGEST_BYTES) {
    throw trustError('PROPOSAL_REQUEST_ID', 'the request id in the certificate has the wrong length', {
      facts: [
        ['expected', `${DIGEST_BYTES} bytes`],
        ['found', `${only.length} bytes`],
      ],
      mend: 'no network certifies such an id: download the proposal again',
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
