/** The one word that a thread of block-workers.ts is started with. */
export const WORKER_MARK = 'cvm-block-worker';

/**
 * Whether this thread was started to work on blocks, and not as the tool. The word alone tells it apart from nearly everything, so
 * that threads are not loaded to ask; a caller who types it is no thread.
 * @param words what follows the program on the command line
 */
export async function isBlockWorker(words: readonly string[]): Promise<boolean> {
  if (words.length !== 1 || words[0] !== WORKER_MARK) return false;
  const { isMainThread } = await import('node:worker_threads');
  return !isMainThread;
}
