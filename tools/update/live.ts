import { setTimeout as sleep } from 'node:timers/promises';
import type { Fetch, Wait } from './bounded-fetch.ts';

/** The real network. */
export const liveFetch: Fetch = (url, init) => fetch(url, init);

/** The real clock. What ends the wait early is thrown as it was given, not as Node's own abort error. */
export const liveWait: Wait = async (ms, signal) => {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
};
