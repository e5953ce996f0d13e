import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
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

test('an option given twice is refused, also when the first value is the default', () => {
  const words = ['guestos', 'validate', '--proposal', 'x', '--network', 'mainnet', '--network', 'dev'];
  const result = spawnSync(join(here, 'bazel-bin/tools/cvm'), words, { encoding: 'utf8' });
  expect(result.status).toBe(2);
  expect(result.stderr).toContain('error OPTION_REPEATED (exit 2): --network is given twice');
});

// vmgstool ends with 2 when a store is not encrypted: a script must not take a slip for that.
test.each([
  ['vmgs', 64, 'COMMAND_MISSING'],
  ['vmgs marker', 64, 'COMMAND_MISSING'],
  ['vmgs query-encrypton x', 64, 'COMMAND_UNKNOWN'],
  ['vmgs marker sho', 64, 'COMMAND_UNKNOWN'],
  ['vmgs --no-such', 64, 'USAGE'],
  ['igvm measur', 2, 'COMMAND_UNKNOWN'],
  ['ext4', 2, 'COMMAND_MISSING'],
  ['vmsg list', 2, 'COMMAND_UNKNOWN'],
])('the mistake of cvm %s ends with %i', (words, code, name) => {
  const result = spawnSync(join(here, 'bazel-bin/tools/cvm'), words.split(' '), { encoding: 'utf8' });
  expect(result.stderr).toContain(`error ${name} (exit ${code}): `);
  expect(result.status).toBe(code);
});

test('a switch may be said twice', () => {
  const words = ['snp', 'measure', '--verbose', '--verbose', '--version'];
  const result = spawnSync(join(here, 'bazel-bin/tools/cvm'), words, { encoding: 'utf8' });
  expect(result.stdout).toContain('sev-snp-measure');
  expect(result.status).toBe(0);
});

test('a full disk behind standard output is an error, not a short file', () => {
  const result = spawnSync(
    '/bin/sh',
    ['-c', 'exec "$0" --help >/dev/full', join(here, 'bazel-bin/tools/cvm')],
    {
      encoding: 'utf8',
    },
  );
  expect(result.status).toBe(2);
  expect(result.stderr).toContain('error OUTPUT_WRITE (exit 2): standard output cannot be written');
});

test('two outputs of one path are refused', () => {
  const words = ['guestos', 'update-image', '--boot', 'b', '--root', 'r', '--version-file', 'v'];
  const result = spawnSync(
    join(here, 'bazel-bin/tools/cvm'),
    [...words, '--output', 'x', '--verdict-output', './x'],
    { encoding: 'utf8' },
  );
  expect(result.status).toBe(2);
  expect(result.stderr).toContain('error OUTPUT_TWICE (exit 2)');
});

test('a folder that is gone is named as such', () => {
  const script = 'd=$(mktemp -d); cd "$d"; rmdir "$d"; exec "$0" file sha256 x';
  const result = spawnSync('/bin/sh', ['-c', script, join(here, 'bazel-bin/tools/cvm')], {
    encoding: 'utf8',
  });
  expect(result.status).toBe(2);
  expect(result.stderr).toContain('error FOLDER_GONE (exit 2)');
});

test('a signal ends a command that only reads at once', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-signal-'));
  const big = join(folder, 'big.img');
  spawnSync('truncate', ['-s', '20G', big]);
  const script = '"$0" file sha256 "$1" & sleep 0.5; kill -TERM $!; wait $!';
  const result = spawnSync('/bin/sh', ['-c', script, join(here, 'bazel-bin/tools/cvm'), big], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect(result.status).toBe(143);
  expect(result.stdout).toBe('');
  rmSync(folder, { recursive: true });
});
