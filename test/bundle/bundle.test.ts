import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { expect, test } from 'vitest';
import { COMMANDS } from '../../tools/commands/table.ts';

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
test.each(['cvm-build.mjs', 'cvm-sign.mjs'])('%s, which actions run, holds no socket', (name) => {
  const bundle = text(name);
  const imported = inputs(name).external.map((name) => name.replace(/^node:/, ''));
  expect(imported).toContain('fs');
  for (const socket of SOCKETS) expect(imported, socket).not.toContain(socket);
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

test('what actions run makes and verifies releases, and publishes none', () => {
  const publishes = (name: string): string[] =>
    inputs(name).modules.filter((module) =>
      /release-publish|\/publish\.js|http-store|folder-store/.test(module),
    );
  expect(publishes('cvm.mjs')).toHaveLength(4);
  expect(publishes('cvm-build.mjs')).toEqual([]);
  expect(inputs('cvm-build.mjs').modules).toContain('tools/commands/release-create.js');
});

test.each(['cvm-build.mjs', 'cvm-sign.mjs', 'cvm.mjs'])(
  '%s holds nothing of the development NNS, where signing lives',
  (name) => {
    expect(inputs(name).modules.filter((module) => module.startsWith('test/'))).toEqual([]);
  },
);

/**
 * The module that may sign: SEV-SNP ID blocks, with the key of a guest's owner, which says nothing about what an NNS
 * certified. It makes no keys. What builds and verifies, `cvm-build.mjs`, does not have it: the rule igvm_sign runs a
 * bundle of its own.
 */
const SIGNERS = ['tools/snp/id-block-sign.js'];
const SIGNS = /\bsign(Short|Long)?(Signature)?\(|createPrivateKey|createSign/;
const MAKES_KEYS = /generateKeyPair|randomSecretKey|randomPrivateKey/;

// The curve library brings signing functions of its own along; ours must not call them, nor make keys.
test('no module of the tools makes a key, and none signs but the one for ID blocks', () => {
  const ours = inputs('cvm.mjs').modules.filter((module) => module.startsWith('tools/'));
  expect(ours.length).toBeGreaterThan(50);
  const signing = ours.filter((module) => {
    const source = text(module.replace(/^tools\//, '').replace(/\.js$/, '.ts'));
    expect(source, module).not.toMatch(MAKES_KEYS);
    return SIGNS.test(source);
  });
  expect(signing).toEqual(SIGNERS);
});

test('what builds and verifies holds no module that signs', () => {
  const { modules } = inputs('cvm-build.mjs');
  expect(modules.filter((module) => SIGNERS.includes(module))).toEqual([]);
  expect(inputs('cvm-sign.mjs').modules.filter((module) => SIGNERS.includes(module))).toEqual(SIGNERS);
  expect(modules.filter((module) => module.includes('sign-table'))).toEqual([]);
});

test.each(['cvm-build.mjs', 'cvm-sign.mjs', 'cvm.mjs'])(
  '%s names no folder of the machine that made it',
  (name) => {
    const bundle = whole(name);
    for (const place of ['/home/', '/root/', '/tmp/', 'execroot', 'bazel-out', 'external/']) {
      expect(bundle.includes(place), place).toBe(false);
    }
  },
);

test.each(['cvm-build.mjs', 'cvm-sign.mjs', 'cvm.mjs'])('%s needs nothing but Node.js', (name) => {
  const { external } = inputs(name);
  expect(external.length).toBeGreaterThan(0);
  expect(external.filter((module) => !builtinModules.includes(module.replace(/^node:/, '')))).toEqual([]);
});

const nouns = [...new Set(COMMANDS.map(({ noun }) => noun))].sort();
const namesOf = (ending: string): string[] =>
  parts.filter((part) => part.endsWith(ending)).map((part) => part.slice(0, -ending.length));
test('the whole tool is a front that starts at once, and a part a noun', () => {
  expect(text('cvm.mjs').length).toBeLessThan(50_000);
  const own = namesOf('.cjs').filter((part) => part !== 'all');
  expect(own.length).toBeGreaterThan(15);
  expect(nouns).toEqual(expect.arrayContaining(own));
  expect(parts).toHaveLength(own.length + 1);
  expect(text('cvm.mjs')).toContain(JSON.stringify(own));
  expect(inputs('cvm.mjs').modules).toEqual(
    expect.arrayContaining(
      inputs('cvm-build.mjs').modules.filter((name) => name.startsWith('tools/commands/')),
    ),
  );
});

// The front finds the part of a command by the first word of its file's name.
test('the file of a command begins with its noun', () => {
  for (const { noun, ...entry } of COMMANDS)
    expect(entry.load.toString(), noun).toMatch(new RegExp(`/${noun}-[a-z0-9-]+[.]`));
});

test("a part has its noun's commands and no other's, and `all` has all", () => {
  const has = (part: string, module: string): boolean =>
    text(`cvm.parts/${part}.cjs`).includes(`tools/commands/${module}.js`);
  expect(['snp', 'vmgs', 'all'].map((part) => has(part, 'snp-measure'))).toEqual([true, false, true]);
  expect(['snp', 'vmgs', 'all'].map((part) => has(part, 'vmgs-create'))).toEqual([false, true, true]);
});

test('one module starts programs, and no build action has it', () => {
  const starts = (name: string): string[] =>
    inputs(name)
      .modules.filter((module) => module.startsWith('tools/'))
      .filter((module) =>
        text(module.replace(/^tools\//, '').replace(/\.js$/, '.ts')).includes('node:child_process'),
      );
  expect(starts('cvm.mjs')).toEqual(['tools/commands/run-program.js']);
  expect(starts('cvm-build.mjs')).toEqual([]);
});
