import { CvmError, networkError } from '../errors.ts';

/** The part of the standard `fetch` that is used: tests and proxies can stand in for it. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Waits, unless the signal ends first. */
export type Wait = (ms: number, signal: AbortSignal) => Promise<void>;

export interface BoundedFetchOptions {
  readonly fetch: Fetch;
  /** Ends every request and every wait. */
  readonly signal: AbortSignal;
  readonly wait: Wait;
  /** Called before a try is repeated. */
  readonly onRetry?: (reason: string, delayMs: number) => void;
  /** How long one try may take, headers and body. */
  readonly timeoutMs?: number;
}

/** An answer of governance takes some kilobytes; nothing larger is kept in memory. */
export const RESPONSE_LIMIT_BYTES = 4 << 20;
const REQUEST_TIMEOUT_MS = 30_000;
const MAX_TRIES = 4;
const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;
/** Statuses whose responses may not carry a body, which the Response constructor checks. */
const BODILESS = new Set([204, 205, 304]);

/**
 * A `fetch` that cannot be made to wait for ever or to fill the memory: every try ends after half a minute, redirects are
 * refused, a body above {@link RESPONSE_LIMIT_BYTES} is cut off, and what may pass by itself (no connection, 429,
 * 5xx) is tried again, as `Retry-After` says or after a growing pause.
 * @throws CvmError network NNS_UNREACHABLE | NNS_RESPONSE_SIZE | NNS_HTTP_STATUS | NNS_REDIRECT, and what `signal` was
 *   aborted with
 */
export function boundedFetch(options: BoundedFetchOptions): Fetch {
  const { signal, wait, onRetry } = options;
  return async (url, init) => {
    for (let tries = 1; ; tries++) {
      const outcome = await attempt(options, url, init);
      if (outcome instanceof Response && !mayPass(outcome.status)) return outcome;
      if (tries === MAX_TRIES) throw outcome instanceof Response ? badStatus(url, outcome, tries) : outcome;
      const delayMs = delayBefore(outcome, tries);
      const reason = outcome instanceof Response ? `HTTP status ${outcome.status}` : outcome.message;
      onRetry?.(reason, delayMs);
      await wait(delayMs, signal);
    }
  };
}

const mayPass = (status: number): boolean => status === 429 || status >= 500;

/** One try. What went wrong on the way is given back, what must not be tried again is thrown. */
async function attempt(
  { fetch, signal, timeoutMs = REQUEST_TIMEOUT_MS }: BoundedFetchOptions,
  url: string,
  init: RequestInit,
): Promise<Response | CvmError> {
  signal.throwIfAborted();
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(url, {
      ...init,
      redirect: 'manual',
      signal: AbortSignal.any([signal, timeout]),
    });
    if (isRedirect(response)) throw redirected(url, response);
    return rebuilt(response, await boundedBody(response));
  } catch (cause) {
    if (cause instanceof CvmError) throw cause;
    signal.throwIfAborted();
    return networkError('NNS_UNREACHABLE', 'the network did not answer', {
      facts: [
        ['url', url],
        ['reason', timeout.aborted ? `no answer within ${timeoutMs / 1000} s` : reasonOf(cause)],
      ],
      mend: 'check the connection, or name another host with --nns-url',
      cause,
    });
  }
}

/** Also what a browser-like fetch makes of one. */
const isRedirect = ({ status, type }: Response): boolean =>
  type === 'opaqueredirect' || (status >= 300 && status < 400 && status !== 304);

function redirected(url: string, response: Response): CvmError {
  return networkError('NNS_REDIRECT', 'the host sends us elsewhere, and no redirect is followed', {
    facts: [
      ['url', url],
      ['status', response.status],
      ['leads to', response.headers.get('location') ?? '(not said)'],
    ],
    mend: 'name a host that answers by itself with --nns-url',
  });
}

async function boundedBody(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    const bytes = part as Uint8Array;
    length += bytes.length;
    if (length > RESPONSE_LIMIT_BYTES) {
      throw networkError('NNS_RESPONSE_SIZE', 'the answer of the network is larger than any real one', {
        facts: [
          ['url', response.url],
          ['limit', `${RESPONSE_LIMIT_BYTES} bytes`],
        ],
        mend: 'name another host with --nns-url',
      });
    }
    parts.push(bytes);
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** The same response with its body in memory. `url` is read by the agent to tell API versions apart. */
function rebuilt(response: Response, body: Uint8Array<ArrayBuffer>): Response {
  const { status, statusText, headers, url } = response;
  const copy = new Response(BODILESS.has(status) ? null : body, { status, statusText, headers });
  Object.defineProperty(copy, 'url', { value: url });
  return copy;
}

function delayBefore(outcome: Response | CvmError, tries: number): number {
  const askedMs = outcome instanceof Response ? retryAfterMs(outcome.headers) : 0;
  return Math.min(LONGEST_DELAY_MS, Math.max(askedMs, FIRST_DELAY_MS * 2 ** (tries - 1)));
}

/** `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date, which is compared with the host's own clock. */
function retryAfterMs(headers: Headers): number {
  const asked = headers.get('retry-after');
  if (asked === null) return 0;
  if (/^[0-9]+$/.test(asked)) return Number(asked) * 1000;
  const ms = Date.parse(asked) - Date.parse(headers.get('date') ?? '');
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

function badStatus(url: string, response: Response, tries: number): CvmError {
  return networkError('NNS_HTTP_STATUS', 'the network refused to answer', {
    facts: [
      ['url', url],
      ['status', `${response.status} ${response.statusText}`.trim()],
      ['tries', tries],
    ],
    mend: 'try again later, or name another host with --nns-url',
  });
}

/** The innermost message: Node's own says only "fetch failed". */
export function reasonOf(error: unknown): string {
  let at = error;
  while (at instanceof Error && at.cause instanceof Error) at = at.cause;
  if (at instanceof AggregateError && at.errors.length > 0) at = at.errors[0] as unknown;
  return at instanceof Error ? at.message : String(at);
}
