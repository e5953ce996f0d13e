import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ORACLES_REQUIRED } from '../cross/oracle.ts';
import { inRoot, startInRoot } from './oracle-root.ts';

export const ENGINE_MISSING = inRoot('/usr/bin/justbuild')
  ? undefined
  : 'no Bazel root with a remote execution engine (package justbuild)';

if (ENGINE_MISSING !== undefined && ORACLES_REQUIRED)
  throw new Error(`oracle required, not found: ${ENGINE_MISSING}`);

export interface RemoteEngine {
  /** Where it listens, on loopback. */
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts an engine of the Remote Execution API that nobody here wrote, with an empty cache. */
export async function startEngine(): Promise<RemoteEngine> {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-engine-'));
  const info = join(folder, 'info.json');
  const engine = startInRoot('/usr/bin/justbuild', [
    ...['execute', '--compatible', '--interface', '127.0.0.1', '--info-file', info],
    ...['--local-build-root', join(folder, 'root')],
  ]);
  const stop = async (): Promise<void> => {
    await engine.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  // It writes the file once it listens.
  for (let attempt = 0; attempt < 600; attempt++) {
    if (existsSync(info) && readFileSync(info, 'utf8').trim().endsWith('}')) {
      const { port } = JSON.parse(readFileSync(info, 'utf8')) as { port: number };
      return { port, stop };
    }
    await wait(100);
  }
  await stop();
  throw new Error('the engine did not say where it listens');
}
