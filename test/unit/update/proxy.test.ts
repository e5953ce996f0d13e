import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import tls from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { liveFetch } from '../../../tools/update/live.ts';
import { downloadProposal } from '../../../tools/update/download-proposal.ts';
import { useProxyOf, withoutPassword } from '../../../tools/update/proxy.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { startReplica } from '../../nns/server.ts';
import type { Replica } from '../../nns/server.ts';
import { expectRefusal, expectRefusalOf } from '../../support/refusals.ts';

const pem = (name: string): string =>
  readFileSync(new URL(`../../vectors/tls/replica-test-${name}.pem`, import.meta.url), 'utf8');

/** A replica, TLS before it, and a proxy that leads every tunnel to that TLS. */
let replica: Replica;
let tlsServer: Server;
let proxy: Server;
let proxyUrl: string;
/** What the proxy was asked for: `CONNECT host:port` and the credentials. */
const asked: string[] = [];
let proxyStatus = 200;

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const listen = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });

function join(a: Socket, b: Socket): void {
  a.on('error', () => b.destroy()).pipe(b);
  b.on('error', () => a.destroy()).pipe(a);
}

beforeAll(async () => {
  replica = await startReplica({ proposals: [GOOD_PROPOSAL] });
  tlsServer = tls.createServer({ key: pem('key'), cert: pem('cert') }, (socket) => {
    join(socket, connect(Number(new URL(replica.url).port), '127.0.0.1'));
  });
  await listen(tlsServer);
  const http = createServer();
  http.on('connect', (request, socket: Socket) => {
    asked.push(`CONNECT ${request.url ?? ''} ${request.headers['proxy-authorization'] ?? '-'}`);
    socket.write(`HTTP/1.1 ${proxyStatus} X\r\n\r\n`);
    if (proxyStatus === 200) join(socket, connect(portOf(tlsServer), '127.0.0.1'));
    else socket.end();
  });
  proxy = http;
  await listen(proxy);
  proxyUrl = `http://127.0.0.1:${portOf(proxy)}`;
  tls.setDefaultCACertificates([pem('cert')]);
});

afterAll(async () => {
  await replica.close();
  proxy.close();
  tlsServer.close();
});

beforeEach(() => {
  asked.length = 0;
  proxyStatus = 200;
});

const download = (url: string) =>
  downloadProposal({
    proposalId: GOOD_PROPOSAL.proposalId,
    url,
    network: 'dev',
    fetch: liveFetch,
    wait: () => Promise.resolve(),
    signal: new AbortController().signal,
  });

describe('HTTPS_PROXY', () => {
  test('leads https through a tunnel, and what comes through it is verified as ever', async () => {
    expect(useProxyOf({ HTTPS_PROXY: proxyUrl })).toBe(proxyUrl);
    const { facts } = await download('https://replica.test');
    expect(facts.requestBound).toBe(true);
    expect(asked).toEqual(['CONNECT replica.test:443 -']);
  });

  test('gives the proxy its name and password, and nobody else', async () => {
    const withPassword = proxyUrl.replace('//', '//user:secret@');
    expect(useProxyOf({ https_proxy: withPassword })).toBe(proxyUrl);
    await download('https://replica.test');
    expect(asked).toEqual([
      `CONNECT replica.test:443 Basic ${Buffer.from('user:secret').toString('base64')}`,
    ]);
  });

  test('has no say over plain http to this machine', async () => {
    useProxyOf({ HTTPS_PROXY: proxyUrl });
    await download(replica.url);
    expect(asked).toEqual([]);
  });

  test('is told when the proxy refuses, without its password', async () => {
    useProxyOf({ HTTPS_PROXY: proxyUrl.replace('//', '//user:secret@') });
    proxyStatus = 407;
    const error = await expectRefusalOf(() => download('https://replica.test'), 'NNS_UNREACHABLE', 'network');
    expect(asked).toHaveLength(4);
    expect(JSON.stringify(error.facts)).not.toContain('secret');
  });

  test('is not asked for hosts of NO_PROXY', async () => {
    for (const noProxy of ['replica.test', '.test', 'example.com,replica.test', '*']) {
      useProxyOf({ HTTPS_PROXY: proxyUrl, NO_PROXY: noProxy });
      await expectRefusalOf(() => download('https://replica.test'), 'NNS_UNREACHABLE', 'network');
    }
    expect(asked).toEqual([]);
  });

  test('is not asked for this machine', async () => {
    useProxyOf({ HTTPS_PROXY: proxyUrl });
    await expectRefusalOf(() => download('https://127.0.0.1:1'), 'NNS_UNREACHABLE', 'network');
    await expectRefusalOf(() => download('https://localhost:1'), 'NNS_UNREACHABLE', 'network');
    expect(asked).toEqual([]);
  });

  test('a certificate that nobody trusts is refused behind a proxy as without one', async () => {
    useProxyOf({ HTTPS_PROXY: proxyUrl });
    await expectRefusalOf(() => download('https://other.test'), 'NNS_UNREACHABLE', 'network');
    expect(asked[0]).toBe('CONNECT other.test:443 -');
  });

  test('of nothing means none', () => {
    expect(useProxyOf({})).toBeUndefined();
    expect(useProxyOf({ HTTPS_PROXY: '' })).toBeUndefined();
  });

  test.each(['nonsense', 'socks5://user:secret@host:1', 'user:secret@host:1', 'file:///x', '://'])(
    'that is %s is refused',
    (url) => {
      const error = expectRefusal(() => useProxyOf({ HTTPS_PROXY: url }), 'PROXY_URL', 'usage');
      expect(JSON.stringify(error.facts)).not.toContain('secret');
    },
  );
});

test.each([
  ['https://user:secret@host/x@y', 'https://…@host/x@y'],
  ['user:secret@host', '…@host'],
  ['https://a:b@c:secret@host', 'https://…@host'],
  ['https://host/a@b', 'https://host/a@b'],
  ['plain', 'plain'],
])('%s without its password is %s', (text, shown) => {
  expect(withoutPassword(text)).toBe(shown);
});
