import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, inject, test } from 'vitest';
import { background } from './background.ts';
import { bazel, build, buildFails, ran } from './bazel.ts';

const here = inject('here');
const env = 'ic-os/guestos/envs/sev-recovery-dev';
const rehearsal = `//${env}:release-rehearsal`;
const made = join(here, `bazel-bin/${env}/release-rehearsal`);
const scratch = mkdtempSync(join(tmpdir(), 'cvm-release-'));
const COMMITS = [
  'fedcba9876543210fedcba9876543210fedcba98',
  '0123456789abcdef0123456789abcdef01234567',
] as const;

/** A status program that says this revision. */
function status(revision: string): string {
  const path = join(scratch, `status-${revision}.sh`);
  if (!existsSync(path)) {
    writeFileSync(path, `#!/bin/sh\necho "STABLE_GIT_REVISION ${revision}"\n`);
    chmodSync(path, 0o755);
  }
  return `--workspace_status_command=${path}`;
}

beforeAll(() => {
  build(here, [rehearsal, `//${env}:update-img`, `//${env}:disk-img`, '//tools:cvm', status(COMMITS[0])]);
});

test('the shipped lock pins dev: its release is refused, by name and with the mend', () => {
  const target = '//ic-os/guestos/envs/sev-recovery:release';
  const { output } = buildFails(here, [target, status(COMMITS[0])], 'GATE_DEV_NETWORK');
  expect(output).toContain('pin with --base=<commit> --proposal=<id>');
  expect(existsSync(join(here, 'bazel-bin/ic-os/guestos/envs/sev-recovery/release/SHA256SUMS'))).toBe(false);
  // Nobody who builds everything asks for it.
  const { output: all } = bazel(here, ['cquery', '--output=label', `kind("cvm_release rule", //ic-os/...)`]);
  expect(all).toContain('sev-recovery:release');
  expect(bazel(here, ['query', 'attr(tags, manual, //ic-os/...:*)']).output).toContain(target);
});

test('the gate asks for a clean checkout', () => {
  buildFails(here, [rehearsal, status(`${COMMITS[0]}-dirty`)], 'GATE_REVISION_DIRTY');
  buildFails(here, [rehearsal, status('unknown')], 'GATE_REVISION_UNKNOWN');
});

test('the status program tells a clean commit, a dirty one, and what is no checkout', () => {
  const folder = join(scratch, 'checkout');
  const script = join(here, 'tools/workspace-status.sh');
  const git = (...words: readonly string[]): string =>
    execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@example.com', ...words], {
      cwd: folder,
      encoding: 'utf8',
    }).trim();
  const said = (cwd = folder, env: Readonly<Record<string, string>> = {}): string =>
    execFileSync(script, { cwd, encoding: 'utf8', env: { ...process.env, ...env } });
  mkdirSync(join(folder, 'below'), { recursive: true });
  expect(said()).toBe('STABLE_GIT_REVISION unknown\n');
  git('init', '--quiet');
  expect(said()).toBe('STABLE_GIT_REVISION unknown\n');
  writeFileSync(join(folder, 'file'), '1');
  writeFileSync(join(folder, '.gitignore'), 'ignored\n');
  git('add', '--all');
  git('commit', '--quiet', '--message', 'first');
  const commit = git('rev-parse', 'HEAD');
  expect(said()).toBe(`STABLE_GIT_REVISION ${commit}\n`);
  writeFileSync(join(folder, 'ignored'), 'x');
  expect(said()).toBe(`STABLE_GIT_REVISION ${commit}\n`);
  writeFileSync(join(folder, 'file'), '2');
  expect(said()).toBe(`STABLE_GIT_REVISION ${commit}-dirty\n`);
  git('checkout', '--quiet', 'file');
  writeFileSync(join(folder, 'new'), 'x');
  expect(said()).toBe(`STABLE_GIT_REVISION ${commit}-dirty\n`);
  // A copy inside somebody's checkout is not of that commit, and a machine without git knows nothing.
  expect(said(join(folder, 'below'))).toBe('STABLE_GIT_REVISION unknown\n');
  expect(said(folder, { PATH: '/nowhere' })).toBe('STABLE_GIT_REVISION unknown\n');
});

test('another revision makes another release, and nothing else runs', () => {
  const targets = [
    rehearsal,
    `//${env}:update-img`,
    `//${env}:disk-img`,
    `//${env}:launch-measurements.json`,
  ];
  ran(here, [...targets, status(COMMITS[0])]);
  const first = readFileSync(join(made, 'SHA256SUMS'), 'utf8').trimEnd().split('\n');
  expect(ran(here, [...targets, status(COMMITS[0])])).toEqual([]);
  expect(ran(here, [...targets, status(COMMITS[1])])).toEqual(['CvmReleaseCreate']);
  const next = readFileSync(join(made, 'SHA256SUMS'), 'utf8').trimEnd().split('\n');
  // One digest differs: that of the provenance.
  expect(next.filter((line, i) => line !== first[i]).map((line) => line.slice(65))).toEqual([
    'provenance.intoto.json',
  ]);
});

test('made, verified, published over lost connections, fetched, verified again', async () => {
  build(here, [rehearsal, status(COMMITS[0])]);
  const verify = (
    folder: string,
    ...words: readonly string[]
  ): { readonly code: number | null; readonly out: string } => {
    const run = spawnSync(join(here, 'bazel-bin/tools/cvm'), ['release', 'verify', folder, ...words], {
      encoding: 'utf8',
    });
    return { code: run.status, out: run.stdout + run.stderr };
  };
  const good = verify(
    made,
    '--network',
    'dev',
    '--revision',
    COMMITS[0],
    '--package-lock',
    join(here, 'package-lock.json'),
  );
  expect(good.code, good.out).toBe(0);
  expect(good.out).toContain('good, and NOT FOR PRODUCTION');
  // Of mainnet it is not, and says so itself.
  const asMainnet = verify(made);
  expect(asMainnet.code).toBe(4);
  expect(asMainnet.out).toContain('RELEASE_KIND');

  const objects = join(scratch, 'objects');
  mkdirSync(objects);
  const server = await background(process.execPath, [join(here, 'test/e2e/object-store.ts'), scratch]);
  const publish = (): { readonly code: number; readonly output: string } => {
    const { exitCode, output } = bazel(
      here,
      ['run', status(COMMITS[0]), `${rehearsal}.publish`, '--', '--to', server.firstLine],
      {
        env: {
          NODE_EXTRA_CA_CERTS: join(here, 'test/vectors/tls/store-test-cert.pem'),
          CVM_PUBLISH_AUTHORIZATION: 'Bearer of-tests',
        },
      },
    );
    return { code: exitCode, output };
  };
  try {
    const first = publish();
    expect(first.code, first.output).toBe(0);
    expect(first.output).toContain('trying again in');
    expect(first.output).toContain('0 there already');
    expect(first.output).not.toContain('of-tests');
    const requests = readFileSync(join(scratch, 'requests.log'), 'utf8').trimEnd().split('\n');
    expect(requests.filter((line) => line === 'PUT SHA256SUMS')).toHaveLength(2);
    const again = publish();
    expect(again.code, again.output).toBe(0);
    expect(again.output).toContain('0 uploaded and read back');
  } finally {
    await server.stop();
  }
  expect(
    readdirSync(objects)
      .filter((name) => name !== 'cas')
      .toSorted(),
  ).toEqual(readdirSync(made).toSorted());
  const published = verify(objects, '--network', 'dev');
  expect(published.code, published.out).toBe(0);
  expect(published.out).toMatch(/^ok +cas /m);
});
