import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { command } from '../../../tools/commands/ext4-build.ts';
import { openImage } from '../../../tools/commands/image-files.ts';
import { openExt4, type Ext4Image } from '../../../tools/ext4/reader.ts';
import { treeToTar } from '../../../tools/tar/tree.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { dirEntry, fileEntry, hardlinkEntry, linkEntry } from '../../support/ext4-trees.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const folder = scratchFolder();
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const LABEL = 'system_u:object_r:etc_t:s0\0';
const TREE: TreeEntry[] = [
  dirEntry('etc'),
  fileEntry('etc/hosts', utf8Bytes('hosts'), {
    uid: 7,
    xattrs: new Map([['security.selinux', utf8Bytes(LABEL)]]),
  }),
  dirEntry('run'),
  fileEntry('run/lock', utf8Bytes('lock')),
  hardlinkEntry('sbin-lock', 'run/lock'),
  linkEntry('usr', 'etc'),
];

function writeTar(name: string, entries: readonly TreeEntry[]): string {
  writeFileSync(join(folder, name), Buffer.concat([...treeToTar(entries)]));
  return name;
}

writeTar('tree.tar', TREE);
writeFileSync(join(folder, 'notes:1.txt'), 'notes');
writeFileSync(join(folder, 'contexts'), '/boot(/.*)? a:b:boot_t:s0\n/boot/etc/hosts -- a:b:hosts_t:s0\n');

const BASE = { tar: 'tree.tar', size: `${1 << 20}`, output: 'out.img' };
const build = (more: Record<string, string | string[]> = {}): ReturnType<typeof runCommand> =>
  runCommand(command, folder, [], { ...BASE, ...more });
const read = (name = 'out.img'): Ext4Image =>
  openExt4(sourceFromBytes(new Uint8Array(readFileSync(join(folder, name)))));
const paths = (image: Ext4Image): string[] => image.entries().map(({ path }) => path);
const textOf = (image: Ext4Image, path: string): string | undefined => {
  const entry = image.lookup(path);
  return entry?.type === 'file'
    ? Buffer.from(entry.content.read(0, entry.content.sizeBytes)).toString()
    : undefined;
};
const labelOf = (image: Ext4Image, path: string): string | undefined => {
  const value = image.lookup(path)?.xattrs.get('security.selinux');
  return value && Buffer.from(value).toString();
};

describe('ext4 build', () => {
  test('keeps what the archive says and writes nothing else', async () => {
    expect(await build()).toEqual({ code: 0, out: '', err: '' });
    const image = read();
    expect(paths(image)).toEqual([
      '',
      'etc',
      'etc/hosts',
      'lost+found',
      'run',
      'run/lock',
      'sbin-lock',
      'usr',
    ]);
    expect(image.lookup('etc/hosts')).toMatchObject({ uid: 7, mtimeSec: 1_700_000_000 });
    expect(labelOf(image, 'etc/hosts')).toBe(LABEL);
  });

  test('the same call makes the same bytes; another label another UUID and hash seed', async () => {
    await build();
    const first = readFileSync(join(folder, 'out.img'));
    await build({ output: 'again.img' });
    expect(readFileSync(join(folder, 'again.img')).equals(first)).toBe(true);
    await build({ output: 'again.img', label: 'x' });
    const [a, b] = [read().info, read('again.img').info];
    expect(a.uuid).not.toEqual(b.uuid);
    expect(a.hashSeed).not.toEqual(b.hashSeed);
  });

  test('takes identity, times and inodes from options', async () => {
    await build({
      uuid: '01234567-89AB-cdef-0123-456789abcdef',
      hashSeed: '00112233-4455-6677-8899-aabbccddeeff',
      label: 'boot',
      epoch: '5',
      mtime: '9',
      inodes: '100',
    });
    const image = read();
    expect(image.info).toMatchObject({ label: 'boot', creationTimeSec: 5, inodesCount: 112 });
    expect(Buffer.from(image.info.uuid).toString('hex')).toBe('0123456789abcdef0123456789abcdef');
    expect(new Set(image.entries().map(({ mtimeSec }) => mtimeSec))).toEqual(new Set([9]));
  });

  test('writes sparse tar in zstd when the output is called .tzst, with the same image in it', async () => {
    await build();
    await build({ output: 'out.tzst' });
    const opened = await openImage(join(folder, 'out.tzst'));
    expect(Buffer.from(opened.read(0, opened.sizeBytes)).equals(readFileSync(join(folder, 'out.img')))).toBe(
      true,
    );
    opened.close();
  });

  test('adds files, also from paths with colons and over what is there, and makes their directories', async () => {
    await build({ add: ['notes:1.txt:/opt/a/notes:0640', 'notes:1.txt:/etc/hosts:600'] });
    const image = read();
    expect(image.lookup('opt/a')).toMatchObject({ type: 'dir', mode: 0o755, uid: 0 });
    expect(image.lookup('opt/a/notes')).toMatchObject({ mode: 0o640, uid: 0, mtimeSec: 0 });
    expect(image.lookup('etc/hosts')).toMatchObject({ mode: 0o600, uid: 0 });
    expect(textOf(image, 'etc/hosts')).toBe('notes');
  });

  test('strips contents and keeps the directory; what has another name elsewhere lives on there', async () => {
    await build({ strip: ['/run', '/usr', '/nowhere'] });
    const image = read();
    expect(paths(image)).toEqual(['', 'etc', 'etc/hosts', 'lost+found', 'run', 'sbin-lock']);
    expect(textOf(image, 'sbin-lock')).toBe('lock');
  });

  test('cuts to a subtree, and adds to what is left', async () => {
    for (const subtree of ['etc', '/etc', '/etc/']) {
      await build({ subtree, add: ['notes:1.txt:/x:0644'] });
      expect(paths(read())).toEqual(['', 'hosts', 'lost+found', 'x']);
    }
  });

  test('labels by file_contexts below a mount point', async () => {
    await build({ fileContexts: 'contexts', prefix: '/boot' });
    const image = read();
    expect(labelOf(image, 'etc/hosts')).toBe('a:b:hosts_t:s0\0');
    expect(labelOf(image, 'lost+found')).toBe('a:b:boot_t:s0\0');
    expect(labelOf(image, '')).toBe('a:b:boot_t:s0\0');
  });

  const refusals: readonly (readonly [string, Record<string, string | string[]>, string])[] = [
    ['no size', { size: '' }, 'OPTION_NUMBER'],
    ['a size with a unit', { size: '1G' }, 'OPTION_NUMBER'],
    ['a size that is too small', { size: '4096' }, 'EXT4_SIZE'],
    ['a UUID without hyphens', { uuid: '0123456789abcdef0123456789abcdef' }, 'OPTION_UUID'],
    ['a label of 17 bytes', { label: 'x'.repeat(17) }, 'EXT4_OPTION'],
    ['an archive that is not there', { tar: 'nothing.tar' }, 'FILE_NOT_FOUND'],
    ['an --add without a mode', { add: ['notes:1.txt:/x'] }, 'OPTION_ADD'],
    ['an --add to a relative path', { add: ['notes:1.txt:x:0644'] }, 'OPTION_ADD'],
    ['an --add with two dots', { add: ['notes:1.txt:/etc/../x:0644'] }, 'OPTION_PATH'],
    ['an --add with a decimal mode', { add: ['notes:1.txt:/x:0698'] }, 'OPTION_ADD'],
    ['an --add over a directory', { add: ['notes:1.txt:/etc:0644'] }, 'TREE_ADD'],
    ['an --add below a symlink', { add: ['notes:1.txt:/usr/x:0644'] }, 'TREE_ADD'],
    ['an --add of nothing', { add: ['nothing:/x:0644'] }, 'FILE_NOT_FOUND'],
    ['a relative --strip', { strip: ['run'] }, 'OPTION_PATH'],
    ['a subtree that is not there', { subtree: 'opt' }, 'TREE_NO_DIRECTORY'],
    ['a subtree that is a symlink', { subtree: '/usr' }, 'TREE_NO_DIRECTORY'],
    ['a prefix without file_contexts', { prefix: '/boot' }, 'OPTION_MISSING'],
    ['a prefix with a slash at its end', { fileContexts: 'contexts', prefix: '/boot/' }, 'SELINUX_PREFIX'],
  ];
  test.each(refusals)('refuses %s, and writes nothing', async (_, more, code) => {
    await expectCvmRejection(() => build({ output: 'refused.img', ...more }), code);
    expect(existsSync(join(folder, 'refused.img'))).toBe(false);
  });
});
