import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { expect, test } from 'vitest';

const tools = new URL('../../tools/', import.meta.url);
interface Inputs {
  readonly modules: readonly string[];
  /** What the bundle imports when it runs. */
  readonly external: readonly string[];
}
const inputs = (name: string): Inputs =>
  JSON.parse(readFileSync(new URL(`${name}.inputs.json`, tools), 'utf8')) as Inputs;
const text = (name: string): string => readFileSync(new URL(name, tools), 'utf8');
const parts = readdirSync(new URL('cvm.parts/', tools));
/** A bundle with its parts. */
const whole = (name: string): string =>
  [text(name), ...(name === 'cvm.mjs' ? parts.map((part) => text(`cvm.parts/${part}`)) : [])].join('\n');

const SOCKETS = ['net', 'http', 'https', 'http2', 'tls', 'dgram', 'dns', 'child_process', 'cluster'];
test('what actions run holds no socket', () => {
  const bundle = text('cvm-build.mjs');
  const imported = inputs('cvm-build.mjs').external.map((name) => name.replace(/^node:/, ''));
  expect(imported).toContain('fs');
  for (const name of SOCKETS) expect(imported, name).not.toContain(name);
  expect(bundle).not.toMatch(/\bfetch\(/);
  expect(bundle).not.toContain('WebSocket');
});

test('what actions run holds no agent and no download', () => {
  const { modules } = inputs('cvm-build.mjs');
  expect(modules.length).toBeGreaterThan(20);
  expect(modules.filter((name) => name.includes('@dfinity/agent'))).toEqual([]);
  expect(modules.filter((name) => name.startsWith('tools/update/'))).toEqual([]);
  expect(modules.filter((name) => name.includes('download'))).toEqual([]);
});

test.each(['cvm-build.mjs', 'cvm.mjs'])(
  '%s holds nothing of the development NNS, where signing lives',
  (name) => {
    expect(inputs(name).modules.filter((module) => module.startsWith('test/'))).toEqual([]);
  },
);

/** Sign with a key that the caller gives, by a command of its own; none of them is in what actions run. */
const SIGNERS = ['tools/snp/id-block-sign.js'];

// The curve library brings signing functions of its own along; ours must not call them, nor make keys.
test('no module of the tools signs or makes a key, but those named', () => {
  const all = inputs('cvm.mjs').modules.filter((module) => module.startsWith('tools/'));
  const ours = all.filter((module) => !SIGNERS.includes(module));
  expect(ours.length).toBeGreaterThan(50);
  expect(all).toEqual(expect.arrayContaining(SIGNERS));
  expect(inputs('cvm-build.mjs').modules.filter((module) => SIGNERS.includes(module))).toEqual([]);
  for (const module of ours) {
    const source = text(module.replace(/^tools\//, '').replace(/\.js$/, '.ts'));
    expect(source, module).not.toMatch(
      /\bsign(Short|Long)?(Signature)?\(|createPrivateKey|createSign|generateKeyPair|randomSecretKey|randomPrivateKey/,
    );
  }
});

test.each(['cvm-build.mjs', 'cvm.mjs'])('%s names no folder of the machine that made it', (name) => {
  const bundle = whole(name);
  for (const place of ['/home/', '/root/', '/tmp/', 'execroot', 'bazel-out', 'external/']) {
    expect(bundle.includes(place), place).toBe(false);
  }
});

test.each(['cvm-build.mjs', 'cvm.mjs'])('%s needs nothing but Node.js', (name) => {
  const { external } = inputs(name);
  expect(external.length).toBeGreaterThan(0);
  expect(external.filter((module) => !builtinModules.includes(module.replace(/^node:/, '')))).toEqual([]);
});

test('the whole tool is a front that starts at once, and parts that it names', () => {
  expect(parts.length).toBeGreaterThan(20);
  expect(text('cvm.mjs').length).toBeLessThan(50_000);
  const named = new Set(whole('cvm.mjs').match(/part-[0-9a-f]{16}\.mjs/g));
  expect([...named].sort()).toEqual([...parts].sort());
});
