import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, inject, test } from 'vitest';
import { ran } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const target = `//${env}:update-img`;
const buildFile = join(second, env, 'BUILD.bazel');
const original = readFileSync(buildFile, 'utf8');

afterAll(() => {
  writeFileSync(buildFile, original);
});

test('nothing changed: nothing runs', () => {
  ran(second, [target]);
  expect(ran(second, [target])).toEqual([]);
});

test('another proposal re-runs what depends on it, and nothing else', () => {
  ran(second, [target, `//${env}:launch-measurements.json`, `//${env}:verdict.json`]);
  writeFileSync(buildFile, original.replace('"139001"', '"139011"'));
  expect(ran(second, [target, `//${env}:launch-measurements.json`, `//${env}:verdict.json`])).toEqual([
    'CvmGuestosBootPartition',
    'CvmGuestosMeasure',
    'CvmGuestosUpdateImage',
    'CvmGuestosValidate',
    'CvmNnsSignProposal',
    'CvmProposalVerify',
  ]);
});
