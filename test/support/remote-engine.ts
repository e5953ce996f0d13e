import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

export interface RemoteEngine {
  /** Where it listens, on loopback. */
  readonly port: number;
  stop(): Promise<void>;
}

/**
 * Starts justbuild, an engine of the Remote Execution API that nobody here wrote, with an empty store.
 *
 * @param start starts it with these words
 */
export async function startRemoteEngine(
  start: (words: readonly string[]) => { stop(): Promise<void> },
): Promise<RemoteEngine> {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-engine-'));
  const info = join(folder, 'info.json');
  const engine = start([
    // Without --compatible it speaks SHA-1.
    ...['execute', '--compatible', '--interface', '127.0.0.1', '--info-file', info],
    ...['--local-build-root', join(folder, 'root')],
  ]);
  const stop = async (): Promise<void> => {
    await engine.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  // It writes the file once it listens.
  for (let attempt = 0; attempt < 600; attempt++) {
    const text = existsSync(info) ? readFileSync(info, 'utf8').trim() : '';
    if (text.endsWith('}')) return { port: (JSON.parse(text) as { port: number }).port, stop };
    await wait(100);
  }
  await stop();
  throw new Error('justbuild did not say where it listens');
}
