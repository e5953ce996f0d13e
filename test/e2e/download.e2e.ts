import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { bazel, build, sha256 } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const folder = join(second, env);
const files = ['139777.cbor', '139777.request.cbor'].map((name) => join(folder, name)) as [string, string];
let url: string;
let stop: () => Promise<void>;

beforeAll(async () => {
  build(second, [
    '//test/nns:cvm-dev',
    '//tools:cvm',
    `//${env}:partition-root-hash`,
    `//${env}:launch-measurements.json`,
  ]);
  const server = spawn(
    join(second, 'bazel-bin/test/nns/cvm-dev'),
    [
      ...['nns', 'serve', '--proposal-id', '139777', '--chip-id', '2a'.repeat(64)],
      ...['--root-hash-file', join(second, `bazel-bin/${env}/partition-root-hash`)],
      ...['--measurements', join(second, `bazel-bin/${env}/launch-measurements.json`)],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [line] = (await once(createInterface(server.stdout), 'line')) as [string];
  url = line;
  stop = async () => {
    server.kill();
    await once(server, 'exit');
  };
});

afterAll(async () => {
  await stop();
  for (const file of files) rmSync(file, { force: true });
});

const download = (...words: readonly string[]) =>
  bazel(second, ['run', `//${env}:download-proposal`, '--', ...words]);

test('a proposal is downloaded, verified and put beside the lock', async () => {
  const result = download('--proposal=139777', `--nns-url=${url}`);
  expect(result.exitCode, result.output).toBe(0);
  for (const file of files) expect(result.output).toContain(await sha256(file));
  const verified = bazel(second, [
    ...['run', '//tools:cvm', '--', 'proposal', 'verify', files[0], '--request', files[1]],
    ...['--network', 'dev', '--json'],
  ]);
  expect(verified.exitCode, verified.output).toBe(0);
  expect(verified.output).toContain('"requestBound": true');
});

test('a second download keeps what is there', () => {
  const before = files.map((file) => readFileSync(file, 'hex'));
  const result = download('--proposal=139777', `--nns-url=${url}`);
  expect(result.exitCode, result.output).toBe(0);
  expect(files.map((file) => readFileSync(file, 'hex'))).toEqual(before);
});

test('a proposal that does not exist leaves nothing behind', () => {
  const result = download('--proposal=139778', `--nns-url=${url}`);
  expect(result.exitCode).toBe(4);
  expect(existsSync(join(folder, '139778.cbor'))).toBe(false);
});

test('an address where nobody answers ends with 6', () => {
  const result = download('--proposal=139779', '--nns-url=http://127.0.0.1:9');
  expect(result.exitCode, result.output).toBe(6);
  expect(existsSync(join(folder, '139779.cbor'))).toBe(false);
});
