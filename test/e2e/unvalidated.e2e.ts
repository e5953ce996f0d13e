import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, inject, test } from 'vitest';
import { bazel, build } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const buildFile = join(second, env, 'BUILD.bazel');
const original = readFileSync(buildFile, 'utf8');
const image = join(second, `bazel-bin/${env}/update-img.tar.zst`);

afterEach(() => {
  writeFileSync(buildFile, original);
});

const WRONG = [
  [
    'another root hash is blessed',
    () =>
      original.replace(
        'root_partition = "partition-root.tzst"',
        'root_partition = "//ic-os/guestos/envs/dev:partition-root.tzst"',
      ),
    'ROOT_HASH_MISMATCH',
  ],
  [
    'other measurements are blessed',
    () =>
      original.replace('"//ic-os/guestos/envs/dev:launch-measurements.json"', '":other.json"') +
      'load("//rules:defs.bzl", "cvm_launch_measurements")\n' +
      'cvm_launch_measurements(name = "other.json", boot = "//ic-os/guestos/envs/dev:update-img.tar.zst", vcpus = [3])\n',
    'MEASUREMENT_NOT_BLESSED',
  ],
  [
    'another chip is blessed',
    () =>
      original.replace(
        '    build_alternative_guestos_image = True,',
        '    build_alternative_guestos_image = True,\n    chip_ids = ["2c" * 64],',
      ),
    'CHIP_NOT_LISTED',
  ],
] as const;

/** What somebody might try who wants the image all the same. */
const FLAGS = [
  [],
  ['--norun_validations'],
  ['--keep_going'],
  ['--output_groups=default'],
  ['--spawn_strategy=local'],
  ['--compilation_mode=opt'],
  ['--nocheck_visibility'],
  ['--define=skip_validation=true', '--action_env=CVM_SKIP_VALIDATION=1'],
];

test.each(WRONG)('%s: no flag makes an image', (_, change, code) => {
  const changed = change();
  expect(changed).not.toBe(original);
  writeFileSync(buildFile, changed);
  for (const flags of FLAGS) {
    const result = bazel(second, ['build', ...flags, `//${env}:update-img.tar.zst`]);
    expect(result.exitCode, flags.join(' ')).not.toBe(0);
    expect(result.output, flags.join(' ')).toContain(`error ${code} `);
    expect(existsSync(image), flags.join(' ')).toBe(false);
  }
});

test('left alone, it builds', () => {
  build(second, [`//${env}:update-img.tar.zst`]);
  expect(existsSync(image)).toBe(true);
});
