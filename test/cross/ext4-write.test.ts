import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect } from 'vitest';
import { bytesToHex } from '../../tools/bytes/hex.ts';
import { sparseSource, sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import { rawFromUtf8, utf8Bytes } from '../../tools/bytes/text.ts';
import { hashName } from '../../tools/ext4/directory-hash.ts';
import { openExt4 } from '../../tools/ext4/reader.ts';
import { writeExt4 } from '../../tools/ext4/writer.ts';
import type { TreeEntry } from '../../tools/tree/entry.ts';
import {
  anyTree,
  combSource,
  COMMON,
  dirEntry,
  EXT4_OPTIONS,
  fileEntry,
  hardlinkEntry,
  linkEntry,
  plain,
} from '../support/ext4-trees.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'ext4-write-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const e2fsck = findOracle('e2fsck');
const dumpe2fs = findOracle('dumpe2fs');
const debugfs = findOracle('debugfs');
const fsckTest = oracleTest({ e2fsck });

/** Writes what there is; the rest of the file is a hole. */
function store(source: ByteSource, name = 'image'): string {
  const path = join(folder, name);
  const file = openSync(path, 'w');
  ftruncateSync(file, source.sizeBytes);
  for (const { offset, length } of source.extents) {
    for (let at = 0; at < length; at += 1 << 20) {
      const bytes = source.read(offset + at, Math.min(1 << 20, length - at));
      writeSync(file, bytes, 0, bytes.length, offset + at);
    }
  }
  closeSync(file);
  return path;
}

/** Clean, and nothing to remark. */
function expectClean(path: string, ...more: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(e2fsck ?? '', ['-fn', ...more, path], {
    env: ORACLE_ENV,
    encoding: 'utf8',
  });
  const remarks = stdout.split('\n').filter((line) => !/^(Pass [1-5]: |$)/.test(line));
  expect(stderr).toMatch(/^e2fsck 1\.[0-9.]+ \([^)]*\)\n$/);
  // The first line of all is not from a pass, but the closing summary.
  expect(remarks).toEqual([expect.stringMatching(/ files \(.*% non-contiguous\), [0-9]+\/[0-9]+ blocks$/)]);
  expect(status).toBe(0);
}

function ask(path: string, request: string): string {
  return execFileSync(debugfs ?? '', ['-R', request, path], {
    env: ORACLE_ENV,
    encoding: 'latin1',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 1 << 28,
  });
}

const LABEL = utf8Bytes('system_u:object_r:etc_t:s0\0');
const CAPABILITY = Uint8Array.from([1, 0, 0, 2, 0, 4, ...new Array<number>(14).fill(0)]);
const ACL_LINUX = new Uint8Array(
  Buffer.from(
    '0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff',
    'hex',
  ),
);

const TREE: readonly TreeEntry[] = [
  dirEntry('etc', { mode: 0o2750, uid: 70_000, gid: 4_294_967_294 }),
  fileEntry('etc/hosts', utf8Bytes('127.0.0.1 localhost\n'), {
    xattrs: new Map([
      ['security.selinux', LABEL],
      ['security.capability', CAPABILITY],
      ['system.posix_acl_access', ACL_LINUX],
      ['user.large', new Uint8Array(3000).fill(5)],
      ['user.z', utf8Bytes('z')],
      ['trusted.a', new Uint8Array()],
    ]),
  }),
  hardlinkEntry('etc/hosts.second', 'etc/hosts'),
  fileEntry('empty'),
  fileEntry('setuid', utf8Bytes('x'), { mode: 0o4755, mtimeSec: -5, mtimeNsec: 7 }),
  fileEntry('late', utf8Bytes('x'), { mtimeSec: 1_600_000_000, mtimeNsec: 999_999_999 }),
  fileEntry(
    'sparse',
    sparseSource(3_000_000_000, [{ offset: 2_999_000_000, source: sourceFromBytes(LABEL) }]),
  ),
  fileEntry('four', combSource(4)),
  fileEntry('five', combSource(5)),
  fileEntry('deep', combSource(1361)),
  linkEntry('fast', 'x'.repeat(59)),
  linkEntry('slow', 'y'.repeat(60)),
  linkEntry('slowest', 'z'.repeat(4095)),
  { ...COMMON, type: 'char', path: 'null', major: 1, minor: 3 },
  { ...COMMON, type: 'block', path: 'wide', major: 259, minor: 70_000 },
  { ...COMMON, type: 'fifo', path: 'pipe' },
  { ...COMMON, type: 'socket', path: 'sock' },
  dirEntry('many'),
  ...Array.from({ length: 3000 }, (_, i) => fileEntry(`many/${rawFromUtf8(`näme-${i}`)}`)),
];

describe('e2fsck', () => {
  fsckTest('finds nothing to remark in a tree of everything, nor in any backup superblock', () => {
    const path = store(writeExt4(TREE, { ...EXT4_OPTIONS, sizeBytes: 1024 ** 3 }));
    expectClean(path);
    for (const group of [1, 3, 5, 7]) expectClean(path, '-b', String(group * 32768), '-B', '4096');
  });

  fsckTest('finds nothing in images of the smallest and odd sizes, and of 10 GiB', () => {
    for (const sizeBytes of [
      64 << 10,
      (1 << 20) + 5000,
      (128 << 20) + 4096,
      (256 << 20) + (9 << 20),
      10 * 1024 ** 3,
    ]) {
      const path = store(writeExt4([fileEntry('a', utf8Bytes('b'))], { ...EXT4_OPTIONS, sizeBytes }));
      expectClean(path);
      if (sizeBytes > 1024 ** 3) expectClean(path, '-b', String(49 * 32768), '-B', '4096');
    }
  });

  fsckTest('finds nothing in any small tree', () => {
    fc.assert(
      fc.property(anyTree, (any) => {
        // e2fsck takes times after 2310 for the mark of an old kernel bug.
        const tree = any.map((entry) => ({ ...entry, mtimeSec: Math.min(entry.mtimeSec, 2 ** 33) }));
        expectClean(store(writeExt4(tree, { ...EXT4_OPTIONS, sizeBytes: 8 << 20 })));
      }),
      { numRuns: 25 },
    );
  });

  fsckTest('leaves indexed directories of one and two levels as they are, even when it may repair', () => {
    const names = (directory: string, count: number): TreeEntry[] =>
      Array.from({ length: count }, (_, i) => fileEntry(`${directory}/${'n'.repeat(180)}${i}`));
    const tree = [
      dirEntry('two-blocks'),
      ...names('two-blocks', 40),
      dirEntry('three-blocks'),
      ...names('three-blocks', 45),
      dirEntry('two-levels'),
      ...names('two-levels', 12_000),
    ];
    const image = writeExt4(tree, { ...EXT4_OPTIONS, sizeBytes: 64 << 20 });
    const path = store(image);
    expectClean(path);
    const repair = spawnSync(e2fsck ?? '', ['-fy', path], { env: ORACLE_ENV, encoding: 'utf8' });
    expect(repair.stdout).not.toContain('ptimizing');
    expect(repair.status).toBe(0);
    expect(
      readFileSync(path)
        .subarray(4096)
        .equals(image.read(4096, image.sizeBytes - 4096)),
    ).toBe(true);
  });

  fsckTest('takes the largest number of subdirectories', () => {
    const tree = [dirEntry('d'), ...Array.from({ length: 64_998 }, (_, i) => dirEntry(`d/${i}`))];
    expectClean(store(writeExt4(tree, { ...EXT4_OPTIONS, sizeBytes: 512 << 20, inodeCount: 70_000 })));
  });
});

describe('dumpe2fs', () => {
  oracleTest({ dumpe2fs })('reads the superblock that was asked for', () => {
    const path = store(writeExt4(TREE, { ...EXT4_OPTIONS, sizeBytes: 1024 ** 3, inodeCount: 20_000 }));
    const text = execFileSync(dumpe2fs ?? '', ['-h', path], {
      env: ORACLE_ENV,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const field = (name: string): string | undefined =>
      new RegExp(`^${name}: +(.*)$`, 'm').exec(text)?.[1]?.trimEnd();
    expect(field('Filesystem volume name')).toBe('boot');
    expect(field('Filesystem UUID')).toBe('01234567-89ab-cdef-0123-456789abcdef');
    expect(field('Filesystem features')).toBe(
      'ext_attr dir_index filetype extent 64bit sparse_super large_file huge_file dir_nlink extra_isize metadata_csum',
    );
    expect(field('Filesystem state')).toBe('clean');
    expect(field('Block count')).toBe('262144');
    expect(field('Inode count')).toBe('20096');
    expect(field('Free inodes')).toBe(String(20_096 - 11 - (TREE.length - 1)));
    expect(field('Filesystem created')).toBe('Tue Nov 14 22:13:20 2023');
    expect(field('Directory Hash Seed')).toBe('00112233-4455-6677-8899-aabbccddeeff');
  });
});

describe('debugfs', () => {
  const debugfsTest = oracleTest({ debugfs });
  const image = writeExt4(TREE, { ...EXT4_OPTIONS, sizeBytes: 1024 ** 3 });

  debugfsTest('dumps contents, links and permissions as they were given', () => {
    const path = store(image);
    const target = join(folder, 'dump');
    mkdirSync(target);
    ask(path, `rdump / ${target}`);
    for (const entry of TREE) {
      const at = Buffer.from(`${target}/${entry.path}`, 'latin1');
      if (entry.type === 'symlink') {
        expect(readlinkSync(at, 'latin1')).toBe(entry.target);
      } else if (entry.type === 'dir') {
        expect(lstatSync(at).isDirectory()).toBe(true);
      } else if (entry.type === 'file' && entry.path !== 'sparse') {
        expect(readFileSync(at).equals(entry.content.read(0, entry.content.sizeBytes)), entry.path).toBe(
          true,
        );
        expect(lstatSync(at).mode & 0o777).toBe(entry.mode & 0o777);
      }
    }
    expect(lstatSync(join(target, 'sparse')).size).toBe(3_000_000_000);
    rmSync(target, { recursive: true });
  });

  debugfsTest('shows owners, modes, times, devices and links', () => {
    const path = store(image);
    expect(ask(path, 'stat /etc')).toMatch(/Mode: {2}02750 .*User: 70000 {3}Group: +-2 /s);
    expect(ask(path, 'stat /setuid')).toMatch(/Mode: {2}04755 .*mtime: 0xfffffffb:0000001c /s);
    expect(ask(path, 'stat /late')).toMatch(/crtime: 0x5f5e1000:ee6b27fc/);
    expect(ask(path, 'stat /null')).toMatch(/Device major\/minor number: 01:03 /);
    expect(ask(path, 'stat /wide')).toMatch(/Device major\/minor number: 259:70000 /);
    expect(ask(path, 'stat /etc/hosts.second')).toMatch(/Links: 2 /);
    expect(ask(path, 'stat /fast')).toContain(`Fast link dest: "${'x'.repeat(59)}"`);
    expect(ask(path, 'stat /many')).toMatch(/Flags: 0x81000/);
    expect(ask(path, 'htree_dump /many')).toMatch(/Root node dump:.*Hash Version: 1/s);
  });

  debugfsTest('reads the extended attributes, from the inode and from the block', () => {
    const path = store(image);
    const value = (name: string): string => {
      const output = join(folder, 'value');
      ask(path, `ea_get -f ${output} /etc/hosts ${name}`);
      return readFileSync(output).toString('hex');
    };
    expect(value('security.selinux')).toBe(bytesToHex(LABEL));
    expect(value('security.capability')).toBe(bytesToHex(CAPABILITY));
    expect(value('user.large')).toBe('05'.repeat(3000));
    expect(value('user.z')).toBe('7a');
    // debugfs shows id 0 where the kernel, and so getxattr, says that there is none.
    expect(value('system.posix_acl_access')).toBe(bytesToHex(ACL_LINUX).replaceAll('ffffffff', '00000000'));
    expect(ask(path, 'ea_list /etc/hosts')).toContain('trusted.a (0)');
  });

  debugfsTest('hashes names alike', () => {
    const path = store(image);
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 255, unit: 'grapheme-ascii' }), (text) => {
        // Nothing that the request line would take for a quote, an option or an end.
        const name = `n${text.slice(0, 120).replaceAll(/[^!#-~]/g, 'é')}`;
        const answer = ask(path, `dx_hash -h half_md4 -s 00112233-4455-6677-8899-aabbccddeeff "${name}"`);
        const { major, minor } = hashName(rawFromUtf8(name), EXT4_OPTIONS.hashSeed);
        expect(answer).toContain(`0x${major.toString(16)} (minor 0x${minor.toString(16)})`);
      }),
      { numRuns: 40 },
    );
  });
});

describe('mke2fs', () => {
  const mke2fs = findOracle('mke2fs');
  oracleTest({ mke2fs, e2fsck })('what it made can be read, written by us, and read as the same', () => {
    const source = join(folder, 'source');
    mkdirSync(join(source, 'sub'), { recursive: true });
    const made = join(folder, 'made');
    execFileSync(mke2fs ?? '', ['-q', '-t', 'ext4', '-d', source, made, '32M'], { env: ORACLE_ENV });
    const bytes = readFileSync(made);
    const entries = openExt4(sourceFromBytes(new Uint8Array(bytes))).entries();
    const ours = writeExt4(entries, { ...EXT4_OPTIONS, sizeBytes: 32 << 20 });
    expect(openExt4(ours).entries().map(plain)).toEqual(entries.map(plain));
    expectClean(store(ours));
  });
});

describe('a journal', () => {
  oracleTest({ e2fsck, dumpe2fs })('e2fsck and dumpe2fs know the journal, in primary and backups', () => {
    for (const sizeBytes of [16 << 20, 256 << 20, 1024 ** 3]) {
      const path = store(writeExt4(TREE, { ...EXT4_OPTIONS, sizeBytes, inodeCount: 8000, journal: true }));
      expectClean(path);
      if (sizeBytes > 128 << 20) expectClean(path, '-b', '32768', '-B', '4096');
      const shown = execFileSync(dumpe2fs ?? '', ['-h', path], { env: ORACLE_ENV, encoding: 'utf8' });
      expect(shown).toMatch(/has_journal/);
      expect(shown).toMatch(/^Journal inode: +8$/m);
      expect(shown).toMatch(/^Journal start: +0$/m);
    }
  });
});
