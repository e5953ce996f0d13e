import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { background, type Background } from './background.ts';
import { bazel, build, buildFails, sha256, type BazelResult } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const folder = join(second, env);
const lockFile = join(folder, 'pins.lock.json');
const shipped = readFileSync(lockFile, 'utf8');
const ID = '139888';
const pinned = [`${ID}.cbor`, `${ID}.request.cbor`].map((name) => join(folder, name));
const releases = mkdtempSync(join(tmpdir(), 'cvm-releases-'));
const image = join(releases, 'update-img.tar.zst');
const chip = '2a'.repeat(64);
let commit: string;
let host: Background;
let nns: Background | undefined;
let cached: string;
/** What the same base, unpinned and built here, gives. */
let built: string;

const at = (name: string): string => join(second, `bazel-bin/${env}/${name}`);
const pin = (...words: readonly string[]): BazelResult =>
  bazel(second, ['run', `//${env}:pin`, '--', ...words]);
const requests = (): string[] => readFileSync(join(releases, 'requests.log'), 'utf8').trimEnd().split('\n');
const imageRequests = (): number => requests().filter((line) => line.includes('update-img.tar.zst')).length;

beforeAll(async () => {
  commit = readFileSync(join(second, 'ic-os/guestos/envs/dev/version.txt'), 'utf8').trim();
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  cached = join(cache, `rules_cvm/bases/update-img-${commit}.tar.zst`);
  for (const path of [cached, `${cached}.part`]) rmSync(path, { force: true });
  build(second, ['//ic-os/guestos/envs/dev:update-img.tar.zst', '//test/nns:cvm-dev', '//tools:cvm']);
  copyFileSync(join(second, 'bazel-bin/ic-os/guestos/envs/dev/update-img.tar.zst'), image);
  built = await sha256(image);
  // One blank, as releases have it.
  writeFileSync(join(releases, 'SHA256SUMS'), `${built} update-img.tar.zst\n`);
  host = await background(process.execPath, [join(second, 'test/e2e/release-server.ts'), releases]);
});

afterAll(async () => {
  await host.stop();
  await nns?.stop();
  writeFileSync(lockFile, shipped);
  for (const path of [...pinned, cached, `${cached}.part`, join(second, '.distdir'), releases])
    rmSync(path, { recursive: true, force: true });
});

test('a wrong sha256 is refused before anything is written', () => {
  const result = pin(
    ...[`--base=${commit}`, '--network=dev', `--base-url=${host.firstLine}/update-img.tar.zst`],
    `--base-sha256=${'0'.repeat(64)}`,
  );
  expect(result.exitCode, result.output).toBe(5);
  expect(result.output).toContain('BASE_SHA256');
  expect(readFileSync(lockFile, 'utf8')).toBe(shipped);
  expect(existsSync(cached)).toBe(false);
  expect(existsSync(`${cached}.part`)).toBe(false);
  expect(existsSync(join(second, '.distdir'))).toBe(false);
});

test('an interrupted download goes on where it stopped', () => {
  const before = imageRequests();
  writeFileSync(`${cached}.part`, readFileSync(image).subarray(0, 300_000));
  const result = pin(
    ...[`--base=${commit}`, '--network=dev', `--base-url=${host.firstLine}/update-img.tar.zst`, '--dry-run'],
  );
  expect(result.exitCode, result.output).toBe(0);
  expect(requests().slice(-1)).toEqual(['GET update-img.tar.zst 300000']);
  expect(imageRequests()).toBe(before + 1);
  expect(readFileSync(lockFile, 'utf8')).toBe(shipped);
});

test('a base alone: what a proposer submits builds, without a second download; the image waits for the vote', () => {
  const result = pin(
    ...[`--base=${commit}`, '--network=dev', `--base-url=${host.firstLine}/update-img.tar.zst`],
  );
  expect(result.exitCode, result.output).toBe(0);
  expect(result.output).toContain(built);
  const lock = JSON.parse(readFileSync(lockFile, 'utf8')) as { proposal: unknown; base: { sha256: string } };
  expect(lock).toMatchObject({ network: 'dev', proposal: null, base: { commit, sha256: built } });
  expect(readFileSync(lockFile, 'utf8')).not.toContain('/rules_cvm/');
  const before = imageRequests();
  build(second, [
    `//${env}:partition-root-hash`,
    `//${env}:launch-measurements.json`,
    `//${env}:proposal-payload.json`,
  ]);
  expect(imageRequests()).toBe(before);
  const payload = JSON.parse(readFileSync(at('proposal-payload.json'), 'utf8')) as Record<string, unknown>;
  expect(Object.keys(payload)).toEqual(['rootfs_hash', 'base_guest_launch_measurements']);
  expect(readFileSync(at('proposal-payload.txt'), 'utf8')).toContain(String(payload['rootfs_hash']));
  const withChip = bazel(second, ['run', `//${env}:payload`, '--', `--chip-id=${chip}`]);
  expect(withChip.exitCode, withChip.output).toBe(0);
  expect(withChip.output).toContain('"chip_ids":[[42,42');
  buildFails(second, [`//${env}:update-img`], 'PROPOSAL_NOT_PINNED');
});

test('after the vote: the proposal is pinned, the image builds, its boot files are those of the base', async () => {
  nns = await background(join(second, 'bazel-bin/test/nns/cvm-dev'), [
    ...['nns', 'serve', '--proposal-id', ID, '--chip-id', chip],
    ...['--root-hash-file', at('partition-root-hash'), '--measurements', at('launch-measurements.json')],
  ]);
  const result = pin(`--proposal=${ID}`, '--network=dev', `--nns-url=${nns.firstLine}`, `--chip-id=${chip}`);
  expect(result.exitCode, result.output).toBe(0);
  expect(result.output).toContain('6 of 6 launch measurements of the base are among the 6 blessed');
  for (const path of pinned) expect(readFileSync(lockFile, 'utf8')).toContain(await sha256(path));
  build(second, [`//${env}:update-img`, `//${env}:disk-img`]);
  const extracted = join(releases, 'extracted');
  for (const [from, to] of [
    [image, 'base'],
    [at('update-img.tar.zst'), 'built'],
  ] as const) {
    const took = bazel(second, [
      ...['run', '//tools:cvm', '--', 'guestos', 'extract-boot', from, '--output', join(extracted, to)],
    ]);
    expect(took.exitCode, took.output).toBe(0);
  }
  for (const name of ['vmlinuz', 'initrd.img', 'OVMF_SEV.fd', 'boot_args', 'version.txt'])
    expect(await sha256(join(extracted, 'built', name)), name).toBe(
      await sha256(join(extracted, 'base', name)),
    );
});

test('the other door builds the same bytes from the same lock', async () => {
  const before = await sha256(at('update-img.tar.zst'));
  build(second, ['--config=workspace', `//${env}:update-img.tar.zst`]);
  expect(await sha256(at('update-img.tar.zst'))).toBe(before);
});

test('a second call changes nothing and asks nobody', () => {
  const lock = readFileSync(lockFile, 'utf8');
  const asked = requests().length;
  const result = pin(`--base=${commit}`, `--proposal=${ID}`, '--network=dev', '--nns-url=http://127.0.0.1:9');
  expect(result.exitCode, result.output).toBe(0);
  expect(result.output).toContain('pins.lock.json is as it was');
  expect(readFileSync(lockFile, 'utf8')).toBe(lock);
  expect(requests().length).toBe(asked);
});

test('mainnet is the default, and nothing of dev is taken over', () => {
  const lock = readFileSync(lockFile, 'utf8');
  const result = pin(`--proposal=${ID}`);
  expect(result.exitCode, result.output).toBe(2);
  expect(result.output).toContain('PIN_BASE');
  expect(readFileSync(lockFile, 'utf8')).toBe(lock);
});

test('a chip that is not listed is refused, and the lock stays', () => {
  const lock = readFileSync(lockFile, 'utf8');
  const result = pin(`--proposal=${ID}`, '--network=dev', `--chip-id=${'2b'.repeat(64)}`);
  expect(result.exitCode, result.output).toBe(5);
  expect(result.output).toContain('CHIP_NOT_LISTED');
  expect(readFileSync(lockFile, 'utf8')).toBe(lock);
});

test("a base that is not what the lock says is refused by Bazel's own check", () => {
  const lock = readFileSync(lockFile, 'utf8');
  const wrong = lock.replace(built, 'ab'.repeat(32));
  expect(wrong).not.toBe(lock);
  writeFileSync(lockFile, wrong);
  try {
    const result = bazel(second, ['build', `//${env}:launch-measurements.json`]);
    expect(result.exitCode).not.toBe(0);
    expect(result.output).toContain(`Checksum was ${built} but wanted ${'ab'.repeat(32)}`);
  } finally {
    writeFileSync(lockFile, lock);
  }
});

test('without a lock, with a broken one, pin runs and mends it', () => {
  for (const broken of [null, '{']) {
    if (broken === null) rmSync(lockFile);
    else writeFileSync(lockFile, broken);
    const result = pin(
      ...[`--base=${commit}`, '--network=dev', `--base-url=${host.firstLine}/update-img.tar.zst`],
    );
    expect(result.exitCode, result.output).toBe(0);
    build(second, [`//${env}:launch-measurements.json`]);
  }
});
