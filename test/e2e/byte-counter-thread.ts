/** The thread of byte-counter.ts. */
import { type AddressInfo, connect, createServer } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

const { serverPort, counts } = workerData as {
  readonly serverPort: number;
  /** Bytes to the server, and from it. */
  readonly counts: BigInt64Array;
};

const server = createServer((client) => {
  const upstream = connect({ host: '127.0.0.1', port: serverPort });
  for (const [index, from, to] of [
    [0, client, upstream],
    [1, upstream, client],
  ] as const) {
    from.on('data', (chunk) => void Atomics.add(counts, index, BigInt(chunk.length)));
    from.pipe(to);
    // A side that is gone takes the other with it: the client sees a lost connection, as without a counter.
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
  }
});
server.listen(0, '127.0.0.1', () => {
  parentPort?.postMessage((server.address() as AddressInfo).port);
});
