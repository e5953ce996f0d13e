import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { decodeCbor } from '../cbor/decode.ts';
import { encodeCbor } from '../cbor/encode.ts';
import { cborKind, isCborMap } from '../cbor/value.ts';
import type { CborMap } from '../cbor/value.ts';
import { formatError, trustError } from '../errors.ts';
import type { CvmError, Fact } from '../errors.ts';
import { ANONYMOUS_SENDER, GOVERNANCE_CANISTER_ID } from '../nns/networks.ts';
import { PRINCIPAL_MAX_BYTES } from '../nns/principal.ts';
import { requestId } from '../nns/request-id.ts';
import type { RequestValue } from '../nns/request-id.ts';

export const PROPOSAL_METHOD = 'get_proposal_info';
const NONCE_LIMIT_BYTES = 32;
/** Candid `(nat64)`: magic, no type table, one argument of type nat64; eight little-endian bytes follow. */
const NAT64_HEADER = Uint8Array.of(0x44, 0x49, 0x44, 0x4c, 0x00, 0x01, 0x78);

/**
 * The `content` of a call, the question to which a certificate holds the answer. Source: Internet Computer interface
 * specification, "Request: Call".
 */
export interface CallContent {
  readonly requestType: string;
  readonly canisterId: Uint8Array;
  readonly methodName: string;
  readonly arg: Uint8Array;
  readonly sender: Uint8Array;
  /** Nanoseconds since 1970. */
  readonly ingressExpiryNs: bigint;
  readonly nonce: Uint8Array | undefined;
}

/** The argument `(nat64)` of `get_proposal_info`: 15 bytes. */
export function proposalArgument(proposalId: bigint): Uint8Array {
  const bytes = new Uint8Array(NAT64_HEADER.length + 8);
  bytes.set(NAT64_HEADER);
  new DataView(bytes.buffer).setBigUint64(NAT64_HEADER.length, proposalId, true);
  return bytes;
}

/** The question "what became of this proposal", asked by nobody in particular. */
export function proposalCall(
  proposalId: bigint,
  ingressExpiryNs: bigint,
  nonce: Uint8Array | undefined,
): CallContent {
  return {
    requestType: 'call',
    canisterId: GOVERNANCE_CANISTER_ID,
    methodName: PROPOSAL_METHOD,
    arg: proposalArgument(proposalId),
    sender: ANONYMOUS_SENDER,
    ingressExpiryNs,
    nonce,
  };
}

function contentFields(content: CallContent): Map<string, bigint | string | Uint8Array> {
  const fields = new Map<string, bigint | string | Uint8Array>([
    ['request_type', content.requestType],
    ['canister_id', content.canisterId],
    ['method_name', content.methodName],
    ['arg', content.arg],
    ['sender', content.sender],
    ['ingress_expiry', content.ingressExpiryNs],
  ]);
  if (content.nonce !== undefined) fields.set('nonce', content.nonce);
  return fields;
}

/** The form in which the request is kept beside its certificate: CBOR with tag 55799, fields in the order above. */
export function encodeCallContent(content: CallContent): Uint8Array {
  return encodeCbor(contentFields(content), true);
}

/** The id that the certificate of the answer must show: 32 bytes. */
export function callRequestId(content: CallContent): Uint8Array {
  return requestId(contentFields(content) satisfies ReadonlyMap<string, RequestValue>);
}

/**
 * Reads a kept request. Every field of a call but `nonce` must be there, and no other: an unknown field would be part of the
 * request id without anybody knowing what it means.
 * @throws CvmError format CBOR_… | REQUEST_SHAPE
 */
export function readCallContent(bytes: Uint8Array): CallContent {
  const map = decodeCbor(bytes, 'request');
  if (!isCborMap(map)) throw badShape([['the whole', cborKind(map)]]);
  const known = ['request_type', 'canister_id', 'method_name', 'arg', 'sender', 'ingress_expiry', 'nonce'];
  for (const key of map.keys()) {
    if (!known.includes(key)) throw badShape([['unknown field', key]]);
  }
  const ingressExpiryNs = map.get('ingress_expiry');
  if (typeof ingressExpiryNs !== 'bigint' || ingressExpiryNs < 0n) throw badField(map, 'ingress_expiry');
  return {
    requestType: textField(map, 'request_type'),
    canisterId: bytesField(map, 'canister_id', PRINCIPAL_MAX_BYTES),
    methodName: textField(map, 'method_name'),
    arg: bytesField(map, 'arg'),
    sender: bytesField(map, 'sender', PRINCIPAL_MAX_BYTES),
    ingressExpiryNs,
    nonce: map.has('nonce') ? bytesField(map, 'nonce', NONCE_LIMIT_BYTES) : undefined,
  };
}

function textField(map: CborMap, key: string): string {
  const value = map.get(key);
  if (typeof value !== 'string') throw badField(map, key);
  return value;
}

function bytesField(map: CborMap, key: string, limitBytes = Infinity): Uint8Array {
  const value = map.get(key);
  if (!(value instanceof Uint8Array) || value.length > limitBytes) throw badField(map, key);
  return value;
}

function badField(map: CborMap, key: string): CvmError {
  return badShape([[key, map.has(key) ? cborKind(map.get(key)) : 'missing']]);
}

function badShape(facts: readonly Fact[]): CvmError {
  return formatError('REQUEST_SHAPE', 'the request is not the content of a call', {
    facts,
    mend: 'give the file that the download wrote beside the certificate, <id>.request.cbor',
  });
}

/**
 * Proves that a certificate answers this very request: its recomputed id is the one that the certificate shows.
 * @throws CvmError trust REQUEST_ID
 */
export function checkRequestId(content: CallContent, certifiedRequestId: Uint8Array): void {
  demandEqual('REQUEST_ID', 'request id', bytesToHex(certifiedRequestId), bytesToHex(callRequestId(content)));
}

/**
 * Proves that a request asks governance, anonymously, for exactly this proposal. With {@link checkRequestId} it is then proven
 * which question a certificate answers; alone it says only that some canister of its subnet answered something.
 * @throws CvmError trust REQUEST_TYPE | REQUEST_CANISTER | REQUEST_METHOD | REQUEST_SENDER | REQUEST_ARGUMENT
 */
export function checkQuestion(content: CallContent, proposalId: bigint): void {
  const hex = bytesToHex;
  demandEqual('REQUEST_TYPE', 'request type', 'call', content.requestType);
  demandEqual('REQUEST_CANISTER', 'canister', hex(GOVERNANCE_CANISTER_ID), hex(content.canisterId));
  demandEqual('REQUEST_METHOD', 'method', PROPOSAL_METHOD, content.methodName);
  demandEqual('REQUEST_SENDER', 'sender', hex(ANONYMOUS_SENDER), hex(content.sender));
  if (!equalBytes(content.arg, proposalArgument(proposalId))) {
    demandEqual('REQUEST_ARGUMENT', 'argument', hex(proposalArgument(proposalId)), hex(content.arg));
  }
}

function demandEqual(code: string, what: string, expected: string, found: string): void {
  if (expected === found) return;
  throw trustError(code, `the ${what} of the request is not the one that was answered for this proposal`, {
    facts: [
      ['expected', expected],
      ['found', found.length > 400 ? `${found.slice(0, 400)}… (${found.length} characters)` : found],
    ],
    mend: 'certificate and request belong together: download both again',
  });
}
