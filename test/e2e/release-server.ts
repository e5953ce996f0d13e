/**
 * A release host on this machine: files of a folder, with ranges, over http. `half` sends the first half of an image and then
 * nothing, `silent` answers nothing at all. Prints its URL; every request becomes a line
 * of `requests.log` there. A process of its own, since the tests wait for Bazel synchronously.
 */
import { appendFileSync, createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';

const [folder = '.', mode = 'whole'] = process.argv.slice(2);

const server = createServer((request, response) => {
  const path = join(folder, basename(request.url ?? ''));
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  const from = Number(/^bytes=([0-9]+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  appendFileSync(join(folder, 'requests.log'), `${request.method ?? ''} ${basename(path)} ${from}\n`);
  if (mode === 'silent') return;
  if (size === undefined || from >= size) {
    response.writeHead(size === undefined ? 404 : 416, { 'content-range': `bytes */${size ?? 0}` }).end();
    return;
  }
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': size - from,
    ...(from > 0 && { 'content-range': `bytes ${from}-${size - 1}/${size}` }),
  });
  if (mode === 'half' && path.endsWith('.zst'))
    createReadStream(path, { start: from, end: Math.floor(size / 2) }).pipe(response, { end: false });
  else createReadStream(path, { start: from }).pipe(response);
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
