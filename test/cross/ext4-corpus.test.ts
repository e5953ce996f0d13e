import { spawnSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { openFile } from '../../tools/commands/files.ts';
import { CvmError } from '../../tools/errors.ts';
import { openExt4 } from '../../tools/ext4/reader.ts';
import { describeFolder, describeImage, settleTimes } from '../support/disk-trees.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

/*
 * Images of mke2fs with each feature alone and with any two together, made here and now from one small tree, and read
 * back. What mke2fs itself refuses to combine is listed, so that no pair is left out unseen.
 */
const mke2fs = findOracle('mke2fs');
const withMke2fs = oracleTest({ mke2fs });

interface Feature {
  /** Of `-O`. */
  readonly features?: string;
  readonly args?: readonly string[];
  /** Two features that set the same knob have no pair. */
  readonly knob?: string;
}

const FEATURES: Readonly<Record<string, Feature>> = {
  'ext4 as it is': {},
  '1 KiB blocks': { args: ['-b', '1024'], knob: 'block size' },
  '2 KiB blocks': { args: ['-b', '2048'], knob: 'block size' },
  '64 KiB blocks': { args: ['-b', '65536'], knob: 'block size' },
  '128-byte inodes': { args: ['-I', '128'], knob: 'inode size' },
  '512-byte inodes': { args: ['-I', '512'], knob: 'inode size' },
  'without 64bit': { features: '^64bit' },
  'without flex_bg': { features: '^flex_bg' },
  meta_bg: { features: 'meta_bg,^resize_inode' },
  bigalloc: { features: 'bigalloc' },
  'without metadata_csum': { features: '^metadata_csum', knob: 'checksums' },
  uninit_bg: { features: 'uninit_bg,^metadata_csum', knob: 'checksums' },
  metadata_csum_seed: { features: 'metadata_csum_seed', knob: 'checksums' },
  inline_data: { features: 'inline_data' },
  ea_inode: { features: 'ea_inode' },
  large_dir: { features: 'large_dir' },
  'without extents': { features: '^extent,^64bit' },
  'without journal': { features: '^has_journal', knob: 'journal' },
  fast_commit: { features: 'fast_commit', knob: 'journal' },
  orphan_file: { features: 'orphan_file', knob: 'journal' },
  'without sparse_super': { features: '^sparse_super,^resize_inode', knob: 'backups' },
  sparse_super2: { features: 'sparse_super2', knob: 'backups' },
  quota: { features: 'quota' },
  project: { features: 'project' },
  mmp: { features: 'mmp' },
  verity: { features: 'verity' },
  stable_inodes: { features: 'stable_inodes' },
  'without dir_index': { features: '^dir_index' },
  'without filetype': { features: '^filetype' },
  'without huge_file': { features: '^huge_file' },
  'without dir_nlink': { features: '^dir_nlink' },
  'without extra_isize': { features: '^extra_isize' },
  'without resize_inode': { features: '^resize_inode' },
  'many small groups': { args: ['-g', '1024'], knob: 'groups' },
};

/** What mke2fs 1.47 does not make, and says so. */
const NOT_MADE: ReadonlySet<string> = new Set([
  '128-byte inodes + inline_data',
  '128-byte inodes + project',
  'bigalloc + without extents',
]);

/** What some versions of it do not make: since 1.47.1 verity needs extents. */
const MAY_NOT_BE_MADE: ReadonlySet<string> = new Set(['without extents + verity']);

let work = '';
let tree = '';
let expected: readonly string[] = [];

beforeAll(() => {
  if (mke2fs === undefined) return;
  work = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'ext4-corpus-'));
  tree = join(work, 'tree');
  mkdirSync(join(tree, 'a/b'), { recursive: true });
  mkdirSync(join(tree, 'many'));
  for (const size of [0, 1, 60, 100, 129, 1024, 4096, 70_000]) {
    writeFileSync(join(tree, `a/size-${size}`), new Uint8Array(size).fill(1 + (size % 250)));
  }
  // Data and holes in turns: more runs than an inode holds, and indirect blocks.
  const striped = new Uint8Array(40 * 16_384);
  for (let at = 0; at < striped.length; at += 32_768) striped.fill(7, at, at + 16_384);
  striped.fill(9, striped.length - 10);
  writeFileSync(join(tree, 'a/b/striped'), striped);
  for (let i = 0; i < 120; i++) writeFileSync(join(tree, 'many', `a-name-of-some-length-${i}`), `${i}`);
  linkSync(join(tree, 'a/size-60'), join(tree, 'a/b/second-name'));
  symlinkSync('size-1', join(tree, 'a/short'));
  symlinkSync('s'.repeat(200), join(tree, 'a/long'));
  settleTimes(tree);
  expected = describeFolder(tree);
});

afterAll(() => {
  if (work !== '') rmSync(work, { recursive: true });
});

/** Whether mke2fs makes it; the image is at `path`. */
function make(path: string, chosen: readonly Feature[]): boolean {
  rmSync(path, { force: true });
  writeFileSync(path, '');
  const is64k = chosen.some(({ args }) => args?.includes('65536') === true);
  truncateSync(path, (is64k ? 256 : 24) << 20);
  const features = chosen.flatMap((feature) => feature.features ?? []);
  const args = [
    ...['-q', '-F', '-t', 'ext4', '-N', '400', '-E', 'lazy_itable_init=0,nodiscard'],
    ...(chosen.some(({ knob }) => knob === 'block size') ? [] : ['-b', '4096']),
    ...chosen.flatMap((feature) => feature.args ?? []),
    ...(features.length === 0 ? [] : ['-O', features.join(',')]),
    ...['-U', '11111111-2222-3333-4444-555555555555', '-d', tree, path],
  ];
  const { status } = spawnSync(mke2fs ?? '', args, {
    env: { ...ORACLE_ENV, E2FSPROGS_FAKE_TIME: '1700000000', MKE2FS_SYNC: '0' },
    stdio: 'ignore',
  });
  return status === 0;
}

/** Undefined when all is well. */
function problemOf(path: string): string | undefined {
  const file = openFile(path);
  try {
    const image = openExt4(file);
    image.verifyBitmaps();
    expect(describeImage(image)).toEqual(expected);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.slice(0, 300) : 'unknown';
  } finally {
    file.close();
  }
}

const names = Object.keys(FEATURES);

names.forEach((name, i) => {
  withMke2fs(
    `${name}, alone and with every other feature`,
    () => {
      const first = FEATURES[name] as Feature;
      const path = join(work, `${i}.img`);
      const problems: string[] = [];
      const notMade: string[] = [];
      for (const other of names.slice(i)) {
        const second = FEATURES[other] as Feature;
        if (other !== name && first.knob !== undefined && first.knob === second.knob) continue;
        const pair = other === name ? name : `${name} + ${other}`;
        if (!make(path, other === name ? [first] : [first, second])) {
          notMade.push(pair);
          continue;
        }
        const problem = problemOf(path);
        if (problem !== undefined) problems.push(`${pair}: ${problem}`);
      }
      rmSync(path, { force: true });
      expect(problems).toEqual([]);
      const wanted = [...NOT_MADE].filter((pair) => pair === name || pair.startsWith(`${name} + `));
      expect(notMade.filter((pair) => !MAY_NOT_BE_MADE.has(pair))).toEqual(wanted);
    },
    240_000,
  );
});

withMke2fs('what cannot be read as it stands is refused by name', () => {
  const path = join(work, 'refused.img');
  for (const [features, code] of [
    ['encrypt', 'EXT4_ENCRYPTED'],
    ['casefold', 'EXT4_FEATURE_UNSUPPORTED'],
    ['journal_dev', 'EXT4_JOURNAL_DEVICE'],
  ] as const) {
    rmSync(path, { force: true });
    writeFileSync(path, '');
    truncateSync(path, 24 << 20);
    const args = ['-q', '-F', '-t', 'ext4', '-b', '4096', '-O', features, path];
    expect(spawnSync(mke2fs ?? '', args, { env: ORACLE_ENV, stdio: 'ignore' }).status).toBe(0);
    const file = openFile(path);
    try {
      openExt4(file);
      throw new Error(`${features} was read`);
    } catch (error) {
      expect([features, error instanceof CvmError ? error.code : error]).toEqual([features, code]);
    } finally {
      file.close();
    }
  }
});

withMke2fs('files over 4 GiB: sizes, places and holes, with extents and with indirect blocks', () => {
  const folder = join(work, 'large');
  mkdirSync(folder);
  const data = join(folder, 'data');
  writeFileSync(data, 'start');
  truncateSync(data, 5 * 2 ** 30 + 3);
  const handle = openSync(data, 'r+');
  const at = 4 * 2 ** 30 + 8192;
  writeSync(handle, 'past four gibibytes', at);
  closeSync(handle);
  for (const type of ['ext4', 'ext2']) {
    const path = join(work, 'large.img');
    writeFileSync(path, '');
    truncateSync(path, 64 << 20);
    const args = ['-q', '-F', '-t', type, '-b', '4096', '-d', folder, path];
    expect(spawnSync(mke2fs ?? '', args, { env: ORACLE_ENV, stdio: 'ignore' }).status).toBe(0);
    const file = openFile(path);
    try {
      const entry = openExt4(file).lookup('data');
      if (entry?.type !== 'file') throw new Error('not a file');
      expect(entry.content.sizeBytes).toBe(5 * 2 ** 30 + 3);
      expect(entry.content.extents).toEqual([
        { offset: 0, length: 4096 },
        { offset: at, length: 4096 },
      ]);
      expect(Buffer.from(entry.content.read(at, 19)).toString()).toBe('past four gibibytes');
      expect(entry.content.read(5 * 2 ** 30, 3)).toEqual(new Uint8Array(3));
    } finally {
      file.close();
    }
    rmSync(path);
  }
});
