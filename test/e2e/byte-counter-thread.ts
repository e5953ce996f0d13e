/** The thread of byte-counter.ts. */
import { setInterval } from 'node:timers';
import { parentPort, workerData } from 'node:worker_threads';
import { countingProxy } from '../support/byte-proxy.ts';

const { serverPort, counts } = workerData as {
  readonly serverPort: number;
  /** Bytes to the server, and from it. */
  readonly counts: BigInt64Array;
};

const port = await countingProxy(serverPort, (direction, bytes) => {
  Atomics.add(counts, direction === 'sent' ? 0 : 1, BigInt(bytes));
});
// Until it is terminated.
setInterval(() => undefined, 1 << 30);
parentPort?.postMessage(port);
