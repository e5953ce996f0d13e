/**
 * A store on this machine that releases are published to, over https. It breaks off the first upload after a part and another
 * before it begins, as networks do, and keeps what came of the first. Prints its URL; every request becomes a line of
 * `requests.log` in the folder that is named, and every object a file there. A process of its own, since the tests wait for
 * Bazel synchronously.
 */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startObjectServer } from '../support/object-server.ts';

const [folder = '.'] = process.argv.slice(2);
const server = await startObjectServer({ tls: true, authorization: 'Bearer of-tests' });
let uploads = 0;
server.mishaps.push(
  ({ method, name, body }, store) => {
    if (method !== 'PUT' || body.length < 1 << 20 || ++uploads > 1) return undefined;
    store.set(name, body.subarray(0, 1 << 19));
    return { cutAfterBytes: 0 };
  },
  ({ method, name }) => (method === 'PUT' && name === 'SHA256SUMS' ? { cutAfterBytes: 0 } : undefined),
);
const kept = server.store.set.bind(server.store);
server.store.set = (name, bytes) => {
  const path = join(folder, 'objects', name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  return kept(name, bytes);
};
const said = server.asked.push.bind(server.asked);
server.asked.push = (...lines) => {
  appendFileSync(join(folder, 'requests.log'), lines.map((line) => `${line}\n`).join(''));
  return said(...lines);
};
process.stdout.write(`${server.url}\n`);
