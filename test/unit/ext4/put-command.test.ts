import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { command as cat } from '../../../tools/commands/ext4-cat.ts';
import { command as put } from '../../../tools/commands/ext4-put.ts';
import { openExt4 } from '../../../tools/ext4/reader.ts';
import { writeExt4 } from '../../../tools/ext4/writer.ts';
import { dirEntry, EXT4_OPTIONS, fileEntry, hardlinkEntry, linkEntry } from '../../support/ext4-trees.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const folder = scratchFolder();
const at = (name: string): string => join(folder, name);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const LABEL = utf8Bytes('system_u:object_r:etc_t:s0\0');
/** As getxattr gives it: owner rw-, user 1000 rwx, group r--, mask rwx, others nothing. */
const LIST = Uint8Array.from(
  [
    [2, 0, 0, 0],
    [1, 0, 6, 0, 255, 255, 255, 255],
    [2, 0, 7, 0, 0xe8, 3, 0, 0],
    [4, 0, 4, 0, 255, 255, 255, 255],
    [16, 0, 7, 0, 255, 255, 255, 255],
    [32, 0, 0, 0, 255, 255, 255, 255],
  ].flat(),
);
const TREE = [
  dirEntry('etc'),
  fileEntry('etc/hosts', utf8Bytes('old'), {
    uid: 7,
    gid: 8,
    xattrs: new Map([['security.selinux', LABEL]]),
  }),
  hardlinkEntry('etc/hosts.second', 'etc/hosts'),
  fileEntry('other', new Uint8Array(9000).fill(3)),
  linkEntry('link', 'etc/hosts'),
  fileEntry('listed', utf8Bytes('old'), {
    mode: 0o670,
    xattrs: new Map([['system.posix_acl_access', LIST]]),
  }),
];

beforeEach(() => {
  const image = writeExt4(TREE, { ...EXT4_OPTIONS, sizeBytes: 1 << 20, inodeCount: 32 });
  writeFileSync(at('img'), image.read(0, 1 << 20));
  writeFileSync(at('new'), 'new content');
});

const read = (): ReturnType<typeof openExt4> =>
  openExt4(sourceFromBytes(new Uint8Array(readFileSync(at('img')))));
const run = (spec: string, options: Record<string, string> = {}) =>
  runCommand(put, folder, ['img', spec], options);
const refuse = (spec: string, code: string) => expectCvmRejection(() => run(spec), code, 'usage');

describe('ext4 put', () => {
  test('adds a file with owner and time, and changes no block of another', async () => {
    const before = readFileSync(at('img'));
    expect(await run('new:/etc/added:0640:5:6', { mtime: '3000000000' })).toMatchObject({ code: 0 });
    const image = read();
    image.verifyBitmaps();
    expect(image.lookup('etc/added')).toMatchObject({ mode: 0o640, uid: 5, gid: 6, mtimeSec: 3_000_000_000 });
    expect(image.entries()).toHaveLength(TREE.length + 3);
    const after = readFileSync(at('img'));
    const changed = Array.from({ length: 256 }, (_, i) => i).filter(
      (i) => !before.subarray(i * 4096, i * 4096 + 4096).equals(after.subarray(i * 4096, i * 4096 + 4096)),
    );
    // Superblock, descriptors, two bitmaps, the block of the inode table, that of the directory, and the data.
    expect(changed).toHaveLength(7);
  });

  test('gives a file new content under all its names; owner and attributes stay', async () => {
    await run('new:/etc/hosts:0600');
    for (const name of ['etc/hosts', 'etc/hosts.second']) {
      const entry = read().lookup(name);
      expect(entry).toMatchObject({ mode: 0o600, uid: 7, gid: 8 });
      expect(entry?.xattrs.get('security.selinux')).toEqual(LABEL);
    }
    expect((await runCommand(cat, folder, ['img', '/link'], { output: 'out' })).code).toBe(0);
    expect(readFileSync(at('out'), 'utf8')).toBe('new content');
  });

  test('a file with an access control list keeps it, as long as the mode stays', async () => {
    await run('new:/listed:0670');
    expect(read().lookup('listed')?.xattrs.get('system.posix_acl_access')).toEqual(LIST);
    await run('new:/listed:4670');
    expect(read().lookup('listed')).toMatchObject({ mode: 0o4670 });
    const before = readFileSync(at('img'));
    const error = await refuse('new:/listed:0600', 'EXT4_PUT_ACL');
    expect(error.facts).toContainEqual(['mode', '04670']);
    expect(readFileSync(at('img')).equals(before)).toBe(true);
  });

  test('writes elsewhere with --output, and leaves the image', async () => {
    const before = readFileSync(at('img'));
    await run('new:/added:0644', { output: 'other.tzst' });
    expect(readFileSync(at('img')).equals(before)).toBe(true);
    await runCommand(cat, folder, ['other.tzst', 'added'], { output: 'out' });
    expect(readFileSync(at('out'), 'utf8')).toBe('new content');
  });

  for (const [what, spec, code] of [
    ['a directory that is not there', 'new:/none/added:0644', 'EXT4_PUT_PATH'],
    ['a file where a directory should be', 'new:/other/added:0644', 'EXT4_PUT_PATH'],
    ['a directory of that name', 'new:/etc:0644', 'EXT4_PUT_PATH'],
    ['a symbolic link of that name', 'new:/link:0644', 'EXT4_PUT_PATH'],
    ['a name of 256 bytes', `new:/${'n'.repeat(256)}:0644`, 'EXT4_PUT_PATH'],
    ['a path that climbs', 'new:/etc/../x:0644', 'OPTION_PATH'],
    ['no mode', 'new:/x', 'OPTION_ADD'],
    ['an owner without a group', 'new:/x:0644:5', 'OPTION_ADD'],
    ['no such source', 'absent:/x:0644', 'FILE_NOT_FOUND'],
  ] as const) {
    test(`refuses ${what}, and leaves the image`, async () => {
      const before = readFileSync(at('img'));
      await refuse(spec, code);
      expect(readFileSync(at('img')).equals(before)).toBe(true);
    });
  }

  test('refuses content that does not fit and says how much is missing', async () => {
    writeFileSync(at('large'), new Uint8Array(2 << 20).fill(1));
    const error = await refuse('large:/x:0644', 'EXT4_FULL');
    expect(Object.fromEntries(error.facts)['missing']).toMatch(/^\d+ blocks$/);
  });

  test('an image that is none is named in the error', async () => {
    writeFileSync(at('img'), new Uint8Array(1 << 20));
    const error = await expectCvmRejection(() => run('new:/x:0644'), 'EXT4_MAGIC', 'format');
    expect(Object.fromEntries(error.facts)['file']).toBe(at('img'));
  });
});

describe('ext4 cat', () => {
  test('refuses what is no regular file, and a member of a raw image', async () => {
    const run = (path: string, options = {}) =>
      runCommand(cat, folder, ['img', path], { output: 'none', ...options });
    await expectCvmRejection(() => run('/etc'), 'EXT4_NO_FILE', 'usage');
    await expectCvmRejection(() => run('/absent'), 'EXT4_NO_FILE', 'usage');
    await expectCvmRejection(
      () => run('/other', { member: 'boot.img' }),
      'IMAGE_MEMBER_MEANINGLESS',
      'usage',
    );
    expect(existsSync(at('none'))).toBe(false);
  });

  test('an image in place of a folder, or a link to one, is read', async () => {
    mkdirSync(at('sub'), { recursive: true });
    rmSync(at('sub/img'), { force: true });
    symlinkSync('../img', at('sub/img'));
    await runCommand(cat, folder, ['sub/img', 'other'], { output: 'out' });
    expect(readFileSync(at('out'))).toHaveLength(9000);
  });
});
