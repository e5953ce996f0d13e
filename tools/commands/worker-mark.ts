import { isMainThread, workerData } from 'node:worker_threads';

/** What a thread of block-workers.ts is started with. */
export const WORKER_MARK = 'cvm block worker';

/** Whether this thread was started to work on blocks, and not as the tool. */
export function isBlockWorker(): boolean {
  return !isMainThread && workerData === WORKER_MARK;
}
