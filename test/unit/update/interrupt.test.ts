import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { startReplica } from '../../nns/server.ts';
import type { Replica } from '../../nns/server.ts';
import { scratchFolder } from '../../support/run-command.ts';

const CVM = fileURLToPath(new URL('../../../tools/cvm-main.ts', import.meta.url));
const replicas: Replica[] = [];

/** The whole command as a process of its own, to be interrupted. */
function download(folder: string, urls: readonly string[]) {
  return spawn(
    process.execPath,
    [
      // Under Bazel the sources are links, and packages are found beside the links.
      ...['--preserve-symlinks', '--preserve-symlinks-main', '--no-warnings', CVM],
      ...['proposal', 'download', '--proposal', '139001', '--network', 'dev', '--output-dir', folder],
      ...urls.flatMap((url) => ['--nns-url', url]),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
}

let stalled: Replica;

beforeAll(async () => {
  stalled = await startReplica({ proposals: [GOOD_PROPOSAL], mode: 'stall' });
  replicas.push(stalled);
});

afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.close()));
});

/** Waits until the replica was asked, so that the interrupt comes in the middle of a request or of a pause. */
async function untilAsked(replica: Replica, times: number): Promise<void> {
  while (replica.paths.length < times) await new Promise((resolve) => setTimeout(resolve, 10));
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s while polling ends the download at once, with nothing left behind', async (signal, code) => {
  const folder = scratchFolder();
  const before = stalled.paths.length;
  const process_ = download(folder, [stalled.url]);
  await untilAsked(stalled, before + 2);
  process_.kill(signal);
  const [exitCode, endedBy] = (await once(process_, 'exit')) as [number | null, string | null];
  expect(endedBy ?? exitCode).toSatisfy((end) => end === signal || end === code);
  expect(readdirSync(folder)).toEqual([]);
});

test('without an interrupt the same command succeeds', async () => {
  const folder = scratchFolder();
  const good = await startReplica({ proposals: [GOOD_PROPOSAL] });
  replicas.push(good);
  const process_ = download(folder, [good.url]);
  const [exitCode] = (await once(process_, 'exit')) as [number | null];
  expect(exitCode).toBe(0);
  expect(readdirSync(folder).sort()).toEqual(['139001.cbor', '139001.request.cbor']);
});
