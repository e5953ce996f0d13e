import { CvmError, networkError, usageError, type Fact } from '../errors.ts';
import type { Fetch, Wait } from './bounded-fetch.ts';
import { withoutPassword } from './proxy.ts';
import {
  lost,
  PassingFailure,
  UPLOAD_LOST,
  type ObjectState,
  type ObjectStore,
  type Upload,
} from './publish.ts';
import { beforeStall, retryAfterMs } from './release-download.ts';

export interface HttpStoreOptions {
  readonly fetch: Fetch;
  readonly wait: Wait;
  readonly signal: AbortSignal;
  /** The value of the Authorization header. It is sent to this place alone, and shown nowhere. */
  readonly authorization?: string | undefined;
}

/** After the last byte a store may take its time: it hashes, copies, replicates. */
const ANSWER_PATIENCE_MS = 120_000;

/**
 * The folder that objects go below: https, or http to this machine; no user, password, query or fragment, which would be
 * secrets on a command line.
 * @throws CvmError usage PUBLISH_URL
 */
export function publishUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const loopback = ['127.0.0.1', 'localhost', '[::1]'];
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && loopback.includes(url.hostname));
  const isBare =
    url?.username === '' && url.password === '' && url.search === '' && url.hash === '' && !/[?#]/.test(text);
  if (url === undefined || !isSafe || !isBare) {
    throw usageError('PUBLISH_URL', 'this is not the URL of a place to publish to', {
      facts: [
        ['found', withoutPassword(text).replace(/[?#].*$/s, '?…')],
        ['expected', 'https, or http to this machine; no user, password, query or fragment'],
      ],
      mend: 'write it as https://host/folder; credentials come from a file or the environment',
    });
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

/** Objects below a URL, by PUT, HEAD and GET. Redirects are not followed: credentials would go along. */
export class HttpStore implements ObjectStore {
  readonly place: string;
  readonly #base: URL;
  readonly #options: HttpStoreOptions;

  constructor(base: URL, options: HttpStoreOptions) {
    this.place = base.href;
    this.#base = base;
    this.#options = options;
  }

  async head(name: string): Promise<ObjectState | undefined> {
    const response = await this.#ask(name, 'HEAD', new AbortController());
    await response.body?.cancel();
    if (isAbsent(response)) return undefined;
    // A store without HEAD is asked for the object itself.
    if (response.status === 405 || response.status === 501) return { size: undefined, sha256: undefined };
    this.#requireOk(name, 'HEAD', response);
    return { size: sizeOf(response.headers), sha256: sha256Of(response.headers) };
  }

  async get(name: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const stop = new AbortController();
    const response = await this.#ask(name, 'GET', stop);
    if (response.status !== 200) {
      await response.body?.cancel();
      if (isAbsent(response)) return undefined;
      this.#requireOk(name, 'GET', response);
      throw this.#refused(name, 'GET', response);
    }
    return this.#body(name, response, stop);
  }

  async put(
    name: string,
    upload: Upload,
    { replace, onSent }: { readonly replace: boolean; readonly onSent: (bytes: number) => void },
  ): Promise<boolean> {
    const { fetch, signal } = this.#options;
    const stop = new AbortController();
    let sentBytes = 0;
    const source = upload.chunks()[Symbol.iterator]();
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const next = source.next();
          if (next.done === true) {
            controller.close();
            return;
          }
          sentBytes += next.value.length;
          onSent(sentBytes);
          controller.enqueue(next.value);
        },
        cancel() {
          source.return?.();
        },
      },
      { highWaterMark: 0 },
    );
    let response: Response;
    try {
      const step = fetch(this.#url(name), {
        method: 'PUT',
        body,
        duplex: 'half',
        redirect: 'manual',
        headers: {
          ...this.#credentials(),
          'content-length': `${upload.size}`,
          'content-type': 'application/octet-stream',
          ...(replace ? {} : { 'if-none-match': '*' }),
        },
        signal: AbortSignal.any([signal, stop.signal]),
      });
      response = await this.#whileMoving(() => sentBytes, step);
    } catch (cause) {
      throw this.#broken(UPLOAD_LOST, name, cause);
    } finally {
      stop.abort();
    }
    if (response.status === 412 || (response.status === 409 && !replace)) return false;
    this.#requireOk(name, 'PUT', response);
    return true;
  }

  #url(name: string): string {
    return new URL(name.split('/').map(encodeURIComponent).join('/'), this.#base).href;
  }

  #credentials(): Readonly<Record<string, string>> {
    const { authorization } = this.#options;
    return authorization === undefined ? {} : { authorization };
  }

  async #ask(name: string, method: 'GET' | 'HEAD', stop: AbortController): Promise<Response> {
    const { fetch, signal } = this.#options;
    try {
      const step = fetch(this.#url(name), {
        method,
        redirect: 'manual',
        headers: { ...this.#credentials(), 'accept-encoding': 'identity', 'cache-control': 'no-cache' },
        signal: AbortSignal.any([signal, stop.signal]),
      });
      return await beforeStall(this.#options, step);
    } catch (cause) {
      stop.abort();
      throw this.#broken('PUBLISH_UNREACHABLE', name, cause);
    }
  }

  async *#body(name: string, response: Response, stop: AbortController): AsyncGenerator<Uint8Array> {
    const reader: ReadableStreamDefaultReader<Uint8Array> = (
      response.body ?? new Blob([]).stream()
    ).getReader();
    try {
      for (;;) {
        let part: Awaited<ReturnType<typeof reader.read>>;
        try {
          part = await beforeStall(this.#options, reader.read());
        } catch (cause) {
          throw this.#broken('PUBLISH_UNREACHABLE', name, cause);
        }
        if (part.done) return;
        yield part.value;
      }
    } finally {
      // Also when nobody wants the rest: a server may send without end.
      stop.abort();
    }
  }

  /** Waits for an upload as long as bytes go out. */
  async #whileMoving<T>(moved: () => number, step: Promise<T>): Promise<T> {
    for (;;) {
      const before = moved();
      try {
        return await beforeStall(this.#options, step, ANSWER_PATIENCE_MS);
      } catch (error) {
        if (!(error instanceof CvmError && error.code === 'RELEASE_STALLED') || moved() === before)
          throw error;
      }
    }
  }

  #broken(code: string, name: string, cause: unknown): unknown {
    this.#options.signal.throwIfAborted();
    // Reading the file to upload may fail, too: that does not pass.
    if (cause instanceof CvmError && cause.code !== 'RELEASE_STALLED') return cause;
    const own = ownErrorIn(cause);
    return own ?? lost(code, this.place, name, cause);
  }

  #requireOk(name: string, method: string, response: Response): void {
    const { status, headers, type } = response;
    if (status >= 200 && status < 300) return;
    if (type === 'opaqueredirect' || (status >= 300 && status < 400)) {
      throw networkError(
        'PUBLISH_REDIRECT',
        'the place of publication sends us elsewhere, and no redirect is followed',
        {
          facts: [
            ...this.#facts(name, method, response),
            ['leads to', this.#hide(headers.get('location') ?? '(not said)')],
          ],
          mend: 'name the place itself with --to',
        },
      );
    }
    const error = this.#refused(name, method, response);
    if (status === 429 || status >= 500) throw new PassingFailure(error, retryAfterMs(headers));
    throw error;
  }

  #refused(name: string, method: string, response: Response): CvmError {
    const isAuthorization = response.status === 401 || response.status === 403;
    return networkError('PUBLISH_REFUSED', 'the place of publication refused', {
      facts: this.#facts(name, method, response),
      mend: isAuthorization
        ? 'give the Authorization header in CVM_PUBLISH_AUTHORIZATION or with --authorization-file, of an account that may read and write there'
        : 'check the place, and try again later',
    });
  }

  #facts(name: string, method: string, { status, statusText }: Response): Fact[] {
    return [
      ['at', this.place],
      ['object', name],
      ['asked', method],
      ['status', this.#hide(`${status} ${statusText}`.trim())],
    ];
  }

  /** What a server says may repeat what it was told. */
  #hide(text: string): string {
    const { authorization } = this.#options;
    if (authorization === undefined) return text;
    return [authorization, ...authorization.split(' ').slice(1)]
      .filter((secret) => secret.length > 0)
      .reduce((shown, secret) => shown.replaceAll(secret, '…'), text);
  }
}

/** Ours comes back wrapped from `fetch` when the body it reads fails. */
function ownErrorIn(error: unknown): CvmError | undefined {
  for (let at = error; at instanceof Error; at = at.cause)
    if (at instanceof CvmError && at.code !== 'RELEASE_STALLED') return at;
  return undefined;
}

const isAbsent = ({ status }: Response): boolean => status === 404 || status === 410;

function sizeOf(headers: Headers): number | undefined {
  const text = headers.get('content-length') ?? '';
  return /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
}

/** The sha256 of the object, where the store says one: RFC 9530 Repr-Digest, or S3's header. Both are base64. */
function sha256Of(headers: Headers): string | undefined {
  const [, digest] = /(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):/.exec(headers.get('repr-digest') ?? '') ?? [];
  const s3 = headers.get('x-amz-checksum-sha256') ?? '';
  const base64 = digest ?? (/^[A-Za-z0-9+/]{43}=$/.test(s3) ? s3 : undefined);
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64').toString('hex');
}
