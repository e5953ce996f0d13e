import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { ByteSource } from '../../../tools/bytes/source.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { command as diskImage } from '../../../tools/commands/guestos-disk-image.ts';
import { command as version } from '../../../tools/commands/guestos-version.ts';
import { openDecompressed, openImage, writeTzst } from '../../../tools/commands/image-files.ts';
import { partitionSource, readGpt } from '../../../tools/gpt/reader.ts';
import { GUESTOS_DISK } from '../../../tools/guestos/disk.ts';
import { readTar } from '../../../tools/tar/reader.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { bootArgsText, bootPartition, recovery, rootPartition } from '../../support/guestos-images.ts';
import { sha256Of } from '../../support/pin-workspaces.ts';
import { optionNames, runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const GOOD = recovery();

let folder = '';
const path = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = scratchFolder();
  const partitions: Readonly<Record<string, ByteSource>> = {
    'boot.tzst': GOOD.boot,
    'root.tzst': GOOD.root,
    'lost.tzst': bootPartition({ bootArgs: bootArgsText(rootPartition(1).rootHash) }),
    'release.tzst': bootPartition({ bootArgs: bootArgsText(GOOD.rootHash) }),
    'other-root.tzst': rootPartition(4).image,
    'blind.tzst': recovery({ measurements: GOOD_PROPOSAL.measurements }).boot,
  };
  for (const [name, source] of Object.entries(partitions)) await writeTzst(path(name), source);
  writeFileSync(path('request'), GOOD.request);
  writeFileSync(path('esp.img'), new Uint8Array(5000).fill(0xe5));
  writeFileSync(path('huge.img'), '');
  truncateSync(path('huge.img'), 204800 * 512 + 1);
  writeFileSync(path('config.img'), new Uint8Array(512).fill(0xc0));
});

const PACK: OptionValues = {
  boot: 'boot.tzst',
  root: 'root.tzst',
  request: 'request',
  network: 'dev',
  vcpuTypes: 'EPYC-v4',
};

const pack = (options: OptionValues): Promise<Outcome> =>
  runCommand(diskImage, folder, [], { ...PACK, ...options });

describe('guestos disk-image', () => {
  test('makes a disk whose slot A is what was validated', async () => {
    expect(await pack({ output: 'disk.tar.zst', verdictOutput: 'verdict.json' })).toEqual({
      code: 0,
      out: '',
      err: '',
    });
    expect(JSON.parse(readFileSync(path('verdict.json'), 'utf8'))).toMatchObject({
      ok: true,
      network: 'dev',
      rootHash: GOOD.rootHash,
    });
    const disk = await openImage(path('disk.tar.zst'), 'disk.img');
    try {
      expect(readGpt(disk)).toEqual(GUESTOS_DISK);
      for (const [name, source] of [
        ['A_boot', GOOD.boot],
        ['A_root', GOOD.root],
      ] as const) {
        const found = partitionSource(disk, GUESTOS_DISK, name);
        for (const { offset, length } of source.extents)
          expect(Buffer.compare(found.read(offset, length), source.read(offset, length))).toBe(0);
      }
      for (const name of ['esp', 'grub', 'config', 'A_var', 'B_boot', 'B_root', 'B_var'])
        expect(partitionSource(disk, GUESTOS_DISK, name).extents).toEqual([]);
    } finally {
      disk.close();
    }
  });

  test('is one member, disk.img, of 50 GiB', async () => {
    await pack({ output: 'members.tar.zst' });
    const archive = await openDecompressed(path('members.tar.zst'));
    try {
      expect([...readTar(archive)].map(({ name, content }) => [name, content.sizeBytes])).toEqual([
        ['disk.img', 50 * 2 ** 30],
      ]);
    } finally {
      archive.close();
    }
  });

  test('puts other partitions where the table has them', async () => {
    await pack({ output: 'full.tar.zst', partition: ['esp=esp.img', 'config=config.img'] });
    const disk = await openImage(path('full.tar.zst'), 'disk.img');
    try {
      const firstByte = (name: string): number | undefined =>
        partitionSource(disk, GUESTOS_DISK, name).read(0, 1)[0];
      expect(['esp', 'grub', 'config'].map(firstByte)).toEqual([0xe5, 0, 0xc0]);
    } finally {
      disk.close();
    }
  });

  test('the same inputs give the same bytes, whatever order and names they have', async () => {
    await pack({ output: 'first', partition: ['esp=esp.img', 'config=config.img'] });
    await pack({ output: 'sub/second', partition: ['config=config.img', 'esp=esp.img'] });
    expect(sha256Of(path('sub/second'))).toBe(sha256Of(path('first')));
  });

  test('makes one of a release without a proposal', async () => {
    const { code } = await pack({ boot: 'release.tzst', request: undefined, output: 'release.tar.zst' });
    expect(code).toBe(0);
  });

  test.each<[string, OptionValues, string]>([
    [
      'a recovery partition that lost its proposal',
      { boot: 'lost.tzst', request: undefined },
      'BOOT_ARGS_ROOT_HASH',
    ],
    ['the same with its request', { boot: 'lost.tzst' }, 'PROPOSAL_ABSENT'],
    ['another root partition', { root: 'other-root.tzst' }, 'ROOT_HASH_MISMATCH'],
    ['a proposal that blesses another boot partition', { boot: 'blind.tzst' }, 'MEASUREMENT_NOT_BLESSED'],
    ['the dev network taken for mainnet', { network: undefined }, 'CERT_SIGNATURE'],
    ['other vCPU counts', { vcpus: '1,2' }, 'MEASUREMENT_NOT_BLESSED'],
    ['an unlisted chip', { chipId: ['00'.repeat(64)] }, 'CHIP_NOT_LISTED'],
    ['the two partitions exchanged', { boot: 'root.tzst', root: 'boot.tzst' }, 'GPT_LAYOUT'],
    ['the boot partition as root partition', { root: 'boot.tzst' }, 'VERITY_NO_SUPERBLOCK'],
    ['a missing boot partition', { boot: 'missing' }, 'FILE_NOT_FOUND'],
    ['a missing other partition', { partition: ['esp=missing'] }, 'FILE_NOT_FOUND'],
    ['a partition that is a folder', { partition: ['esp=.'] }, 'FILE_NOT_REGULAR'],
    ['a partition without a path', { partition: ['esp='] }, 'PATH_INVALID'],
    ['a partition without a name', { partition: ['=esp.img'] }, 'PARTITION_OPTION'],
    ['a path alone', { partition: ['esp.img'] }, 'PARTITION_OPTION'],
    ['nothing', { partition: [''] }, 'PARTITION_OPTION'],
    ['an unknown partition', { partition: ['data=esp.img'] }, 'PARTITION_OPTION'],
    ['a partition in capitals', { partition: ['ESP=esp.img'] }, 'PARTITION_OPTION'],
    ['the same partition twice', { partition: ['esp=esp.img', 'esp=config.img'] }, 'PARTITION_OPTION'],
    ['another boot partition into slot A', { partition: ['A_boot=esp.img'] }, 'PARTITION_OPTION'],
    ['another root partition into slot A', { partition: ['A_root=esp.img'] }, 'PARTITION_OPTION'],
    ['an image that is larger than its partition', { partition: ['esp=huge.img'] }, 'GPT_LAYOUT'],
    ['the verdict where the image goes', { verdictOutput: 'refused/image' }, 'OUTPUT_TWICE'],
  ])('refuses %s, and leaves nothing behind', async (_, options, code) => {
    mkdirSync(path('refused'), { recursive: true });
    await expectCvmRejection(
      () => pack({ verdictOutput: 'refused/verdict', output: 'refused/image', ...options }),
      code,
    );
    expect(readdirSync(path('refused'))).toEqual([]);
  });

  test('an older image stays when the new one is refused', async () => {
    writeFileSync(path('older'), 'older');
    await expectCvmRejection(() => pack({ root: 'other-root.tzst', output: 'older' }), 'ROOT_HASH_MISMATCH');
    expect(readFileSync(path('older'), 'utf8')).toBe('older');
  });

  test('nothing is written through a stream before it was checked', async () => {
    await expectCvmRejection(() => pack({ output: '/dev/null' }), 'FILE_NOT_REGULAR', 'usage');
  });

  test('no option leaves the check out: these are all there are', () => {
    expect(optionNames(diskImage).sort()).toEqual([
      'boot',
      'chipId',
      'network',
      'output',
      'partition',
      'request',
      'root',
      'vcpuTypes',
      'vcpus',
      'verdictOutput',
    ]);
    expect(diskImage.arguments ?? []).toEqual([]);
  });
});

describe('guestos version', () => {
  const suffixed = (text: string | Uint8Array, suffix: string, more: OptionValues = {}): Promise<Outcome> => {
    writeFileSync(path('version'), text);
    return runCommand(version, folder, ['version'], { suffix, ...more });
  };

  test.each([
    ['0123abcd\n', '-test', '0123abcd-test\n'],
    ['0123abcd', '-test', '0123abcd-test\n'],
    ['1.0_2+3', '.4', '1.0_2+3.4\n'],
  ])('%j with %s', async (text, suffix, expected) => {
    expect(await suffixed(text, suffix)).toEqual({ code: 0, out: expected, err: '' });
  });

  test('writes a file, and then prints nothing', async () => {
    expect((await suffixed('v1\n', '-test', { output: 'sub-version/out' })).out).toBe('');
    expect(readFileSync(path('sub-version/out'), 'utf8')).toBe('v1-test\n');
  });

  test.each(['', ' ', '-te st', '-test\n', '/x', '$(x)', '\u202e', 'x'.repeat(33)])(
    'refuses the suffix %j',
    async (suffix) => {
      await expectCvmRejection(
        () => suffixed('v1\n', suffix, { output: 'no-version' }),
        'OPTION_SUFFIX',
        'usage',
      );
      expect(existsSync(path('no-version'))).toBe(false);
    },
  );

  test.each([
    ['an empty version', '', 'VERSION_TEXT'],
    ['a blank one', ' \n', 'VERSION_TEXT'],
    ['one of two lines', 'a\nb\n', 'VERSION_TEXT'],
    ['one with an empty line behind', 'a\n\n', 'VERSION_TEXT'],
    ['a path', '../a\n', 'VERSION_TEXT'],
    ['a line end of DOS', 'a\r\n', 'VERSION_TEXT'],
    ['one marked dev already', 'a-dev\n', 'VERSION_NETWORK'],
    ['bytes that are no text', Uint8Array.of(0xff, 0x0a), 'TEXT_NOT_UTF8'],
  ])('refuses %s', async (_, text, code) => {
    await expectCvmRejection(() => suffixed(text, '-test', { output: 'no-version' }), code);
    expect(existsSync(path('no-version'))).toBe(false);
  });

  test.each([
    ['no-such-file', 'FILE_NOT_FOUND'],
    ['.', 'FILE_NOT_REGULAR'],
    ['/dev/null', 'FILE_NOT_REGULAR'],
  ])('refuses the file %s', async (name, code) => {
    await expectCvmRejection(() => runCommand(version, folder, [name], { suffix: '-test' }), code, 'usage');
  });

  test('demands a suffix', async () => {
    writeFileSync(path('version'), 'v1\n');
    await expectCvmRejection(() => runCommand(version, folder, ['version'], {}), 'OPTION_MISSING', 'usage');
  });
});
