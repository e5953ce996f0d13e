import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { RemoteEngine } from '../support/remote-engine.ts';
import { actionsOf, bazel, build, buildFails, count, sha256, spawnsOf } from './bazel.ts';
import { type ByteCounter, countBytes } from './byte-counter.ts';
import { ENGINE_MISSING, startEngine } from './remote-engine.ts';

const here = inject('here');
const second = inject('second');
const target = '//ic-os/guestos/envs/sev-recovery:update-img';
const image = 'bazel-bin/ic-os/guestos/envs/sev-recovery/update-img.tar.zst';

/** Actions of the main job: see incremental.e2e.ts for what they are. */
const ACTIONS = 22;

describe.skipIf(ENGINE_MISSING !== undefined)(
  `an engine of the Remote Execution API (justbuild)${ENGINE_MISSING === undefined ? '' : `, skipped: ${ENGINE_MISSING}`}`,
  () => {
    let engine: RemoteEngine;
    let counter: ByteCounter;
    let local: string;
    /** What went over the wire, also told in the log. */
    const moved = (what: string): { sent: number; received: number } => {
      const bytes = counter.take();
      process.stdout.write(`${what}: ${bytes.sent} bytes sent, ${bytes.received} received\n`);
      return bytes;
    };
    const endpoint = (): string => `grpc://127.0.0.1:${counter.port}`;
    const runners = (words: readonly string[]): Record<string, number> =>
      count(spawnsOf(second, [...words, target]).map(({ runner }) => runner));

    beforeAll(async () => {
      build(here, [target]);
      local = await sha256(join(here, image));
      engine = await startEngine();
      counter = await countBytes(engine.port);
      bazel(second, ['clean']);
    });
    afterAll(async () => {
      await counter.stop();
      await engine.stop();
    });

    test('every action of the main job runs there, without a byte of the image coming back', () => {
      const words = [
        '--config=remote-exec',
        `--remote_executor=${endpoint()}`,
        '--remote_upload_local_results',
      ];
      const minimal = ['--remote_download_minimal', '--nobuild_runfile_links'];
      expect(runners([...words, ...minimal])).toEqual({ remote: ACTIONS });
      expect(existsSync(join(second, image))).toBe(false);
      const { sent, received } = moved('cold, on a new engine, nothing fetched');
      // Node.js is most of it, 127 MB that are sent once; then the compiler.
      expect(sent).toBeGreaterThan(126e6);
      expect(sent).toBeLessThan(250e6);
      expect(received).toBeLessThan(1e6);
    });

    test('each was meant to: its platform is the one that the config names', () => {
      const planned = actionsOf(second, ['--config=remote-exec', `deps(${target}) intersect //...`]);
      const ours = planned.filter(({ mnemonic }) => /^(Cvm|Js|Ts)[A-Z]/.test(mnemonic));
      expect(ours.length).toBeGreaterThanOrEqual(ACTIONS);
      expect([...new Set(ours.map(({ executionPlatform }) => executionPlatform))]).toEqual([
        '//rules/platform:linux_x64',
      ]);
    });

    test('what was asked for is fetched, and is what is built here', async () => {
      const words = ['--config=remote-exec', `--remote_executor=${endpoint()}`];
      // The image, and the note beside it that says that it is not for production.
      expect(runners(words)).toEqual({ 'remote cache hit': 2 });
      expect(await sha256(join(second, image))).toBe(local);
      moved('fetched afterwards');
    });

    test('a checkout that never built anything takes all of it from the cache', async () => {
      bazel(second, ['clean']);
      counter.take();
      const words = ['--config=remote-cache', '--extra_execution_platforms=//rules/platform:linux_x64'];
      expect(runners([...words, `--remote_cache=${endpoint()}`])).toEqual({ 'remote cache hit': ACTIONS });
      expect(await sha256(join(second, image))).toBe(local);
      const { sent, received } = moved('cold, cache warm, image fetched');
      expect(sent).toBeLessThan(1e6);
      expect(received).toBeLessThan(8e6);
    });

    test('what is refused there is refused here, in the same words', () => {
      const file = join(second, 'ic-os/guestos/envs/sev-recovery/pins.lock.json');
      const shipped = readFileSync(file, 'utf8');
      writeFileSync(file, JSON.stringify({ ...(JSON.parse(shipped) as object), proposal: null }));
      try {
        buildFails(
          second,
          ['--config=remote-exec', `--remote_executor=${endpoint()}`, target],
          'PROPOSAL_NOT_PINNED',
        );
      } finally {
        writeFileSync(file, shipped);
      }
    });
  },
);
