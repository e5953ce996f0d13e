import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { count, spawnsOf } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const targets = ['update-img', 'launch-measurements.json', 'verdict.json'].map((name) => `//${env}:${name}`);

/** How many actions of each mnemonic a build ran. */
const ran = (): Record<string, number> => count(spawnsOf(second, targets).map(({ mnemonic }) => mnemonic));

const restore: (() => void)[] = [];
/** Changes a file until the test is over. */
function change(path: string, edit: (text: string) => string): void {
  const file = join(second, path);
  const original = readFileSync(file, 'utf8');
  const edited = edit(original);
  expect(edited, path).not.toBe(original);
  restore.push(() => {
    writeFileSync(file, original);
  });
  writeFileSync(file, edited);
}

beforeEach(() => {
  ran();
});

afterEach(() => {
  for (const put of restore.splice(0)) put();
});

test('nothing changed: nothing runs', () => {
  expect(ran()).toEqual({});
});

test('a README: nothing runs', () => {
  for (const path of ['README.md', 'rules/README.md', 'tools/README.md', 'CHANGELOG.md'])
    change(path, (text) => `${text}\nOne more line.\n`);
  expect(ran()).toEqual({});
});

test('another proposal re-runs what depends on it, and nothing else', () => {
  change(`${env}/BUILD.bazel`, (text) => text.replace('"139001"', '"139011"'));
  expect(ran()).toEqual({
    CvmGuestosBootPartition: 1,
    CvmGuestosMeasure: 1,
    CvmGuestosUpdateImage: 1,
    CvmGuestosValidate: 1,
    CvmNnsSignProposal: 1,
    CvmProposalVerify: 1,
  });
});

test('the root tree re-runs the partitions that hold it, and what depends on their hashes', () => {
  // The base release of the dev network is built from the same tree.
  change('ic-os/guestos/rootfs/tree/etc/hosts', (text) => `${text}192.0.2.1 documentation\n`);
  expect(ran()).toEqual({
    CvmGuestosBootArgs: 1,
    CvmGuestosBootPartition: 2,
    CvmGuestosExtractBoot: 1,
    CvmGuestosMeasure: 2,
    CvmGuestosRootPartition: 2,
    CvmGuestosUpdateImage: 2,
    CvmGuestosValidate: 1,
    CvmNnsSignProposal: 1,
    CvmProposalVerify: 1,
    CvmTreeTar: 1,
  });
});

test('a comment in a tool: it is compiled and bundled, and what it makes is not made anew', () => {
  change('tools/bytes/compare.ts', (text) => `${text}\n// One more line.\n`);
  expect(ran()).toEqual({ JsBundle: 2, TsProject: 2 });
});

test('another tool: all that it makes is made anew', () => {
  change('tools/errors.ts', (text) => text.replace("'INTERNAL'", "'INTERNAL_ERROR'"));
  expect(ran()).toEqual({
    CvmGuestosBootArgs: 1,
    CvmGuestosBootPartition: 2,
    CvmGuestosExtractBoot: 1,
    CvmGuestosMeasure: 2,
    CvmGuestosNotForProduction: 1,
    CvmGuestosRootPartition: 2,
    CvmGuestosUpdateImage: 2,
    CvmGuestosValidate: 1,
    CvmMiniatureBlob: 1,
    CvmMiniatureFirmware: 1,
    CvmMiniatureKernel: 1,
    CvmNnsSignProposal: 1,
    CvmProposalVerify: 1,
    CvmTreeCpio: 1,
    CvmTreeTar: 2,
    JsBundle: 2,
    TsProject: 2,
  });
});
