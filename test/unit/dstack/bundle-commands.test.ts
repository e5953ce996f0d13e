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
import { command as verify } from '../../../tools/commands/bundle-verify.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { NO_XATTRS, type TreeEntry } from '../../../tools/tree/entry.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { treeToTar } from '../../../tools/tar/tree.ts';
import { ROOTFS_HASH } from '../../support/dstack.ts';
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
