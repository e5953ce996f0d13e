/**
 * What a remote cache saves and an engine costs: `./bazelw run //test/bench:remote [-- --json FILE]`. The main job built
 * cold here, cold on an engine of the Remote Execution API, and cold with the engine's cache warm: seconds, and bytes at
 * a proxy on loopback. Needs justbuild on PATH, as in the root that CI has ./bazelw make. Nothing here passes or fails.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Direction, countingProxy } from '../support/byte-proxy.ts';
import { startRemoteEngine } from '../support/remote-engine.ts';

const { values: options } = parseArgs({
  options: { json: { type: 'string' }, runs: { type: 'string', default: '3' } },
});
const workspace = process.env['BUILD_WORKSPACE_DIRECTORY'];
if (workspace === undefined) throw new Error('start it with ./bazelw run //test/bench:remote');
const image = '//ic-os/guestos/envs/sev-recovery:update-img';

interface Sample {
  readonly seconds: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

const counts = { sent: 0, received: 0 };
const count = (direction: Direction, bytes: number): void => void (counts[direction] += bytes);

async function bazel(...words: readonly string[]): Promise<void> {
  const child = spawn('./bazelw', words, { cwd: workspace, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (log += text));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0) throw new Error(`bazelw ${words.join(' ')} ended with ${status ?? 'a signal'}:\n${log}`);
}

/** A build of the main job in a workspace where nothing is built. */
async function cold(flags: readonly string[], isRemoteCacheKept: boolean): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let run = 0; run < Number(options.runs); run++) {
    await bazel('clean');
    counts.sent = counts.received = 0;
    const start = performance.now();
    const fresh = isRemoteCacheKept ? [] : ['--noremote_accept_cached'];
    await bazel('build', '--disk_cache=', ...flags, ...fresh, image);
    samples.push({
      seconds: (performance.now() - start) / 1000,
      sentBytes: counts.sent,
      receivedBytes: counts.received,
    });
  }
  return samples;
}

/** The engine of PATH. */
function startEngine(words: readonly string[]): { stop(): Promise<void> } {
  const engine = spawn('justbuild', words, { stdio: 'ignore' });
  const ended = once(engine, 'exit');
  return {
    stop: async () => {
      engine.kill();
      await ended;
    },
  };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

const engine = await startRemoteEngine(startEngine);
try {
  const endpoint = `grpc://127.0.0.1:${await countingProxy(engine.port, count)}`;
  const exec = ['--config=remote-exec', `--remote_executor=${endpoint}`, '--remote_upload_local_results'];
  // The first run of a server pays for loading; none of the rows shall.
  await bazel('build', image);
  const rows = [
    { name: 'cold, here', samples: await cold([], true) },
    // The first of these also fills the engine's store: its bytes are what a new engine costs.
    { name: 'cold, on an engine', samples: await cold([...exec, '--remote_download_minimal'], false) },
    { name: 'cold, cache warm, image fetched', samples: await cold(exec, true) },
    {
      name: 'cold, cache warm, nothing fetched',
      samples: await cold([...exec, '--remote_download_minimal'], true),
    },
  ];
  const against = median(rows[0]?.samples.map(({ seconds }) => seconds) ?? []);
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(3).padStart(10);
  process.stdout.write(
    `${'main job'.padEnd(36)}  seconds     ratio   MB sent: first    others  MB received\n`,
  );
  for (const { name, samples } of rows) {
    const seconds = median(samples.map((sample) => sample.seconds));
    const [first, ...others] = samples.map(({ sentBytes }) => sentBytes);
    process.stdout.write(
      `${name.padEnd(36)}${seconds.toFixed(3).padStart(9)}${(seconds / against).toFixed(3).padStart(10)}` +
        `       ${mb(first ?? 0)}${mb(median(others))}   ${mb(median(samples.map(({ receivedBytes }) => receivedBytes)))}\n`,
    );
  }
  if (options.json !== undefined)
    writeFileSync(
      resolve(process.env['BUILD_WORKING_DIRECTORY'] ?? '.', options.json),
      `${JSON.stringify(rows, null, 2)}\n`,
    );
} finally {
  await engine.stop();
}
