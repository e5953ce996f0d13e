import { spawnSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { openFile } from '../../tools/commands/files.ts';
import { openExt4, type Ext4Image } from '../../tools/ext4/reader.ts';
import { describeFolder, describeImage, settleTimes } from '../support/disk-trees.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

/** The images are made by programs of e2fsprogs, from one tree of files; what is read back is compared with the tree. */
const mke2fs = findOracle('mke2fs');
const debugfs = findOracle('debugfs');
const e2fsck = findOracle('e2fsck');
const withE2fsprogs = oracleTest({ mke2fs, debugfs, e2fsck });

let work = '';
let tree = '';

beforeAll(() => {
  if (mke2fs === undefined || debugfs === undefined || e2fsck === undefined) return;
  work = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'ext4-read-'));
  tree = join(work, 'tree');
  makeTree();
});

afterAll(() => {
  if (work !== '') rmSync(work, { recursive: true });
});

/**
 * `block` bytes of data, `block` bytes of hole, and so on, data at the end: no two runs can be merged. (A hole at the
 * end is not for this test: mke2fs 1.47.0 with inline_data stores a size without it.)
 */
function striped(block: number, runs: number): Uint8Array {
  const bytes = new Uint8Array(2 * block * runs - block);
  for (let i = 0; i < runs; i++) bytes.fill(1 + (i % 255), 2 * block * i, 2 * block * i + block);
  return bytes;
}

function makeTree(): void {
  for (const folder of ['', 'a', 'a/b', 'a/b/c', 'many', 'empty']) mkdirSync(join(tree, folder));
  writeFileSync(join(tree, 'empty-file'), '');
  for (const size of [1, 59, 60, 61, 1023, 1024, 1025, 4095, 4096, 4097, 65536, 65537, 300_000]) {
    writeFileSync(join(tree, 'a', `size-${size}`), new Uint8Array(size).fill(size % 251));
  }
  writeFileSync(join(tree, 'a/b/c/striped-1k'), striped(1024, 1000));
  writeFileSync(join(tree, 'a/b/c/striped-4k'), striped(4096, 500));
  linkSync(join(tree, 'a/size-59'), join(tree, 'a/b/second-name'));
  symlinkSync('size-1', join(tree, 'a/short'));
  symlinkSync('s'.repeat(59), join(tree, 'a/length-59'));
  symlinkSync('t'.repeat(60), join(tree, 'a/length-60'));
  symlinkSync('u'.repeat(800), join(tree, 'a/length-800'));
  for (let i = 0; i < 3500; i++)
    writeFileSync(
      join(tree, 'many', `a-name-of-forty-bytes-for-each-entry-${1000 + i}`),
      i % 500 === 0 ? `${i}` : '',
    );
  settleTimes(tree);
}

function run(
  program: string | undefined,
  args: readonly string[],
  input?: string,
  allowed: readonly number[] = [0],
): string {
  const result = spawnSync(program ?? '', args, {
    env: { ...ORACLE_ENV, E2FSPROGS_FAKE_TIME: '1700000000', MKE2FS_SYNC: '0' },
    encoding: 'utf8',
    ...(input === undefined ? {} : { input }),
  });
  if (!allowed.includes(result.status ?? -1)) {
    throw new Error(
      `${program} ${args.join(' ')}: exit ${result.status}\n${result.stdout}\n${result.stderr}`,
    );
  }
  return result.stdout;
}

interface Recipe {
  readonly args: readonly string[];
  readonly megabytes: number;
  /** Features that dumpe2fs would show, to know that the recipe made what it is for. */
  readonly features: readonly string[];
  /** How e2fsck goes over it: -fyD makes hash trees of directories, -fy counts quotas, which mke2fs does not. */
  readonly settle?: '-fyD' | '-fy';
}

const RECIPES: Readonly<Record<string, Recipe>> = {
  'default, 4 KiB blocks': { args: ['-t', 'ext4', '-b', '4096'], megabytes: 64, features: ['metadata_csum'] },
  'ext4, 1 KiB blocks, extent trees of depth 2': {
    args: ['-t', 'ext4', '-b', '1024'],
    megabytes: 64,
    features: ['extent'],
  },
  'ext4, 2 KiB blocks': { args: ['-t', 'ext4', '-b', '2048'], megabytes: 64, features: ['extent'] },
  'ext4, 64 KiB blocks': {
    args: ['-t', 'ext4', '-b', '65536', '-F'],
    megabytes: 512,
    features: ['metadata_csum'],
  },
  'ext2, 1 KiB blocks, 128-byte inodes': {
    args: ['-t', 'ext2', '-b', '1024', '-I', '128'],
    megabytes: 64,
    features: [],
  },
  'ext3, 4 KiB blocks': { args: ['-t', 'ext3', '-b', '4096'], megabytes: 64, features: ['has_journal'] },
  'bigalloc, 1 KiB blocks in 16 KiB clusters': {
    args: ['-t', 'ext4', '-b', '1024', '-O', 'bigalloc', '-C', '16384'],
    megabytes: 256,
    features: ['bigalloc'],
  },
  'bigalloc, 4 KiB blocks in 64 KiB clusters': {
    args: ['-t', 'ext4', '-b', '4096', '-O', 'bigalloc', '-C', '65536'],
    megabytes: 512,
    features: ['bigalloc'],
  },
  'meta_bg, 40 groups': {
    args: ['-t', 'ext4', '-b', '1024', '-g', '2048', '-O', 'meta_bg,^resize_inode,^flex_bg'],
    megabytes: 80,
    features: ['meta_bg'],
  },
  'meta_bg without sparse_super': {
    args: ['-t', 'ext4', '-b', '1024', '-g', '2048', '-O', 'meta_bg,^resize_inode,^sparse_super'],
    megabytes: 80,
    features: ['meta_bg'],
  },
  'uninit_bg: the old descriptor checksums': {
    args: ['-t', 'ext4', '-b', '1024', '-O', 'uninit_bg,^metadata_csum,^64bit'],
    megabytes: 64,
    features: ['uninit_bg'],
  },
  'metadata_csum with 32-byte descriptors': {
    args: ['-t', 'ext4', '-b', '1024', '-O', '^64bit'],
    megabytes: 64,
    features: ['metadata_csum'],
  },
  'metadata_csum with 128-byte inodes': {
    args: ['-t', 'ext4', '-b', '1024', '-I', '128', '-O', 'metadata_csum,^extra_isize'],
    megabytes: 64,
    features: ['metadata_csum'],
  },
  'inline data in 256-byte inodes': {
    args: ['-t', 'ext4', '-b', '4096', '-O', 'inline_data'],
    megabytes: 64,
    features: ['inline_data'],
  },
  'inline data in 1 KiB inodes': {
    args: ['-t', 'ext4', '-b', '4096', '-I', '1024', '-O', 'inline_data'],
    megabytes: 64,
    features: ['inline_data'],
  },
  'checksum seed, sparse_super2, orphan file, quota, large directories': {
    args: [
      '-t',
      'ext4',
      '-b',
      '1024',
      '-O',
      'metadata_csum_seed,sparse_super2,orphan_file,quota,large_dir,project',
    ],
    megabytes: 64,
    features: ['metadata_csum_seed', 'sparse_super2', 'orphan_file', 'quota', 'large_dir'],
    settle: '-fy',
  },
  'multiple mount protection': {
    args: ['-t', 'ext4', '-b', '4096', '-O', 'mmp'],
    megabytes: 64,
    features: ['mmp'],
  },
  'hash trees of two levels, 1 KiB blocks': {
    args: ['-t', 'ext4', '-b', '1024'],
    megabytes: 64,
    features: ['dir_index'],
    settle: '-fyD',
  },
  'hash trees, 4 KiB blocks': {
    args: ['-t', 'ext4', '-b', '4096'],
    megabytes: 64,
    features: ['dir_index'],
    settle: '-fyD',
  },
  'hash trees without checksums': {
    args: ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum'],
    megabytes: 64,
    features: ['dir_index'],
    settle: '-fyD',
  },
};

function makeImage(name: string, recipe: Recipe, source = tree): string {
  const image = join(work, `${name.replace(/[^a-z0-9]+/gi, '-')}.img`);
  writeFileSync(image, '');
  truncateSync(image, recipe.megabytes << 20);
  const fixed = ['-U', '11111111-2222-3333-4444-555555555555', '-N', '8000', '-E', 'lazy_itable_init=0'];
  run(mke2fs, ['-q', ...recipe.args, ...fixed, '-d', source, image]);
  if (recipe.settle !== undefined) run(e2fsck, [recipe.settle, image], undefined, [0, 1]);
  run(e2fsck, ['-fn', image]);
  return image;
}

function read<T>(path: string, use: (image: Ext4Image) => T): T {
  const file = openFile(path);
  try {
    return use(openExt4(file));
  } finally {
    file.close();
  }
}

for (const [name, recipe] of Object.entries(RECIPES)) {
  withE2fsprogs(`what mke2fs puts into a file system is what is read: ${name}`, () => {
    const path = makeImage(name, recipe);
    read(path, (image) => {
      for (const feature of recipe.features) expect(image.info.features).toContain(feature);
      image.verifyBitmaps();
      expect(describeImage(image)).toEqual(describeFolder(tree));
    });
    rmSync(path);
  });
}

withE2fsprogs('the hash trees that are read are hash trees, of one and of two levels', () => {
  for (const [block, levels] of [
    ['1024', 1],
    ['4096', 0],
  ] as const) {
    const path = makeImage(`htree-${block}`, {
      args: ['-t', 'ext4', '-b', block],
      megabytes: 64,
      features: [],
      settle: '-fyD',
    });
    expect(run(debugfs, ['-R', 'htree_dump /many', path])).toMatch(new RegExp(`Indirect levels: ${levels}`));
    read(path, (image) =>
      expect(image.lookup('many/a-name-of-forty-bytes-for-each-entry-4499')?.type).toBe('file'),
    );
    rmSync(path);
  }
});

withE2fsprogs('extent trees of depth 2 are extent trees of depth 2, and their extents are exact', () => {
  const path = makeImage('deep', { args: ['-t', 'ext4', '-b', '1024'], megabytes: 64, features: [] });
  expect(run(debugfs, ['-R', 'extents /a/b/c/striped-1k', path])).toMatch(/^ 0\/ 2 /m);
  read(path, (image) => {
    const entry = image.lookup('a/b/c/striped-1k');
    if (entry?.type !== 'file') throw new Error('not a file');
    const expected = Array.from({ length: 1000 }, (_, i) => ({ offset: 2048 * i, length: 1024 }));
    expect(entry.content.extents).toEqual(expected);
    expect(entry.content.read(2048 * 700 - 1, 2)).toEqual(Uint8Array.of(0, 1 + (700 % 255)));
  });
  rmSync(path);
});

withE2fsprogs('attributes: in the slot, in a block, in an inode of their own', () => {
  const path = makeImage('ea', {
    args: ['-t', 'ext4', '-b', '4096', '-O', 'ea_inode'],
    megabytes: 64,
    features: [],
  });
  const values = new Map<string, Uint8Array>([
    ['user.small', Buffer.from('small')],
    ['user.empty', new Uint8Array(0)],
    ['security.selinux', Buffer.from('system_u:object_r:etc_t:s0\0')],
    ['trusted.block', new Uint8Array(2000).fill(0x62)],
    ['user.own-inode', new Uint8Array(4000).map((_, i) => i % 253)],
    // debugfs takes no more than a block.
    ['user.one-block', new Uint8Array(4096).fill(0x6c)],
  ]);
  const commands = [...values].map(([name, value], i) => {
    writeFileSync(join(work, `value-${i}`), value);
    return `ea_set -f ${join(work, `value-${i}`)} /a/size-61 ${name}\n`;
  });
  run(debugfs, ['-w', '-f', '-', path], commands.join(''));
  // debugfs 1.47.0 does not count the blocks of value inodes where e2fsck does.
  run(e2fsck, ['-fy', path], undefined, [0, 1]);
  run(e2fsck, ['-fn', path]);
  read(path, (image) => {
    const xattrs = image.lookup('a/size-61')?.xattrs ?? new Map<string, Uint8Array>();
    expect([...xattrs.keys()].sort()).toEqual([...values.keys()].sort());
    for (const [name, value] of values)
      expect([name, Buffer.from(xattrs.get(name) ?? []).toString('hex')]).toEqual([
        name,
        Buffer.from(value).toString('hex'),
      ]);
    expect(image.lookup('a/short')?.path).toBe('a/size-1');
  });
  rmSync(path);
});

withE2fsprogs(
  'what debugfs makes: unwritten runs, punched holes, devices, times past 2038, large ids',
  () => {
    const path = makeImage('debugfs', { args: ['-t', 'ext4', '-b', '4096'], megabytes: 64, features: [] });
    const commands = [
      'fallocate /a/size-300000 80 99',
      'set_inode_field /a/size-300000 size 409600',
      'punch /a/size-65536 2 5',
      'cd /a',
      'mknod null c 1 3',
      'mknod disk b 8 17',
      'mknod pipe p',
      'set_inode_field /a/size-1 mtime @0xffffffff80000005',
      'set_inode_field /a/size-1 uid 70000',
      'set_inode_field /a/size-1 gid 4294967294',
      'set_inode_field /a/size-60 mtime @15032385535',
      'set_inode_field /a/size-60 mtime_extra 0x00000407',
      'set_inode_field /a/size-60 mtime_lo 0x7fffffff',
    ];
    run(debugfs, ['-w', '-f', '-', path], `${commands.join('\n')}\n`);
    read(path, (image) => {
      const content = (name: string): { extents: unknown; bytes: Uint8Array } => {
        const entry = image.lookup(`a/${name}`);
        if (entry?.type !== 'file') throw new Error('not a file');
        return { extents: entry.content.extents, bytes: entry.content.read(0, entry.content.sizeBytes) };
      };
      const unwritten = content('size-300000');
      expect(unwritten.extents).toEqual([{ offset: 0, length: 303104 }]);
      expect(unwritten.bytes.subarray(303104)).toEqual(new Uint8Array(409600 - 303104));
      const punched = content('size-65536');
      expect(punched.extents).toEqual([
        { offset: 0, length: 8192 },
        { offset: 24576, length: 40960 },
      ]);
      expect(image.lookup('a/null')).toMatchObject({ type: 'char', major: 1, minor: 3 });
      expect(image.lookup('a/disk')).toMatchObject({ type: 'block', major: 8, minor: 17 });
      expect(image.lookup('a/pipe')).toMatchObject({ type: 'fifo' });
      expect(image.lookup('a/size-1')).toMatchObject({ uid: 70000, gid: 4294967294 });
      expect(image.lookup('a/size-60')).toMatchObject({ mtimeSec: 15032385535, mtimeNsec: 257 });
    });
    rmSync(path);
  },
);
