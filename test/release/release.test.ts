import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { readAll, sourceFromBytes } from '../../tools/bytes/source.ts';
import { treeFromTar } from '../../tools/tar/tree.ts';
import { VERSION } from '../../tools/version.ts';

const root = new URL('../../', import.meta.url);
const source = (path: string): string => readFileSync(new URL(path, root), 'utf8');

const [archiveName = ''] = readdirSync(new URL('rules/dist/', root)).filter((name) => name.endsWith('.gz'));
const top = archiveName.replace(/\.tar\.gz$/, '');
const entries = treeFromTar(
  sourceFromBytes(gunzipSync(readFileSync(new URL(`rules/dist/${archiveName}`, root)))),
);
const files = new Map(
  entries.flatMap((entry) =>
    entry.type === 'file'
      ? [
          [
            entry.path.replace(`${top}/`, ''),
            Buffer.from(readAll(entry.content, 1 << 26, 'a file')).toString('utf8'),
          ] as const,
        ]
      : [],
  ),
);
const file = (path: string): string => {
  const text = files.get(path);
  if (text === undefined) throw new Error(`the archive lacks ${path}`);
  return text;
};

describe('the release archive', () => {
  test('is named after module and version, and so is its one folder', () => {
    expect(archiveName).toBe(`rules_cvm-${VERSION}.tar.gz`);
    for (const { path } of entries)
      expect(path === '' || path === top || path.startsWith(`${top}/`)).toBe(true);
  });

  test('tells nothing of who made it, when and where', () => {
    for (const entry of entries) {
      expect(entry).toMatchObject(
        entry.type === 'dir'
          ? { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0 }
          : { type: 'file', mode: 0o644, uid: 0, gid: 0, mtimeSec: 0 },
      );
    }
    for (const [path, text] of files) expect(text, path).not.toMatch(/bazel-out|execroot|\/sandbox\//);
  });

  test('has the bundles that were built, and nothing that compiles', () => {
    expect(file('tools/cvm-build.mjs') === source('tools/cvm-build.mjs')).toBe(true);
    const parts = readdirSync(new URL('tools/cvm.parts/', root)).map((name) => `tools/cvm.parts/${name}`);
    expect(parts).toContain('tools/cvm.parts/all.cjs');
    expect([...files.keys()].filter((path) => path.startsWith('tools/cvm.parts/')).sort()).toEqual(
      parts.sort(),
    );
    for (const path of parts) expect(file(path) === source(path), path).toBe(true);
    expect(
      [...files.keys()].filter((path) => /\.ts$|npm_repository|js_bundle|ts_project/.test(path)),
    ).toEqual([]);
  });

  test('loads nothing that it lacks', () => {
    const loads = [...files].flatMap(([path, text]) =>
      /\.(bzl|bazel)$/.test(path)
        ? [...text.matchAll(/^load\(\s*"([^"]+)"/gm)].map(([, label = '']) => ({ path, label }))
        : [],
    );
    expect(loads.length).toBeGreaterThan(40);
    for (const { path, label } of loads) {
      if (label === '{rule}') continue; // A text that repository rules fill in.
      if (label.startsWith('@bazel_tools//')) continue;
      const [, folder = dirname(path), name = ''] = /^(?:\/\/([^:]*))?:(.+)$/.exec(label) ?? [];
      expect(files.has(join(folder, name)), `${path} loads ${label}`).toBe(true);
    }
  });

  test('is the module of this repository', () => {
    const own = file('MODULE.bazel');
    expect(own).toContain(`    name = "rules_cvm",\n    version = "${VERSION}",\n`);
    for (const line of [/bazel_compatibility = .*/, /bazel_dep\(.*/, /register_toolchains\(.*/]) {
      const [found = 'nothing'] = line.exec(source('MODULE.bazel')) ?? [];
      expect(own).toContain(found);
    }
  });
});

describe('.bcr', () => {
  const json = (name: string): Record<string, unknown> =>
    JSON.parse(source(`.bcr/${name}.template.json`)) as Record<string, unknown>;
  const filled = (value: unknown): string =>
    String(value)
      .replaceAll('{OWNER}', 'owner')
      .replaceAll('{REPO}', 'rules_cvm')
      .replaceAll('{VERSION}', VERSION)
      .replaceAll('{TAG}', `v${VERSION}`);

  test('the source is the archive as it is called', () => {
    const template = json('source');
    expect(Object.keys(template).sort()).toEqual(['integrity', 'strip_prefix', 'url']);
    // The registry's tool fills it in.
    expect(template['integrity']).toBe('');
    expect(filled(template['strip_prefix'])).toBe(top);
    const url = new URL(filled(template['url']));
    expect(url.protocol).toBe('https:');
    expect(basename(url.pathname)).toBe(archiveName);
    expect(filled(template['url'])).not.toMatch(/[{}]/);
  });

  test('the metadata leaves versions to the tool', () => {
    const template = json('metadata');
    expect(template).toMatchObject({ versions: [], yanked_versions: {} });
    expect(template['homepage']).toMatch(/^https:/);
    expect(template['repository']).toHaveLength(1);
    for (const { name } of template['maintainers'] as { name?: unknown }[]) expect(name).toBeTypeOf('string');
  });

  test('what the registry builds is in the archive', () => {
    const text = source('.bcr/presubmit.yml');
    const targets = [...text.matchAll(/'@rules_cvm\/\/([^:']+?)(?:\/\.\.\.|:([^']+))'/g)];
    expect(targets.length).toBe(3);
    for (const [label, folder = '', name] of targets) {
      const build = file(`${folder}/BUILD.bazel`);
      if (name !== undefined) expect(build, label).toContain(`name = "${name}"`);
    }
    const least = /bazel_compatibility = \[">=(\d+)/.exec(file('MODULE.bazel'))?.[1];
    for (const [, major] of text.matchAll(/(\d+)\.x/g))
      expect(Number(major)).toBeGreaterThanOrEqual(Number(least));
  });
});

describe('a Node.js that is not the pinned one', () => {
  const check = (
    versions: Readonly<Record<string, string>>,
  ): { status: number | null; stderr: string; marker: string } => {
    const marker = join(mkdtempSync(join(tmpdir(), 'cvm-node-')), 'marker');
    const preload = `Object.defineProperty(process, 'versions', { value: { ...process.versions, ...${JSON.stringify(versions)} } })`;
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        ...['--import', `data:text/javascript,${encodeURIComponent(preload)}`],
        ...[fileURLToPath(new URL('rules/private/node_check.mjs', root)), '@@//node:toolchain.node', marker],
      ],
      { encoding: 'utf8' },
    );
    return { status, stderr, marker };
  };

  test('of the same kind is taken', () => {
    const { status, stderr, marker } = check({});
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(readFileSync(marker, 'utf8')).toBe(`${process.versions.node}\n`);
  });

  test.each([
    ['an older one', { node: '22.21.0' }, 'Node.js 22.21.0'],
    ['a newer one', { node: '26.0.0' }, 'Node.js 26.0.0'],
    ['one whose zstd makes other bytes', { zstd: '1.5.6' }, 'zstd 1.5.6'],
  ])('%s is refused before anything runs on it', (_, versions, found) => {
    const { status, stderr, marker } = check(versions);
    expect(status).toBe(2);
    expect(stderr).toContain('error NODE_VERSION the Node.js of @@//node:toolchain.node');
    expect(stderr).toContain(found);
    expect(() => readFileSync(marker)).toThrow('ENOENT');
  });
});
