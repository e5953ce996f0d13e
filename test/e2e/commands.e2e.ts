import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { bazel, build } from './bazel.ts';

const here = inject('here');
const version = (JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')) as { version: string }).version;

test('bazel-bin/tools/cvm works from any folder, through any link', () => {
  build(here, ['//tools:cvm']);
  const elsewhere = mkdtempSync(join(tmpdir(), 'cvm-elsewhere-'));
  const link = join(elsewhere, 'my-cvm');
  symlinkSync(join(here, 'bazel-bin/tools/cvm'), link);
  for (const command of [join(here, 'bazel-bin/tools/cvm'), link, './my-cvm']) {
    const result = spawnSync(command, ['--version'], { cwd: elsewhere, encoding: 'utf8', env: {} });
    expect(result.stderr).toBe('');
    expect(result.stdout).toBe(`cvm ${version}\n`);
  }
});

test('bazel run //tools:cvm resolves relative paths against the folder it was called in', () => {
  const result = spawnSync(
    join(here, 'bazelw'),
    [
      'run',
      '--ui_event_filters=-info',
      '--noshow_progress',
      '//tools:cvm',
      '--',
      'ext4',
      'list',
      'no-such.img',
    ],
    { cwd: join(here, 'test'), encoding: 'utf8' },
  );
  expect(result.status).toBe(2);
  expect(result.stderr).toContain(join(here, 'test', 'no-such.img'));
});

test('a wrong verb ends with 2 and names the nearest', () => {
  const result = bazel(here, ['run', '//tools:cvm', '--', 'ext4', 'lst']);
  expect(result.exitCode).toBe(2);
  expect(result.output).toContain('list');
});
