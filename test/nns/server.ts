import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { equalBytes } from '../../tools/bytes/compare.ts';
import { bytesToHex } from '../../tools/bytes/hex.ts';
import { utf8FromBytes } from '../../tools/bytes/text.ts';
import { decodeCbor } from '../../tools/cbor/decode.ts';
import { encodeCbor } from '../../tools/cbor/encode.ts';
import { isCborArray, isCborMap } from '../../tools/cbor/value.ts';
import type { CborMap, CborValue } from '../../tools/cbor/value.ts';
import { GOVERNANCE_CANISTER_ID } from '../../tools/nns/networks.ts';
import { principalToText } from '../../tools/nns/principal.ts';
import { callRequestId, proposalArgument, readCallContent } from '../../tools/proposal/request.ts';
import { DEV_TIME_NS } from './answer.ts';
import { encodeProposalReply } from './proposal-reply.ts';
import type { DevProposal } from './proposal-reply.ts';
import { rootHash } from '../../tools/nns/hash-tree.ts';
import type { HashTree } from '../../tools/nns/hash-tree.ts';
import { DEV_SECRET, answerTree, leaf, makeCertificate, signRootHash, subtree, timeLeaf } from './signer.ts';
import type { Secret } from './signer.ts';

/**
 * How the replica behaves: `sync` answers at once; `poll` answers later, after some polls; `v3-only` and `v2-only` lack the newer
 * endpoints; `refuse` refuses before running; `reject` rejects, certified; `stall` never gets done; `lie` changes what was
 * signed; `replay` gives a good answer to another call; `slow` lets everybody wait; `hang` takes the request and never answers.
 */
export const REPLICA_MODES = [
  'sync',
  'poll',
  'v3-only',
  'v2-only',
  'refuse',
  'reject',
  'stall',
  'lie',
  'replay',
  'slow',
  'hang',
] as const;
export type ReplicaMode = (typeof REPLICA_MODES)[number];

export function isReplicaMode(text: string): text is ReplicaMode {
  return (REPLICA_MODES as readonly string[]).includes(text);
}

/** Handles a request by itself: true when it did. For tests that want a broken host. */
export type Interceptor = (path: string, response: ServerResponse, seen: number) => boolean;

export interface ReplicaOptions {
  readonly proposals: readonly DevProposal[];
  readonly mode?: ReplicaMode;
  readonly secret?: Secret;
  readonly port?: number;
  readonly intercept?: Interceptor;
}

export interface Replica {
  readonly url: string;
  /** Paths asked for, in order. */
  readonly paths: readonly string[];
  close(): Promise<void>;
  readonly closed: Promise<void>;
}

/** How often a polling client hears that the call is still being processed. */
const PROCESSING_POLLS = 2;
/** What the slow replica takes for every answer. */
const SLOW_MS = 300;
const BODY_LIMIT_BYTES = 1 << 20;
/** POST here ends the server: how a script that started it stops it. */
const STOP_PATH = '/_dev/stop';

const CANISTER = `/canister/${principalToText(GOVERNANCE_CANISTER_ID)}`;
const CALL_PATH = new RegExp(`^/api/v([234])${CANISTER}/call$`);
const READ_STATE_PATH = new RegExp(`^/api/v([23])${CANISTER}/read_state$`);

/** Starts a replica on the loopback address that answers `get_proposal_info` and nothing else. */
export async function startReplica(options: ReplicaOptions): Promise<Replica> {
  const paths: string[] = [];
  const state = new ReplicaState(options);
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    paths.push(path);
    if (request.method === 'POST' && path === STOP_PATH) {
      response.end();
      server.close();
      server.closeAllConnections();
      return;
    }
    if (options.intercept?.(path, response, paths.length) === true) return;
    if (options.mode === 'hang') return;
    bodyOf(request)
      .then(async (body) => {
        if (options.mode === 'slow') await sleep(SLOW_MS);
        state.answer(path, body, response);
      })
      .catch((error: unknown) => {
        response.writeHead(400).end(String(error));
      });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const closed = new Promise<void>((resolve) => server.once('close', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, paths, closed, close: () => closeServer(server, closed) };
}

async function closeServer(server: Server, closed: Promise<void>): Promise<void> {
  if (server.listening) server.close();
  server.closeAllConnections();
  await closed;
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request) {
    const bytes = part as Buffer;
    length += bytes.length;
    if (length > BODY_LIMIT_BYTES) throw new Error('the request is too large');
    parts.push(bytes);
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** The modes in which a call is answered while the caller waits. */
const AT_ONCE: readonly ReplicaMode[] = ['sync', 'v3-only', 'lie', 'replay', 'slow'];

class ReplicaState {
  readonly #mode: ReplicaMode;
  readonly #secret: Secret;
  readonly #proposals: readonly DevProposal[];
  /** Calls that were taken and not answered yet: the reply, and how often it was asked for. */
  readonly #calls = new Map<string, { readonly reply: Uint8Array; polls: number }>();

  constructor({ mode = 'sync', secret = DEV_SECRET, proposals }: ReplicaOptions) {
    this.#mode = mode;
    this.#secret = secret;
    this.#proposals = proposals;
  }

  answer(path: string, body: Uint8Array, response: ServerResponse): void {
    const callVersion = CALL_PATH.exec(path)?.[1];
    const stateVersion = READ_STATE_PATH.exec(path)?.[1];
    if (callVersion !== undefined && Number(callVersion) <= this.#newest('call')) {
      this.#call(callVersion, contentOf(body), response);
    } else if (stateVersion !== undefined && Number(stateVersion) <= this.#newest('read_state')) {
      this.#readState(contentOf(body), response);
    } else response.writeHead(404).end();
  }

  #newest(endpoint: 'call' | 'read_state'): number {
    if (this.#mode === 'v2-only') return 2;
    if (this.#mode === 'v3-only') return endpoint === 'call' ? 3 : 2;
    return endpoint === 'call' ? 4 : 3;
  }

  #call(version: string, content: CborMap, response: ServerResponse): void {
    const call = readCallContent(encodeCbor(content));
    const id = callRequestId(call);
    const proposal = this.#proposals.find(({ proposalId }) =>
      equalBytes(call.arg, proposalArgument(proposalId)),
    );
    const reply = encodeProposalReply(proposal ?? null);
    if (this.#mode === 'refuse') {
      const refusal: [string, CborValue][] = [
        ['reject_code', 1n],
        ['reject_message', 'the subnet is overloaded'],
      ];
      if (version !== '2') refusal.unshift(['status', 'non_replicated_rejection']);
      send(response, new Map(refusal));
    } else if (AT_ONCE.includes(this.#mode) && version !== '2') {
      send(response, certificateAnswer(this.#answer(id, reply, proposal)));
    } else if (this.#mode === 'reject' && version !== '2') {
      send(response, certificateAnswer(this.#certify(rejectedTree(id))));
    } else {
      this.#calls.set(bytesToHex(id), { reply, polls: 0 });
      response.writeHead(202).end();
    }
  }

  #readState(content: CborMap, response: ServerResponse): void {
    const id = requestedId(content);
    const call = this.#calls.get(bytesToHex(id));
    const time = ['time', timeLeaf(DEV_TIME_NS)] as const;
    if (call === undefined) {
      send(response, new Map([['certificate', this.#certify(subtree(['request_status', subtree()], time))]]));
      return;
    }
    call.polls++;
    const isProcessing = this.#mode === 'stall' || call.polls <= PROCESSING_POLLS;
    const processing = subtree([id, subtree(['status', leaf('processing')])]);
    const tree = isProcessing
      ? subtree(['request_status', processing], time)
      : this.#mode === 'reject'
        ? rejectedTree(id)
        : answerTree({ requestId: id, reply: call.reply, timeNs: DEV_TIME_NS });
    send(response, new Map([['certificate', this.#certify(tree)]]));
  }

  /** The certificate of a call that was replied, or what a dishonest replica makes of it. */
  #answer(requestId: Uint8Array, reply: Uint8Array, proposal: DevProposal | undefined): Uint8Array {
    const tree = answerTree({ requestId, reply, timeNs: DEV_TIME_NS });
    if (this.#mode === 'replay') {
      const other = answerTree({ requestId: new Uint8Array(32).fill(9), reply, timeNs: DEV_TIME_NS });
      return this.#certify(other);
    }
    if (this.#mode !== 'lie' || proposal === undefined) return this.#certify(tree);
    const lie = encodeProposalReply({ ...proposal, rootfsHash: 'ee'.repeat(32) });
    return makeCertificate({
      tree: answerTree({ requestId, reply: lie, timeNs: DEV_TIME_NS }),
      secret: this.#secret,
      signature: signRootHash(rootHash(tree), this.#secret),
    });
  }

  #certify(tree: HashTree): Uint8Array {
    return makeCertificate({ tree, secret: this.#secret });
  }
}

function rejectedTree(id: Uint8Array): HashTree {
  const facts = subtree(
    ['status', leaf('rejected')],
    ['reject_code', leaf(Uint8Array.of(4))],
    ['reject_message', leaf('the canister trapped')],
  );
  return subtree(['request_status', subtree([id, facts])], ['time', timeLeaf(DEV_TIME_NS)]);
}

const certificateAnswer = (certificate: Uint8Array): CborMap =>
  new Map<string, CborValue>([
    ['status', 'replied'],
    ['certificate', certificate],
  ]);

function send(response: ServerResponse, body: CborMap): void {
  response.writeHead(200, { 'content-type': 'application/cbor' }).end(encodeCbor(body, true));
}

function contentOf(body: Uint8Array): CborMap {
  const envelope = decodeCbor(body, 'request');
  const content = isCborMap(envelope) ? envelope.get('content') : undefined;
  if (content === undefined || !isCborMap(content)) throw new Error('the request has no content');
  return content;
}

/** The id in `paths: [["request_status", id]]`. */
function requestedId(content: CborMap): Uint8Array {
  const paths = content.get('paths');
  const path = isCborArray(paths) ? paths[0] : undefined;
  const [label, id] = isCborArray(path) ? path : [];
  if (!(label instanceof Uint8Array) || !(id instanceof Uint8Array)) throw new Error('no path was asked for');
  if (utf8FromBytes(label) !== 'request_status') throw new Error('only request_status is known here');
  return id;
}
