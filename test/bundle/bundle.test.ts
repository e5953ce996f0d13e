import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { COMMANDS } from '../../tools/commands/table.ts';
import { measureIgvm } from '../../tools/igvm/measure.ts';
import {
  PAGE_DATA_TYPES,
  supportedPlatform,
  type IgvmFile,
  type IgvmHeader,
} from '../../tools/igvm/model.ts';
import { writeIgvm } from '../../tools/igvm/writer.ts';

const tools = new URL('../../tools/', import.meta.url);
interface Inputs {
  readonly modules: readonly string[];
  /** What the bundle imports when it runs. */
  readonly external: readonly string[];
}
const inputs = (name: string): Inputs =>
  JSON.parse(readFileSync(new URL(`${name}.inputs.json`, tools), 'utf8')) as Inputs;
// Latin-1: code caches are no text, and are searched all the same.
const text = (name: string): string => readFileSync(new URL(name, tools), 'latin1');
const parts = readdirSync(new URL('cvm.parts/', tools));
/** Where the code caches of this processor are: js_bundle runs where the tool does. */
const HERE = `cvm.caches/${process.platform}-${process.arch}`;
const caches = readdirSync(new URL(`${HERE}/`, tools));
/** A bundle with its parts. */
const whole = (name: string): string =>
  [
    text(name),
    ...(name === 'cvm.mjs'
      ? [...parts.map((part) => `cvm.parts/${part}`), ...caches.map((cache) => `${HERE}/${cache}`)].map(text)
      : []),
  ].join('\n');

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
  expect(caches).toEqual(parts.map((part) => part.replace(/cjs$/, 'cache')));
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

const partFile = (part: string): string => fileURLToPath(new URL(`cvm.parts/${part}.cjs`, tools));
const cacheFile = (part: string): string => fileURLToPath(new URL(`${HERE}/${part}.cache`, tools));
/** What the front puts around a part. */
const AROUND = ['(function(exports,require,module,__filename,__dirname){', '\n})'];
/** Asks a Node.js without flags, as the front is, whether V8 takes a code cache. */
const IS_TAKEN = `
  const { readFileSync } = require('node:fs');
  const [, part, cache, before, after] = process.argv;
  const source = before + readFileSync(part, 'latin1') + after;
  const script = new (require('node:vm').Script)(source, { cachedData: readFileSync(cache) });
  process.stdout.write(String(!script.cachedDataRejected));`;

test.each(namesOf('.cjs'))('V8 takes the code cache of the part %s', (part) => {
  const asked = (cache: string): string =>
    spawnSync(process.execPath, ['-e', IS_TAKEN, partFile(part), cache, ...AROUND], { encoding: 'utf8' })
      .stdout;
  expect(asked(cacheFile(part))).toBe('true');
  const other = join(mkdtempSync(join(tmpdir(), 'cvm-cache-')), 'other.cache');
  const bytes = readFileSync(cacheFile(part));
  // The hash of V8's version, after the magic number.
  bytes[4] = (bytes[4] ?? 0) ^ 1;
  writeFileSync(other, bytes);
  expect(asked(other)).toBe('false');
});

// Under another parent, in another folder, with another environment: nothing but the part and Node.js may count.
test.each(namesOf('.cjs'))('the code cache of the part %s is made again with the same bytes', (part) => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-cache-'));
  const again = join(folder, 'again');
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      '--random-seed=1',
      fileURLToPath(new URL('../rules/private/code_cache.mjs', tools)),
      partFile(part),
      again,
      ...AROUND,
    ],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: folder,
      env: { HOME: folder, LONG: 'x'.repeat(5000) },
      encoding: 'utf8',
    },
  );
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(readFileSync(again).equals(readFileSync(cacheFile(part)))).toBe(true);
});

test('without its code cache, and with a damaged one, the tool does the same', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-parts-'));
  mkdirSync(join(folder, 'cvm.parts'));
  mkdirSync(join(folder, HERE), { recursive: true });
  copyFileSync(new URL('cvm.mjs', tools), join(folder, 'cvm.mjs'));
  copyFileSync(partFile('file'), join(folder, 'cvm.parts/file.cjs'));
  const cache = join(folder, HERE, 'file.cache');
  const sum = (): string =>
    spawnSync(process.execPath, [join(folder, 'cvm.mjs'), 'file', 'sha256', join(folder, 'cvm.mjs')], {
      encoding: 'utf8',
    }).stdout;
  const expected = sum();
  expect(expected).toMatch(/[0-9a-f]{64}/);
  for (const bytes of [
    new Uint8Array(),
    new Uint8Array(1000),
    readFileSync(cacheFile('file')).subarray(0, 5000),
  ]) {
    writeFileSync(cache, bytes);
    expect(sum()).toBe(expected);
  }
});

// A thread starts with the file that its caller is in: a part, or a bundle of one file.
test.each(['cvm.mjs', 'cvm-build.mjs'])(
  '%s builds a partition with threads, and the same without',
  (name) => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-threads-'));
    writeFileSync(join(folder, 'list'), 'file /data data 0644 0 0\n');
    writeFileSync(join(folder, 'data'), Buffer.alloc(9 << 20, 'not all of it zeros'));
    const build = (jobs: number): Buffer => {
      const output = join(folder, `${jobs}.tzst`);
      const words = [
        ...[
          'partition',
          'build',
          '--listing',
          join(folder, 'list'),
          '--file',
          `data=${join(folder, 'data')}`,
        ],
        ...[
          '--size',
          String(24 << 20),
          '--verity-offset',
          String(24 << 20),
          '--jobs',
          String(jobs),
          '--output',
          output,
        ],
      ];
      const { status, stderr } = spawnSync(
        process.execPath,
        [fileURLToPath(new URL(name, tools)), ...words],
        {
          encoding: 'utf8',
          timeout: 60_000,
        },
      );
      expect(stderr).toBe('');
      expect(status).toBe(0);
      return readFileSync(output);
    };
    expect(build(2).equals(build(1))).toBe(true);
  },
);

/** Tells how the threads of a program end: one that fails shows in nothing but time. */
const WATCH = `
  const threads = require('node:worker_threads');
  threads.Worker = class extends threads.Worker {
    constructor(...words) {
      super(...words);
      this.on('exit', (code) => process.stderr.write('thread ended: ' + code));
    }
  };`;

// The text of a function is handed to the thread: the bundler may have put something outside of it.
test('cvm.mjs hashes a large IGVM file with a thread that does its work', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-threads-'));
  const large = join(folder, 'large.igvm');
  const headers = [
    supportedPlatform('SEV_SNP', 1, { highestVtl: 2 }),
    ...Array.from({ length: 4500 }, (_, i): IgvmHeader => {
      const data = Buffer.alloc(4096, `page ${i}`);
      const dataType = PAGE_DATA_TYPES.NORMAL;
      return { kind: 'page-data', gpa: i * 4096, mask: 1, flags: 0, dataType, data };
    }),
  ];
  const file: IgvmFile = { version: 1, architecture: 'x64', headers };
  writeFileSync(large, writeIgvm(file));
  writeFileSync(join(folder, 'watch.cjs'), WATCH);
  const words = ['--require', join(folder, 'watch.cjs'), fileURLToPath(new URL('cvm.mjs', tools))];
  const { stdout, stderr } = spawnSync(process.execPath, [...words, 'igvm', 'measure', '--bare', large], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect(stderr).toBe('thread ended: 0');
  const { digest } = measureIgvm(file, { platform: 'sev-snp' });
  expect(stdout).toBe(`${Buffer.from(digest).toString('hex').toUpperCase()}\n`);
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
