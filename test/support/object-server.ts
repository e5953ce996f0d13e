/** An object store on this machine that takes PUT, HEAD and GET, well or badly. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';

/** What a request comes to; the first plan that answers it is used up by it. */
export type Mishap = (request: Asked, store: Map<string, Buffer>) => Outcome | undefined;

export interface Asked {
  readonly method: string;
  readonly name: string;
  /** What came of the body; of PUT only. */
  readonly body: Buffer;
}

export interface Outcome {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly body?: Buffer;
  /** Breaks the connection off: before an answer, or after so many bytes of the body. */
  readonly cutAfterBytes?: number;
  /** Says nothing. */
  readonly silent?: boolean;
}

export interface ObjectServerOptions {
  readonly tls?: boolean;
  /** Demanded in the Authorization header. */
  readonly authorization?: string;
  /** Whether HEAD says the sha256 (RFC 9530). */
  readonly saysDigest?: boolean;
}

export interface ObjectServer {
  readonly url: string;
  readonly store: Map<string, Buffer>;
  /** `PUT name`, in order. */
  readonly asked: string[];
  readonly headers: IncomingMessage['headers'][];
  /** What goes wrong next; each is used up when it answers. */
  readonly mishaps: Mishap[];
  close(): Promise<void>;
}

export const storeCertificate = (): string => tlsFile('cert');

function tlsFile(name: string): string {
  return readFileSync(new URL(`../vectors/tls/store-test-${name}.pem`, import.meta.url), 'utf8');
}

export async function startObjectServer(options: ObjectServerOptions = {}): Promise<ObjectServer> {
  const store = new Map<string, Buffer>();
  const asked: string[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const mishaps: Mishap[] = [];
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const parts: Buffer[] = [];
    request.on('error', () => undefined);
    request.on('data', (part: Buffer) => parts.push(part));
    const name = decodeURIComponent((request.url ?? '/').slice(1));
    const { method = '' } = request;
    asked.push(`${method} ${name}`);
    headers.push(request.headers);
    request.on('end', () => {
      const call = { method, name, body: Buffer.concat(parts) };
      answer(response, request, outcomeOf(call, request));
    });
  };
  const outcomeOf = (call: Asked, { headers: sent }: IncomingMessage): Outcome => {
    if (options.authorization !== undefined && sent.authorization !== options.authorization)
      return { status: 401, headers: { 'www-authenticate': 'Bearer' } };
    for (const [i, mishap] of mishaps.entries()) {
      const outcome = mishap(call, store);
      if (outcome === undefined) continue;
      mishaps.splice(i, 1);
      return outcome;
    }
    const found = store.get(call.name);
    switch (call.method) {
      case 'PUT':
        if (sent['if-none-match'] === '*' && found !== undefined) return { status: 412 };
        store.set(call.name, call.body);
        return { status: 201 };
      case 'HEAD':
      case 'GET':
        return found === undefined
          ? { status: 404 }
          : { status: 200, headers: digestHeaders(found), body: found };
      default:
        return { status: 405 };
    }
  };
  const digestHeaders = (bytes: Buffer): Readonly<Record<string, string>> =>
    options.saysDigest === true
      ? { 'repr-digest': `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:` }
      : {};
  const server =
    options.tls === true
      ? createHttps({ key: tlsFile('key'), cert: tlsFile('cert') }, handle)
      : createHttp(handle);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: options.tls === true ? `https://localhost:${port}/` : `http://127.0.0.1:${port}/`,
    store,
    asked,
    headers,
    mishaps,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer(response: ServerResponse, request: IncomingMessage, outcome: Outcome): void {
  const { status = 200, headers = {}, body, cutAfterBytes, silent } = outcome;
  if (silent === true) return;
  if (cutAfterBytes === 0 || (cutAfterBytes !== undefined && body === undefined)) {
    request.socket.destroy();
    return;
  }
  response.writeHead(status, {
    ...(body === undefined ? {} : { 'content-length': body.length }),
    ...headers,
  });
  if (request.method === 'HEAD' || body === undefined) response.end();
  else if (cutAfterBytes === undefined) response.end(body);
  else response.write(body.subarray(0, cutAfterBytes), () => request.socket.destroy());
}
