// Tries one forbidden thing and writes down what happened. Run by probe.bzl, judged by sandbox.test.ts.
import { readFileSync, writeFileSync } from 'node:fs';
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
};
writeFileSync(out, JSON.stringify(await results[attempt]()));
