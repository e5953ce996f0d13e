import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { build, sha256 } from './bazel.ts';

const here = inject('here');
const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const target = `//${env}:update-img`;

test('one sha256, in another folder, umask, time zone and locale, and through the other door', async () => {
  build(here, [target, `//${env}:update-img.tar.zst.sha256`]);
  const image = join(here, `bazel-bin/${env}/update-img.tar.zst`);
  const first = await sha256(image);
  expect(readFileSync(`${image}.sha256`, 'utf8')).toContain(first);

  const odd = { TZ: 'Pacific/Kiritimati', LC_ALL: 'tr_TR.UTF-8', SOURCE_DATE_EPOCH: '1', USER: 'somebody' };
  build(second, ['--config=workspace', target], { umask: '077', env: odd });
  expect(await sha256(join(second, `bazel-bin/${env}/update-img.tar.zst`))).toBe(first);

  build(second, [target], { umask: '002', env: { TZ: 'America/St_Johns', LC_ALL: 'C' } });
  expect(await sha256(join(second, `bazel-bin/${env}/update-img.tar.zst`))).toBe(first);
});

test('a dev image is marked wherever its outputs are listed', () => {
  const { output } = build(here, [target]);
  expect(output).toContain('update-img.NOT-FOR-PRODUCTION.txt');
  expect(existsSync(join(here, `bazel-bin/${env}/update-img.NOT-FOR-PRODUCTION.txt`))).toBe(true);
});
