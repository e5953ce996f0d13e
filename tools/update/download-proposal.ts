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
import { CvmError, bug, networkError } from '../errors.ts';
import type { Fact } from '../errors.ts';
import { readCertificate, verifyCertificate } from '../nns/certificate.ts';
import { lookup } from '../nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../nns/networks.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { certifiedRequestId } from '../proposal/answer.ts';
import {
  PROPOSAL_METHOD,
  callRequestId,
  checkRequestId,
  proposalArgument,
  readCallContent,
} from '../proposal/request.ts';
import { verifyProposal } from '../proposal/verify.ts';
import { boundedFetch, reasonOf } from './bounded-fetch.ts';
import type { Fetch, Wait } from './bounded-fetch.ts';
import { newestEndpoints } from './endpoints.ts';

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
  /** How long one request may take before it is tried again. */
  readonly requestTimeoutMs?: number;
}

/** What a host answered, proven to be the network's answer to what was asked. What it says is not looked at yet. */
export interface BoundAnswer {
  /** Exactly the bytes that came. */
  readonly certificate: Uint8Array;
  /** The `content` of the call that was sent, in CBOR with tag 55799. */
  readonly request: Uint8Array;
}

/** The two files to keep, and what they prove. */
export interface DownloadedProposal extends BoundAnswer {
  readonly facts: ProposalFacts;
}

const FIRST_POLL_MS = 500;
const LONGEST_POLL_MS = 5_000;
const POLL_GROWTH = 1.5;

/**
 * Asks governance for a proposal by an update call, the only kind of call whose answer is certified, and believes nothing of
 * what comes back before it is verified, together with the request that was really sent.
 *
 * @throws CvmError network NNS_UNREACHABLE | NNS_HTTP_STATUS | NNS_RESPONSE_SIZE | NNS_REDIRECT | NNS_REJECTED | NNS_PROTOCOL
 * @throws CvmError format, trust, mismatch of `verifyProposal`
 * @throws what `signal` was aborted with
 */
export async function downloadProposal(options: DownloadOptions): Promise<DownloadedProposal> {
  return judge(options, await fetchAnswer(options));
}

export interface DownloadFromAnyOptions extends Omit<DownloadOptions, 'url'> {
  /** Hosts, tried in turn. */
  readonly urls: readonly string[];
  /** How long one host may take. */
  readonly hostTimeoutMs: number;
}

/**
 * {@link downloadProposal} from the first host that gives the network's own answer. The next host is asked when one fails,
 * stalls, or gives something that the network did not say. What the network did say ends the search, also when it is no: other
 * hosts could only say the same.
 *
 * @throws CvmError of the last host; network NNS_TIMEOUT among them
 */
export async function downloadFromAny(options: DownloadFromAnyOptions): Promise<DownloadedProposal> {
  const { urls, hostTimeoutMs, signal, onProgress } = options;
  for (const [i, url] of urls.entries()) {
    const isLast = i + 1 === urls.length;
    onProgress?.(`asking ${url} for proposal ${options.proposalId}`);
    const deadline = new AbortController();
    const timer = setTimeout(() => {
      deadline.abort(timedOut(url, hostTimeoutMs));
    }, hostTimeoutMs);
    let answer: BoundAnswer;
    try {
      answer = await fetchAnswer({ ...options, url, signal: AbortSignal.any([signal, deadline.signal]) });
    } catch (error) {
      signal.throwIfAborted();
      if (isLast || !(error instanceof CvmError) || error.kind === 'bug') throw error;
      onProgress?.(`${url}: ${error.code}: ${error.message}; asking the next host`);
      continue;
    } finally {
      clearTimeout(timer);
    }
    return judge(options, answer);
  }
  throw bug('there is no host to ask');
}

function timedOut(url: string, timeoutMs: number): CvmError {
  return networkError('NNS_TIMEOUT', 'the network did not answer in time', {
    facts: [
      ['url', url],
      ['waited', `${timeoutMs / 1000} s`],
    ],
    mend: 'try again later, name another host with --nns-url, or wait longer with --timeout',
  });
}

function judge(
  { network, proposalId }: Pick<DownloadOptions, 'network' | 'proposalId'>,
  answer: BoundAnswer,
): DownloadedProposal {
  const facts = verifyProposal({ ...answer, trust: { network }, demandRequest: true, proposalId });
  return { ...answer, facts };
}

/** The network's answer to our question, whatever it is. */
async function fetchAnswer(options: DownloadOptions): Promise<BoundAnswer> {
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
  const rootKey = rootKeyOf({ network: options.network });
  const verified = verifyCertificate({ certificate, rootKey, canisterId: GOVERNANCE_CANISTER_ID });
  checkRequestId(readCallContent(request), certifiedRequestId(verified));
  return { certificate, request };
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
    ...(options.requestTimeoutMs === undefined ? {} : { timeoutMs: options.requestTimeoutMs }),
    onRetry: (reason, delayMs) => onProgress?.(`${reason}; trying again in ${Math.ceil(delayMs / 1000)} s`),
  });
  const newest = newestEndpoints(bounded);
  const recording: Fetch = (url, init) => {
    if (new URL(url).pathname.endsWith('/call')) sent.contents.push(contentOf(init.body));
    return newest(url, init);
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
  throw bug('the agent sent a request without content');
}

/** The request whose id the agent reports, as it stood in what was sent. */
function sentRequest({ contents }: SentCalls, { requestId }: SubmitResponse): Uint8Array {
  for (const content of contents) {
    const bytes = encodeCbor(content, true);
    if (equalBytes(callRequestId(readCallContent(bytes)), requestId)) return bytes;
  }
  throw bug('no request that was sent has the id that the agent reports', {
    facts: [['request id', bytesToHex(requestId)]],
  });
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
    if ('certificate' in body) return bytesOf(body.certificate, 'certificate of the answer', options);
    if ('reject_code' in body) {
      throw rejected(body.reject_code, 'reject_message' in body ? body.reject_message : undefined);
    }
  }
  if (status !== 202) {
    throw protocolError('the answer is of no known kind', [
      ['url', options.url],
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
    const certificate = bytesOf(state.certificate, 'certificate of the state', options);
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
function bytesOf(value: unknown, what: string, { url }: DownloadOptions): Uint8Array {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  throw protocolError(`the ${what} is not a byte string`, [
    ['url', url],
    ['found', value === null ? 'null' : typeof value],
  ]);
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
