import { ORACLES_REQUIRED } from '../cross/oracle.ts';
import { type RemoteEngine, startRemoteEngine } from '../support/remote-engine.ts';
import { inRoot, startInRoot } from './oracle-root.ts';

const ENGINE = '/usr/bin/justbuild';

export const ENGINE_MISSING = inRoot(ENGINE)
  ? undefined
  : 'no Bazel root with a remote execution engine (package justbuild)';

if (ENGINE_MISSING !== undefined && ORACLES_REQUIRED)
  throw new Error(`oracle required, not found: ${ENGINE_MISSING}`);

/** Starts the engine of the root. */
export const startEngine = async (): Promise<RemoteEngine> =>
  await startRemoteEngine((words) => startInRoot(ENGINE, words));
