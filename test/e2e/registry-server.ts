/**
 * An npm registry on this machine that has one package, Node.js for this machine, as npm's cache keeps it. Prints its URL. A process of
 * its own, since the tests wait for Bazel synchronously.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

const [lockFile = 'package-lock.json'] = process.argv.slice(2);
const name = `node-linux-${process.arch}`;
const lock = JSON.parse(readFileSync(lockFile, 'utf8')) as {
  packages: Record<string, { version: string; integrity: string } | undefined>;
};
const pinned = lock.packages[`node_modules/${name}`];
if (pinned === undefined) throw new Error(`package-lock.json does not pin ${name}`);

// Content is kept under its sha512: npm's own format of its cache, version 2.
const cache = execFileSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).trim();
const digest = Buffer.from(pinned.integrity.replace(/^sha512-/, ''), 'base64').toString('hex');
const archive = readFileSync(
  join(cache, '_cacache/content-v2/sha512', digest.slice(0, 2), digest.slice(2, 4), digest.slice(4)),
);

const server = createServer((request, response) => {
  if (request.url === `/${name}/-/${name}-${pinned.version}.tgz`) response.writeHead(200).end(archive);
  else response.writeHead(404).end();
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}/\n`);
});
