import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { command as create } from '../../../tools/commands/bundle-create.ts';
import { command as firmware } from '../../../tools/commands/bundle-firmware.ts';
import { command as measure } from '../../../tools/commands/bundle-measure.ts';
import { command as variant } from '../../../tools/commands/bundle-ovmf-variant.ts';
import { command as verify } from '../../../tools/commands/bundle-verify.ts';
import { command as vmConfig } from '../../../tools/commands/bundle-vm-config.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { cachedRegisters } from '../../../tools/commands/measurement-cache.ts';
import { DEFAULT_VM_CONFIG, measurementCacheKey } from '../../../tools/dstack/vm-config.ts';
import { NO_XATTRS, type TreeEntry } from '../../../tools/tree/entry.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { treeToTar } from '../../../tools/tar/tree.ts';
import { initrdI, kernelK, REVISION, ROOTFS_HASH, sevFirmwareS, tdvf1 } from '../../support/dstack.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const DIGEST = '55bee8e2a377a876af65382b842c4637cc7b3b7b94584a6e19df99b1270cdf91';

let home = '';
let image = '';
beforeAll(async () => {
  home = scratchFolder();
  writeFileSync(join(home, 'ovmf'), tdvf1());
  writeFileSync(join(home, 'sev'), sevFirmwareS());
  writeFileSync(join(home, 'kernel'), kernelK());
  writeFileSync(join(home, 'initrd'), initrdI());
  writeFileSync(join(home, 'rootfs'), 'rootfs\n');
  await run(create, {
    ...CREATE,
    folder: 'dstack-0.6.0',
    tarball: 'host.tar.gz',
    mrFolder: 'mr',
    digest: 'digest',
  });
  image = join(home, 'dstack-0.6.0');
});

const CREATE: OptionValues = {
  ovmf: 'ovmf',
  ovmfSev: 'sev',
  kernel: 'kernel',
  initrd: 'initrd',
  rootfs: 'rootfs',
  rootfsHash: ROOTFS_HASH,
  rootfsSize: '4096',
  imageVersion: '0.6.0',
  ovmfVariant: 'pre202505',
  gitRevision: REVISION,
};

const run = async (command: typeof create, options: OptionValues, ...args: string[]): Promise<Outcome> =>
  await runCommand(command, home, args, options);
const json = async (command: typeof create, options: OptionValues, ...args: string[]): Promise<unknown> =>
  JSON.parse((await run(command, options, ...args)).out);

/** A copy of the image with something done to it. */
function copy(edit: (folder: string) => void): string {
  const folder = join(scratchFolder(), 'image');
  cpSync(image, folder, { recursive: true });
  edit(folder);
  return folder;
}

describe('bundle create', () => {
  test('makes folder, both archives and the digest, which all verify', async () => {
    const mr = `mr_${DIGEST}.tar.gz`;
    expect(readFileSync(join(home, 'digest'), 'utf8')).toBe(`${DIGEST}\n`);
    expect(readdirSync(join(home, 'mr'))).toEqual([mr]);
    for (const bundle of [image, 'host.tar.gz', `mr/${mr}`]) {
      const report = (await json(verify, { json: true, osImageHash: DIGEST }, bundle)) as Record<
        string,
        unknown
      >;
      expect(report).toMatchObject({ ok: true, osImageHash: DIGEST, version: '0.6.0' });
      expect(report['role']).toBe(bundle.startsWith('mr/') ? 'verifier' : 'vmm');
    }
  });

  test('makes archives whose bytes are known', () => {
    const sha256 = (path: string): string =>
      createHash('sha256')
        .update(gunzipSync(readFileSync(join(home, path))))
        .digest('hex');
    const tars = [sha256('host.tar.gz'), sha256(`mr/mr_${DIGEST}.tar.gz`)];
    expect(tars).toMatchInlineSnapshot(`
      [
        "f41130c1a05a65616ba4ba866bbf4758f39e70fefda5142f1e28f524a859f839",
        "aee921f0a41a35def54537eafb8f2db72628d65871ad1eb6f96b31eaa6c810ea",
      ]
    `);
  });

  test('prints the digest when no file gets it', async () => {
    expect(await run(create, { ...CREATE, folder: 'again' })).toEqual({
      code: 0,
      out: `${DIGEST}\n`,
      err: '',
    });
    const object = await json(create, { ...CREATE, mrTarball: 'x.tar.gz', json: true });
    expect(object).toMatchObject({ ok: true, name: 'dstack-0.6.0', osImageHash: DIGEST });
  });

  test('takes the root hash from a file, and makes images for development', async () => {
    writeFileSync(join(home, 'hash'), `${ROOTFS_HASH}\n`);
    const options = {
      ...CREATE,
      rootfsHash: undefined,
      rootfsHashFile: 'hash',
      dev: true,
      sharedRw: true,
      folder: 'dev',
    };
    expect(await json(create, { ...options, json: true })).toMatchObject({ name: 'dstack-dev-0.6.0' });
    const metadata = JSON.parse(readFileSync(join(home, 'dev/metadata.json'), 'utf8')) as unknown;
    expect(metadata).toMatchObject({ is_dev: true, shared_ro: false });
  });

  test('without the SEV firmware, only what says so differs', async () => {
    await run(create, { ...CREATE, ovmfSev: undefined, folder: 'tdx-only' });
    const differs = readdirSync(image).filter((name) => {
      const other = join(home, 'tdx-only', name);
      return (
        !statSync(other, { throwIfNoEntry: false }) ||
        !readFileSync(other).equals(readFileSync(join(image, name)))
      );
    });
    expect(differs.sort()).toEqual([
      'digest.txt',
      'measurement.snp.cbor',
      'metadata.json',
      'ovmf-sev.fd',
      'sha256sum.txt',
    ]);
    // What TDX measures: firmware, kernel, initrd, command line. All of it is in this document, which is the same.
    expect(readFileSync(join(home, 'tdx-only/measurement.tdx.cbor'))).toEqual(
      readFileSync(join(image, 'measurement.tdx.cbor')),
    );
  });

  test.each<[string, OptionValues, string]>([
    ['nothing to write', {}, 'OPTION_OUTPUT'],
    ['two outputs of one path', { folder: 'x', tarball: 'x' }, 'OUTPUT_TWICE'],
    ['no root hash', { rootfsHash: undefined, folder: 'x' }, 'OPTION_ROOTFS_HASH'],
    ['two root hashes', { rootfsHashFile: 'kernel', folder: 'x' }, 'OPTION_ROOTFS_HASH'],
    ['a root hash that is none', { rootfsHash: 'xy', folder: 'x' }, 'HEX_INVALID'],
    ['a size that is none', { rootfsSize: '4K', folder: 'x' }, 'OPTION_NUMBER'],
    ['an unknown generation', { manifest: 'five', folder: 'x' }, 'OPTION_CHOICE'],
    ['an unknown variant', { ovmfVariant: 'stable202508', folder: 'x' }, 'OPTION_CHOICE'],
    ['a version that is none', { imageVersion: 'v1', folder: 'x' }, 'METADATA_VERSION'],
    ['a name that leads out', { name: '../x', folder: 'x' }, 'BUNDLE_NAME'],
    ['a command line that needs escaping', { cmdline: 'a="b"', folder: 'x' }, 'METADATA_ESCAPE'],
    [
      'a command line that binds a root file system',
      { cmdline: 'dstack.rootfs_hash=1', folder: 'x' },
      'CMDLINE_BASE',
    ],
    ['a firmware that is none', { ovmf: 'kernel', folder: 'x' }, 'BUNDLE_NO_TDX_MATERIAL'],
    ['a SEV firmware that is none', { ovmfSev: 'kernel', folder: 'x' }, 'BUNDLE_NO_SNP_MATERIAL'],
    ['a kernel that is none', { kernel: 'initrd', folder: 'x' }, 'BUNDLE_NO_TDX_MATERIAL'],
    ['a file that is not there', { kernel: 'nowhere', folder: 'x' }, 'FILE_NOT_FOUND'],
    ['a folder for a file', { kernel: 'mr', folder: 'x' }, 'FILE_NOT_REGULAR'],
    ['a folder that is full', { folder: 'mr' }, 'OUTPUT_NOT_EMPTY'],
  ])('refuses %s, and writes nothing', async (_, change, code) => {
    const before = readdirSync(home);
    await expectCvmRejection(() => run(create, { ...CREATE, ...change }), code);
    expect(readdirSync(home)).toEqual(before);
  });

  test('keeps the holes of a large root file system', async () => {
    const folder = scratchFolder();
    for (const name of ['ovmf', 'kernel', 'initrd']) cpSync(join(home, name), join(folder, name));
    writeFileSync(join(folder, 'rootfs'), 'data');
    truncateSync(join(folder, 'rootfs'), 64 << 20);
    await runCommand(create, folder, [], { ...CREATE, ovmfSev: undefined, folder: 'out' });
    const copied = statSync(join(folder, 'out/rootfs.img.parted.verity'));
    expect(copied.size).toBe(64 << 20);
  });
});

describe('bundle verify, of a folder', () => {
  test.each<[string, (folder: string) => void, string]>([
    ['a link out of the folder', (f) => relink(f, 'bzImage', '/etc/passwd'), 'ARTIFACT_ESCAPES'],
    ['a link to the folder above', (f) => relink(f, 'bzImage', '../kernel'), 'ARTIFACT_MISSING'],
    [
      'a link out of the folder to the same bytes',
      (f) => relink(f, 'bzImage', join(home, 'kernel')),
      'ARTIFACT_ESCAPES',
    ],
    ['a link in circles', (f) => relink(f, 'bzImage', 'bzImage'), 'ARTIFACT_MISSING'],
    ['a link to the folder itself', (f) => relink(f, 'bzImage', '.'), 'ARTIFACT_ESCAPES'],
    [
      'a folder in place of a file',
      (f) => {
        rmSync(join(f, 'bzImage'));
        mkdirSync(join(f, 'bzImage'));
      },
      'ARTIFACT_NOT_A_FILE',
    ],
    ['a file more', (f) => writeFileSync(join(f, 'x'), ''), 'BUNDLE_UNLISTED'],
    [
      'a file whose name is no text',
      (f) => writeFileSync(Buffer.concat([Buffer.from(`${f}/`), Buffer.from([0xff])]), ''),
      'BUNDLE_UNLISTED',
    ],
    ['a file less', (f) => rmSync(join(f, 'initramfs.cpio.gz')), 'BUNDLE_LISTED_MISSING'],
    ['a changed file', (f) => writeFileSync(join(f, 'ovmf.fd'), 'x'), 'BUNDLE_CHECKSUM'],
    ['no file at all', (f) => readdirSync(f).forEach((name) => rmSync(join(f, name))), 'BUNDLE_NO_SUMS'],
    ['a pipe', (f) => execFileSync('mkfifo', [join(f, 'pipe')]), 'ARTIFACT_NOT_A_FILE'],
  ])('refuses %s', async (_, edit, code) => {
    await expectCvmRejection(() => run(verify, {}, copy(edit)), code);
  });

  test('follows a link that stays inside', async () => {
    const folder = copy((f) => {
      writeFileSync(join(f, 'disk.raw'), readFileSync(join(f, 'bzImage')));
      relink(f, 'bzImage', 'disk.raw');
    });
    expect((await run(verify, {}, folder)).out).toContain(`ok ${DIGEST}`);
  });

  test('takes a folder through a link, and reads only', async () => {
    const folder = copy(() => undefined);
    symlinkSync(folder, join(dirname(folder), 'link'));
    const before = readdirSync(folder);
    expect((await run(verify, {}, join(dirname(folder), 'link'))).code).toBe(0);
    expect(readdirSync(folder)).toEqual(before);
  });

  test('refuses a call that is wrong', async () => {
    await expectCvmRejection(() => run(verify, { osImageHash: 'abc' }, image), 'OPTION_HASH', 'usage');
    await expectCvmRejection(
      () => run(verify, { osImageHash: '0'.repeat(64) }, image),
      'OS_IMAGE_HASH',
      'mismatch',
    );
    await expectCvmRejection(() => run(verify, { role: 'kms' }, image), 'OPTION_CHOICE', 'usage');
    await expectCvmRejection(() => run(verify, {}, 'nowhere'), 'FILE_NOT_FOUND', 'usage');
    await expectCvmRejection(() => run(verify, {}, '/dev/null'), 'FILE_NOT_REGULAR', 'usage');
    await expectCvmRejection(() => run(verify, {}, 'kernel'), 'BUNDLE_NOT_ARCHIVE', 'format');
    await expectCvmRejection(() => run(verify, {}, ''), 'PATH_INVALID', 'usage');
  });
});

function relink(folder: string, name: string, target: string): void {
  rmSync(join(folder, name));
  symlinkSync(target, join(folder, name));
}

describe('bundle verify, of an archive', () => {
  const COMMON = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, xattrs: NO_XATTRS } as const;
  const files = (prefix: string): TreeEntry[] =>
    readdirSync(image).map((name) => ({
      ...COMMON,
      path: `${prefix}${name}`,
      type: 'file',
      content: sourceFromBytes(readFileSync(join(image, name))),
    }));
  const archive = (entries: readonly TreeEntry[], edit: (tar: Buffer) => Buffer = (tar) => tar): string => {
    const path = join(scratchFolder(), 'bundle.tar');
    writeFileSync(path, edit(Buffer.concat([...treeToTar(entries, { order: 'given' })])));
    return path;
  };
  const file = (path: string): TreeEntry => ({
    ...COMMON,
    path,
    type: 'file',
    content: sourceFromBytes(Buffer.from('x')),
  });
  /** The same members under other names: the writer has none of these. */
  const renamed = (from: string, to: string) => (tar: Buffer) => {
    const at = tar.indexOf(from);
    tar.fill(0, at, at + 100).write(to, at, 'latin1');
    const block = tar.subarray(at, at + 512);
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    return tar;
  };

  test('flat, below a folder, plain, gzip, in two gzip members', async () => {
    const flat = archive(files(''));
    const below = archive([{ ...COMMON, path: 'dstack-0.6.0', type: 'dir' }, ...files('dstack-0.6.0/')]);
    const bytes = readFileSync(below);
    const split = join(scratchFolder(), 'two.tar.gz');
    writeFileSync(
      split,
      Buffer.concat([gzipSync(bytes.subarray(0, 70_000)), gzipSync(bytes.subarray(70_000))]),
    );
    for (const path of [flat, below, split]) {
      expect((await run(verify, {}, path)).out, path).toContain(`ok ${DIGEST}`);
    }
  });

  test('with ./ before its names', async () => {
    const path = archive(files(''), renamed('bzImage', './bzImage'));
    expect((await run(verify, {}, path)).code).toBe(0);
  });

  test.each<[string, () => string, string]>([
    [
      'a symbolic link',
      () => archive([...files(''), { ...COMMON, path: 'x', type: 'symlink', target: 'bzImage' }]),
      'BUNDLE_MEMBER_LINK',
    ],
    [
      'a hard link',
      () => archive([...files(''), { ...COMMON, path: 'x', type: 'hardlink', linkPath: 'bzImage' }]),
      'BUNDLE_MEMBER_LINK',
    ],
    ['a pipe', () => archive([...files(''), { ...COMMON, path: 'x', type: 'fifo' }]), 'BUNDLE_MEMBER'],
    [
      'a device',
      () => archive([...files(''), { ...COMMON, path: 'x', type: 'char', major: 1, minor: 3 }]),
      'BUNDLE_MEMBER',
    ],
    [
      'a path that goes up',
      () => archive([file('escapes'), ...files('')], renamed('escapes', '../x')),
      'BUNDLE_MEMBER_PATH',
    ],
    [
      'an absolute path',
      () => archive([file('escapes'), ...files('')], renamed('escapes', '/etc/x')),
      'BUNDLE_MEMBER_PATH',
    ],
    [
      'a member twice',
      () => archive([file('again'), ...files('')], renamed('again', 'bzImage')),
      'BUNDLE_MEMBER_TWICE',
    ],
    ['a member more', () => archive([...files(''), file('x')]), 'BUNDLE_UNLISTED'],
    [
      'a folder more',
      () => archive([...files(''), { ...COMMON, path: 'x', type: 'dir' }]),
      'ARTIFACT_NOT_A_FILE',
    ],
    ['two folders', () => archive([...files('a/'), file('b/x')]), 'BUNDLE_FOLDERS'],
    ['nothing but a file', () => archive([file('x')]), 'BUNDLE_FOLDERS'],
    [
      'more members than any',
      () => archive(Array.from({ length: 300 }, (_, i) => file(`${i}`))),
      'BUNDLE_ITEMS',
    ],
  ])('refuses %s', async (_, make, code) => {
    await expectCvmRejection(
      () => run(verify, {}, make()),
      code,
      code === 'BUNDLE_UNLISTED' ? 'trust' : 'format',
    );
  });

  test('refuses one that is cut short, anywhere', async () => {
    const bytes = readFileSync(join(home, 'host.tar.gz'));
    const path = join(scratchFolder(), 'cut.tar.gz');
    for (const size of [3, 9, 20, 1000, bytes.length - 9, bytes.length - 1]) {
      writeFileSync(path, bytes.subarray(0, size));
      await expectCvmRejection(
        () => run(verify, {}, path),
        size < 10 ? 'BUNDLE_NOT_ARCHIVE' : 'GZIP_TRUNCATED',
        'format',
      );
    }
  });
});

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

describe('the measurement cache', () => {
  const registers = (
    n: number,
  ): { mrtd: Uint8Array; rtmr0: Uint8Array; rtmr1: Uint8Array; rtmr2: Uint8Array } => {
    const filled = new Uint8Array(48).fill(n);
    return { mrtd: filled, rtmr0: filled, rtmr1: filled, rtmr2: filled };
  };
  const config = { ...DEFAULT_VM_CONFIG, osImageHash: DIGEST };
  const place = (folder: string): string =>
    join(folder, 'measurements', `${measurementCacheKey(config)}.json`);

  test('keeps what was computed, under the key of the VmConfig', async () => {
    const folder = scratchFolder();
    expect(await cachedRegisters(folder, config, () => registers(1))).toEqual({
      registers: registers(1),
      fromCache: false,
    });
    expect(readdirSync(join(folder, 'measurements'))).toEqual([`${measurementCacheKey(config)}.json`]);
    const never = (): never => {
      throw new Error('computed again');
    };
    expect(await cachedRegisters(folder, config, never)).toEqual({
      registers: registers(1),
      fromCache: true,
    });
  });

  test.each<[string, (text: string) => string]>([
    ['version 1', (text) => text.replace('"version":3', '"version":1')],
    ['version 2', (text) => text.replace('"version":3', '"version":2')],
    ['half a file', (text) => text.slice(0, 50)],
    ['an empty file', () => ''],
    ['a huge file', (text) => text.padEnd(1 << 17)],
  ])('computes again and mends: %s', async (_, spoil) => {
    const folder = scratchFolder();
    await cachedRegisters(folder, config, () => registers(1));
    const text = readFileSync(place(folder), 'utf8');
    writeFileSync(place(folder), spoil(text));
    expect((await cachedRegisters(folder, config, () => registers(2))).registers).toEqual(registers(2));
    expect(readFileSync(place(folder), 'utf8')).toBe(text.replaceAll('01', '02'));
  });

  test('is safe for many at once: every reader sees a whole entry', async () => {
    const folder = scratchFolder();
    const all = await Promise.all(
      Array.from(
        { length: 40 },
        async (_, i) => await cachedRegisters(folder, config, () => registers(i + 1)),
      ),
    );
    for (const { registers: found } of all) expect(found.mrtd).toEqual(found.rtmr2);
    expect(readdirSync(join(folder, 'measurements'))).toHaveLength(1);
  });

  test('does not keep what names no image', async () => {
    const folder = scratchFolder();
    await cachedRegisters(folder, DEFAULT_VM_CONFIG, () => registers(1));
    expect(readdirSync(folder)).toEqual([]);
  });

  test('says when its folder cannot be written', async () => {
    const folder = scratchFolder();
    writeFileSync(join(folder, 'measurements'), 'a file');
    await expectCvmRejection(
      () => cachedRegisters(folder, config, () => registers(1)),
      'FILE_ACCESS',
      'usage',
    );
  });

  test('keeps nothing of a computation that failed', async () => {
    const folder = scratchFolder();
    const failing = cachedRegisters(folder, config, () => {
      throw new Error('no registers');
    });
    await expect(failing).rejects.toThrow('no registers');
    expect(readdirSync(folder)).toEqual([]);
  });
});
