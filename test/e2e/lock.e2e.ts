import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { bazel, build, buildFails, sha256 } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const lockFile = join(second, env, 'pins.lock.json');
const shipped = readFileSync(lockFile, 'utf8');
const lock = JSON.parse(shipped) as { proposal: unknown };
const preVote = [
  `//${env}:partition-root-hash`,
  `//${env}:launch-measurements.json`,
  `//${env}:proposal-payload.json`,
];
let rootHash: string;

const builtRootHash = (): string =>
  readFileSync(join(second, `bazel-bin/${env}/partition-root-hash`), 'utf8');

beforeAll(() => {
  build(second, preVote);
  rootHash = builtRootHash();
  expect(rootHash).toMatch(/^[0-9a-f]{64}\n$/);
});

const image = join(second, `bazel-bin/${env}/update-img.tar.zst`);

beforeEach(() => {
  // What an earlier build left proves nothing.
  rmSync(image, { force: true });
});

afterEach(() => {
  writeFileSync(lockFile, shipped);
});

test('before the vote, what a proposer submits builds and the image says what is missing', () => {
  writeFileSync(lockFile, JSON.stringify({ ...lock, proposal: null }));
  build(second, preVote);
  expect(builtRootHash()).toBe(rootHash);
  buildFails(second, [`//${env}:update-img`], 'PROPOSAL_NOT_PINNED');
  expect(existsSync(image)).toBe(false);
});

test.each([
  ['a broken lock', '{', 'LOCK_INVALID'],
  ['no lock', null, 'LOCK_MISSING'],
])('%s stops the image, not query, not the root hash, not the command that mends it', (_, text, code) => {
  if (text === null) rmSync(lockFile);
  else writeFileSync(lockFile, text);
  expect(bazel(second, ['query', `//${env}:all`]).exitCode).toBe(0);
  build(second, [`//${env}:partition-root-hash`, `//${env}:pin`]);
  expect(builtRootHash()).toBe(rootHash);
  buildFails(second, [`//${env}:update-img`], code);
});

test('a mainnet lock refuses a dev proposal, and the root hash stays what it was', async () => {
  // The dev release and its proposal as files, pinned as if they were mainnet's.
  build(second, ['//ic-os/guestos/envs/dev:update-img.tar.zst', `//${env}:dev-proposal`]);
  const base = join(second, 'bazel-bin/ic-os/guestos/envs/dev/update-img.tar.zst');
  const distdir = join(second, '..', 'distdir');
  mkdirSync(distdir, { recursive: true });
  const commit = readFileSync(join(second, 'ic-os/guestos/envs/dev/version.txt'), 'utf8').trim();
  copyFileSync(base, join(distdir, `update-img-${commit}.tar.zst`));
  const files = ['139001.cbor', '139001.request.cbor'].map((name) => join(second, env, name)) as [
    string,
    string,
  ];
  for (const file of files) {
    copyFileSync(
      join(second, `bazel-bin/${env}/dev-proposal/${file.slice(file.lastIndexOf('/') + 1)}`),
      file,
    );
  }
  writeFileSync(
    lockFile,
    JSON.stringify({
      version: 1,
      network: 'mainnet',
      base: {
        commit,
        urls: ['https://releases.invalid/update-img.tar.zst'],
        sha256: await sha256(base),
        size: statSync(base).size,
      },
      proposal: {
        id: '139001',
        sha256: await sha256(files[0]),
        requestSha256: await sha256(files[1]),
        certifiedTimeNs: '1770000000000000000',
      },
    }),
  );
  try {
    const flags = [`--distdir=${distdir}`];
    build(second, [...flags, ...preVote.slice(0, 1)]);
    expect(builtRootHash()).toBe(rootHash);
    const refused = buildFails(second, [...flags, `//${env}:update-img`], 'CERT_SIGNATURE');
    expect(refused.output).not.toContain('NOT-FOR-PRODUCTION');
    expect(existsSync(image)).toBe(false);
  } finally {
    for (const file of files) rmSync(file);
  }
});

test('a base of another commit than the lock says is refused, though its sha256 is right', async () => {
  build(second, ['//ic-os/guestos/envs/dev:update-img.tar.zst']);
  const base = join(second, 'bazel-bin/ic-os/guestos/envs/dev/update-img.tar.zst');
  const distdir = join(second, '..', 'distdir');
  mkdirSync(distdir, { recursive: true });
  const commit = '0123456789abcdef0123456789abcdef01234567';
  copyFileSync(base, join(distdir, `update-img-${commit}.tar.zst`));
  const pinned = {
    commit,
    urls: ['https://releases.invalid/update-img.tar.zst'],
    sha256: await sha256(base),
    size: statSync(base).size,
  };
  const write = (changes: object): void =>
    writeFileSync(lockFile, JSON.stringify({ ...lock, base: { ...pinned, ...changes }, proposal: null }));
  write({});
  buildFails(second, [`--distdir=${distdir}`, `//${env}:boot_args`], 'IMAGE_VERSION');
  write({ size: pinned.size + 1 });
  buildFails(second, [`--distdir=${distdir}`, `//${env}:launch-measurements.json`], 'IMAGE_SIZE');
});
