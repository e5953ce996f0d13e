/**
 * What the tool costs, as whole processes, with ratios from one run: `./bazelw run //test/bench`.
 * Nothing here passes or fails; figures of one machine are worth nothing on another, their ratios are.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

import { timeCertificates } from './certificates.ts';

const workspace = process.env['BUILD_WORKSPACE_DIRECTORY'];
if (workspace === undefined) throw new Error('start it with ./bazelw run //test/bench');
const image = '//ic-os/guestos/envs/sev-recovery:update-img';

/** Seconds of each of `runs` calls, ascending. */
function time(runs: number, command: string, words: readonly string[], before?: () => void): number[] {
  const seconds: number[] = [];
  for (let run = 0; run < runs; run++) {
    before?.();
    const start = performance.now();
    const { status, stderr } = spawnSync(command, words, { cwd: workspace, encoding: 'utf8' });
    seconds.push((performance.now() - start) / 1000);
    if (status !== 0)
      throw new Error(`${command} ${words.join(' ')} ended with ${status ?? 'a signal'}:\n${stderr}`);
  }
  return seconds.sort((a, b) => a - b);
}

const bazel =
  (...words: readonly string[]): (() => void) =>
  () =>
    void time(1, './bazelw', words);

interface Row {
  readonly name: string;
  readonly seconds: readonly number[];
  readonly against?: number;
}

const median = (seconds: readonly number[]): number => seconds[Math.floor(seconds.length / 2)] ?? Number.NaN;

const cvm = join(workspace, 'bazel-bin/tools/cvm');
const example = '//examples/snp:production.json';
bazel('build', image, '//tools:cvm', example)();
const node = time(21, process.execPath, ['-e', '0']);
const version = time(21, cvm, ['--version']);
const help = time(11, cvm, ['--help']);
const verify = time(21, cvm, [
  ...['proposal', 'verify', '--network', 'dev'],
  'test/vectors/nns/testkey-executed-proposal.cbor',
]);
const certificate = time(21, cvm, [
  ...['certificate', 'verify', '--root-key', 'dev', '--canister-id', 'rrkah-fqaaa-aaaaa-aaaaq-cai'],
  'test/vectors/nns/testkey-executed-proposal.cbor',
]);
const { ours, theirs } = await timeCertificates();

// A store of 4 MiB with a marker and three files, against a bare Node.js that writes the same bytes; and a store of 4 GiB.
const folder = mkdtempSync(join(tmpdir(), 'cvm-bench-'));
const store = join(folder, 'guest.vmgs');
const copy = join(folder, 'copy.vmgs');
const large = join(folder, 'large.vmgs');
const files = [1, 2, 3].flatMap((id) => {
  const path = join(folder, `${id}`);
  writeFileSync(path, new Uint8Array(20_000).fill(id));
  return ['--file', `${id}=${path}`];
});
const create = ['vmgs', 'create', store, '--force-create', '--marker', ...files];
const vmgs = time(21, cvm, create, () => {
  rmSync(store, { force: true });
});
const script = `const fs = require('node:fs'); fs.writeFileSync(${JSON.stringify(copy)}, fs.readFileSync(${JSON.stringify(store)}));`;
const sameBytes = time(21, process.execPath, ['-e', script]);
writeFileSync(large, readFileSync(store).subarray(0, -512));
truncateSync(large, 2 ** 32);
const list = time(11, cvm, ['vmgs', 'list', '--raw', large]);
rmSync(folder, { recursive: true });

/** Words of a measurement of the example's guest: what sev-snp-measure takes too. */
const guest = (vcpus: string, type: string): string[] => [
  ...['--mode', 'snp', '--vcpus', vcpus, '--vcpu-type', type, '--append', 'console=ttyS0'],
  ...['ovmf', 'kernel', 'initrd'].flatMap((name, i) => [
    `--${name}`,
    join('bazel-bin/examples/snp', ['OVMF.fd', 'vmlinuz', 'initrd.img'][i] ?? ''),
  ]),
];
const measure = (vcpus: string): readonly number[] =>
  time(11, cvm, ['snp', 'measure', ...guest(vcpus, 'EPYC-Genoa')]);
const [one, many] = [measure('1'), measure('64')];
const peer = (vcpus: string): readonly number[] | undefined =>
  spawnSync('sev-snp-measure', ['--version']).status === 0
    ? time(11, 'sev-snp-measure', guest(vcpus, 'EPYC-Genoa'))
    : undefined;
const [peerOne, peerMany] = [peer('1'), peer('64')];
/** 64 counts × 3 types × 2 command lines in one call, and as many calls. */
const types = 'EPYC-v4,EPYC-Genoa,EPYC-Turin';
const matrix = time(5, cvm, ['snp', 'measure', ...guest('1-64', types), '--append', 'console=hvc0']);
const MATRIX_CALLS = 64 * 3 * 2;
const singles = matrix.map(() => median(many) * MATRIX_CALLS);

const clean = time(3, './bazelw', ['build', image], bazel('clean'));
bazel('build', '//tools:cvm')();
const nothing = time(5, './bazelw', ['build', image]);

const rows: readonly Row[] = [
  { name: 'node -e 0', seconds: node },
  { name: 'cvm --version', seconds: version, against: median(node) },
  { name: 'cvm --help', seconds: help, against: median(node) },
  { name: 'cvm proposal verify', seconds: verify, against: median(node) },
  { name: 'cvm certificate verify', seconds: certificate, against: median(node) },
  { name: 'node writes 4 MiB', seconds: sameBytes, against: median(node) },
  { name: 'cvm vmgs create, those 4 MiB', seconds: vmgs, against: median(sameBytes) },
  { name: 'cvm vmgs list, 4 GiB', seconds: list, against: median(node) },
  {
    name: 'snp measure, 1 vCPU',
    seconds: one,
    ...(peerOne === undefined ? {} : { against: median(peerOne) }),
  },
  {
    name: 'snp measure, 64 vCPUs',
    seconds: many,
    ...(peerMany === undefined ? {} : { against: median(peerMany) }),
  },
  ...(peerOne === undefined ? [] : [{ name: 'sev-snp-measure, 1 vCPU', seconds: peerOne }]),
  ...(peerMany === undefined ? [] : [{ name: 'sev-snp-measure, 64 vCPUs', seconds: peerMany }]),
  { name: 'snp measure, 384 guests', seconds: matrix, against: median(singles) },
  { name: '384 calls, from one of 64 vCPUs', seconds: singles },
  { name: 'no-op build of update-img', seconds: nothing, against: median(clean) },
  { name: 'clean build of update-img', seconds: clean },
];
const show = (seconds: number): string => seconds.toFixed(3).padStart(8);
const inProcess: readonly Row[] = [
  { name: 'Certificate.create of @dfinity/agent', seconds: theirs },
  { name: 'verifyCertificate', seconds: ours, against: median(theirs) },
];
const head = ['min', 'median', 'max', 'ratio']
  .map((title) => title.padStart(title === 'ratio' ? 8 : 9))
  .join('');
let table = `${'whole processes, seconds'.padEnd(37)}${head}\n`;
for (const { name, seconds, against } of [...rows, ...inProcess]) {
  if (name === inProcess[0]?.name) table += '\na delegated certificate, in this process\n';
  const ratio = against === undefined ? '' : (median(seconds) / against).toFixed(3).padStart(8);
  table += `${name.padEnd(38)}${show(seconds[0] ?? Number.NaN)} ${show(median(seconds))} ${show(seconds.at(-1) ?? Number.NaN)}${ratio}\n`;
}
process.stdout.write(table);
