/**
 * A base release that none of our code made goes through pin and build: Debian's kernel and its initrd, edk2's AmdSev firmware, ext4 by
 * mke2fs, dm-verity by veritysetup, tar by GNU tar, zstd by zstd.
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { findOracle } from '../cross/oracle.ts';
import { background, type Background } from './background.ts';
import { bazel, build, sha256 } from './bazel.ts';
import { realPart, REAL_PARTS_MISSING, runInRoot, startInRoot } from './oracle-root.ts';

const name = (text: string): string =>
  REAL_PARTS_MISSING === undefined ? text : `${text} skipped: ${REAL_PARTS_MISSING}`;
const realTest = REAL_PARTS_MISSING === undefined ? test : test.skip;

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const lockFile = join(second, env, 'pins.lock.json');
const shipped = readFileSync(lockFile, 'utf8');
const scratch = mkdtempSync(join(tmpdir(), 'cvm-real-'));
const image = join(scratch, 'foreign-release.tar.zst');
const ID = '139999';
const COMMIT = 'f0'.repeat(20);
const CHIP = '2a'.repeat(64);
const BASE_ROOT_HASH = 'c1'.repeat(32);
const line = (slot: string): string =>
  `root=/dev/disk/by-partuuid/7c0a626e-e5ea-e543-b5c5-300eb8304db7 console=ttyS0 dfinity.system=${slot} dfinity.tee=1 root_hash=${BASE_ROOT_HASH}`;
const at = (file: string): string => join(second, `bazel-bin/${env}/${file}`);
const cached = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  `rules_cvm/bases/update-img-${COMMIT}.tar.zst`,
);
let nns: Background | undefined;

/** Starts what is in a folder, until the serial console has said `enough`; gives what it said. */
async function boot(folder: string, cmdline: string, enough: string): Promise<string> {
  const serial = join(folder, 'serial');
  const machine = startInRoot('qemu-system-x86_64', [
    ...[
      '-M',
      'q35',
      '-accel',
      'tcg',
      '-cpu',
      'max',
      '-m',
      '1024',
      '-nodefaults',
      '-no-user-config',
      '-no-reboot',
    ],
    ...['-display', 'none', '-monitor', 'none', '-serial', `file:${serial}`],
    ...['-kernel', `${folder}/vmlinuz`, '-initrd', `${folder}/initrd.img`, '-append', cmdline],
  ]);
  const said = (): string => (existsSync(serial) ? readFileSync(serial, 'latin1') : '');
  try {
    await expect.poll(said, { timeout: 400_000, interval: 500 }).toContain(enough);
  } finally {
    await machine.stop();
  }
  return said();
}

function extract(from: string, folder: string): void {
  const took = bazel(second, [
    'run',
    '//tools:cvm',
    '--',
    'guestos',
    'extract-boot',
    from,
    '--output',
    folder,
  ]);
  expect(took.exitCode, took.output).toBe(0);
}

beforeAll(() => {
  if (REAL_PARTS_MISSING !== undefined) return;
  const tree = join(scratch, 'boot');
  mkdirSync(tree);
  for (const [pattern, link] of [
    ['boot/vmlinuz-*', 'vmlinuz'],
    ['boot/initrd.img-*', 'initrd.img'],
  ] as const) {
    const file = realPart(pattern);
    copyFileSync(file, join(tree, basename(file)));
    symlinkSync(basename(file), join(tree, link));
  }
  copyFileSync(realPart('usr/share/ovmf/OVMF.amdsev.fd'), join(tree, 'OVMF_SEV.fd'));
  writeFileSync(join(tree, 'version.txt'), `${COMMIT}\n`);
  writeFileSync(join(tree, 'boot_args'), `BOOT_ARGS_TEE_A="${line('A')}"\nBOOT_ARGS_TEE_B="${line('B')}"\n`);
  const disk = join(scratch, 'disk');
  mkdirSync(disk);
  writeFileSync(join(disk, 'boot.img'), '');
  truncateSync(join(disk, 'boot.img'), 2 ** 30);
  runInRoot('mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', '-d', tree, `${disk}/boot.img`]);
  writeFileSync(join(disk, 'root.img'), '');
  truncateSync(join(disk, 'root.img'), 64 * 2 ** 20);
  runInRoot('mke2fs', ['-q', '-t', 'ext4', `${disk}/root.img`]);
  writeFileSync(join(disk, 'VERSION.TXT'), `${COMMIT}\n`);
  const tar = join(scratch, 'foreign.tar');
  runInRoot('tar', [
    '--create',
    '--sparse',
    '--file',
    tar,
    '-C',
    disk,
    './boot.img',
    './root.img',
    './VERSION.TXT',
  ]);
  runInRoot('zstd', ['-q', '-T0', '-3', '-f', tar, '-o', image]);
});

afterAll(async () => {
  await nns?.stop();
  writeFileSync(lockFile, shipped);
  for (const file of [`${ID}.cbor`, `${ID}.request.cbor`]) rmSync(join(second, env, file), { force: true });
  for (const path of [scratch, cached, join(second, '.distdir')])
    rmSync(path, { recursive: true, force: true });
});

realTest(name('a release of foreign make is pinned from a file, before the vote'), async () => {
  const result = bazel(second, [
    ...['run', `//${env}:pin`, '--', `--base=${COMMIT}`, `--base-file=${image}`, '--network=dev'],
  ]);
  expect(result.exitCode, result.output).toBe(0);
  const lock = readFileSync(lockFile, 'utf8');
  expect(lock).toContain(await sha256(image));
  expect(lock).not.toContain(scratch);
  build(second, [`//${env}:launch-measurements.json`, `//${env}:partition-root-hash`, '//test/nns:cvm-dev']);
});

const peer = findOracle('sev-snp-measure');
(peer === undefined ? test.skip : realTest)(
  name(
    `its measurements are those of sev-snp-measure${peer === undefined ? ' skipped: no sev-snp-measure' : ''}`,
  ),
  () => {
    const { guest_launch_measurements: entries } = JSON.parse(
      readFileSync(at('launch-measurements.json'), 'utf8'),
    ) as { guest_launch_measurements: { measurement: number[]; metadata: Record<string, string> }[] };
    expect(entries).toHaveLength(6);
    const file = (part: string): string => join(scratch, 'boot', part);
    for (const { measurement, metadata } of entries) {
      const theirs = execFileSync(peer ?? '', [
        ...['--mode', 'snp', '--vcpus', '64', '--vcpu-type', metadata['vcpu_type'] ?? ''],
        ...['--ovmf', file('OVMF_SEV.fd'), '--kernel', file('vmlinuz'), '--initrd', file('initrd.img')],
        ...['--append', metadata['kernel_cmdline'] ?? ''],
      ]);
      expect(Buffer.from(measurement).toString('hex')).toBe(theirs.toString().trim());
    }
  },
);

realTest(name('after the vote it becomes a recovery image with its boot files to the byte'), async () => {
  nns = await background(at('../../../../test/nns/cvm-dev'), [
    ...['nns', 'serve', '--proposal-id', ID, '--chip-id', CHIP],
    ...['--root-hash-file', at('partition-root-hash'), '--measurements', at('launch-measurements.json')],
  ]);
  const result = bazel(second, [
    ...[
      'run',
      `//${env}:pin`,
      '--',
      `--base=${COMMIT}`,
      `--proposal=${ID}`,
      '--network=dev',
      `--nns-url=${nns.firstLine}`,
    ],
  ]);
  expect(result.exitCode, result.output).toBe(0);
  build(second, [`//${env}:update-img`, `//${env}:verdict.json`]);
  extract(at('update-img.tar.zst'), join(scratch, 'built'));
  for (const file of ['vmlinuz', 'initrd.img', 'OVMF_SEV.fd', 'boot_args', 'version.txt'])
    expect(await sha256(join(scratch, 'built', file)), file).toBe(await sha256(join(scratch, 'boot', file)));
  expect(JSON.parse(readFileSync(at('verdict.json'), 'utf8'))).toMatchObject({ ok: true, proposalId: ID });
});

realTest(name('kernel, initrd and command line of the built image boot in QEMU'), async () => {
  const serial = await boot(join(scratch, 'built'), line('A'), 'Run /init as init process');
  expect(serial).toContain('Linux version ');
  expect(serial).toContain(`Command line: ${line('A')}`);
});

realTest(name('so do those of the miniature release'), async () => {
  build(second, ['//ic-os/guestos/envs/dev:update-img.tar.zst']);
  const folder = join(scratch, 'miniature');
  extract(join(second, 'bazel-bin/ic-os/guestos/envs/dev/update-img.tar.zst'), folder);
  const args = readFileSync(join(folder, 'boot_args'), 'utf8');
  const cmdline = /^BOOT_ARGS_TEE_A="(.*)"$/m.exec(args)?.[1] ?? '';
  expect(cmdline).toContain('dfinity.system=A');
  await boot(folder, cmdline, cmdline);
});
