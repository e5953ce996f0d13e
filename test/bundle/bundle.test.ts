import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const tools = new URL('../../tools/', import.meta.url);
const inputs = (name: string): string[] =>
  JSON.parse(readFileSync(new URL(`${name}.inputs.json`, tools), 'utf8')) as string[];
const text = (name: string): string => readFileSync(new URL(name, tools), 'utf8');

/** Node's modules that a bundle imports. */
function imported(bundle: string): Set<string> {
  const found = new Set<string>();
  for (const [, , name] of bundle.matchAll(/(from|import|import\(|require\()\s*["']([^"']+)["']/g)) {
    if (name !== undefined) found.add(name.replace(/^node:/, ''));
  }
  return found;
}

const SOCKETS = ['net', 'http', 'https', 'http2', 'tls', 'dgram', 'dns', 'child_process', 'worker_threads'];
/** The scalar of the dev network's private key, as the signer has it and in the forms a bundler makes of it. */
const SIGNING = ['signShortSignature(', 'shortSignatures.sign', 'sign-proposal', 'createPrivateKey', 'createSign('];

test('what actions run holds no socket', () => {
  const bundle = text('cvm-build.mjs');
  for (const name of SOCKETS) expect(imported(bundle), name).not.toContain(name);
  expect(bundle).not.toMatch(/\bfetch\(/);
  expect(bundle).not.toContain('WebSocket');
});

test('what actions run holds no agent and no download', () => {
  const modules = inputs('cvm-build.mjs');
  expect(modules.length).toBeGreaterThan(20);
  expect(modules.filter((name) => name.includes('@dfinity/agent'))).toEqual([]);
  expect(modules.filter((name) => name.startsWith('tools/update/'))).toEqual([]);
  expect(modules.filter((name) => name.includes('download'))).toEqual([]);
});

test.each(['cvm-build.mjs', 'cvm.mjs'])('%s holds no signing code and nothing of the development NNS', (name) => {
  expect(inputs(name).filter((module) => module.startsWith('test/'))).toEqual([]);
  for (const sign of SIGNING) expect(text(name), sign).not.toContain(sign);
});

test.each(['cvm-build.mjs', 'cvm.mjs'])('%s names no folder of the machine that made it', (name) => {
  const bundle = text(name);
  for (const place of ['/home/', '/root/', '/tmp/', 'execroot', 'bazel-out', 'node_modules/']) {
    expect(bundle.includes(place), place).toBe(false);
  }
});

test.each(['cvm-build.mjs', 'cvm.mjs'])('%s needs nothing but Node.js', (name) => {
  const foreign = [...imported(text(name))].filter((module) => !/^(\.|[a-z0-9_]+(\/promises)?$)/.test(module));
  expect(foreign).toEqual([]);
});
