import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, inject, test } from 'vitest';
import { bazel, build } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const buildFile = join(second, env, 'BUILD.bazel');
const original = readFileSync(buildFile, 'utf8');
const lockFile = join(second, env, 'pins.lock.json');
const lock = readFileSync(lockFile, 'utf8');
const IMAGES = ['update-img', 'disk-img'].map((name) => ({
  target: `//${env}:${name}.tar.zst`,
  file: join(second, `bazel-bin/${env}/${name}.tar.zst`),
}));

beforeAll(() => {
  for (const { file } of IMAGES) rmSync(file, { force: true });
});

afterEach(() => {
  writeFileSync(buildFile, original);
  writeFileSync(lockFile, lock);
});

/** The package with a proposal of its own, which its lock then names. */
function proposes(proposal: string): readonly [buildFile: string, lock: string] {
  const rule = `dev_nns_proposal(name = "other", proposal_id = "139001", visibility = ["//visibility:public"], ${proposal})\n`;
  return [`${original}\n${rule}`, lock.replace(':dev-proposal"', ':other"')];
}

const WRONG = [
  [
    'another root hash is blessed',
    proposes(
      'measurements = "base-launch-measurements.json", root_partition = "//ic-os/guestos/envs/dev:partition-root.tzst"',
    ),
    'ROOT_HASH_MISMATCH',
  ],
  [
    'other measurements are blessed',
    proposes(
      'measurements = "other.json", root_partition = "partition-root.tzst")\n' +
        'load("//rules:defs.bzl", "cvm_launch_measurements")\n' +
        'cvm_launch_measurements(name = "other.json", boot = "//ic-os/guestos/envs/dev:update-img.tar.zst", vcpus = [3]',
    ),
    'MEASUREMENT_NOT_BLESSED',
  ],
  [
    'another chip is blessed',
    [
      original.replace(
        '    build_alternative_guestos_image = True,',
        '    build_alternative_guestos_image = True,\n    chip_ids = ["2c" * 64],',
      ),
      lock,
    ],
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

test.each(WRONG)('%s: no flag makes an image', (_, [changed, changedLock], code) => {
  expect([changed, changedLock]).not.toEqual([original, lock]);
  writeFileSync(buildFile, changed);
  writeFileSync(lockFile, changedLock);
  for (const flags of FLAGS) {
    for (const { target, file } of IMAGES) {
      const result = bazel(second, ['build', ...flags, target]);
      expect(result.exitCode, flags.join(' ')).not.toBe(0);
      expect(result.output, flags.join(' ')).toContain(`error ${code} `);
      expect(existsSync(file), flags.join(' ')).toBe(false);
    }
  }
  // The record says why, and nothing more comes of it.
  build(second, [`//${env}:verdict.json`]);
  const verdict = JSON.parse(readFileSync(join(second, `bazel-bin/${env}/verdict.json`), 'utf8')) as unknown;
  expect(verdict).toMatchObject({ ok: false, error: { code } });
});

test('left alone, they build', () => {
  build(
    second,
    IMAGES.map(({ target }) => target),
  );
  for (const { file } of IMAGES) expect(existsSync(file)).toBe(true);
});

test('a dev image is marked wherever its outputs are listed', () => {
  const { output } = build(second, [`//${env}:update-img`]);
  expect(output).toContain('update-img.NOT-FOR-PRODUCTION.txt');
  expect(existsSync(join(second, `bazel-bin/${env}/update-img.NOT-FOR-PRODUCTION.txt`))).toBe(true);
});
