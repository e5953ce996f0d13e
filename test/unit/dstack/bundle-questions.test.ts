import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { command as create } from '../../../tools/commands/bundle-create.ts';
import { command as firmware } from '../../../tools/commands/bundle-firmware.ts';
import { command as measure } from '../../../tools/commands/bundle-measure.ts';
import { command as variant } from '../../../tools/commands/bundle-ovmf-variant.ts';
import { command as vmConfig } from '../../../tools/commands/bundle-vm-config.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';
import { copyOf, CREATE, DIGEST, makeDstackImage } from '../../support/dstack-image.ts';

let home = '';
let image = '';
beforeAll(async () => {
  home = await makeDstackImage();
  image = join(home, 'dstack-0.6.0');
});

const run = async (command: typeof create, options: OptionValues, ...args: string[]): Promise<Outcome> =>
  await runCommand(command, home, args, options);
const json = async (command: typeof create, options: OptionValues, ...args: string[]): Promise<unknown> =>
  JSON.parse((await run(command, options, ...args)).out);
const copy = (edit: (folder: string) => void): string => copyOf(image, edit);

describe('bundle firmware', () => {
  test('says which and why', async () => {
    expect(await json(firmware, { platform: 'tdx', json: true }, image)).toMatchObject({
      firmware: 'ovmf.fd',
      field: 'bios',
    });
    expect(await json(firmware, { platform: 'sev-snp', json: true }, image)).toMatchObject({
      firmware: 'ovmf-sev.fd',
      field: 'bios-sev',
    });
    expect((await run(firmware, { platform: 'tdx' }, image)).out).toMatch(/^ovmf\.fd\n {2}field/);
  });
  test('refuses a bios-sev that is gone, also for TDX, as the VMM does', async () => {
    const folder = copy((f) => rmSync(join(f, 'ovmf-sev.fd')));
    await expectCvmRejection(() => run(firmware, { platform: 'tdx' }, folder), 'ARTIFACT_MISSING', 'format');
    await expectCvmRejection(() => run(firmware, { platform: 'arm' }, folder), 'OPTION_CHOICE', 'usage');
  });
});

describe('bundle ovmf-variant', () => {
  const folderOf = (name: string, metadata: object): string => {
    const folder = join(scratchFolder(), name);
    mkdirSync(folder);
    writeFileSync(join(folder, 'metadata.json'), JSON.stringify({ kernel: 'k', initrd: 'i', ...metadata }));
    return folder;
  };

  test('regression: the release of 0.5.10 needs metadata.json alone', async () => {
    const name = 'dstack-0.5.10-4c9bd024';
    expect(await json(variant, {}, folderOf(name, { version: '0.5.10' }))).toMatchObject({
      variant: 'stable202505',
      source: 'metadata.version',
    });
    const unnamed = (await json(variant, {}, folderOf(name, {}))) as {
      considered: { source: string; value: string }[];
    };
    expect(unnamed).toMatchObject({ variant: 'pre202505', source: 'default' });
    expect(unnamed.considered.find(({ source }) => source === 'vm_config.image')?.value).toBe(name);
  });

  test('a VmConfig comes first; one that names no image has none', async () => {
    const folder = folderOf('dstack-0.5.10', {});
    const file = join(folder, '../vm.json');
    writeFileSync(file, '{"ovmf_variant":"pre202505"}');
    expect(await json(variant, { vmConfig: file }, folder)).toMatchObject({
      source: 'vm_config.ovmf_variant',
    });
    writeFileSync(file, '{}');
    expect(await json(variant, { vmConfig: file }, folder)).toMatchObject({ source: 'default' });
    expect(await json(variant, {}, folder)).toMatchObject({
      source: 'vm_config.image',
      variant: 'stable202505',
    });
    expect(await json(variant, { image: 'dstack-0.5.9' }, folder)).toMatchObject({ variant: 'pre202505' });
    expect(await json(variant, { consumer: 'vmm' }, folder)).toMatchObject({ variant: null, source: null });
  });

  test('refuses calls that contradict themselves', async () => {
    const folder = folderOf('x', {});
    const file = join(folder, '../vm.json');
    writeFileSync(file, '{}');
    await expectCvmRejection(
      () => run(variant, { vmConfig: file, image: 'y' }, folder),
      'OPTION_CONTRADICTION',
      'usage',
    );
    await expectCvmRejection(() => run(variant, { osVersion: '1.0.0' }, folder), 'OPTION_CONSUMER', 'usage');
    await expectCvmRejection(() => run(variant, { consumer: 'me' }, folder), 'OPTION_CHOICE', 'usage');
    await expectCvmRejection(() => run(variant, { vmConfig: 'nowhere' }, folder), 'FILE_NOT_FOUND', 'usage');
    await expectCvmRejection(() => run(variant, {}, dirname(folder)), 'BUNDLE_NO_METADATA', 'format');
  });
});

describe('bundle vm-config', () => {
  const shape = { cpus: '2', memory: '4G' };

  test('is what a VMM persists', async () => {
    const { out, err } = await run(vmConfig, { ...shape, qemuVersion: '8.2.2' }, image);
    expect(out).toBe(
      `{"os_image_hash":"${DIGEST}","cpu_count":2,"memory_size":4294967296,"qemu_version":"8.2.2","pci_hole64_size":0,` +
        '"hugepages":false,"num_gpus":0,"num_nvswitches":0,"hotplug_off":false,"image":"dstack-0.6.0",' +
        '"host_share_mode":"9p","ovmf_variant":"pre202505","spec_version":1}\n',
    );
    expect(err).toBe('firmware: ovmf.fd (bios): TDX takes bios and never bios-sev\n');
  });

  test('carries what the metadata’s version means, and leaves out what nobody knows', async () => {
    for (const [version, expected] of [
      ['0.5.10', 'stable202505'],
      ['0.5.10.rc1', undefined],
    ] as const) {
      const folder = copy((f) => {
        edit(f, (m) => {
          delete m['ovmf_variant'];
          m['version'] = version;
        });
      });
      const config = JSON.parse((await run(vmConfig, shape, folder)).out) as Record<string, unknown>;
      expect(config['ovmf_variant']).toBe(expected);
    }
  });

  test('has the launch material for SEV-SNP, and its firmware', async () => {
    const object = (await json(vmConfig, { ...shape, platform: 'sev-snp', json: true }, image)) as {
      firmware: object;
      vmConfig: { sev_snp_measurement: string };
    };
    expect(object.firmware).toMatchObject({ file: 'ovmf-sev.fd', field: 'bios-sev' });
    const document = JSON.parse(object.vmConfig.sev_snp_measurement) as Record<string, string>;
    expect(document).toMatchObject({ vcpus: 2, vcpu_type: 'EPYC-v4', guest_features: 1 });
    expect(Buffer.from(document['checksum_file'] ?? '', 'base64')).toEqual(
      readFileSync(join(image, 'sha256sum.txt')),
    );
  });

  test('writes a file when asked', async () => {
    const outcome = await run(vmConfig, { ...shape, output: 'vm.json' }, image);
    expect(outcome.out).toBe('');
    expect(JSON.parse(readFileSync(join(home, 'vm.json'), 'utf8'))).toMatchObject({ cpu_count: 2 });
  });

  test.each<[string, OptionValues, string]>([
    ['no CPU', { cpus: '0' }, 'OPTION_NUMBER'],
    ['a size with an unknown unit', { memory: '4X' }, 'OPTION_SIZE'],
    ['a size without digits', { memory: 'G' }, 'OPTION_SIZE'],
    ['a size beyond all bounds', { memory: '9999999999999999T' }, 'OPTION_SIZE'],
    ['an unknown share', { shareMode: 'nfs' }, 'OPTION_CHOICE'],
    ['a pic that is neither', { pic: 'maybe' }, 'OPTION_ON_OFF'],
    ['an unknown CPU model', { vcpuType: 'Xeon' }, 'VCPU_TYPE_UNKNOWN'],
  ])('refuses %s', async (_, change, code) => {
    await expectCvmRejection(() => run(vmConfig, { ...shape, ...change }, image), code, 'usage');
  });

  test('refuses a changed bundle, and SEV-SNP without material', async () => {
    await expectCvmRejection(
      () =>
        run(
          vmConfig,
          shape,
          copy((f) => writeFileSync(join(f, 'bzImage'), '')),
        ),
      'BUNDLE_CHECKSUM',
    );
    await run(create, { ...CREATE, manifest: 'four', folder: 'four' });
    await expectCvmRejection(
      () => run(vmConfig, { ...shape, platform: 'sev-snp' }, 'four'),
      'ARTIFACT_MISSING',
    );
  });
});

/** Changes the metadata of a copied bundle, and lets manifest and digest fit; measurements are taken out. */
function edit(folder: string, change: (metadata: Record<string, unknown>) => void): void {
  const path = (name: string): string => join(folder, name);
  const metadata = JSON.parse(readFileSync(path('metadata.json'), 'utf8')) as Record<string, unknown>;
  change(metadata);
  writeFileSync(path('metadata.json'), JSON.stringify(metadata));
  for (const name of ['measurement.tdx.cbor', 'measurement.snp.cbor']) rmSync(path(name));
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  const sums = ['ovmf.fd', 'bzImage', 'initramfs.cpio.gz', 'metadata.json']
    .map((name) => `${sha256(readFileSync(path(name)))}  ${name}\n`)
    .join('');
  writeFileSync(path('sha256sum.txt'), sums);
  writeFileSync(path('digest.txt'), `${sha256(Buffer.from(sums))}\n`);
}

describe('bundle measure', () => {
  const launch =
    '927091e631379ba808df553e1e646ba019a21d685af44149c08700b9a3f769f44b5d2847073286c88b2d7217c4dbd5f3';

  test('the launch of the reference, from folder and archive, with every step', async () => {
    const options = { platform: 'sev-snp', vcpus: '2' };
    expect((await run(measure, options, image)).out).toBe(`${launch}\n`);
    await run(
      measure,
      { ...options, vcpuType: 'epyc-v4', output: 'launch', explain: 'steps' },
      'host.tar.gz',
    );
    expect(readFileSync(join(home, 'launch'), 'utf8')).toBe(`${launch}\n`);
    const steps = (JSON.parse(readFileSync(join(home, 'steps'), 'utf8')) as { steps: { digest: string }[] })
      .steps;
    expect(steps.at(-1)?.digest).toBe(launch);
    expect(await json(measure, { ...options, json: true }, image)).toMatchObject({
      measurement: launch,
      vcpuType: 'EPYC-v4',
    });
  });

  test('refuses', async () => {
    await expectCvmRejection(
      () => run(measure, { platform: 'tdx', vcpus: '2' }, image),
      'PLATFORM_TDX',
      'usage',
    );
    await expectCvmRejection(
      () => run(measure, { platform: 'sev-snp', vcpus: '0' }, image),
      'OPTION_NUMBER',
      'usage',
    );
    const options = { platform: 'sev-snp', vcpus: '1' };
    await expectCvmRejection(
      () => run(measure, { ...options, guestFeatures: 'x' }, image),
      'OPTION_NUMBER',
      'usage',
    );
    await run(create, { ...CREATE, ovmfSev: undefined, folder: 'no-sev' });
    // It falls back to bios, which has no SEV tables.
    await expectCvmRejection(() => run(measure, options, 'no-sev'), 'SEV_FIRMWARE_ENTRY', 'format');
  });
});
