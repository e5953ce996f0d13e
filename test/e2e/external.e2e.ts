/** The workspace outside: README's install text, followed to the letter, through every door. */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { VERSION } from '../../tools/version.ts';
import { background, type Background } from './background.ts';
import { bazel, type BazelResult, sha256 } from './bazel.ts';

const here = inject('here');
const second = inject('second');
const bazelw = join(second, 'bazelw');
const external = join(second, 'examples/external');
const readme = readFileSync(join(here, 'README.md'), 'utf8');
const blocks = [...readme.matchAll(/^```starlark\n([\s\S]*?)^```$/gm)].map(([, text]) => text ?? '');

/** What every way has to make the same bytes of. */
const OUTPUTS = [
  'recovery/update-img.tar.zst',
  'guestos/disk-img.tar.zst',
  'dstack/image.tar.gz',
  'coconut/svsm/svsm-qemu.igvm',
  'vmgs/guest.vmgs',
  'snp/launch-measurements.json',
  'report/report.txt',
];
const TARGETS = [
  '//recovery:update-img',
  '//guestos:disk-img',
  '//dstack:image',
  '//coconut:svsm',
  '//vmgs:guest.vmgs',
  '//snp:launch-measurements.json',
  '//report:report.txt',
];

const folders: string[] = [];
const run = (workspace: string, words: readonly string[]): BazelResult => bazel(workspace, words, { bazelw });

function good(workspace: string, words: readonly string[]): BazelResult {
  const result = run(workspace, words);
  expect(result.exitCode, result.output).toBe(0);
  return result;
}

async function digests(workspace: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of OUTPUTS) found[name] = await sha256(join(workspace, 'bazel-bin', name));
  return found;
}

/** A copy of the workspace in a folder of its own, with some of its text replaced. */
function workspaceWith(replacements: Readonly<Record<string, readonly [string, string]>>): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'cvm-outside-')));
  folders.push(folder);
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: join(here, 'examples/external'),
    encoding: 'utf8',
  });
  for (const file of files.split('\0').filter((name) => name !== '')) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    cpSync(join(here, 'examples/external', file), join(folder, file));
  }
  for (const [file, [from, to]] of Object.entries(replacements)) {
    const text = readFileSync(join(folder, file), 'utf8');
    expect(text.split(from).length, `${file} has once: ${from}`).toBe(2);
    writeFileSync(join(folder, file), text.replace(from, to));
  }
  return folder;
}

/** The block of README that calls a function, and the call of another that it stands in the place of. */
function call(text: string, name: string): string {
  const found = new RegExp(`^${name}\\([\\s\\S]*?^\\)\\n`, 'm').exec(text)?.[0];
  if (found === undefined) throw new Error(`no call of ${name}`);
  return found;
}

afterAll(() => {
  for (const workspace of [external, ...folders]) run(workspace, ['clean', '--expunge']);
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

test("README's text is the text of the files", () => {
  const named = blocks.filter((block) => block.startsWith('# '));
  for (const block of named) {
    const [name = '', ...lines] = block.slice(2).split('\n');
    expect(lines.join('\n'), name).toBe(readFileSync(join(here, 'examples/external', name), 'utf8'));
  }
  expect(named.map((block) => block.slice(2).split('\n')[0])).toEqual([
    'MODULE.bazel',
    'recovery/BUILD.bazel',
    'vmgs/BUILD.bazel',
    'WORKSPACE.bazel',
  ]);
});

let fromSource: Record<string, string> = {};

describe('from a checkout', () => {
  test('MODULE.bazel: all of it builds, as README tells it', async () => {
    good(external, ['build', ...TARGETS]);
    fromSource = await digests(external);
    expect(existsSync(join(external, 'bazel-bin/recovery/update-img.NOT-FOR-PRODUCTION.txt'))).toBe(true);
    expect(readFileSync(join(external, 'bazel-bin/report/report.txt'), 'utf8')).toBe(
      'update-img.tar.zst is for the dev network\n',
    );
  });

  test('WORKSPACE.bazel: the same bytes', async () => {
    good(external, ['build', '--config=workspace', ...TARGETS]);
    expect(await digests(external)).toEqual(fromSource);
  });
});

describe('from a release archive, without npm', () => {
  let registry: Background;
  let archive = '';
  /** What README says for releases, with its dots filled in. */
  let override: readonly [string, string];
  let httpArchive: readonly [string, string];
  // Node.js has to come from somewhere: nothing of npm is on this PATH, and no configuration of it in this home.
  const bare = ['--repo_env=PATH=/usr/bin:/bin', '--repo_env=HOME=/nonexistent'];

  beforeAll(async () => {
    registry = await background(process.execPath, [
      join(second, 'test/e2e/registry-server.ts'),
      join(here, 'package-lock.json'),
    ]);
    const built = bazel(here, ['build', '//rules/dist:archive']);
    expect(built.exitCode, built.output).toBe(0);
    archive = join(here, `bazel-bin/rules/dist/rules_cvm-${VERSION}.tar.gz`);
    const integrity = `sha256-${Buffer.from(await sha256(archive), 'hex').toString('base64')}`;
    const filled = (block: string): string => {
      expect(block).toContain('"sha256-…"');
      expect(block).toContain(`"https://…/rules_cvm-${VERSION}.tar.gz"`);
      return block
        .replace('"sha256-…"', `"${integrity}"`)
        .replace(/"https:\/\/…[^"]*"/, `"file://${encodeURI(realpathSync(archive))}"`);
    };
    const module = readFileSync(join(external, 'MODULE.bazel'), 'utf8');
    const workspace = readFileSync(join(external, 'WORKSPACE.bazel'), 'utf8');
    const unnamed = blocks.filter((block) => !block.startsWith('# '));
    override = [call(module, 'local_path_override'), filled(unnamed[0] ?? '')];
    httpArchive = [call(workspace, 'local_repository'), filled(unnamed[1] ?? '')];
  });
  afterAll(() => registry.stop());

  test('the same bytes as from source, and the commands run', async () => {
    const workspace = workspaceWith({ 'MODULE.bazel': override, 'WORKSPACE.bazel': httpArchive });
    const fetched = [...bare, `--repo_env=NPM_CONFIG_REGISTRY=${registry.firstLine}`];

    const nothing = run(workspace, ['build', ...bare, '//vmgs:guest.vmgs']);
    expect(nothing.exitCode).not.toBe(0);
    expect(nothing.output).toContain('error NODE_SOURCE nothing says where Node.js');
    expect(nothing.output).toContain('--repo_env=NPM_CONFIG_REGISTRY=');

    const { output } = good(workspace, ['build', ...fetched, '//...']);
    expect(output).not.toMatch(/Compiling TypeScript|Bundling bazel-out|npm ci/);
    expect(await digests(workspace)).toEqual(fromSource);

    expect(good(workspace, ['run', ...fetched, '@rules_cvm//tools:cvm', '--', '--version']).output).toContain(
      `cvm ${VERSION}\n`,
    );
    // Pinned again, from the files that are there.
    const pinned = good(workspace, [
      ...['run', ...fetched, '//recovery:pin', '--', '--network', 'dev', '--dry-run'],
      ...['--base', 'e87e81a10e87e81a10e87e81a10e87e81a10e87e'],
      ...['--base-file', join(workspace, 'bazel-bin/guestos/update-img.tar.zst')],
      ...['--proposal', '139101', '--proposal-file', join(workspace, 'recovery/139101.cbor')],
    ]);
    expect(pinned.output).toContain('139101');

    good(workspace, ['build', '--config=workspace', ...fetched, '//vmgs:guest.vmgs']);
    expect(await sha256(join(workspace, 'bazel-bin/vmgs/guest.vmgs'))).toBe(fromSource['vmgs/guest.vmgs']);
  });

  test('a Node.js of one’s own in the place of the pinned one', async () => {
    const workspace = workspaceWith({ 'MODULE.bazel': override });
    mkdirSync(join(workspace, 'node'));
    cpSync(process.execPath, join(workspace, 'node/node'));
    writeFileSync(
      join(workspace, 'node/BUILD.bazel'),
      `load("@rules_cvm//rules:defs.bzl", "cvm_node_toolchain")

cvm_node_toolchain(
    name = "toolchain",
    node = "node",
)
`,
    );
    const module = join(workspace, 'MODULE.bazel');
    writeFileSync(module, `${readFileSync(module, 'utf8')}\nregister_toolchains("//node:toolchain")\n`);
    good(workspace, ['build', ...bare, '//vmgs:guest.vmgs']);
    expect(await sha256(join(workspace, 'bazel-bin/vmgs/guest.vmgs'))).toBe(fromSource['vmgs/guest.vmgs']);
  });

  test('a module that others depend on brings its pins along; two locks of one package path are told apart', () => {
    const dependency = workspaceWith({ 'MODULE.bazel': [override[0], ''] });
    const workspace = workspaceWith({
      'MODULE.bazel': [
        override[0],
        `${override[1]}
bazel_dep(name = "my_image")
local_path_override(
    module_name = "my_image",
    path = "${dependency}",
)
`,
      ],
    });
    const module = join(workspace, 'MODULE.bazel');
    const text = readFileSync(module, 'utf8').replace('module(name = "my_image")', 'module(name = "outer")');
    const fetched = [...bare, `--repo_env=NPM_CONFIG_REGISTRY=${registry.firstLine}`];
    writeFileSync(module, text);
    const theirs = '@my_image//recovery:proposal';
    const conflict = run(workspace, ['build', ...fetched, theirs]);
    expect(conflict.exitCode).not.toBe(0);
    expect(conflict.output).toContain('error LOCK_CONFLICT');

    // As the message says: a hub of its own.
    const own = text
      .replace('cvm.pins(lock', 'cvm.pins(hub = "outer_pins", lock')
      .replace('use_repo(cvm, "cvm_pins")', 'use_repo(cvm, "outer_pins")');
    writeFileSync(module, own);
    const build = join(workspace, 'recovery/BUILD.bazel');
    writeFileSync(build, readFileSync(build, 'utf8').replace('@cvm_pins//', '@outer_pins//'));
    // The sandbox has a /tmp of its own, and the dependency lies in this machine's.
    good(workspace, ['build', ...fetched, '--sandbox_add_mount_pair=/tmp', theirs, '//recovery:proposal']);
    expect(existsSync(join(workspace, 'bazel-bin/recovery/proposal.facts.json'))).toBe(true);
  });
});
