import { describe, expect, test } from 'vitest';
import { usageError, type CvmError } from '../../../tools/errors.ts';
import type { Fetch, Wait } from '../../../tools/update/bounded-fetch.ts';
import {
  downloadChecksum,
  downloadRelease,
  RELEASE_LIMIT_BYTES,
  type PartialFile,
  type ReleaseDownloadOptions,
} from '../../../tools/update/release-download.ts';
import { expectCvmRejection } from '../../support/errors.ts';

const URL_1 = 'https://releases.example/x/update-img.tar.zst';
const CONTENT = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 256);

/** A partial file in memory. */
class Part implements PartialFile {
  bytes: number[];
  restarts = 0;

  constructor(found: Uint8Array = new Uint8Array(0)) {
    this.bytes = [...found];
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  append(bytes: Uint8Array): Promise<void> {
    this.bytes.push(...bytes);
    return Promise.resolve();
  }

  restart(): Promise<void> {
    this.restarts++;
    this.bytes = [];
    return Promise.resolve();
  }
}

interface Asked {
  readonly url: string;
  readonly range: string | null;
}

/** What a server does with one request; `offset` is where the range begins that was asked for. */
type Answer = (offset: number, signal: AbortSignal) => Response | Promise<Response>;

interface Setting {
  readonly asked: Asked[];
  /** The pauses before further tries, in milliseconds. */
  readonly pauses: number[];
  readonly notes: string[];
  readonly progress: (readonly [number, number | undefined])[];
  readonly options: ReleaseDownloadOptions;
  readonly controller: AbortController;
}

/**
 * No sockets, no clock: the answers come in turn, the last one for ever. Pauses end at once; the patience with a silent
 * connection ends never, or at once where `stalls`.
 */
function setting(
  answers: readonly Answer[],
  over: { readonly network?: 'mainnet' | 'dev'; readonly stalls?: boolean } = {},
): Setting {
  const asked: Asked[] = [];
  const pauses: number[] = [];
  const notes: string[] = [];
  const progress: (readonly [number, number | undefined])[] = [];
  const controller = new AbortController();
  const fetch: Fetch = async (url, init) => {
    const range = new Headers(init.headers).get('range');
    expect(init.redirect).toBe('manual');
    expect(new Headers(init.headers).get('accept-encoding')).toBe('identity');
    const answer = answers[Math.min(asked.length, answers.length - 1)] as Answer;
    asked.push({ url, range });
    return await answer(
      Number(/^bytes=([0-9]+)-$/.exec(range ?? 'bytes=0-')?.[1]),
      init.signal as AbortSignal,
    );
  };
  const wait: Wait = (ms, signal) => {
    if (signal === controller.signal) {
      pauses.push(ms);
      signal.throwIfAborted();
      return Promise.resolve();
    }
    expect(ms).toBe(30_000);
    if (over.stalls === true) return new Promise((resolve) => setImmediate(resolve));
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
    });
  };
  return {
    asked,
    pauses,
    notes,
    progress,
    controller,
    options: {
      network: over.network ?? 'mainnet',
      fetch,
      wait,
      signal: controller.signal,
      onProgress: (...seen) => progress.push(seen),
      onNote: (text) => notes.push(text),
    },
  };
}

type Body = Uint8Array | readonly Uint8Array[];

/** Pieces, and then an end or a break. */
function stream(pieces: readonly Uint8Array[], error?: Error): ReadableStream<Uint8Array> {
  const rest = [...pieces];
  return new ReadableStream({
    pull(controller) {
      const next = rest.shift();
      if (next !== undefined) controller.enqueue(next);
      else if (error === undefined) controller.close();
      else controller.error(error);
    },
  });
}

function respond(status: number, body: Body | null, headers: Record<string, string> = {}): Response {
  const pieces = body === null ? null : body instanceof Uint8Array ? [body] : body;
  return new Response(pieces === null ? null : stream(pieces), { status, headers });
}

const whole: Answer = () => respond(200, CONTENT, { 'content-length': `${CONTENT.length}` });

/** The rest that was asked for, of a server that knows ranges. */
const ranged: Answer = (offset) =>
  offset >= CONTENT.length
    ? respond(416, null, { 'content-range': `bytes */${CONTENT.length}` })
    : offset === 0
      ? respond(200, CONTENT, { 'content-length': `${CONTENT.length}` })
      : respond(206, CONTENT.subarray(offset), {
          'content-length': `${CONTENT.length - offset}`,
          'content-range': `bytes ${offset}-${CONTENT.length - 1}/${CONTENT.length}`,
        });

/** Like {@link ranged}, but the connection breaks after so many bytes. */
const breaking =
  (bytes: number): Answer =>
  (offset) => {
    const { status, headers } = ranged(offset, new AbortController().signal) as Response;
    if (status === 416) return ranged(offset, new AbortController().signal);
    const body = stream([CONTENT.subarray(offset, offset + bytes)], new Error('connection reset'));
    return new Response(body, { status, headers });
  };

const refused: Answer = () =>
  Promise.reject(new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') }));
const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  () =>
    respond(code, new Uint8Array(3), headers);
const redirect =
  (location: string, code = 302): Answer =>
  () =>
    respond(code, null, { location });
const silent: Answer = () => new Promise(() => undefined);

async function brings(answers: readonly Answer[], part = new Part(), over = {}): Promise<Setting> {
  const made = setting(answers, over);
  await downloadRelease(URL_1, part, made.options);
  expect(Buffer.from(part.bytes).equals(CONTENT)).toBe(true);
  return made;
}

describe('a download that succeeds', () => {
  test('whole, and without a range', async () => {
    const { asked, pauses, progress } = await brings([whole]);
    expect(asked).toEqual([{ url: URL_1, range: null }]);
    expect(pauses).toEqual([]);
    expect(progress).toEqual([
      [0, 1000],
      [1000, 1000],
    ]);
  });

  test('in pieces, of a length that is not said', async () => {
    const pieces = [
      CONTENT.subarray(0, 1),
      CONTENT.subarray(1, 1),
      CONTENT.subarray(1, 999),
      CONTENT.subarray(999),
    ];
    const { progress } = await brings([() => respond(200, pieces)]);
    expect(progress.at(-1)).toEqual([1000, undefined]);
  });

  test('goes on where an earlier one stopped', async () => {
    const part = new Part(CONTENT.subarray(0, 400));
    const { asked, progress } = await brings([ranged], part);
    expect(asked).toEqual([{ url: URL_1, range: 'bytes=400-' }]);
    expect(progress[0]).toEqual([400, 1000]);
    expect(part.restarts).toBe(0);
  });

  test('goes on with a range whose whole is not said', async () => {
    const answer: Answer = (offset) =>
      respond(206, CONTENT.subarray(offset), { 'content-range': `bytes ${offset}-999/*` });
    await brings([answer], new Part(CONTENT.subarray(0, 400)));
  });

  test('begins anew where the server knows no ranges', async () => {
    const part = new Part(CONTENT.subarray(0, 400));
    await brings([whole], part);
    expect(part.restarts).toBe(1);
  });

  test.each([
    ['another start', { 'content-range': 'bytes 300-999/1000' }],
    ['a start that is no number', { 'content-range': 'bytes x-999/1000' }],
    ['another unit', { 'content-range': 'lines 400-999/1000' }],
    ['no range said', {}],
  ])('does not take a part with %s', async (_, headers) => {
    const part = new Part(CONTENT.subarray(0, 400));
    const { asked } = await brings([() => respond(206, CONTENT.subarray(300), headers), ranged], part);
    expect(asked.map(({ range }) => range)).toEqual(['bytes=400-', null]);
    expect(part.restarts).toBe(1);
  });

  test('is complete when nothing is left of it', async () => {
    const part = new Part(CONTENT);
    const { asked } = await brings([status(416, { 'content-range': 'bytes */1000' })], part);
    expect(asked).toHaveLength(1);
    expect(part.restarts).toBe(0);
  });

  test.each([{ 'content-range': 'bytes */1001' }, { 'content-range': 'bytes */' }, {}])(
    'begins anew when what is there is of another file (%o)',
    async (headers) => {
      const part = new Part(new Uint8Array(1000).fill(1));
      const { asked } = await brings([status(416, headers), ranged], part);
      expect(asked.map(({ range }) => range)).toEqual(['bytes=1000-', null]);
    },
  );

  test('goes on after a break in the middle, as often as it brings anything', async () => {
    const { asked, pauses, notes } = await brings([breaking(100)]);
    expect(asked.map(({ range }) => range)).toEqual([
      null,
      // The last one breaks when all has come: then nothing is left to ask for.
      ...Array.from({ length: 10 }, (_, i) => `bytes=${(i + 1) * 100}-`),
    ]);
    expect(new Set(pauses)).toEqual(new Set([1000]));
    expect(notes[0]).toBe('connection reset; trying again in 1 s');
  });

  test('goes on after an end that is too early', async () => {
    const short: Answer = () => respond(200, CONTENT.subarray(0, 10), { 'content-length': '1000' });
    const { asked, notes } = await brings([short, ranged]);
    expect(asked[1]?.range).toBe('bytes=10-');
    expect(notes[0]).toContain('10 of 1000 bytes');
  });

  test('after four tries in vain, with growing pauses; what it brings resets the count', async () => {
    const vain = [refused, refused, refused, refused];
    const { pauses } = await brings([...vain, breaking(1), ...vain, ranged]);
    expect(pauses).toEqual([1000, 2000, 4000, 8000, 1000, 1000, 2000, 4000, 8000]);
  });

  test.each([429, 500, 502, 503])('after status %d', async (code) => {
    const { pauses } = await brings([status(code), whole]);
    expect(pauses).toEqual([1000]);
  });

  test.each([
    ['5', 5000],
    ['0', 1000],
    ['3600', 30_000],
    ['999999', 30_000],
    ['9999999', 1000],
    ['-1', 1000],
    ['Wed, 21 Oct 2015 07:28:00 GMT', 1000],
  ])('after a pause as Retry-After: %s says, within bounds', async (text, pause) => {
    expect((await brings([status(503, { 'retry-after': text }), whole])).pauses).toEqual([pause]);
    expect((await brings([status(429, { 'retry-after': text }), whole])).pauses).toEqual([pause]);
  });

  test('through redirects, relative ones too, with the range', async () => {
    const part = new Part(CONTENT.subarray(0, 400));
    const chain = [
      redirect('https://b.example/1', 301),
      redirect('/2', 302),
      redirect('3', 307),
      redirect('//c.example/4', 308),
    ];
    const { asked } = await brings([...chain, ranged], part);
    expect(asked.map(({ url }) => url)).toEqual([
      URL_1,
      'https://b.example/1',
      'https://b.example/2',
      'https://b.example/3',
      'https://c.example/4',
    ]);
    expect(new Set(asked.map(({ range }) => range))).toEqual(new Set(['bytes=400-']));
  });

  test('through five redirects', async () => {
    const { asked } = await brings([
      ...Array.from({ length: 5 }, () => redirect('https://b.example/x')),
      whole,
    ]);
    expect(asked).toHaveLength(6);
  });

  test('an empty file', async () => {
    const part = new Part();
    await downloadRelease(
      URL_1,
      part,
      setting([() => respond(200, null, { 'content-length': '0' })]).options,
    );
    expect(part.sizeBytes).toBe(0);
  });
});

async function fails(
  answers: readonly Answer[],
  code: string,
  part: PartialFile = new Part(),
  over: Parameters<typeof setting>[1] = {},
): Promise<Setting & { readonly error: CvmError }> {
  const made = setting(answers, over);
  const error = await expectCvmRejection(() => downloadRelease(URL_1, part, made.options), code, 'network');
  expect(error.mend).toBeDefined();
  return { ...made, error };
}

describe('a download that fails', () => {
  test('after five tries in vain', async () => {
    const { asked, pauses, error } = await fails([refused], 'RELEASE_UNREACHABLE');
    expect(asked).toHaveLength(5);
    expect(pauses).toEqual([1000, 2000, 4000, 8000]);
    expect(error.facts.join('\n')).toContain('ECONNREFUSED');
  });

  test('and keeps what it has for the next call', async () => {
    const part = new Part();
    const { error } = await fails([breaking(100), refused], 'RELEASE_UNREACHABLE', part);
    expect(part.bytes).toHaveLength(100);
    expect(error.facts.join('\n')).toContain('100 bytes');
  });

  test('when nothing arrives, neither headers nor body', async () => {
    const hanging: Answer = () => new Response(new ReadableStream(), { headers: { 'content-length': '9' } });
    for (const answer of [silent, hanging]) {
      const { asked, error } = await fails([answer], 'RELEASE_UNREACHABLE', new Part(), { stalls: true });
      expect(asked).toHaveLength(5);
      expect(error.facts.join('\n')).toContain('nothing arrived for 30 s');
    }
  });

  test('when a server without ranges breaks at the same place again and again', async () => {
    const part = new Part();
    const broken: Answer = () => new Response(stream([CONTENT.subarray(0, 9)], new Error('reset')));
    const { asked } = await fails([broken], 'RELEASE_UNREACHABLE', part);
    expect(asked).toHaveLength(6);
  });

  test('when a server sends parts that nobody asked for', async () => {
    const part = (): Response => respond(206, CONTENT, { 'content-range': 'bytes 0-999/1000' });
    expect((await fails([part], 'RELEASE_UNREACHABLE')).asked).toHaveLength(5);
  });

  test.each([401, 403, 404, 410])('at once with status %d: there is no such release', async (code) => {
    const { asked, error } = await fails([status(code)], 'RELEASE_NOT_FOUND');
    expect(asked).toHaveLength(1);
    expect(error.facts.join('\n')).toContain(`${code}`);
    expect(error.mend).toContain('commit');
  });

  test.each([204, 304, 400, 405, 416, 418, 451])('at once with status %d', async (code) => {
    const answer = (): Response => respond(code, code === 204 || code === 304 ? null : new Uint8Array(1));
    expect((await fails([answer], 'RELEASE_HTTP_STATUS')).asked).toHaveLength(1);
  });

  test.each([429, 503])('after five times status %d', async (code) => {
    const { asked } = await fails([status(code)], 'RELEASE_HTTP_STATUS');
    expect(asked).toHaveLength(5);
  });

  test('when 416 comes again and again', async () => {
    const { asked } = await fails([status(416)], 'RELEASE_HTTP_STATUS', new Part(CONTENT));
    expect(asked.length).toBeLessThanOrEqual(6);
  });

  test.each([
    'http://releases.example/x',
    'http://127.0.0.1/x',
    'ftp://releases.example/x',
    'file:///etc/passwd',
    'data:,x',
    '//',
    'https://',
  ])('when it is redirected to %s', async (location) => {
    const { asked, error } = await fails([redirect(location)], 'RELEASE_REDIRECT');
    expect(asked).toHaveLength(1);
    expect(error.facts.join('\n')).toContain(URL_1);
  });

  test('when a later redirect leaves https', async () => {
    const { asked } = await fails(
      [redirect('https://b.example/'), redirect('http://b.example/')],
      'RELEASE_REDIRECT',
    );
    expect(asked).toHaveLength(2);
  });

  test('when dev is redirected to http elsewhere', async () => {
    await fails([redirect('http://releases.example/x')], 'RELEASE_REDIRECT', new Part(), { network: 'dev' });
  });

  test('when it is redirected for ever', async () => {
    expect((await fails([redirect('https://b.example/x')], 'RELEASE_REDIRECT')).asked).toHaveLength(6);
  });

  test('a redirect without a place is a status like others', async () => {
    await fails([() => respond(302, null)], 'RELEASE_HTTP_STATUS');
  });

  test('when the size that is said is too large, before any of it is read', async () => {
    const part = new Part();
    const answer = (): Response => respond(200, CONTENT, { 'content-length': `${RELEASE_LIMIT_BYTES + 1}` });
    expect((await fails([answer], 'RELEASE_TOO_LARGE', part)).asked).toHaveLength(1);
    expect(part.sizeBytes).toBe(0);
  });

  test('when the whole of a part is too large', async () => {
    const answer: Answer = (offset) =>
      respond(206, CONTENT.subarray(offset), {
        'content-range': `bytes ${offset}-999/${RELEASE_LIMIT_BYTES + 1}`,
      });
    await fails([answer], 'RELEASE_TOO_LARGE', new Part(CONTENT.subarray(0, 400)));
  });

  test('when more comes than was said', async () => {
    const part = new Part();
    const answer = (): Response =>
      respond(200, [CONTENT.subarray(0, 500), CONTENT.subarray(500)], { 'content-length': '999' });
    expect((await fails([answer], 'RELEASE_TOO_LARGE', part)).asked).toHaveLength(1);
    expect(part.sizeBytes).toBe(500);
  });

  test('when an endless body of unsaid length passes the limit', async () => {
    let size = 0;
    const part: PartialFile = {
      get sizeBytes() {
        return size;
      },
      // As if every piece were 1 GiB.
      append: () => Promise.resolve(void (size += 2 ** 30)),
      restart: () => Promise.resolve(),
    };
    const endless: Answer = () =>
      new Response(
        new ReadableStream({
          pull: (controller) => {
            controller.enqueue(new Uint8Array(1));
          },
        }),
      );
    await fails([endless], 'RELEASE_TOO_LARGE', part);
    expect(size).toBe(RELEASE_LIMIT_BYTES);
  });

  test('with the error of a full disk, at once', async () => {
    const full = usageError('FILE_ACCESS', 'the file cannot be written');
    const part = new Part();
    part.append = () => Promise.reject(full);
    const { asked, options } = setting([whole]);
    await expect(downloadRelease(URL_1, part, options)).rejects.toBe(full);
    expect(asked).toHaveLength(1);
  });
});

describe('an interrupt', () => {
  const interrupt = usageError('INTERRUPTED', 'interrupted');

  test('before the first request', async () => {
    const { asked, options, controller } = setting([whole]);
    controller.abort(interrupt);
    await expect(downloadRelease(URL_1, new Part(), options)).rejects.toBe(interrupt);
    expect(asked).toEqual([]);
  });

  test('while a server says nothing', async () => {
    const { asked, options, controller } = setting([
      (_, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reject(signal.reason as Error);
          });
        }),
    ]);
    const download = downloadRelease(URL_1, new Part(), options);
    controller.abort(interrupt);
    await expect(download).rejects.toBe(interrupt);
    expect(asked).toHaveLength(1);
  });

  test('during a pause', async () => {
    const made = setting([refused]);
    const options: ReleaseDownloadOptions = {
      ...made.options,
      onNote: () => {
        made.controller.abort(interrupt);
      },
    };
    await expect(downloadRelease(URL_1, new Part(), options)).rejects.toBe(interrupt);
    expect(made.asked).toHaveLength(1);
  });

  test('in the middle of a body keeps what has come', async () => {
    const made = setting([
      (_, signal) =>
        new Response(
          new ReadableStream({
            start: (controller) => {
              controller.enqueue(CONTENT.subarray(0, 100));
              signal.addEventListener('abort', () => {
                controller.error(signal.reason);
              });
            },
          }),
        ),
    ]);
    const part = new Part();
    const options: ReleaseDownloadOptions = {
      ...made.options,
      onProgress: (received) => {
        if (received > 0) made.controller.abort(interrupt);
      },
    };
    await expect(downloadRelease(URL_1, part, options)).rejects.toBe(interrupt);
    expect(part.bytes).toHaveLength(100);
  });

  test('every connection that is given up is closed', async () => {
    const signals: AbortSignal[] = [];
    const made = setting([
      (_, signal) => {
        signals.push(signal);
        return respond(200, CONTENT, { 'content-length': '1' });
      },
    ]);
    await expectCvmRejection(() => downloadRelease(URL_1, new Part(), made.options), 'RELEASE_TOO_LARGE');
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  });
});

describe('SHA256SUMS', () => {
  const SHA = '0123456789abcdef'.repeat(4);
  const OTHER = 'f'.repeat(64);
  const NAME = 'update-img.tar.zst';
  const SUMS = 'https://releases.example/x/SHA256SUMS';
  const sums =
    (text: string): Answer =>
    () =>
      respond(200, Buffer.from(text));

  test.each([
    ['one blank', `${SHA} ${NAME}\n`],
    ['two blanks', `${SHA}  ${NAME}\n`],
    ['binary mode', `${SHA} *${NAME}\n`],
    ['a path of this folder', `${SHA}  ./${NAME}\n`],
    ['a path of this folder in binary mode', `${SHA} *./${NAME}\n`],
    ['no newline at the end', `${SHA}  ${NAME}`],
    ['lines of DOS', `${OTHER}  other\r\n${SHA}  ${NAME}\r\n`],
    ['capitals', `${SHA.toUpperCase()}  ${NAME}\n`],
    [
      'others around it',
      `${OTHER}  a\n\n# comment\n${SHA}  ${NAME}\n${OTHER}  x${NAME}\n${OTHER}  ${NAME}.sig\n`,
    ],
    ['the same twice', `${SHA}  ${NAME}\n${SHA} *./${NAME}\n`],
  ])('with %s', async (_, text) => {
    const { asked, progress, options } = setting([sums(text)]);
    expect(await downloadChecksum(SUMS, NAME, options)).toBe(SHA);
    expect(asked).toEqual([{ url: SUMS, range: null }]);
    expect(progress).toEqual([]);
  });

  test.each([
    ['nothing', ''],
    ['a page of HTML', '<html>not found</html>'],
    ['other files only', `${SHA}  x${NAME}\n${SHA}  ${NAME}x\n`],
    ['a file of another folder', `${SHA}  y/${NAME}\n${SHA}  ../${NAME}\n`],
    ['a name in another case', `${SHA}  ${NAME.toUpperCase()}\n`],
    ['no blank', `${SHA}${NAME}\n`],
    ['a tab', `${SHA}\t${NAME}\n`],
    ['three blanks', `${SHA}   ${NAME}\n`],
    ['a blank before', ` ${SHA}  ${NAME}\n`],
    ['a shorter digest', `${SHA.slice(1)}  ${NAME}\n`],
    ['a longer digest', `${SHA}0  ${NAME}\n`],
    ['a digest that is no hex', `${'g'.repeat(64)}  ${NAME}\n`],
    ['two different entries', `${SHA}  ${NAME}\n${OTHER}  ${NAME}\n`],
    ['two different entries in two forms', `${SHA}  ${NAME}\n${OTHER} *./${NAME}\n`],
    ['bytes that are no text', Buffer.alloc(100, 0xff).toString('latin1')],
  ])('with %s is refused', async (_, text) => {
    const error = await expectCvmRejection(
      () => downloadChecksum(SUMS, NAME, setting([sums(text)]).options),
      'SUMS_ENTRY',
      'format',
    );
    expect(error.facts.join('\n')).toContain(SUMS);
    expect(error.mend).toContain('--base-sha256');
  });

  test.each([
    ['said', { 'content-length': `${(1 << 20) + 1}` }],
    ['unsaid', {}],
  ])('of more than 1 MiB, of %s length, is refused', async (_, headers) => {
    const large = Buffer.from(`${SHA}  ${NAME}\n`.padEnd((1 << 20) + 1));
    const { asked, options } = setting([() => respond(200, large, headers)]);
    await expectCvmRejection(() => downloadChecksum(SUMS, NAME, options), 'RELEASE_TOO_LARGE', 'network');
    expect(asked).toHaveLength(1);
  });

  test('of exactly 1 MiB is taken', async () => {
    const large = Buffer.from(`${SHA}  ${NAME}\n`.padEnd(1 << 20));
    expect(await downloadChecksum(SUMS, NAME, setting([() => respond(200, large)]).options)).toBe(SHA);
  });

  test('that is not there', async () => {
    await expectCvmRejection(
      () => downloadChecksum(SUMS, NAME, setting([status(404)]).options),
      'RELEASE_NOT_FOUND',
      'network',
    );
  });
});
