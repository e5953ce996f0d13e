import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, inject, test } from 'vitest';
import { build } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const target = `//${env}:update-img`;
const buildFile = join(second, env, 'BUILD.bazel');
const original = readFileSync(buildFile, 'utf8');

afterAll(() => {
  writeFileSync(buildFile, original);
});

/** The mnemonics of the actions that a build ran, sorted; cached ones are not in it. */
function ran(words: readonly string[]): string[] {
  const log = join(second, '..', 'execution.json');
  build(second, [...words, `--execution_log_json_file=${log}`]);
  const text = readFileSync(log, 'utf8').trim();
  // The log is one JSON object after the other.
  const spawns =
    text === '' ? [] : (JSON.parse(`[${text.replace(/\}\s*\{/g, '},{')}]`) as { mnemonic: string }[]);
  return [...new Set(spawns.map((spawn) => spawn.mnemonic))].sort();
}

test('nothing changed: nothing runs', () => {
  ran([target]);
  expect(ran([target])).toEqual([]);
});

test('another proposal re-runs what depends on it, and nothing else', () => {
  ran([target, `//${env}:launch-measurements.json`, `//${env}:verdict.json`]);
  writeFileSync(buildFile, original.replace('"139001"', '"139011"'));
  expect(ran([target, `//${env}:launch-measurements.json`, `//${env}:verdict.json`])).toEqual([
    'CvmGuestosBootPartition',
    'CvmGuestosMeasure',
    'CvmGuestosUpdateImage',
    'CvmGuestosValidate',
    'CvmNnsSignProposal',
    'CvmProposalVerify',
  ]);
});
