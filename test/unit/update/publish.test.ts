import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { FolderStore } from '../../../tools/commands/folder-store.ts';
import { HttpStore, publishUrl } from '../../../tools/update/http-store.ts';
import { liveFetch } from '../../../tools/update/live.ts';
import type { Fetch, Wait } from '../../../tools/update/bounded-fetch.ts';
import {
  publishFiles,
  type ObjectStore,
  type Published,
  type Upload,
} from '../../../tools/update/publish.ts';
import { expectRefusal, expectRefusalOf } from '../../support/refusals.ts';
import {
  startObjectServer,
  storeCertificate,
  type Mishap,
  type ObjectServer,
  type ObjectServerOptions,
} from '../../support/object-server.ts';
import { scratchFolder } from '../../support/run-command.ts';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const SUMS = 'SHA256SUMS';

function upload(name: string, bytes: Uint8Array): Upload {
  return {
    name,
    size: bytes.length,
    sha256: sha256(bytes),
    *chunks() {
      for (let at = 0; at < bytes.length; at += 40_000) yield bytes.subarray(at, at + 40_000);
    },
  };
}

const BIG = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >>> 8)) % 256));
const FILES = [
  upload(SUMS, Buffer.from('sums\n')),
  upload('image', BIG),
  upload('a.json', Buffer.from('{}')),
];
const CAS = `cas/${sha256(BIG)}`;

let server: ObjectServer | undefined;
const waits: number[] = [];
const notes: string[] = [];

beforeAll(() => {
  tls.setDefaultCACertificates([storeCertificate()]);
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  waits.length = 0;
  notes.length = 0;
});

/** Pauses end at once; patience with a silent connection never does, unless `stalls`. */
const waiting =
  (stalls = false): Wait =>
  async (ms, signal) => {
    const isPatience = ms >= 30_000;
    if (!isPatience) waits.push(ms);
    if (isPatience && !stalls) await new Promise((resolve) => signal.addEventListener('abort', resolve));
    if (isPatience && stalls) await new Promise((resolve) => setTimeout(resolve, 200));
    signal.throwIfAborted();
  };

async function start(
  options: ObjectServerOptions = {},
  ...mishaps: readonly Mishap[]
): Promise<ObjectServer> {
  server = await startObjectServer(options);
  server.mishaps.push(...mishaps);
  return server;
}

interface Over {
  readonly authorization?: string;
  readonly fetch?: Fetch;
  readonly stalls?: boolean;
  readonly files?: readonly Upload[];
  readonly store?: ObjectStore;
}

async function publish({
  authorization,
  fetch = liveFetch,
  stalls,
  files = FILES,
  store,
}: Over = {}): Promise<Published[]> {
  const { signal } = new AbortController();
  const wait = waiting(stalls);
  const place = store ?? new HttpStore(publishUrl(server!.url), { fetch, wait, signal, authorization });
  return await publishFiles(place, files, SUMS, { wait, signal, onNote: (text) => notes.push(text) });
}

const how = (published: readonly Published[]): string[] => [...new Set(published.map((row) => row.how))];

/** Answers the nth request of a kind. */
function nth(n: number, method: string, name: string, outcome: ReturnType<Mishap> | Mishap): Mishap {
  let seen = 0;
  return (request, store) => {
    if (request.method !== method || request.name !== name || ++seen !== n) return undefined;
    return typeof outcome === 'function' ? outcome(request, store) : outcome;
  };
}

function expectAllThere(): void {
  for (const { name, sha256: digest } of FILES) {
    expect(sha256(server!.store.get(name)!), name).toBe(digest);
    expect(sha256(server!.store.get(`cas/${digest}`)!), name).toBe(digest);
  }
}

describe('a server that does its work', () => {
  test.each([{ tls: true }, { tls: false }, { tls: true, saysDigest: true }])('%j', async (options) => {
    await start(options);
    expect(how(await publish())).toEqual(['uploaded']);
    expectAllThere();
    expect(server!.store.size).toBe(6);
    // By their sha256 first, by name then, the list at the very end; each is asked for, sent, and read back.
    const puts = server!.asked.filter((line) => line.startsWith('PUT')).map((line) => line.slice(4));
    expect(puts.slice(0, 3).every((name) => name.startsWith('cas/'))).toBe(true);
    expect(puts.slice(3)).toEqual(['a.json', 'image', SUMS]);
    for (const name of puts) {
      const asked = server!.asked.filter((line) => line.endsWith(` ${name}`));
      expect(asked).toEqual([`HEAD ${name}`, `PUT ${name}`, `GET ${name}`]);
    }
  });

  test('a second call sends nothing; what HEAD does not tell of a name of people is read', async () => {
    await start({ tls: true });
    await publish();
    server!.asked.length = 0;
    expect(how(await publish())).toEqual(['there']);
    expect(server!.asked.filter((line) => line.startsWith('PUT'))).toEqual([]);
    expect(server!.asked.filter((line) => line.startsWith('GET'))).toEqual([
      'GET a.json',
      'GET image',
      `GET ${SUMS}`,
    ]);
    expect(server!.asked.filter((line) => line.startsWith('HEAD cas/'))).toHaveLength(3);
  });

  test('where HEAD tells the sha256, nothing is read either', async () => {
    await start({ saysDigest: true });
    await publish();
    server!.asked.length = 0;
    expect(how(await publish())).toEqual(['there']);
    expect(server!.asked.every((line) => line.startsWith('HEAD'))).toBe(true);
  });

  test('what another release has in common is not sent again', async () => {
    await start();
    await publish();
    for (const { name } of FILES) server!.store.delete(name);
    const published = await publish();
    expect(published.filter((row) => row.how === 'there').map(({ name }) => name.slice(0, 4))).toEqual([
      'cas/',
      'cas/',
      'cas/',
    ]);
    expectAllThere();
  });

  test('the size of every upload is said beforehand, and what is new replaces nothing', async () => {
    await start();
    await publish();
    const puts = server!.headers.filter((_, i) => server!.asked[i]!.startsWith('PUT'));
    for (const headers of puts) {
      expect(headers['content-length']).toMatch(/^[0-9]+$/);
      expect(headers['transfer-encoding']).toBeUndefined();
      expect(headers['if-none-match']).toBe('*');
    }
  });

  test('names that a URL would take apart arrive as they are', async () => {
    await start();
    const odd = upload('a+b%2f?#.txt', Buffer.from('x'));
    await publish({ files: [odd] });
    expect([...server!.store.keys()]).toEqual([`cas/${odd.sha256}`, odd.name]);
  });
});

describe('connections that break', () => {
  test.each<readonly [string, Mishap]>([
    ['at HEAD', nth(1, 'HEAD', CAS, { cutAfterBytes: 0 })],
    ['at PUT, nothing kept', nth(1, 'PUT', CAS, { cutAfterBytes: 0 })],
    [
      'at PUT, half of it kept',
      nth(1, 'PUT', CAS, ({ name, body }, store) => {
        store.set(name, body.subarray(0, 120_000));
        return { cutAfterBytes: 0 };
      }),
    ],
    [
      'at PUT, all of it kept',
      nth(1, 'PUT', CAS, ({ name, body }, store) => {
        store.set(name, body);
        return { cutAfterBytes: 0 };
      }),
    ],
    [
      'at PUT by name, half of it kept',
      nth(1, 'PUT', 'image', ({ name, body }, store) => {
        store.set(name, body.subarray(0, 1));
        return { cutAfterBytes: 0 };
      }),
    ],
    ['while it is read back', nth(1, 'GET', CAS, { status: 200, body: BIG, cutAfterBytes: 100_000 })],
    ['at the last file', nth(1, 'PUT', SUMS, { cutAfterBytes: 0 })],
  ])('%s: it ends well', async (_, mishap) => {
    await start({ tls: true }, mishap);
    expect(how(await publish())).toContain('uploaded');
    expectAllThere();
    expect(server!.mishaps).toEqual([]);
    expect(waits).toHaveLength(1);
    expect(notes).toHaveLength(1);
  });

  test('statuses that pass are waited for, as long as the server asks', async () => {
    await start(
      {},
      nth(1, 'PUT', CAS, { status: 503, headers: { 'retry-after': '7' } }),
      nth(1, 'PUT', CAS, { status: 429 }),
    );
    await publish();
    expectAllThere();
    expect(waits).toEqual([7000, 2000]);
  });

  test('a server that never takes it is left after five tries', async () => {
    await start({}, ...Array.from({ length: 9 }, () => nth(1, 'PUT', CAS, { cutAfterBytes: 0 })));
    await expectRefusalOf(() => publish(), 'PUBLISH_UPLOAD_LOST', 'network');
    expect(server!.asked.filter((line) => line === `PUT ${CAS}`)).toHaveLength(5);
    expect(waits).toEqual([1000, 2000, 4000, 8000]);
    expect(server!.store.has(SUMS)).toBe(false);
  });

  test('a server that falls silent is left, too', async () => {
    await start({}, ...Array.from({ length: 9 }, () => nth(1, 'HEAD', CAS, { silent: true })));
    await expectRefusalOf(
      () => publish({ stalls: true, files: [FILES[1]!] }),
      'PUBLISH_UNREACHABLE',
      'network',
    );
  });

  test('nobody listens', async () => {
    await start();
    await server!.close();
    await expectRefusalOf(() => publish(), 'PUBLISH_UNREACHABLE', 'network');
  });

  test('a certificate that nobody vouches for', async () => {
    await start({ tls: true });
    tls.setDefaultCACertificates([]);
    try {
      const error = await expectRefusalOf(() => publish(), 'PUBLISH_UNREACHABLE', 'network');
      expect(error.facts.find(([name]) => name === 'reason')?.[1]).toMatch(/self-signed|certificate/);
    } finally {
      tls.setDefaultCACertificates([storeCertificate()]);
    }
    expect(server!.store.size).toBe(0);
  });
});

describe('servers that lie', () => {
  const changed = Buffer.from(BIG);
  changed[150_000] = (changed[150_000] as number) ^ 1;

  test.each<readonly [string, Mishap]>([
    [
      'one that changes a byte',
      nth(1, 'PUT', CAS, ({ name }, store) => {
        store.set(name, changed);
        return { status: 201 };
      }),
    ],
    [
      'one that adds a byte',
      nth(1, 'PUT', CAS, ({ name, body }, store) => {
        store.set(name, Buffer.concat([body, Buffer.from('x')]));
        return { status: 201 };
      }),
    ],
    ['one that gives something else back', nth(1, 'GET', CAS, { status: 200, body: changed })],
    [
      'one that gives an empty answer of the right status',
      nth(1, 'GET', CAS, { status: 200, body: Buffer.alloc(BIG.length) }),
    ],
  ])('%s', async (_, mishap) => {
    await start({}, mishap);
    await expectRefusalOf(() => publish(), 'PUBLISH_READ_BACK', 'mismatch');
    expect(server!.store.has(SUMS)).toBe(false);
  });

  test('one that takes everything and keeps nothing', async () => {
    const forget = (): Mishap => (request) =>
      request.method === 'PUT' && request.name === CAS ? { status: 201 } : undefined;
    await start({}, ...Array.from({ length: 20 }, forget));
    await expectRefusalOf(() => publish(), 'PUBLISH_READ_BACK', 'mismatch');
    expect(server!.asked.filter((line) => line === `PUT ${CAS}`).length).toBeLessThanOrEqual(6);
  });

  test('one that keeps half and says that it took all: sent again, and well', async () => {
    await start(
      {},
      nth(1, 'PUT', CAS, ({ name, body }, store) => {
        store.set(name, body.subarray(0, 120_000));
        return { status: 201 };
      }),
    );
    await publish();
    expectAllThere();
  });

  test('one that sends without end is not read to its end', async () => {
    await start();
    let sent = 0;
    const endless: Fetch = async (url, init) => {
      if (init.method !== 'GET') return await liveFetch(url, init);
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          sent += 1 << 16;
          controller.enqueue(new Uint8Array(1 << 16));
        },
      });
      return new Response(body, { status: 200 });
    };
    await expectRefusalOf(() => publish({ fetch: endless }), 'PUBLISH_READ_BACK', 'mismatch');
    expect(sent).toBeLessThan(BIG.length + 10 * (1 << 16));
  });

  test.each([301, 302, 307, 308])('one that sends us elsewhere with %i is not followed', async (status) => {
    const other = await startObjectServer();
    try {
      await start({}, nth(1, 'PUT', CAS, { status, headers: { location: other.url } }));
      await expectRefusalOf(() => publish({ authorization: 'Bearer secret' }), 'PUBLISH_REDIRECT', 'network');
      expect(other.asked).toEqual([]);
    } finally {
      await other.close();
    }
  });
});

describe('what is there already', () => {
  const cases: readonly (readonly [string, string, Buffer])[] = [
    ['something else of the same size under a name', 'image', Buffer.alloc(BIG.length, 1)],
    ['something longer under a name', 'image', Buffer.concat([BIG, Buffer.from('x')])],
    ['something shorter, that is no beginning of it', 'image', Buffer.from('other')],
    ['something shorter under its sha256', CAS, Buffer.from('other')],
    ['something longer under its sha256', CAS, Buffer.concat([BIG, BIG])],
  ];
  test.each(cases)('%s is a conflict, and stays', async (_, name, bytes) => {
    await start();
    server!.store.set(name, bytes);
    await expectRefusalOf(() => publish(), 'PUBLISH_CONFLICT', 'mismatch');
    expect(server!.store.get(name)).toBe(bytes);
    expect(server!.store.has(SUMS)).toBe(false);
  });

  test('other bytes of the same size under a sha256 are seen where the server tells their sha256', async () => {
    await start({ saysDigest: true });
    server!.store.set(CAS, Buffer.alloc(BIG.length, 1));
    await expectRefusalOf(() => publish(), 'PUBLISH_CONFLICT', 'mismatch');
  });

  test.each(['image', CAS])(
    'the beginning of it, left by a lost connection: %s is completed',
    async (name) => {
      await start();
      server!.store.set(name, BIG.subarray(0, 99));
      await publish();
      expectAllThere();
    },
  );

  test('put there by somebody else between HEAD and PUT: compared, not replaced', async () => {
    await start(
      {},
      nth(1, 'PUT', 'image', ({ name }, store) => {
        store.set(name, Buffer.from('other'));
        return { status: 412 };
      }),
    );
    await expectRefusalOf(() => publish(), 'PUBLISH_CONFLICT', 'mismatch');
    expect(server!.store.get('image')?.toString()).toBe('other');
  });

  test.each([405, 501])('a server whose HEAD says %i is asked for the object itself', async (status) => {
    const noHead: Mishap = ({ method }) => (method === 'HEAD' ? { status } : undefined);
    await start({}, ...Array.from({ length: 12 }, () => noHead));
    await publish();
    expectAllThere();
    expect(how(await publish())).toEqual(['there']);
  });
});

describe('credentials', () => {
  const SECRET = 'Bearer s3cr3t-t0ken';

  test('are sent with every request', async () => {
    await start({ authorization: SECRET });
    await publish({ authorization: SECRET });
    expectAllThere();
    expect(server!.headers.every((headers) => headers.authorization === SECRET)).toBe(true);
  });

  test.each([undefined, 'Bearer wrong'])(
    'missing or wrong (%s): refused once, with the mend',
    async (authorization) => {
      await start({ authorization: SECRET });
      const error = await expectRefusalOf(
        () => publish(authorization === undefined ? {} : { authorization }),
        'PUBLISH_REFUSED',
        'network',
      );
      expect(error.mend).toContain('CVM_PUBLISH_AUTHORIZATION');
      expect(server!.asked).toHaveLength(1);
    },
  );

  test('are not in what a server says that repeats them', async () => {
    const fetch: Fetch = () =>
      Promise.resolve(
        new Response(null, { status: 403, statusText: 'no s3cr3t-t0ken (Bearer s3cr3t-t0ken) here' }),
      );
    await start();
    const error = await expectRefusalOf(() => publish({ authorization: SECRET, fetch }), 'PUBLISH_REFUSED');
    expect(JSON.stringify([error.message, error.facts, error.mend])).not.toContain('s3cr3t');
  });
});

describe('the place', () => {
  test.each([
    ['https://host', 'https://host/'],
    ['https://host/a/b', 'https://host/a/b/'],
    ['https://host:8443/a/', 'https://host:8443/a/'],
    ['http://127.0.0.1:80/x', 'http://127.0.0.1/x/'],
    ['http://localhost/', 'http://localhost/'],
    ['http://[::1]:9/', 'http://[::1]:9/'],
  ])('%s', (text, url) => {
    expect(publishUrl(text).href).toBe(url);
  });

  test.each([
    'http://host/',
    'http://127.0.0.2/',
    'http://localhost.example.com/',
    'https://user:secret@host/',
    'https://secret@host/',
    'https://host/?sig=secret',
    'https://host/?',
    'https://host/#secret',
    'ftp://host/',
    'file:///tmp',
    'https://',
    '//host/',
    '',
  ])('not %j, and no secret of it is shown', (text) => {
    const error = expectRefusal(() => publishUrl(text), 'PUBLISH_URL', 'usage');
    expect(JSON.stringify(error.facts)).not.toContain('secret');
  });
});

describe('a folder', () => {
  test('has the same files, whole, and a second call changes nothing', async () => {
    const folder = join(scratchFolder(), 'published');
    const store = new FolderStore(folder);
    expect(how(await publish({ store }))).toEqual(['uploaded']);
    for (const { name, sha256: digest } of FILES) {
      expect(sha256(readFileSync(join(folder, name)))).toBe(digest);
      expect(sha256(readFileSync(join(folder, 'cas', digest)))).toBe(digest);
    }
    expect(how(await publish({ store }))).toEqual(['there']);
  });

  test('with another file under a name is a conflict', async () => {
    const folder = scratchFolder();
    writeFileSync(join(folder, 'image'), 'other');
    await expectRefusalOf(() => publish({ store: new FolderStore(folder) }), 'PUBLISH_CONFLICT', 'mismatch');
    expect(readFileSync(join(folder, 'image'), 'utf8')).toBe('other');
  });
});
