import { afterEach, describe, expect, test } from 'vitest';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import type { CborValue } from '../../../tools/cbor/value.ts';
import { networkError } from '../../../tools/errors.ts';
import { callRequestId, readCallContent } from '../../../tools/proposal/request.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import { RESPONSE_LIMIT_BYTES } from '../../../tools/update/bounded-fetch.ts';
import type { Fetch } from '../../../tools/update/bounded-fetch.ts';
import { downloadProposal } from '../../../tools/update/download-proposal.ts';
import type { DownloadOptions } from '../../../tools/update/download-proposal.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { STATUS } from '../../nns/proposal-reply.ts';
import { startReplica } from '../../nns/server.ts';
import type { Replica, ReplicaOptions } from '../../nns/server.ts';
import { STRANGER_SECRET } from '../../nns/signer.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { expectRefusalOf } from '../../support/refusals.ts';

const CALL = '/api/v4/canister/rrkah-fqaaa-aaaaa-aaaaq-cai/call';
const CALL_V3 = '/api/v3/canister/rrkah-fqaaa-aaaaa-aaaaq-cai/call';
const CALL_V2 = '/api/v2/canister/rrkah-fqaaa-aaaaa-aaaaq-cai/call';
const READ_STATE = '/api/v3/canister/rrkah-fqaaa-aaaaa-aaaaq-cai/read_state';
const READ_STATE_V2 = '/api/v2/canister/rrkah-fqaaa-aaaaa-aaaaq-cai/read_state';

const replicas: Replica[] = [];

afterEach(async () => {
  await Promise.all(replicas.splice(0).map((replica) => replica.close()));
});

async function replica(options: Partial<ReplicaOptions> = {}): Promise<Replica> {
  const started = await startReplica({ proposals: [GOOD_PROPOSAL], ...options });
  replicas.push(started);
  return started;
}

/** Waits nothing, and notes for how long it was asked to. */
function clockless(): { readonly waits: number[]; readonly wait: DownloadOptions['wait'] } {
  const waits: number[] = [];
  return {
    waits,
    wait: (ms, signal) => {
      waits.push(ms);
      signal.throwIfAborted();
      return Promise.resolve();
    },
  };
}

const download = (url: string, options: Partial<DownloadOptions> = {}) =>
  downloadProposal({
    proposalId: GOOD_PROPOSAL.proposalId,
    url,
    network: 'dev',
    fetch,
    wait: clockless().wait,
    signal: new AbortController().signal,
    ...options,
  });

/** A host that answers every call with this body. */
const answering = (body: Uint8Array, status = 200): Partial<ReplicaOptions> => ({
  intercept: (_, response) => {
    response.writeHead(status).end(body);
    return true;
  },
});

describe('a download', () => {
  test('takes one request where the host answers at once', async () => {
    const host = await replica();
    const { certificate, request, facts } = await download(host.url);
    expect(host.paths).toEqual([CALL]);
    expect(facts.requestBound).toBe(true);
    expect(facts.proposalId).toBe(139001n);
    const again = verifyProposal({ certificate, request, trust: { network: 'dev' }, demandRequest: true });
    expect(again.requestId).toEqual(callRequestId(readCallContent(request)));
  });

  test('gives buffers of their own, fit for any library', async () => {
    const { certificate, request } = await download((await replica()).url);
    for (const bytes of [certificate, request]) {
      expect([bytes.constructor, bytes.byteOffset, bytes.buffer.byteLength]).toEqual([
        Uint8Array,
        0,
        bytes.length,
      ]);
    }
  });

  test('polls while the call is being processed', async () => {
    const host = await replica({ mode: 'poll' });
    const clock = clockless();
    await download(host.url, { wait: clock.wait });
    expect(host.paths).toEqual([CALL, READ_STATE, READ_STATE, READ_STATE]);
    expect(clock.waits).toEqual([500, 750, 1125]);
  });

  test('falls back to v3 where v4 is not known', async () => {
    const host = await replica({ mode: 'v3-only' });
    const { request, facts } = await download(host.url);
    expect(host.paths).toEqual([CALL, CALL_V3]);
    expect(callRequestId(readCallContent(request))).toEqual(facts.requestId);
  });

  test('falls back to v2 where nothing newer is known, asks once only, and keeps the request that was answered', async () => {
    const host = await replica({ mode: 'v2-only' });
    const { request, facts } = await download(host.url);
    expect(host.paths).toEqual([
      ...[CALL, CALL_V3, CALL_V2],
      ...[READ_STATE, READ_STATE_V2, READ_STATE_V2, READ_STATE_V2],
    ]);
    expect(callRequestId(readCallContent(request))).toEqual(facts.requestId);
  });

  test('takes the answer of a slow host', async () => {
    const host = await replica({ mode: 'slow' });
    expect((await download(host.url)).facts.requestBound).toBe(true);
  });

  test('tries again after 429, as long as Retry-After says, and after 503', async () => {
    const clock = clockless();
    const host = await replica({
      intercept: (_, response, seen) => {
        if (seen > 2) return false;
        response.writeHead(seen === 1 ? 429 : 503, seen === 1 ? { 'retry-after': '7' } : {}).end();
        return true;
      },
    });
    await download(host.url, { wait: clock.wait });
    expect(clock.waits).toEqual([7000, 2000]);
  });

  test('understands a Retry-After that is a date, by the clock of the host', async () => {
    const clock = clockless();
    const host = await replica({
      intercept: (_, response, seen) => {
        if (seen > 1) return false;
        response.writeHead(503, {
          date: 'Mon, 02 Feb 2026 02:40:00 GMT',
          'retry-after': 'Mon, 02 Feb 2026 02:40:09 GMT',
        });
        response.end();
        return true;
      },
    });
    await download(host.url, { wait: clock.wait });
    expect(clock.waits).toEqual([9000]);
  });

  test.each(['soon', '-5', 'Mon, 02 Feb 1990 02:40:09 GMT', '1e9'])(
    'falls back to its own pause for the Retry-After %s',
    async (value) => {
      const clock = clockless();
      const host = await replica({
        intercept: (_, response, seen) => {
          if (seen > 1) return false;
          response.writeHead(429, { 'retry-after': value }).end();
          return true;
        },
      });
      await download(host.url, { wait: clock.wait });
      expect(clock.waits).toEqual([1000]);
    },
  );

  test('does not wait for an hour because a host says so', async () => {
    const clock = clockless();
    const host = await replica({
      intercept: (_, response, seen) => {
        if (seen > 1) return false;
        response.writeHead(503, { 'retry-after': '3600' }).end();
        return true;
      },
    });
    await download(host.url, { wait: clock.wait });
    expect(clock.waits).toEqual([30_000]);
  });

  test('tells what it does', async () => {
    const told: string[] = [];
    const host = await replica({ mode: 'poll' });
    await download(host.url, { onProgress: (text) => told.push(text) });
    expect(told).toEqual(['accepted; waiting for the answer']);
  });
});

describe('what comes back is believed only after verification', () => {
  test('an answer by a stranger is refused', async () => {
    const host = await replica({ secret: STRANGER_SECRET });
    await expectRefusalOf(() => download(host.url), 'CERT_SIGNATURE', 'trust');
  });

  test('an answer of the dev network is refused on mainnet', async () => {
    const host = await replica();
    await expectRefusalOf(() => download(host.url, { network: 'mainnet' }), 'CERT_SIGNATURE', 'trust');
  });

  test('a sound answer to another request is refused: an old certificate cannot be replayed', async () => {
    const body = new Map<string, CborValue>([
      ['status', 'replied'],
      ['certificate', signProposal(GOOD_PROPOSAL).certificate],
    ]);
    const host = await replica(answering(encodeCbor(body, true)));
    await expectRefusalOf(() => download(host.url), 'REQUEST_ID', 'trust');
  });

  test('an answer that was changed after it was signed is refused', async () => {
    const host = await replica({ mode: 'lie' });
    await expectRefusalOf(() => download(host.url), 'CERT_SIGNATURE', 'trust');
  });

  test('a good answer to another call is refused, before a word of it is believed', async () => {
    const host = await replica({ mode: 'replay', proposals: [] });
    await expectRefusalOf(() => download(host.url), 'REQUEST_ID', 'trust');
  });

  test('a proposal that does not exist is refused', async () => {
    const host = await replica({ proposals: [] });
    await expectRefusalOf(() => download(host.url), 'PROPOSAL_MISSING', 'trust');
  });

  test('a proposal that is still open is refused', async () => {
    const host = await replica({ proposals: [{ ...GOOD_PROPOSAL, status: STATUS.open }] });
    await expectRefusalOf(() => download(host.url), 'PROPOSAL_NOT_EXECUTED', 'trust');
  });

  test('a certified rejection is refused with its message', async () => {
    const host = await replica({ mode: 'reject' });
    const error = await expectRefusalOf(() => download(host.url), 'PROPOSAL_NOT_REPLIED', 'trust');
    expect(error.facts).toContainEqual(['reject message', 'the canister trapped']);
  });
});

describe('a failing network is told as such', () => {
  test('a refusal before the call ran', async () => {
    const host = await replica({ mode: 'refuse' });
    const error = await expectRefusalOf(() => download(host.url), 'NNS_REJECTED', 'network');
    expect(error.facts).toEqual([
      ['reject code', '1'],
      ['reject message', 'the subnet is overloaded'],
    ]);
  });

  test('nobody listening, after four tries', async () => {
    const host = await replica();
    await host.close();
    const clock = clockless();
    await expectRefusalOf(() => download(host.url, { wait: clock.wait }), 'NNS_UNREACHABLE', 'network');
    expect(clock.waits).toEqual([1000, 2000, 4000]);
  });

  test('a host that is down all the time', async () => {
    const host = await replica(answering(new Uint8Array(), 503));
    const error = await expectRefusalOf(() => download(host.url), 'NNS_HTTP_STATUS', 'network');
    expect(host.paths).toHaveLength(4);
    expect(error.facts).toContainEqual(['status', '503 Service Unavailable']);
  });

  test('a redirect is not followed, though it leads to a host that would answer well', async () => {
    const good = await replica();
    const host = await replica({
      intercept: (path, response) => {
        // 307 keeps method and body: followed, it would succeed.
        response.writeHead(307, { location: `${good.url}${path}` }).end();
        return true;
      },
    });
    const error = await expectRefusalOf(() => download(host.url), 'NNS_REDIRECT', 'network');
    expect(error.facts).toContainEqual(['leads to', `${good.url}${CALL}`]);
    expect(host.paths).toHaveLength(1);
    expect(good.paths).toEqual([]);
  });

  test('a host that takes the request and never answers, after four tries', async () => {
    const host = await replica({ mode: 'hang' });
    const error = await expectRefusalOf(
      () => download(host.url, { requestTimeoutMs: 50 }),
      'NNS_UNREACHABLE',
      'network',
    );
    expect(error.facts).toContainEqual(['reason', 'no answer within 0.05 s']);
    expect(host.paths).toHaveLength(4);
  });

  test('a host that sends the head and never the body', async () => {
    const host = await replica({
      intercept: (_, response) => {
        response.writeHead(200, { 'content-length': '100' });
        response.write('x');
        return true;
      },
    });
    await expectRefusalOf(() => download(host.url, { requestTimeoutMs: 50 }), 'NNS_UNREACHABLE', 'network');
  });

  test('a host that cuts the connection', async () => {
    const host = await replica({
      intercept: (_, response) => {
        response.writeHead(200, { 'content-length': '100' });
        response.write('short');
        response.destroy();
        return true;
      },
    });
    await expectRefusalOf(() => download(host.url), 'NNS_UNREACHABLE', 'network');
  });

  test('an answer that does not end is cut off', async () => {
    const host = await replica(answering(new Uint8Array(RESPONSE_LIMIT_BYTES + 1)));
    await expectRefusalOf(() => download(host.url), 'NNS_RESPONSE_SIZE', 'network');
    expect(host.paths).toHaveLength(1);
  });

  test.each<[string, Uint8Array, number]>([
    ['400 with a message', Buffer.from('bad request'), 400],
    ['403', Buffer.from('<html>'), 403],
    ['200 with HTML', Buffer.from('<html>hello</html>'), 200],
    ['200 with nothing', new Uint8Array(), 200],
    ['200 with a number', encodeCbor(1n), 200],
    ['200 with null', encodeCbor(null), 200],
    ['200 with an empty map', encodeCbor(new Map()), 200],
    ['200 with a certificate that is text', encodeCbor(new Map([['certificate', 'x']])), 200],
    ['200 with lists nested too deep for the agent', new Uint8Array(100_000).fill(0x81), 200],
  ])('%s', async (_, body, status) => {
    const host = await replica(answering(body, status));
    await expectRefusalOf(() => download(host.url), 'NNS_PROTOCOL', 'network');
  });

  test('a certificate that is none is malformed', async () => {
    const host = await replica(answering(encodeCbor(new Map([['certificate', Uint8Array.of(0xa0)]]))));
    await expectRefusalOf(() => download(host.url), 'CERT_FIELD_MISSING', 'format');
  });

  test('an interrupt ends polling that would never end, with the reason of whoever interrupted', async () => {
    const host = await replica({ mode: 'stall' });
    const controller = new AbortController();
    const { waits, wait } = clockless();
    await expectCvmRejection(
      () =>
        download(host.url, {
          signal: controller.signal,
          wait: (ms, signal) => {
            if (waits.length === 5) controller.abort(networkError('NNS_TIMEOUT', 'too late'));
            return wait(ms, signal);
          },
        }),
      'NNS_TIMEOUT',
      'network',
    );
  });

  test('an interrupt before the first request sends none', async () => {
    const host = await replica();
    const signal = AbortSignal.abort(networkError('NNS_TIMEOUT', 'too late'));
    await expectCvmRejection(() => download(host.url, { signal }), 'NNS_TIMEOUT', 'network');
    expect(host.paths).toEqual([]);
  });
});

test('nothing is asked but through the function that is given', async () => {
  const seen: string[] = [];
  const recording: Fetch = async (url, init) => {
    seen.push(`${init.method ?? 'GET'} ${new URL(url).host}${new URL(url).pathname}`);
    return await fetch(url, init);
  };
  const host = await replica();
  await download(host.url, { fetch: recording });
  expect(seen).toEqual([`POST ${new URL(host.url).host}${CALL}`]);
});
