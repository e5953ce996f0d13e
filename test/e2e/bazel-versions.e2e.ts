import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { removedFlags, removedStarlark } from '../support/removed-starlark.ts';

// Bazel 8 and 9 themselves are not at hand here: what they refuse to load is known, and not used.
const here = inject('here');
const tracked = (...patterns: string[]): string[] =>
  execFileSync('git', ['ls-files', '-z', ...patterns], { cwd: here, encoding: 'utf8' }).split('\0').slice(0, -1);
const read = (name: string): string => readFileSync(join(here, name), 'utf8');

test('no Starlark uses what Bazel 8 or 9 removed', () => {
  const files = tracked('*.bzl', '*BUILD.bazel', '*MODULE.bazel', '*.MODULE.bazel', '*WORKSPACE.bazel');
  expect(files.length).toBeGreaterThan(40);
  for (const file of files) expect(removedStarlark(read(file), file.endsWith('WORKSPACE.bazel')), file).toEqual([]);
});

test('no flag that they refuse', () => {
  for (const file of tracked('*.bazelrc')) expect(removedFlags(read(file)), file).toEqual([]);
});

test('MODULE.bazel says which Bazels it is for, and shuts out none that is newer', () => {
  const [, list = ''] = /bazel_compatibility = \[([^\]]*)\]/.exec(read('MODULE.bazel')) ?? [];
  const bounds = [...list.matchAll(/"([^"]+)"/g)].map(([, bound]) => bound);
  expect(bounds).toEqual([expect.stringMatching(/^>=7\.\d+\.\d+$/)]);
  // What the README promises, and what ./bazelw runs.
  expect(read('README.md')).toContain(`Bazel ${bounds[0]?.slice(2).replace(/\.0$/, '')} or newer`);
  expect(read('.bazelversion').trim()).toMatch(/^7\./);
});
