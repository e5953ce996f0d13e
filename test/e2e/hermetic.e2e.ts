import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, inject, test } from 'vitest';
import { bazel, build, count, sha256, spawnsOf } from './bazel.ts';

const here = inject('here');
const second = inject('second');
const target = '//ic-os/guestos/envs/sev-recovery:update-img';
const image = 'bazel-bin/ic-os/guestos/envs/sev-recovery/update-img.tar.zst';

/** The files of the machine that `--config=hermetic` shows to actions. */
const mounts = readFileSync(join(here, '.bazelrc'), 'utf8')
  .split('\n')
  .flatMap((line) => /^build:hermetic --sandbox_add_mount_pair=(\S+)$/.exec(line)?.[1] ?? []);

beforeAll(() => {
  bazel(second, ['clean']);
});

test('the main job needs seven files of the machine, and makes the same bytes', async () => {
  build(here, [target]);
  expect(mounts).toHaveLength(7);
  const spawns = spawnsOf(second, ['--config=hermetic', target]);
  expect(count(spawns.map(({ runner }) => runner))).toEqual({ 'linux-sandbox': 22 });
  expect(await sha256(join(second, image))).toBe(await sha256(join(here, image)));
});

test('an action that reads a file of the machine fails, and only there', () => {
  const probe = '//test/sandbox:machine-file';
  const { exitCode, output } = bazel(second, ['build', '--config=hermetic', probe]);
  expect(exitCode, output).toBe(1);
  expect(output).toContain("ENOENT: no such file or directory, open '/etc/passwd'");
  build(second, ['--spawn_strategy=linux-sandbox', probe]);
});

test.each(mounts)('none can go: not %s', (left) => {
  const words = mounts.filter((path) => path !== left).map((path) => `--sandbox_add_mount_pair=${path}`);
  const { exitCode, output } = bazel(second, [
    ...['build', '--experimental_use_hermetic_linux_sandbox', '--spawn_strategy=linux-sandbox'],
    ...[...words, '//test/sandbox:environment'],
  ]);
  expect(exitCode, output).toBe(1);
  // Of a program without its loader the kernel says that the program is not there.
  const name = left.split('/').at(-1) ?? '';
  expect(output).toMatch(name.startsWith('ld-linux') ? /execvp.*node.*No such file or directory/ : name);
});
