import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { sourceFromBytes } from '../../tools/bytes/source.ts';
import { openFile, writeSourceWhole } from '../../tools/commands/files.ts';
import { putFile } from '../../tools/ext4/put-file.ts';
import { openExt4 } from '../../tools/ext4/reader.ts';
import { writeExt4 } from '../../tools/ext4/writer.ts';
import { dirEntry, EXT4_OPTIONS, fileEntry } from '../support/ext4-trees.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const mke2fs = findOracle('mke2fs');
const e2fsck = findOracle('e2fsck');
const withE2fsprogs = oracleTest({ mke2fs, e2fsck });
const work = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'ext4-put-'));
afterAll(() => {
  rmSync(work, { recursive: true });
});

function run(program: string | undefined, args: readonly string[], allowed: readonly number[] = [0]): void {
  const env = { ...ORACLE_ENV, E2FSPROGS_FAKE_TIME: '1700000000' };
  const result = spawnSync(program ?? '', args, { env, encoding: 'utf8' });
  const output = `${program} ${args.join(' ')}\n${result.stdout}\n${result.stderr}`;
  if (!allowed.includes(result.status ?? -1)) throw new Error(output);
}

/** Clean, and nothing to remark. */
function expectClean(path: string): void {
  const result = spawnSync(e2fsck ?? '', ['-fn', path], { env: ORACLE_ENV, encoding: 'utf8' });
  const remarks = result.stdout.split('\n').filter((line) => !/^(Pass [1-5]: |$)/.test(line));
  expect(remarks).toEqual([expect.stringMatching(/ files \(.*blocks$/)]);
  expect(result.status).toBe(0);
}

/** Puts files one after the other, each into what the one before made. */
function putAll(path: string, files: Iterable<readonly [string, Uint8Array]>): void {
  let bytes = new Uint8Array(readFileSync(path));
  for (const [name, content] of files) {
    const changed = putFile(sourceFromBytes(bytes), {
      path: name,
      content: sourceFromBytes(content),
      mode: 0o640,
      mtimeSec: 2_000_000_000,
    });
    bytes = changed.read(0, bytes.length) as Uint8Array<ArrayBuffer>;
  }
  writeFileSync(path, bytes);
}

function expectContent(path: string, name: string, bytes: Uint8Array): void {
  const file = openFile(path);
  try {
    const image = openExt4(file);
    image.verifyBitmaps();
    const entry = image.lookup(name);
    if (entry?.type !== 'file') throw new Error(`${name} is no file`);
    expect([entry.mode, entry.mtimeSec]).toEqual([0o640, 2_000_000_000]);
    expect(Buffer.from(entry.content.read(0, entry.content.sizeBytes)).equals(bytes)).toBe(true);
  } finally {
    file.close();
  }
}

const bytesOf = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => 1 + ((i * seed + (i >> 9)) % 255));

/** Data and holes in turns: more runs than an inode holds. */
function striped(blocks: number): Uint8Array {
  const bytes = new Uint8Array(blocks * 65_536);
  for (let i = 0; i < blocks; i += 2) bytes.fill(1 + (i % 250), i * 65_536, (i + 1) * 65_536);
  bytes.fill(5, bytes.length - 3);
  return bytes;
}

const RECIPES: Readonly<Record<string, { args: readonly string[]; megabytes?: number; indexed?: boolean }>> =
  {
    'mke2fs as it is': { args: ['-b', '4096'] },
    '1 KiB blocks': { args: ['-b', '1024'] },
    '64 KiB blocks': { args: ['-b', '65536'], megabytes: 256 },
    'without checksums': { args: ['-b', '4096', '-O', '^metadata_csum'] },
    uninit_bg: { args: ['-b', '1024', '-O', 'uninit_bg,^metadata_csum'] },
    'metadata_csum_seed and 32-byte descriptors': {
      args: ['-b', '1024', '-O', '^64bit,metadata_csum_seed'],
    },
    meta_bg: { args: ['-b', '1024', '-g', '2048', '-O', 'meta_bg,^resize_inode'] },
    'without flex_bg and journal': { args: ['-b', '4096', '-g', '2048', '-O', '^flex_bg,^has_journal'] },
    '128-byte inodes': { args: ['-b', '4096', '-I', '128'] },
    'without filetype': { args: ['-b', '4096', '-O', '^filetype'] },
    'indexed directories': { args: ['-b', '1024'], indexed: true },
    ea_inode: { args: ['-b', '4096', '-O', 'ea_inode,large_dir,orphan_file'] },
  };

for (const [name, { args, megabytes = 40, indexed = false }] of Object.entries(RECIPES)) {
  withE2fsprogs(`files put into an image of mke2fs leave it clean: ${name}`, () => {
    const tree = join(work, 'tree');
    rmSync(tree, { recursive: true, force: true });
    mkdirSync(join(tree, 'etc'), { recursive: true });
    writeFileSync(join(tree, 'etc/old'), bytesOf(300_000, 3));
    writeFileSync(join(tree, 'etc/keep'), 'kept');
    for (let i = 0; i < (indexed ? 400 : 5); i++)
      writeFileSync(join(tree, `etc/file-of-some-length-${i}`), '');
    const path = join(work, 'image');
    rmSync(path, { force: true });
    writeFileSync(path, '');
    truncateSync(path, megabytes << 20);
    run(mke2fs, ['-q', '-F', '-t', 'ext4', ...args, '-N', '3000', '-d', tree, path]);
    if (indexed) run(e2fsck, ['-fyD', path], [0, 1]);
    expectClean(path);

    const contents = new Map([
      ['etc/old', bytesOf(1_234_567, 7)],
      ['etc/empty', new Uint8Array(0)],
      ['new', bytesOf(10, 5)],
      ['etc/striped', striped(24)],
      ...Array.from({ length: megabytes > 100 ? 6 : 24 }, (_, i): [string, Uint8Array] => [
        `etc/${'n'.repeat(150)}-${i}`,
        bytesOf(i * 100, 11),
      ]),
    ]);
    putAll(path, contents);
    putAll(path, [['etc/old', bytesOf(77, 13)]]);
    contents.set('etc/old', bytesOf(77, 13));
    expectClean(path);
    for (const [place, bytes] of contents) expectContent(path, place, bytes);
    const file = openFile(path);
    const kept = openExt4(file).lookup('etc/keep');
    expect(kept?.type === 'file' && Buffer.from(kept.content.read(0, 4)).toString()).toBe('kept');
    file.close();
  });
}

withE2fsprogs('full leaves of an index are split: an image of ours with 5,000 names', async () => {
  const path = join(work, 'ours');
  const entries = [
    dirEntry('many'),
    ...Array.from({ length: 5000 }, (_, i) => fileEntry(`many/name-of-a-file-${i}`)),
  ];
  const image = writeExt4(entries, { ...EXT4_OPTIONS, sizeBytes: 64 << 20, inodeCount: 6000 });
  await writeSourceWhole(path, image);
  putAll(
    path,
    Array.from({ length: 40 }, (_, i) => [`many/added-${i}`, bytesOf(i, 3)] as const),
  );
  expectClean(path);
  for (let i = 0; i < 40; i++) expectContent(path, `many/added-${i}`, bytesOf(i, 3));
});

withE2fsprogs('an image is filled to its last block, and then says what is missing', async () => {
  const path = join(work, 'full');
  await writeSourceWhole(path, writeExt4([], { ...EXT4_OPTIONS, sizeBytes: 256 << 10, inodeCount: 32 }));
  const file = openFile(path);
  const free = 64 - 10;
  try {
    expect(() =>
      putFile(file, { path: 'f', content: sourceFromBytes(bytesOf(64 * 4096, 3)), mode: 0o644, mtimeSec: 0 }),
    ).toThrow(/too little free space/);
  } finally {
    file.close();
  }
  putAll(path, [['f', bytesOf((free - 1) * 4096, 3)]]);
  expectClean(path);
});
