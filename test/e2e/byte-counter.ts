import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface ByteCounter {
  readonly port: number;
  /** Bytes that went to the server, and that came from it, since this was last asked. */
  take(): { readonly sent: number; readonly received: number };
  stop(): Promise<void>;
}

/** Stands before a server on this machine and counts what goes through, headers of the protocol and all. */
export async function countBytes(serverPort: number): Promise<ByteCounter> {
  const counts = new BigInt64Array(new SharedArrayBuffer(16));
  // In a thread of its own: tests wait for Bazel, and nothing else in theirs goes on meanwhile.
  const worker = new Worker(new URL('./byte-counter-thread.ts', import.meta.url), {
    workerData: { serverPort, counts },
  });
  const [port] = (await once(worker, 'message')) as [number];
  return {
    port,
    take: () => ({
      sent: Number(Atomics.exchange(counts, 0, 0n)),
      received: Number(Atomics.exchange(counts, 1, 0n)),
    }),
    stop: async () => {
      await worker.terminate();
    },
  };
}
