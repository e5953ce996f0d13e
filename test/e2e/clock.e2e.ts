import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { build, sha256 } from './bazel.ts';

const here = inject('here');
const env = 'bazel-bin/ic-os/guestos/envs/sev-recovery';

/** Runs a command as an action does, but ten years later, in another time zone and with another umask. */
function later(folder: string, words: readonly string[]): void {
  const shift = `const RealDate = Date; const years = 10 * 365.25 * 86400e3;
    globalThis.Date = class extends RealDate {
      constructor(...given) { given.length === 0 ? super(RealDate.now() + years) : super(...given); }
      static now() { return RealDate.now() + years; }
    };`;
  const result = spawnSync(
    '/bin/sh',
    [
      ...[
        '-c',
        'umask 077; exec "$@"',
        'sh',
        process.execPath,
        '--import',
        `data:text/javascript,${encodeURIComponent(shift)}`,
      ],
      ...[join(here, 'bazel-bin/tools/cvm-build.mjs'), ...words],
    ],
    { cwd: folder, encoding: 'utf8', env: { TZ: 'Asia/Kathmandu', LC_ALL: 'tr_TR.UTF-8' } },
  );
  expect(result.status, result.stderr).toBe(0);
}

test('partitions and update image are the same bytes under another clock', async () => {
  const target = '//ic-os/guestos/envs/sev-recovery:update-img';
  build(here, [target]);
  const folder = mkdtempSync(join(tmpdir(), 'cvm-clock-'));
  const input = (name: string): string => join(here, name);

  later(folder, [
    ...['guestos', 'root-partition', '--tar', input('bazel-bin/ic-os/guestos/rootfs/tree.tar')],
    ...['--add', `${input('ic-os/version.txt')}:/opt/ic/share/version.txt:0644`],
    ...['--strip', '/run', '--strip', '/boot', '--strip', '/var'],
    ...['--output', 'partition-root.tzst', '--root-hash-output', 'partition-root-hash'],
  ]);
  later(folder, [
    ...['guestos', 'boot-partition', '--tar', input(`${env}/base-boot/boot.tar`)],
    ...['--add', `${input(`${env}/dev-proposal/139001.cbor`)}:/alternative_guestos_proposal.cbor:0644`],
    ...['--output', 'partition-boot.tzst'],
  ]);
  later(folder, [
    ...['guestos', 'update-image', '--boot', 'partition-boot.tzst', '--root', 'partition-root.tzst'],
    ...['--version-file', input('ic-os/version.txt'), '--network', 'dev'],
    ...['--request', input(`${env}/dev-proposal/139001.request.cbor`), '--output', 'update-img.tar.zst'],
  ]);
  for (const name of [
    'partition-root.tzst',
    'partition-root-hash',
    'partition-boot.tzst',
    'update-img.tar.zst',
  ]) {
    expect(await sha256(join(folder, name)), name).toBe(await sha256(input(`${env}/${name}`)));
  }
});
