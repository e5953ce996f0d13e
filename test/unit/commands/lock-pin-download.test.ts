import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { command } from '../../../tools/commands/lock-pin.ts';
import { parseLock } from '../../../tools/lock/lock.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import {
  baseBoot,
  COMMIT,
  makeWorkspace,
  PACKAGE,
  runPin,
  sha256Of,
  snapshot,
  writeBase,
  type Workspace,
} from '../../support/pin-workspaces.ts';
import { scratchFolder, type Outcome, type Surroundings } from '../../support/run-command.ts';

let image = new Uint8Array(0);
let sha256 = '';
beforeAll(async () => {
  const path = join(scratchFolder(), 'base');
  await writeBase(path, baseBoot());
  image = new Uint8Array(readFileSync(path));
  sha256 = sha256Of(path);
});

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

interface Release {
  readonly url: string;
  /** `path range` of every request. */
  readonly asked: string[];
}

interface ReleasePlan {
  readonly sums?: string;
  readonly image?: Uint8Array;
  /** Answers instead; false when it did not. */
  readonly intercept?: (path: string, range: string | undefined, response: ServerResponse) => boolean;
}

/** A release server on this machine that knows ranges. */
async function serve(plan: ReleasePlan = {}): Promise<Release> {
  const asked: string[] = [];
  const listener: RequestListener = ({ url: path = '', headers: { range } }, response) => {
    asked.push(`${path} ${range ?? 'whole'}`);
    if (plan.intercept?.(path, range, response) === true) return;
    if (path.endsWith('/SHA256SUMS')) {
      response.end(plan.sums ?? `${sha256}  update-img.tar.zst\n`);
      return;
    }
    const bytes = plan.image ?? image;
    const offset = Number(/^bytes=([0-9]+)-$/.exec(range ?? 'bytes=0-')?.[1]);
    if (offset >= bytes.length) {
      response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
      return;
    }
    const rest = bytes.subarray(offset);
    const part = { 'content-range': `bytes ${offset}-${bytes.length - 1}/${bytes.length}` };
    response
      .writeHead(offset === 0 ? 200 : 206, { 'content-length': rest.length, ...(offset > 0 && part) })
      .end(rest);
  };
  const server = createServer(listener);
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/x/update-img.tar.zst`, asked };
}

const download = (
  workspace: Workspace,
  baseUrl: readonly string[],
  options: OptionValues = {},
  more?: Surroundings,
): Promise<Outcome> => runPin(workspace, workspace.path, { base: COMMIT, baseUrl, ...options }, more);

function writePart(workspace: Workspace, bytes: Uint8Array): void {
  mkdirSync(dirname(workspace.cached), { recursive: true });
  writeFileSync(`${workspace.cached}.part`, bytes);
}

describe('a base from a server', () => {
  test('is downloaded once, by its own SHA256SUMS, and pinned with its URL', async () => {
    const workspace = makeWorkspace();
    const release = await serve();
    const { out, err } = await download(workspace, [release.url]);
    expect(release.asked).toEqual(['/x/SHA256SUMS whole', '/x/update-img.tar.zst whole']);
    expect(out).toContain('downloaded');
    expect(err).toContain('100 %');
    expect(parseLock(readFileSync(workspace.lockPath, 'utf8')).base).toEqual({
      commit: COMMIT,
      urls: [release.url],
      sha256,
      size: image.length,
    });
    expect(sha256Of(workspace.cached)).toBe(sha256);
    const before = snapshot(workspace.path);
    expect((await download(workspace, [release.url])).out).toContain('from the cache');
    expect(release.asked).toHaveLength(2);
    expect(snapshot(workspace.path)).toEqual(before);
  });

  test('asks for no checksums when --base-sha256 says it', async () => {
    const release = await serve();
    await download(makeWorkspace(), [release.url], { baseSha256: sha256 });
    expect(release.asked).toEqual(['/x/update-img.tar.zst whole']);
  });

  test('draws a bar on a terminal and ends its line', async () => {
    const { err } = await download(makeWorkspace(), [(await serve()).url], {}, { isTerminal: true });
    expect(err).toContain('\r\u001b[2Kupdate image of 01234567 [########################] 100 %');
    expect(err.endsWith('\n')).toBe(true);
  });

  test('goes on in the same call when the connection drops', { timeout: 60_000 }, async () => {
    const half = Math.floor(image.length / 2);
    const release = await serve({
      intercept: (path, range, response) => {
        if (range !== undefined || path.endsWith('SUMS')) return false;
        response.writeHead(200, { 'content-length': image.length });
        response.write(image.subarray(0, half), () => response.destroy());
        return true;
      },
    });
    const workspace = makeWorkspace();
    const { err } = await download(workspace, [release.url], {}, { isTerminal: true });
    // The note does not stand behind the bar.
    expect(err).toMatch(/MiB\n[^\n\r]+; trying again in 1 s\n/);
    expect(err.endsWith('\n')).toBe(true);
    expect(release.asked.at(-1)).toMatch(/ bytes=[1-9][0-9]*-$/);
    expect(sha256Of(workspace.cached)).toBe(sha256);
    expect(existsSync(`${workspace.cached}.part`)).toBe(false);
  });

  test('goes on where an earlier call was interrupted', async () => {
    const workspace = makeWorkspace();
    writePart(workspace, image.subarray(0, 1000));
    const release = await serve();
    const { err } = await download(workspace, [release.url]);
    expect(err).toContain('going on after 1000 bytes');
    expect(release.asked.at(-1)).toBe('/x/update-img.tar.zst bytes=1000-');
    expect(sha256Of(workspace.cached)).toBe(sha256);
  });

  test('is whole when the earlier call was interrupted at the very end', async () => {
    const workspace = makeWorkspace();
    writePart(workspace, image);
    await download(workspace, [(await serve()).url]);
    expect(sha256Of(workspace.cached)).toBe(sha256);
  });

  test('is begun anew when the part is of another file, or longer', async () => {
    for (const length of [1000, image.length, image.length + 1]) {
      const workspace = makeWorkspace();
      writePart(workspace, new Uint8Array(length).fill(7));
      const release = await serve();
      const { code } = await download(workspace, [release.url]);
      expect(code).toBe(0);
      expect(release.asked.at(-1)).toBe('/x/update-img.tar.zst whole');
      expect(sha256Of(workspace.cached)).toBe(sha256);
      expect(existsSync(`${workspace.cached}.part`)).toBe(false);
    }
  });

  test('replaces another file in the cache', async () => {
    const workspace = makeWorkspace();
    mkdirSync(dirname(workspace.cached), { recursive: true });
    writeFileSync(workspace.cached, 'rubbish');
    const { err } = await download(workspace, [(await serve()).url]);
    expect(err).toContain('the cached base is another file');
    expect(sha256Of(workspace.cached)).toBe(sha256);
  });

  test('the next place is asked when one has no such release; both are pinned', async () => {
    const workspace = makeWorkspace();
    const nothing = await serve({
      intercept: (_path, _range, response) => {
        response.writeHead(404).end();
        return true;
      },
    });
    const release = await serve();
    const { err } = await download(workspace, [nothing.url, release.url]);
    expect(err).toContain('asking the next place');
    expect(parseLock(readFileSync(workspace.lockPath, 'utf8')).base).toMatchObject({
      urls: [nothing.url, release.url],
    });
  });
});

describe('a base that must not be believed', () => {
  const status =
    (code: number, headers: Record<string, string> = {}): NonNullable<ReleasePlan['intercept']> =>
    (_path, _range, response) => {
      response.writeHead(code, headers).end();
      return true;
    };

  test.each<[string, () => ReleasePlan, string, OptionValues?]>([
    [
      'bytes that are not what SHA256SUMS says',
      () => ({ image: image.map((byte) => byte ^ 1) }),
      'BASE_SHA256',
    ],
    ['fewer bytes', () => ({ image: image.subarray(1) }), 'BASE_SHA256'],
    ['no bytes', () => ({ image: image.subarray(0, 1) }), 'BASE_SHA256'],
    ['another file than --base-sha256 says', () => ({}), 'BASE_SHA256', { baseSha256: '0'.repeat(64) }],
    ['checksums of other files', () => ({ sums: `${sha256}  other\n` }), 'SUMS_ENTRY'],
    [
      'checksums that contradict each other',
      () => ({ sums: `${sha256}  update-img.tar.zst\n${'0'.repeat(64)}  update-img.tar.zst\n` }),
      'SUMS_ENTRY',
    ],
    ['checksums of more than 1 MiB', () => ({ sums: 'x'.repeat((1 << 20) + 1) }), 'RELEASE_TOO_LARGE'],
    ['no release', () => ({ intercept: status(404) }), 'RELEASE_NOT_FOUND'],
    [
      'a redirect to http elsewhere',
      () => ({ intercept: status(302, { location: 'http://releases.example/x' }) }),
      'RELEASE_REDIRECT',
    ],
    [
      'a size beyond every release',
      () => ({
        intercept: (path, _range, response) => {
          if (path.endsWith('SUMS')) return false;
          response.writeHead(200, { 'content-length': `${2 ** 40}` });
          response.write('x');
          return true;
        },
      }),
      'RELEASE_TOO_LARGE',
    ],
  ])('%s', async (_, plan, code, options = {}) => {
    const workspace = makeWorkspace();
    const before = snapshot(workspace.path);
    const { url } = await serve(plan());
    await expectCvmRejection(() => download(workspace, [url], options), code);
    expect(snapshot(workspace.path)).toEqual(before);
    expect(existsSync(workspace.cached)).toBe(false);
    if (code === 'BASE_SHA256') expect(existsSync(`${workspace.cached}.part`)).toBe(false);
  });

  test('a liar is not asked for the rest of an honest part for ever: twice, and the part is gone', async () => {
    const workspace = makeWorkspace();
    writePart(workspace, image.subarray(0, 1000));
    const release = await serve({ image: image.map((byte) => byte ^ 1) });
    await expectCvmRejection(() => download(workspace, [release.url]), 'BASE_SHA256', 'mismatch');
    expect(release.asked.slice(1)).toEqual([
      '/x/update-img.tar.zst bytes=1000-',
      '/x/update-img.tar.zst whole',
    ]);
    expect(existsSync(`${workspace.cached}.part`)).toBe(false);
  });

  test('the bar is ended before an error is shown', async () => {
    const shown: string[] = [];
    const liar = await serve({
      intercept: (path, _range, response) => {
        if (path.endsWith('SUMS')) return false;
        // More than was said, which no HTTP body can be, but a range can.
        response.writeHead(206, { 'content-range': `bytes 10-19/19` });
        response.end(image.subarray(0, 20));
        return true;
      },
    });
    const workspace = makeWorkspace();
    writePart(workspace, image.subarray(0, 10));
    const options: OptionValues = {
      workspace: workspace.path,
      package: PACKAGE,
      network: 'dev',
      base: COMMIT,
      baseUrl: [liar.url],
    };
    const io = {
      out: () => undefined,
      err: (text: string) => shown.push(text),
      cwd: workspace.path,
      env: { XDG_CACHE_HOME: workspace.cache },
      isTerminal: true,
    };
    await expectCvmRejection(() => Promise.resolve(command.run([], options, io)), 'RELEASE_TOO_LARGE');
    expect(shown.join('')).toContain('MiB');
    expect(shown.at(-1)).toBe('\n');
  });

  test('the next place is not asked when the checksums of one are malformed', async () => {
    const malformed = await serve({ sums: 'rubbish' });
    const release = await serve();
    await expectCvmRejection(() => download(makeWorkspace(), [malformed.url, release.url]), 'SUMS_ENTRY');
    expect(release.asked).toEqual([]);
  });

  test('the next place is not asked when one lies', async () => {
    const liar = await serve({ image: image.subarray(1) });
    const release = await serve();
    await expectCvmRejection(() => download(makeWorkspace(), [liar.url, release.url]), 'BASE_SHA256');
    expect(release.asked).toEqual([]);
  });
});
