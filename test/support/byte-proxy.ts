import { once } from 'node:events';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';

/** Where bytes went: to the server, or from it. */
export type Direction = 'sent' | 'received';

/**
 * Stands before a server on this machine and counts what goes through, headers of the protocol and all. It does not keep
 * the process alive.
 *
 * @returns the port it listens on
 */
export async function countingProxy(
  serverPort: number,
  count: (direction: Direction, bytes: number) => void,
): Promise<number> {
  const join = (from: Socket, to: Socket, direction: Direction): void => {
    from.on('data', (chunk) => {
      count(direction, chunk.length);
    });
    from.pipe(to);
    // A side that is gone takes the other with it: the client sees a lost connection, as without a proxy.
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
  };
  const server = createServer((client) => {
    const upstream = connect({ host: '127.0.0.1', port: serverPort });
    join(client, upstream, 'sent');
    join(upstream, client, 'received');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref();
  return (server.address() as AddressInfo).port;
}
