import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { command as create } from '../../tools/commands/bundle-create.ts';
import { initrdI, kernelK, ROOTFS_HASH, sevFirmwareS, tdvf1 } from '../support/dstack.ts';
import { runCommand, scratchFolder } from '../support/run-command.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const sha256sum = findOracle('sha256sum');
const tar = findOracle('tar');
const gzip = findOracle('gzip');

let home = '';
beforeAll(async () => {
  home = scratchFolder();
  const write = (name: string, content: Uint8Array | string): void =>
    writeFileSync(join(home, name), content);
  write('ovmf', tdvf1());
  write('sev', sevFirmwareS());
  write('kernel', kernelK());
  write('initrd', initrdI());
  write('rootfs', 'rootfs');
  await runCommand(create, home, [], {
    ovmf: 'ovmf',
    ovmfSev: 'sev',
    kernel: 'kernel',
    initrd: 'initrd',
    rootfs: 'rootfs',
    rootfsHash: ROOTFS_HASH,
    rootfsSize: '4096',
    imageVersion: '0.6.0',
    ovmfVariant: 'pre202505',
    folder: 'image',
    tarball: 'host.tar.gz',
    mrTarball: 'mr.tar.gz',
  });
});

const run = (program: string | undefined, ...args: string[]): string =>
  execFileSync(program ?? '', args, { cwd: home, env: ORACLE_ENV, encoding: 'utf8' });

describe('a bundle, in the eyes of coreutils, tar and gzip', () => {
  oracleTest({ sha256sum })('sha256sum -c --strict takes the manifest', () => {
    const out = execFileSync(sha256sum ?? '', ['-c', '--strict', 'sha256sum.txt'], {
      cwd: join(home, 'image'),
      env: ORACLE_ENV,
      encoding: 'utf8',
    });
    expect(out.split('\n').filter((line) => line.endsWith(': OK'))).toHaveLength(6);
  });

  oracleTest({ gzip })('gzip finds nothing wrong with the archives', () => {
    run(gzip, '-t', 'host.tar.gz', 'mr.tar.gz');
  });

  oracleTest({ tar, gzip, sha256sum })('tar extracts what sha256sum takes, from both archives', () => {
    for (const [archive, folder] of [
      ['host.tar.gz', 'dstack-0.6.0'],
      ['mr.tar.gz', '.'],
    ] as const) {
      const to = join(home, `${archive}.d`);
      mkdirSync(to);
      run(tar, '-xzf', archive, '-C', to);
      const sums = { cwd: join(to, folder), env: ORACLE_ENV, encoding: 'utf8' } as const;
      expect(execFileSync(sha256sum ?? '', ['-c', '--strict', 'sha256sum.txt'], sums)).toContain(
        'bzImage: OK',
      );
    }
    const listing = run(tar, '-tvzf', 'mr.tar.gz', '--numeric-owner', '--utc').split('\n');
    expect(listing[0]).toMatch(/^-rw-r--r-- 0\/0 +\d+ 1970-01-01 00:00 bzImage$/);
    const names = listing.slice(0, -1).map((line) => line.split(' ').at(-1) ?? '');
    expect(names).toEqual(names.toSorted());
    expect(names.some((name) => name.startsWith('rootfs'))).toBe(false);
  });
});
