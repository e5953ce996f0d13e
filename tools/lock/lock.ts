/**
 * `pins.lock.json`: what an environment is built from, as one file that a person can review. The same rules as
 * `rules/private/lock.bzl`, which decides when the build reads it; here it is read and written by `cvm lock pin`.
 */
import { formatError, type CvmError } from '../errors.ts';
import { isNetworkName, type NetworkName } from '../nns/networks.ts';

/** A base release as a file that anybody can fetch. */
export interface BaseFile {
  /** 40 lower-case hex digits: the release's git commit, which its boot partition carries as version.txt. */
  readonly commit: string;
  /** https, at least one; on `dev` also http to this machine. */
  readonly urls: readonly string[];
  /** 64 lower-case hex digits, of `update-img.tar.zst`. */
  readonly sha256: string;
  readonly size: number;
}

/** A certificate `<id>.cbor` and the request it answers, `<id>.request.cbor`, beside the lock. */
export interface ProposalFile {
  /** Decimal. */
  readonly id: string;
  readonly sha256: string;
  readonly requestSha256: string;
  /** Decimal nanoseconds since 1970. */
  readonly certifiedTimeNs: string;
}

/** Something that is built instead of fetched; only on `dev`. */
export interface BuiltTarget {
  readonly target: string;
}

export interface Lock {
  readonly network: NetworkName;
  readonly base: BaseFile | BuiltTarget;
  readonly proposal: ProposalFile | BuiltTarget | null;
}

const LOCK_VERSION = 1;
const HEX_64 = /^[0-9a-f]{64}$/;
const HEX_40 = /^[0-9a-f]{40}$/;
const DECIMAL = /^(0|[1-9][0-9]{0,19})$/;
/** Printable ASCII without what could end a string somewhere. */
const URL_TEXT = /^[!#-&(-;=?-[\]^_a-z|~]+$/;
/** As `rules/private/lock.bzl` compares it: by its text, so no other spelling of loopback will do. */
const LOOPBACK_TEXT = /^http:\/\/(127\.0\.0\.1|localhost|\[::1\])[:/]/;
const LABEL = /^\/\/[A-Za-z0-9/._+-]*:[A-Za-z0-9/._+-]+$/;

/**
 * Reads a lock.
 * @throws CvmError format LOCK_INVALID
 */
export function parseLock(text: string): Lock {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw invalid('the file', 'is not JSON', cause);
  }
  const lock = fields('the file', json, ['version', 'network', 'base', 'proposal']);
  if (lock['version'] !== LOCK_VERSION) throw invalid('version', `must be ${LOCK_VERSION}`);
  const { network } = lock;
  if (typeof network !== 'string' || !isNetworkName(network))
    throw invalid('network', `must be mainnet or dev, is ${quoted(network)}`);
  return {
    network,
    base: readBase(lock['base'], network),
    proposal: readProposal(lock['proposal'], network),
  };
}

/** The file's text: two spaces, fields in one order, a newline at the end. */
export function writeLock({ network, base, proposal }: Lock): string {
  const lock = {
    version: LOCK_VERSION,
    network,
    base: 'target' in base ? { target: base.target } : inOrder(base, ['commit', 'urls', 'sha256', 'size']),
    proposal:
      proposal === null || 'target' in proposal
        ? proposal
        : inOrder(proposal, ['id', 'sha256', 'requestSha256', 'certifiedTimeNs']),
  };
  const text = `${JSON.stringify(lock, null, 2)}\n`;
  // What is written has to be what is read: a value that the build would refuse must not get this far.
  parseLock(text);
  return text;
}

/**
 * Whether a base may be fetched from a URL: https, and on `dev` also http to this machine.
 * @param text as it would stand in the lock
 */
export function isBaseUrl(text: string, network: NetworkName): boolean {
  if (!URL_TEXT.test(text) || !URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  // A lock is public: who may fetch a base is not decided by what stands in it.
  if (username !== '' || password !== '' || text.includes('@')) return false;
  if (protocol === 'https:') return text.startsWith('https://');
  const loopback = ['127.0.0.1', 'localhost', '[::1]'];
  return network === 'dev' && LOOPBACK_TEXT.test(text) && loopback.includes(hostname);
}

/** The files that stand beside a lock for a proposal of this id. */
export function proposalFileNames(id: string): { readonly certificate: string; readonly request: string } {
  return { certificate: `${id}.cbor`, request: `${id}.request.cbor` };
}

function readBase(value: unknown, network: NetworkName): BaseFile | BuiltTarget {
  if (isObject(value) && 'target' in value) return readTarget('base', value, network);
  const base = fields('base', value, ['commit', 'urls', 'sha256', 'size']);
  const { urls, size } = base;
  if (!Array.isArray(urls) || urls.length === 0)
    throw invalid('base.urls', 'must be a list of at least one URL');
  urls.forEach((url: unknown, i) => {
    if (typeof url !== 'string' || !isBaseUrl(url, network)) {
      throw invalid(
        `base.urls[${i}]`,
        `must begin with https:// (on dev also http:// to this machine), is ${quoted(url)}`,
      );
    }
  });
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size <= 0)
    throw invalid('base.size', `must be the size in bytes, is ${quoted(size)}`);
  return {
    commit: text('base.commit', base['commit'], HEX_40, '40 lower-case hex digits'),
    urls: urls as string[],
    sha256: text('base.sha256', base['sha256'], HEX_64, '64 lower-case hex digits'),
    size,
  };
}

function readProposal(value: unknown, network: NetworkName): ProposalFile | BuiltTarget | null {
  if (value === null) return null;
  if (isObject(value) && 'target' in value) return readTarget('proposal', value, network);
  const proposal = fields('proposal', value, ['id', 'sha256', 'requestSha256', 'certifiedTimeNs']);
  const decimal = (name: string): string =>
    text(`proposal.${name}`, proposal[name], DECIMAL, 'a decimal number as text');
  const sha256 = (name: string): string =>
    text(`proposal.${name}`, proposal[name], HEX_64, '64 lower-case hex digits');
  return {
    id: decimal('id'),
    sha256: sha256('sha256'),
    requestSha256: sha256('requestSha256'),
    certifiedTimeNs: decimal('certifiedTimeNs'),
  };
}

function readTarget(where: string, value: unknown, network: NetworkName): BuiltTarget {
  const { target } = fields(where, value, ['target']);
  if (network !== 'dev') throw invalid(where, 'names a target, which only the dev network may');
  return { target: text(`${where}.target`, target, LABEL, 'a label like //package:name') };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fields(where: string, value: unknown, names: readonly string[]): Readonly<Record<string, unknown>> {
  if (!isObject(value)) throw invalid(where, `must be an object, is ${quoted(value)}`);
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw invalid(where, `has the unknown field ${quoted(unknown)}; the fields are ${names.join(', ')}`);
  const missing = names.find((name) => !(name in value));
  if (missing !== undefined) throw invalid(where, `lacks the field ${quoted(missing)}`);
  return value;
}

function text(where: string, value: unknown, pattern: RegExp, what: string): string {
  if (typeof value === 'string' && pattern.test(value)) return value;
  throw invalid(where, `must be ${what}, is ${quoted(value)}`);
}

function inOrder<T extends object>(value: T, names: readonly (keyof T)[]): Partial<T> {
  return Object.fromEntries(names.map((name) => [name, value[name]])) as Partial<T>;
}

function quoted(value: unknown): string {
  // JSON has no text for some values; of those, none comes out of JSON.
  const shown = JSON.stringify(value) as string | undefined;
  return (shown ?? String(value)).slice(0, 200);
}

function invalid(where: string, problem: string, cause?: unknown): CvmError {
  return formatError('LOCK_INVALID', `pins.lock.json: ${where} ${problem}`, {
    mend: 'restore the file from version control, or let the pin command write it anew with --base and --proposal',
    ...(cause === undefined ? {} : { cause }),
  });
}
