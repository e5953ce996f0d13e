/** Ctrl-C at each step of a pin: nothing is written but what the next call goes on with. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { background, type Background } from './background.ts';
import { build, sha256 } from './bazel.ts';

const second = inject('second');
const scratch = mkdtempSync(join(tmpdir(), 'cvm-interrupt-'));
const releases = join(scratch, 'releases');
const image = join(releases, 'update-img.tar.zst');
const workspace = join(scratch, 'workspace');
const cache = join(scratch, 'cache');
const COMMIT = 'de7ba5e0'.repeat(5);
const part = join(cache, `rules_cvm/bases/update-img-${COMMIT}.tar.zst.part`);
let server: Background | undefined;

beforeAll(async () => {
  build(second, ['//ic-os/guestos/envs/dev:update-img.tar.zst', '//tools:cvm']);
  mkdirSync(releases);
  cpSync(join(second, 'bazel-bin/ic-os/guestos/envs/dev/update-img.tar.zst'), image);
  writeFileSync(join(releases, 'SHA256SUMS'), `${await sha256(image)} update-img.tar.zst\n`);
});

beforeEach(() => {
  mkdirSync(join(workspace, 'env'), { recursive: true });
});

afterEach(async () => {
  await server?.stop();
  for (const path of [workspace, cache, join(releases, 'requests.log')])
    rmSync(path, { recursive: true, force: true });
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const serve = async (mode: string): Promise<string> => {
  server = await background(process.execPath, [join(second, 'test/e2e/release-server.ts'), releases, mode]);
  return server.firstLine;
};

/** Starts a pin and interrupts it once `reached` is true. */
async function interrupted(
  words: readonly string[],
  reached: (said: string) => boolean,
  signal: NodeJS.Signals = 'SIGINT',
): Promise<{ readonly signal: string | null; readonly code: number | null }> {
  const child = spawn(
    join(second, 'bazel-bin/tools/cvm'),
    [
      'lock',
      'pin',
      '--workspace',
      workspace,
      '--package',
      'env',
      '--network',
      'dev',
      '--base',
      COMMIT,
      ...words,
    ],
    { env: { PATH: process.env['PATH'] ?? '', XDG_CACHE_HOME: cache }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  await expect.poll(() => reached(said), { timeout: 60_000, interval: 50 }).toBe(true);
  child.kill(signal);
  const [code, by] = await ended;
  return { code, signal: by };
}

const nothingPinned = (): void => {
  expect(readdirSync(workspace)).toEqual(['env']);
  expect(readdirSync(join(workspace, 'env'))).toEqual([]);
};

test('while the checksums are awaited', async () => {
  const url = await serve('silent');
  // Nothing is said before an answer comes; the request in the log shows that it waits.
  const result = await interrupted([`--base-url=${url}/update-img.tar.zst`], () =>
    existsSync(join(releases, 'requests.log')),
  );
  expect(result.signal).toBe('SIGINT');
  nothingPinned();
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  'while the image comes (%s): the next call goes on',
  async (signal) => {
    const url = await serve('half');
    const half = Math.floor(statSync(image).size / 2) + 1;
    const result = await interrupted(
      [`--base-url=${url}/update-img.tar.zst`],
      () => existsSync(part) && statSync(part).size === half,
      signal,
    );
    expect(result.signal).toBe(signal);
    nothingPinned();
    expect(readdirSync(join(cache, 'rules_cvm/bases'))).toEqual([`update-img-${COMMIT}.tar.zst.part`]);
    expect(statSync(part).size).toBe(half);
  },
);

test('while the proposal is awaited', async () => {
  const url = await serve('silent');
  const result = await interrupted(
    [`--base-file=${image}`, '--proposal=139001', `--nns-url=${url}`],
    (said) => said.includes('proposal 139001'),
  );
  expect(result.signal).toBe('SIGINT');
  nothingPinned();
});
