import { AnonymousIdentity, HttpAgent } from '@dfinity/agent';
import type { Agent, SubmitResponse } from '@dfinity/agent';
import { Principal } from '@dfinity/principal';
import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes, utf8FromBytes } from '../bytes/text.ts';
import { decodeCbor } from '../cbor/decode.ts';
import { isCborMap } from '../cbor/value.ts';
import type { CborMap } from '../cbor/value.ts';
import { encodeCbor } from '../cbor/encode.ts';
import { CvmError, networkError } from '../errors.ts';
import type { Fact } from '../errors.ts';
import { readCertificate } from '../nns/certificate.ts';
import { lookup } from '../nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../nns/networks.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { PROPOSAL_METHOD, callRequestId, proposalArgument, readCallContent } from '../proposal/request.ts';
import { verifyProposal } from '../proposal/verify.ts';
import { boundedFetch, reasonOf } from './bounded-fetch.ts';
import type { Fetch, Wait } from './bounded-fetch.ts';

export interface DownloadOptions {
  readonly proposalId: bigint;
  /** The host to ask: scheme, host and port. Whom it belongs to does not matter: its answer is verified. */
  readonly url: string;
  readonly network: NetworkName;
  readonly fetch: Fetch;
  readonly wait: Wait;
  /** Ends the download: the user's interrupt, or a deadline. */
  readonly signal: AbortSignal;
  /** One line about what is going on. */
  readonly onProgress?: (text: string) => void;
}

/** The two files to keep, and what they prove. */
export interface DownloadedProposal {
  /** Exactly the bytes that came. */
  readonly certificate: Uint8Array;
  /** The `content` of the call that was sent, in CBOR with tag 55799. */
  readonly request: Uint8Array;
  readonly facts: ProposalFacts;
}

const FIRST_POLL_MS = 500;
const LONGEST_POLL_MS = 5_000;
const POLL_GROWTH = 1.5;

/**
 * Asks governance for a proposal by an update call, the only kind of call whose answer is certified, and believes nothing of
 * what comes back before it is verified, together with the request that was really sent.
 *
 * @throws CvmError network NNS_UNREACHABLE | NNS_HTTP_STATUS | NNS_RESPONSE_SIZE | NNS_REJECTED | NNS_PROTOCOL
 * @throws CvmError format, trust, mismatch of `verifyProposal`
 * @throws what `signal` was aborted with
 */
export async function downloadProposal(options: DownloadOptions): Promise<DownloadedProposal> {
  const sent: SentCalls = { contents: [] };
  const agent = await makeAgent(options, sent);
  const governance = Principal.fromUint8Array(GOVERNANCE_CANISTER_ID);
  const response = await viaAgent(options, () =>
    agent.call(governance, {
      methodName: PROPOSAL_METHOD,
      arg: proposalArgument(options.proposalId),
      effectiveCanisterId: governance,
    }),
  );
  const certificate = await certificateOf(options, agent, governance, response);
  const request = sentRequest(sent, response);
  const facts = verifyProposal({
    certificate,
    request,
    trust: { network: options.network },
    demandRequest: true,
    proposalId: options.proposalId,
  });
  return { certificate, request, facts };
}

interface SentCalls {
  /** What went out, in order: the agent calls again by itself where a host has only the older endpoint. */
  readonly contents: CborMap[];
}

/** An agent that opens no socket but through `options.fetch`, and asks for nothing but what it is told to. */
async function makeAgent(options: DownloadOptions, sent: SentCalls): Promise<HttpAgent> {
  const { onProgress } = options;
  const bounded = boundedFetch({
    fetch: options.fetch,
    signal: options.signal,
    wait: options.wait,
    onRetry: (reason, delayMs) => onProgress?.(`${reason}; trying again in ${Math.ceil(delayMs / 1000)} s`),
  });
  const recording: Fetch = (url, init) => {
    if (new URL(url).pathname.endsWith('/call')) sent.contents.push(contentOf(init.body));
    return bounded(url, init);
  };
  return await HttpAgent.create({
    host: options.url,
    identity: new AnonymousIdentity(),
    rootKey: rootKeyOf({ network: options.network }),
    shouldFetchRootKey: false,
    shouldSyncTime: false,
    // Tries are repeated by boundedFetch, which knows Retry-After and the deadline.
    retryTimes: 0,
    fetch: (input: unknown, init?: RequestInit) => recording(String(input), init ?? {}),
  });
}

function contentOf(body: unknown): CborMap {
  const envelope = decodeCbor(body as Uint8Array, 'request that was sent');
  const content = isCborMap(envelope) ? envelope.get('content') : undefined;
  if (content !== undefined && isCborMap(content)) return content;
  throw protocolError('the agent sent a request without content', []);
}

/** The request whose id the agent reports, as it stood in what was sent. */
function sentRequest({ contents }: SentCalls, { requestId }: SubmitResponse): Uint8Array {
  for (const content of contents) {
    const bytes = encodeCbor(content, true);
    if (equalBytes(callRequestId(readCallContent(bytes)), requestId)) return bytes;
  }
  throw protocolError('no request that was sent has the id that the agent reports', [
    ['request id', bytesToHex(requestId)],
  ]);
}

async function certificateOf(
  options: DownloadOptions,
  agent: Agent,
  governance: Principal,
  { requestId, response }: SubmitResponse,
): Promise<Uint8Array> {
  // Whatever the host sent, laxly decoded: no type is to be taken for granted.
  const body: unknown = response.body;
  const { status } = response;
  if (typeof body === 'object' && body !== null) {
    if ('certificate' in body) return bytesOf(body.certificate, 'certificate of the answer');
    if ('reject_code' in body) {
      throw rejected(body.reject_code, 'reject_message' in body ? body.reject_message : undefined);
    }
  }
  if (status !== 202) {
    throw protocolError('the answer is of no known kind', [
      ['HTTP status', `${status} ${response.statusText}`],
    ]);
  }
  options.onProgress?.('accepted; waiting for the answer');
  return await poll(options, agent, governance, requestId);
}

/** Asks for the state of the request until it is decided; the deadline is the signal's. */
async function poll(
  options: DownloadOptions,
  agent: Agent,
  governance: Principal,
  requestId: Uint8Array,
): Promise<Uint8Array> {
  const path = [utf8Bytes('request_status'), requestId];
  for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(LONGEST_POLL_MS, pauseMs * POLL_GROWTH)) {
    await options.wait(pauseMs, options.signal);
    const state = await viaAgent(options, () => agent.readState(governance, { paths: [path] }));
    const certificate = bytesOf(state.certificate, 'certificate of the state');
    if (isDecided(certificate, requestId)) return certificate;
  }
}

/** Only steers the polling: the certificate is verified afterwards, whatever is said here. */
function isDecided(certificate: Uint8Array, requestId: Uint8Array): boolean {
  const status = lookup(['request_status', requestId, 'status'], readCertificate(certificate).tree);
  if (status.status !== 'found') return false;
  return ['replied', 'rejected', 'done'].includes(utf8FromBytes(status.value, 'status of the request'));
}

/** What the agent hands over was decoded laxly; only bytes are taken from it, and copied. */
function bytesOf(value: unknown, what: string): Uint8Array {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  throw protocolError(`the ${what} is not a byte string`, []);
}

/** The agent's errors are the network's fault: it is given nothing that could be wrong. */
async function viaAgent<T>({ signal, url }: DownloadOptions, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    signal.throwIfAborted();
    throw (
      ownErrorIn(error) ??
      protocolError(
        'the host did not answer as a replica does',
        [
          ['url', url],
          ['reason', reasonOf(error)],
        ],
        error,
      )
    );
  }
}

/** Ours comes back from the agent wrapped, at times more than once. */
function ownErrorIn(error: unknown): CvmError | undefined {
  const seen = new Set<unknown>();
  const queue = [error];
  for (const at of queue) {
    if (at instanceof CvmError) return at;
    if (typeof at !== 'object' || at === null || seen.has(at)) continue;
    seen.add(at);
    for (const key of ['cause', 'code', 'error']) queue.push((at as Record<string, unknown>)[key]);
  }
  return undefined;
}

function rejected(code: unknown, message: unknown): CvmError {
  return networkError('NNS_REJECTED', 'the network refused the call before it ran', {
    facts: [
      ['reject code', String(code)],
      ['reject message', String(message)],
    ],
    mend: 'try again later, or name another host with --nns-url',
  });
}

function protocolError(problem: string, facts: readonly Fact[], cause?: unknown): CvmError {
  return networkError('NNS_PROTOCOL', problem, {
    facts,
    mend: 'name a host of the network with --nns-url, for example https://ic0.app',
    cause,
  });
}
