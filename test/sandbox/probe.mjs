// Tries one forbidden thing and writes down what happened. Run by probe.bzl, judged by sandbox.test.ts.
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';

const [attempt, out] = process.argv.slice(2);

async function open(host, port) {
  return await new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.setTimeout(3000, () => socket.destroy(new Error('timed out')));
    socket.on('connect', () => {
      socket.destroy();
      resolve('connected');
    });
    socket.on('error', (error) => resolve(error.code ?? error.message));
  });
}

function read(path) {
  try {
    return `read ${readFileSync(path).length} bytes`;
  } catch (error) {
    return error.code;
  }
}

const results = {
  // An address that is reserved for documentation: no machine answers there, but only a machine with a network
  // knows a way to it.
  socket: async () => ({
    outside: await open('192.0.2.1', 443),
    interfaces: Object.entries(networkInterfaces())
      .filter(([, addresses]) => addresses.some((address) => !address.internal))
      .map(([name]) => name),
  }),
  'undeclared-file': async () => ({ readme: read('README.md'), declared: read('test/sandbox/probe.mjs') }),
  environment: async () => ({ names: Object.keys(process.env).sort() }),
  // This one fails when it does not find the file.
  'machine-file': async () => ({ bytes: readFileSync('/etc/passwd').length, top: readdirSync('/').sort() }),
  // What differs from one machine to another, and may stand in no output but this one: see //test/repro.
  machine: async () => ({
    clock: new Date().toISOString(),
    zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    user: process.getuid?.(),
    umask: process.umask().toString(8).padStart(3, '0'),
    folder: process.cwd(),
    mode: (statSync(process.argv[1]).mode & 0o777).toString(8),
  }),
};
writeFileSync(out, JSON.stringify(await results[attempt]()));
