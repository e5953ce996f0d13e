import { CvmError, networkError, type Fact } from '../errors.ts';
import { isBaseUrl } from '../lock/lock.ts';
import type { NetworkName } from '../nns/networks.ts';
import { reasonOf, type Fetch, type Wait } from './bounded-fetch.ts';

/** What a download has brought so far, wherever it is kept; an interrupted one goes on from there. */
export interface PartialFile {
  readonly sizeBytes: number;
  append(bytes: Uint8Array): Promise<void>;
  /** What is there belongs to something else. */
  restart(): Promise<void>;
}

export interface ReleaseDownloadOptions {
  /** Decides which URLs are taken: on `dev` also http to this machine. */
  readonly network: NetworkName;
  readonly fetch: Fetch;
  readonly wait: Wait;
  readonly signal: AbortSignal;
  /** Called for every piece that arrives. */
  readonly onProgress?: (receivedBytes: number, totalBytes: number | undefined) => void;
  /** One line about what is going on. */
  readonly onNote?: (text: string) => void;
}

/** Compressed update images stay below 450 MB; nothing far beyond that fills a disk. */
export const RELEASE_LIMIT_BYTES = 8 * 2 ** 30;
const SUMS_LIMIT_BYTES = 1 << 20;
/** A connection that brings nothing for so long is given up and made anew. */
const STALL_MS = 30_000;
/** Tries in a row that bring nothing at all. */
const FRUITLESS_TRIES = 5;
const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;
const REDIRECTS_LIMIT = 5;

/**
 * Fetches a file, going on where an earlier download stopped. What arrives is not believed: the caller compares its sha256.
 *
 * Connections that break, stall or answer 429 or 5xx are made anew after a growing pause for as long as they bring anything;
 * redirects are followed while they stay with https.
 *
 * @throws CvmError network RELEASE_UNREACHABLE | RELEASE_NOT_FOUND | RELEASE_HTTP_STATUS | RELEASE_REDIRECT |
 *   RELEASE_TOO_LARGE, what `part` throws, and what `signal` was aborted with
 */
export async function downloadRelease(
  url: string,
  part: PartialFile,
  options: ReleaseDownloadOptions,
): Promise<void> {
  for (let fruitless = 0; ;) {
    const before = part.sizeBytes;
    const failure = await attempt(url, part, options, RELEASE_LIMIT_BYTES);
    if (failure === undefined) return;
    fruitless = part.sizeBytes > before ? 0 : fruitless + 1;
    if (fruitless === FRUITLESS_TRIES) throw failure.error;
    const delayMs = Math.min(
      LONGEST_DELAY_MS,
      Math.max(failure.retryAfterMs, FIRST_DELAY_MS * 2 ** Math.max(0, fruitless - 1)),
    );
    options.onNote?.(`${reasonOf(failure.error)}; trying again in ${Math.ceil(delayMs / 1000)} s`);
    await options.wait(delayMs, options.signal);
  }
}

/**
 * The sha256 that a release's SHA256SUMS gives for a file: hex, one or two blanks, perhaps `*`, and the name.
 * @returns 64 lower-case hex digits
 * @throws CvmError network as {@link downloadRelease}; format SUMS_ENTRY when there is not exactly one sound entry
 */
export async function downloadChecksum(
  url: string,
  fileName: string,
  options: ReleaseDownloadOptions,
): Promise<string> {
  const { onNote, network, fetch, wait, signal } = options;
  const part = new MemoryFile(url);
  // The bar belongs to the image.
  await downloadRelease(url, part, { network, fetch, wait, signal, ...(onNote && { onNote }) });
  return part.checksumOf(fileName);
}

class MemoryFile implements PartialFile {
  readonly #url: string;
  #bytes = new Uint8Array(0);

  constructor(url: string) {
    this.#url = url;
  }

  get sizeBytes(): number {
    return this.#bytes.length;
  }

  append(bytes: Uint8Array): Promise<void> {
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    if (joined.length > SUMS_LIMIT_BYTES) throw tooLarge(this.#url, SUMS_LIMIT_BYTES, joined.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined;
    return Promise.resolve();
  }

  restart(): Promise<void> {
    this.#bytes = new Uint8Array(0);
    return Promise.resolve();
  }

  checksumOf(fileName: string): string {
    const lines = new TextDecoder().decode(this.#bytes).split('\n');
    const found = lines.flatMap((line) => {
      const [, sha256, name] = /^([0-9A-Fa-f]{64}) [ *]?(\S.*)$/.exec(line.trimEnd()) ?? [];
      return sha256 !== undefined && name?.replace(/^\.\//, '') === fileName ? [sha256.toLowerCase()] : [];
    });
    const [sha256, ...others] = new Set(found);
    if (sha256 !== undefined && others.length === 0) return sha256;
    throw new CvmError('format', 'SUMS_ENTRY', `SHA256SUMS does not have one sha256 for ${fileName}`, {
      facts: [
        ['url', this.#url],
        ['entries for the file', found.length],
        ['lines', lines.filter((line) => line !== '').length],
      ],
      mend: 'give the sha256 with --base-sha256, from a source that you trust',
    });
  }
}

/** What may pass by itself. */
interface Failure {
  readonly error: CvmError;
  readonly retryAfterMs: number;
}

/** One connection. Undefined when the file is complete; what must not be tried again is thrown. */
async function attempt(
  url: string,
  part: PartialFile,
  options: ReleaseDownloadOptions,
  limitBytes: number,
): Promise<Failure | undefined> {
  const { signal } = options;
  signal.throwIfAborted();
  const stop = new AbortController();
  try {
    const response = await request(url, part.sizeBytes, options, stop);
    return await receive(url, response, part, options, stop, limitBytes);
  } catch (cause) {
    if (cause instanceof CvmError && cause.code !== 'RELEASE_STALLED') throw cause;
    signal.throwIfAborted();
    const error = networkError('RELEASE_UNREACHABLE', 'the release cannot be downloaded', {
      facts: [
        ['url', url],
        ['reason', reasonOf(cause)],
        ['received so far', `${part.sizeBytes} bytes`],
      ],
      mend: 'call the command again: it goes on where it stopped; or give the file with --base-file',
      cause,
    });
    return { error, retryAfterMs: 0 };
  } finally {
    stop.abort();
  }
}

async function request(
  url: string,
  offset: number,
  options: ReleaseDownloadOptions,
  stop: AbortController,
): Promise<Response> {
  let at = url;
  for (let hops = 0; ; hops++) {
    const response = await beforeStall(
      options,
      options.fetch(at, {
        redirect: 'manual',
        headers: { 'accept-encoding': 'identity', ...(offset > 0 && { range: `bytes=${offset}-` }) },
        signal: AbortSignal.any([options.signal, stop.signal]),
      }),
    );
    const location = response.headers.get('location');
    if (response.status < 300 || response.status > 399 || response.status === 304 || location === null)
      return response;
    await response.body?.cancel();
    const next = URL.canParse(location, at) ? new URL(location, at).href : location;
    if (hops === REDIRECTS_LIMIT || !isBaseUrl(next, options.network)) {
      throw networkError('RELEASE_REDIRECT', 'the release is redirected to where it is not fetched from', {
        facts: [
          ['url', url],
          ['redirected to', next],
          ['redirects', hops + 1],
        ],
        mend: 'name a host that serves it over https with --base-url',
      });
    }
    at = next;
  }
}

async function receive(
  url: string,
  response: Response,
  part: PartialFile,
  options: ReleaseDownloadOptions,
  stop: AbortController,
  limitBytes: number,
): Promise<Failure | undefined> {
  const { status, headers, body } = response;
  if (status === 416 && part.sizeBytes > 0) {
    // Nothing is left of it, or it is another file than what was begun.
    const total = /^bytes \*\/([0-9]{1,15})$/.exec(headers.get('content-range') ?? '')?.[1];
    if (Number(total) === part.sizeBytes) return undefined;
    await part.restart();
    return { error: statusError(url, response), retryAfterMs: 0 };
  }
  if (status !== 200 && status !== 206) {
    await body?.cancel();
    const error = statusError(url, response);
    if (status !== 429 && status < 500) throw error;
    return { error, retryAfterMs: retryAfterMs(headers) };
  }
  const total = await beginAt(response, part);
  if (total !== undefined && total > limitBytes) throw tooLarge(url, limitBytes, total);
  options.onProgress?.(part.sizeBytes, total);
  const reader: ReadableStreamDefaultReader<Uint8Array> = (body ?? new Blob([]).stream()).getReader();
  for (;;) {
    const { done, value } = await beforeStall(options, reader.read());
    if (done) break;
    if (part.sizeBytes + value.length > (total ?? limitBytes)) {
      stop.abort();
      throw tooLarge(url, total ?? limitBytes, part.sizeBytes + value.length);
    }
    await part.append(value);
    options.onProgress?.(part.sizeBytes, total);
  }
  if (total !== undefined && part.sizeBytes < total)
    throw new Error(`the connection ended after ${part.sizeBytes} of ${total} bytes`);
  return undefined;
}

/** Makes the partial file end where the body begins. Gives the size of the whole, when it is said. */
async function beginAt({ status, headers }: Response, part: PartialFile): Promise<number | undefined> {
  const length = /^[0-9]{1,15}$/.exec(headers.get('content-length') ?? '')?.[0];
  if (status === 206) {
    const [, start, size] =
      /^bytes ([0-9]{1,15})-[0-9]{1,15}\/([0-9]{1,15}|\*)$/.exec(headers.get('content-range') ?? '') ?? [];
    if (part.sizeBytes > 0 && Number(start) === part.sizeBytes)
      return size === '*' || size === undefined ? undefined : Number(size);
    await part.restart();
    throw new Error('the server sent another range than it was asked for');
  }
  // The whole file, though a rest may have been asked for: the server knows no ranges.
  if (part.sizeBytes > 0) await part.restart();
  return length === undefined ? undefined : Number(length);
}

/** Waits for a step of the transfer, but not for ever. @throws CvmError network RELEASE_STALLED */
export async function beforeStall<T>(
  { wait, signal }: Pick<ReleaseDownloadOptions, 'wait' | 'signal'>,
  step: Promise<T>,
  patienceMs = STALL_MS,
): Promise<T> {
  const settled = new AbortController();
  const stalled = wait(patienceMs, AbortSignal.any([signal, settled.signal])).then(() => {
    throw networkError('RELEASE_STALLED', `nothing arrived for ${patienceMs / 1000} s`);
  });
  // Whichever comes second is of no interest any more.
  stalled.catch(() => undefined);
  step.catch(() => undefined);
  try {
    return await Promise.race([step, stalled]);
  } finally {
    settled.abort();
  }
}

/** `Retry-After` in seconds; 0 when it is not said so. */
export function retryAfterMs(headers: Headers): number {
  const text = headers.get('retry-after');
  return text !== null && /^[0-9]{1,6}$/.test(text) ? Number(text) * 1000 : 0;
}

function statusError(url: string, { status, statusText }: Response): CvmError {
  const facts: Fact[] = [
    ['url', url],
    ['status', `${status} ${statusText}`.trim()],
  ];
  if ([401, 403, 404, 410].includes(status)) {
    return networkError('RELEASE_NOT_FOUND', 'there is no such release', {
      facts,
      mend: 'check the commit: it is the full git commit that the node ran; or name another place with --base-url',
    });
  }
  return networkError('RELEASE_HTTP_STATUS', 'the server refused to send the release', {
    facts,
    mend: 'try again later, or name another place with --base-url',
  });
}

function tooLarge(url: string, limitBytes: number, foundBytes: number): CvmError {
  return networkError('RELEASE_TOO_LARGE', 'the server sends more than it may', {
    facts: [
      ['url', url],
      ['limit', `${limitBytes} bytes`],
      ['at least', `${foundBytes} bytes`],
    ],
    mend: 'name another place with --base-url, or give the file with --base-file',
  });
}
