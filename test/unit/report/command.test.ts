import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { command as report } from '../../../tools/commands/guestos-report.ts';
import { writeTzst } from '../../../tools/commands/image-files.ts';
import { command as updateImage } from '../../../tools/commands/guestos-update-image.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { recovery } from '../../support/guestos-images.ts';
import { LABEL } from '../../support/report-pages.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const folder = scratchFolder();
const parts = recovery();
const at = (name: string): string => join(folder, name);
const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

const COMMON = { network: 'dev', request: 'request.cbor', vcpuTypes: 'EPYC-v4' };
const PARTITIONS = { ...COMMON, boot: 'boot.tzst', root: 'root.tzst', versionFile: 'version.txt' };

async function pageOf(options: Parameters<typeof runCommand>[3]): Promise<string> {
  const outcome = await runCommand(report, folder, [], { output: 'page.html', ...options });
  expect(outcome).toEqual({ code: 0, out: '', err: '' });
  return readFileSync(at('page.html'), 'utf8');
}

const dataOf = (page: string): Record<string, unknown> =>
  JSON.parse(/id="report">([^<]*)</.exec(page)?.[1] ?? '') as Record<string, unknown>;

beforeAll(async () => {
  await writeTzst(at('base.tzst'), parts.base);
  await writeTzst(at('boot.tzst'), parts.boot);
  await writeTzst(at('root.tzst'), parts.root);
  writeFileSync(at('request.cbor'), parts.request);
  writeFileSync(at('version.txt'), '1.2.3\n');
  await runCommand(updateImage, folder, [], { ...PARTITIONS, output: 'update-img.tar.zst' });
});

describe('cvm guestos report', () => {
  test('of partitions names the sha256 of the image that is packed from them', async () => {
    const page = await pageOf({ ...PARTITIONS, base: 'base.tzst', label: LABEL });
    expect(dataOf(page)).toMatchObject({
      outcome: 'blessed',
      version: '1.2.3-dev',
      label: LABEL,
      image: {
        name: 'update-img.tar.zst',
        sha256: sha256(at('update-img.tar.zst')),
        sizeBytes: readFileSync(at('update-img.tar.zst')).length,
      },
      base: { name: 'base.tzst', sha256: sha256(at('base.tzst')) },
    });
    expect(page).toContain(`echo &#39;${sha256(at('update-img.tar.zst'))}  bazel-bin/`);
  });

  test('of an image says the same of it', async () => {
    const ofParts = dataOf(await pageOf({ ...PARTITIONS, base: 'base.tzst' }));
    const ofImage = dataOf(await pageOf({ ...COMMON, image: 'update-img.tar.zst', base: 'base.tzst' }));
    expect(ofImage).toEqual(ofParts);
  });

  test('of the same files is the same, byte for byte', async () => {
    const first = await pageOf({ ...PARTITIONS, base: 'base.tzst' });
    expect(await pageOf({ ...PARTITIONS, base: 'base.tzst' })).toBe(first);
  });

  test('records a refusal, without a digest of an image that does not exist', async () => {
    const page = await pageOf({ ...PARTITIONS, vcpus: '8' });
    expect(dataOf(page)).toMatchObject({
      outcome: 'refused',
      error: { code: 'MEASUREMENT_NOT_BLESSED' },
      image: null,
    });
    expect(page).toContain('64 vCPUs, not 8');
  });

  test('of a refused image names the file that must not be installed', async () => {
    const page = await pageOf({ ...COMMON, image: 'update-img.tar.zst', vcpus: '8' });
    expect(dataOf(page)).toMatchObject({
      outcome: 'refused',
      image: { sha256: sha256(at('update-img.tar.zst')) },
    });
    expect(page).toContain('This image must not be installed');
  });

  test('before the vote needs the base and the root partition', async () => {
    const page = await pageOf({ network: 'mainnet', base: 'base.tzst', root: 'root.tzst' });
    expect(dataOf(page)).toMatchObject({ outcome: 'not-voted', version: null, image: null, proposal: null });
  });

  test('mainnet is the default, and believes no certificate of dev', async () => {
    const { network: dev, ...rest } = PARTITIONS;
    expect(dev).toBe('dev');
    expect(dataOf(await pageOf(rest))).toMatchObject({
      outcome: 'refused',
      network: 'mainnet',
      error: { code: 'CERT_SIGNATURE' },
      proposal: null,
    });
  });

  test.each<[string, Parameters<typeof runCommand>[3], string]>([
    [
      'an image and a partition',
      { ...COMMON, image: 'update-img.tar.zst', boot: 'boot.tzst' },
      'OPTION_CONFLICT',
    ],
    [
      'an image and a version',
      { ...COMMON, image: 'update-img.tar.zst', versionFile: 'version.txt' },
      'OPTION_CONFLICT',
    ],
    [
      'a boot partition without its version',
      { ...COMMON, boot: 'boot.tzst', root: 'root.tzst' },
      'OPTION_CONFLICT',
    ],
    [
      'a version without a boot partition',
      { ...COMMON, versionFile: 'version.txt', root: 'root.tzst' },
      'OPTION_CONFLICT',
    ],
    ['no root partition', { ...COMMON, boot: 'boot.tzst', versionFile: 'version.txt' }, 'OPTION_MISSING'],
    ['neither boot partition nor base', { network: 'dev', root: 'root.tzst' }, 'REPORT_INPUT'],
    ['a label that a shell reads otherwise', { ...PARTITIONS, label: "//a:b'; rm -rf x" }, 'OPTION_LABEL'],
    ['a label of nothing', { ...PARTITIONS, label: '//a' }, 'OPTION_LABEL'],
  ])('refuses %s', async (_, options, code) => {
    await expectCvmRejection(
      () => runCommand(report, folder, [], { ...options, output: 'none.html' }),
      code,
      'usage',
    );
    expect(() => readFileSync(at('none.html'))).toThrow();
  });

  test('a name that a shell reads otherwise does not get into a command', async () => {
    const name = "x'$(touch y)'.tar.zst";
    writeFileSync(at(name), readFileSync(at('update-img.tar.zst')));
    const page = await pageOf({ ...COMMON, image: name });
    expect(page).toContain('  update-img.tar.zst&#39; | sha256sum --check');
    expect(page).not.toMatch(/data-copy="the command">[^<]*touch/);
  });

  test('what is malformed has no page', async () => {
    writeFileSync(at('zeros'), new Uint8Array(1 << 20));
    await expectCvmRejection(
      () => runCommand(report, folder, [], { ...PARTITIONS, boot: 'zeros', output: 'none.html' }),
      'EXT4_MAGIC',
      'format',
    );
    expect(() => readFileSync(at('none.html'))).toThrow();
  });
});
