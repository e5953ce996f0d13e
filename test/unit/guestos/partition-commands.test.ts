import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { sliceSource, sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { command as bootPartition } from '../../../tools/commands/guestos-boot-partition.ts';
import { command as rootPartition } from '../../../tools/commands/guestos-root-partition.ts';
import { openImage } from '../../../tools/commands/image-files.ts';
import { openExt4, type Ext4Image } from '../../../tools/ext4/reader.ts';
import { ROOT_FILESYSTEM_BYTES, ROOT_HASH_OFFSET } from '../../../tools/guestos/layout.ts';
import { treeToTar } from '../../../tools/tar/tree.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import { verifyVerity } from '../../../tools/verity/verify.ts';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { dirEntry, fileEntry, linkEntry } from '../../support/ext4-trees.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const folder = scratchFolder();
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const CONTEXTS = `/.*	system_u:object_r:default_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/boot(/.*)?	system_u:object_r:boot_t:s0
/boot/vmlinuz.*	-l	system_u:object_r:kernel_link_t:s0
/proc(/.*)?	<<none>>
`;

const DIRECTORIES = ['boot', 'etc', 'proc', 'run', 'var', 'var/log'];
const POLICY_DIRECTORIES = ['selinux', 'default', 'contexts', 'files'].map((_, i, all) =>
  ['etc', ...all.slice(0, i + 1)].join('/'),
);
const tree = (mtimeSec: number, contexts = CONTEXTS): TreeEntry[] => [
  ...[...DIRECTORIES, ...POLICY_DIRECTORIES].map((path) => dirEntry(path, { mtimeSec })),
  fileEntry('boot/vmlinuz-1', utf8Bytes('kernel'), { mtimeSec }),
  linkEntry('boot/vmlinuz', 'vmlinuz-1'),
  fileEntry('run/pid', utf8Bytes('1'), { mtimeSec }),
  fileEntry('var/log/messages', utf8Bytes('log'), { mtimeSec }),
  fileEntry('etc/selinux/default/contexts/files/file_contexts', utf8Bytes(contexts), { mtimeSec }),
];

function writeTar(name: string, entries: readonly TreeEntry[]): void {
  writeFileSync(join(folder, name), Buffer.concat([...treeToTar(entries)]));
}

writeTar('tree.tar', tree(1_700_000_000));
writeFileSync(join(folder, 'version.txt'), '1\n');

const labelOf = (image: Ext4Image, path: string): string | undefined => {
  const value = image.lookup(path)?.xattrs.get('security.selinux');
  return (
    value &&
    Buffer.from(value)
      .toString()
      .replace(/^system_u:object_r:(.*)_t:s0\0$/, '$1')
  );
};

describe('guestos root-partition', () => {
  const options = {
    tar: 'tree.tar',
    output: 'root.tzst',
    rootHashOutput: 'root-hash',
    strip: ['/run', '/boot', '/var'],
    add: ['version.txt:/opt/ic/share/version.txt:0644'],
  };
  const run = (more: Record<string, string | string[]> = {}): ReturnType<typeof runCommand> =>
    runCommand(rootPartition, folder, [], { ...options, ...more });

  test('3 GiB of ext4, labelled, all times 0, and a tree that verifies against the written root hash', async () => {
    expect(await run()).toEqual({ code: 0, out: '', err: '' });
    const text = readFileSync(join(folder, 'root-hash'), 'latin1');
    expect(text).toMatch(/^[0-9a-f]{64}\n$/);
    const image = await openImage(join(folder, 'root.tzst'));
    expect(image.sizeBytes).toBe(10_628_571_136);
    verifyVerity(image, ROOT_HASH_OFFSET, hexToBytes(text.trim()));
    const files = openExt4(sliceSource(image, 0, ROOT_FILESYSTEM_BYTES));
    expect(files.info.uuid).toEqual(new Uint8Array(16));
    expect(files.entries().map(({ path }) => path)).toEqual([
      '',
      'boot',
      'etc',
      ...POLICY_DIRECTORIES,
      'etc/selinux/default/contexts/files/file_contexts',
      'lost+found',
      'opt',
      'opt/ic',
      'opt/ic/share',
      'opt/ic/share/version.txt',
      'proc',
      'run',
      'var',
    ]);
    expect(files.entries().every(({ mtimeSec }) => mtimeSec === 0)).toBe(true);
    expect(['etc/selinux', 'opt', 'proc', 'boot', ''].map((path) => labelOf(files, path))).toEqual([
      'etc',
      'default',
      undefined,
      'boot',
      'default',
    ]);
    image.close();
  });

  test('the root hash depends on contents, not on times of the archive, and goes to standard output when no file is named', async () => {
    const before = readFileSync(join(folder, 'root-hash'), 'latin1');
    writeTar('later.tar', tree(1_800_000_000));
    const printed = { tar: options.tar, output: options.output, strip: options.strip, add: options.add };
    const later = await runCommand(rootPartition, folder, [], { ...printed, tar: 'later.tar' });
    expect(later).toEqual({ code: 0, out: before, err: '' });
    writeFileSync(join(folder, 'version.txt'), '2\n');
    expect((await runCommand(rootPartition, folder, [], printed)).out).not.toBe(before);
  });

  test('refuses a policy that cannot be read', async () => {
    writeTar('broken.tar', tree(0, '/etc(/.* a:b:c\n'));
    await expectCvmRejection(() => run({ tar: 'broken.tar' }), 'SELINUX_REGEX', 'format');
  });
});

describe('guestos boot-partition', () => {
  const run = async (more: Record<string, string | boolean | string[]>): Promise<Ext4Image> => {
    const options = { tar: 'tree.tar', output: 'boot.tzst', ...more };
    expect(await runCommand(bootPartition, folder, [], options)).toEqual({ code: 0, out: '', err: '' });
    const image = await openImage(join(folder, 'boot.tzst'));
    const whole = sourceFromBytes(image.read(0, 8 << 20));
    const size = image.sizeBytes;
    image.close();
    return openExt4({ ...whole, sizeBytes: size, extents: whole.extents });
  };

  test('1 GiB, with what the tree says about owners, times and labels', async () => {
    const image = await run({ subtree: 'boot', add: ['version.txt:/version.txt:0644'] });
    expect(image.info.sizeBytes).toBe(1024 ** 3);
    expect(image.entries().map(({ path }) => path)).toEqual([
      '',
      'lost+found',
      'version.txt',
      'vmlinuz',
      'vmlinuz-1',
    ]);
    expect(image.lookup('vmlinuz-1')).toMatchObject({ mtimeSec: 1_700_000_000, xattrs: new Map() });
  });

  test('labels by the lines for /boot of the whole tree', async () => {
    const image = await run({ subtree: 'boot', fileContextsFromTree: true });
    const link = image.entries().find(({ path }) => path === 'vmlinuz');
    expect(Buffer.from(link?.xattrs.get('security.selinux') ?? []).toString()).toContain('kernel_link_t');
    expect(['', 'vmlinuz-1', 'lost+found'].map((path) => labelOf(image, path))).toEqual([
      'boot',
      'boot',
      'boot',
    ]);
  });

  test('refuses to be larger than the partition', async () => {
    const options = { tar: 'tree.tar', output: 'boot.tzst', size: `${1024 ** 3 + 4096}` };
    await expectCvmRejection(() => runCommand(bootPartition, folder, [], options), 'OPTION_NUMBER', 'usage');
  });
});
