/** File systems of ours in the hands of Linux itself. Bazel's sandbox mounts nothing, so this is asked out here. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { hexToBytes } from '../../tools/bytes/hex.ts';
import { sourceFromBytes, sparseSource } from '../../tools/bytes/source.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import { command as ext4Put } from '../../tools/commands/ext4-put.ts';
import { openFile, writeSourceWhole } from '../../tools/commands/files.ts';
import { writeExt4 } from '../../tools/ext4/writer.ts';
import { treeFromTar } from '../../tools/tar/tree.ts';
import type { TreeEntry } from '../../tools/tree/entry.ts';
import {
  canonical,
  combSource,
  COMMON,
  dirEntry,
  EXT4_OPTIONS,
  fileEntry,
  hardlinkEntry,
  linkEntry,
  plain,
} from '../support/ext4-trees.ts';
import { runCommand } from '../support/run-command.ts';
import { findOracle } from '../cross/oracle.ts';
import { REAL_PARTS_MISSING, runInRoot } from './oracle-root.ts';

const folder = mkdtempSync(join(tmpdir(), 'cvm-mount-'));
const image = join(folder, 'image');
const mount = join(folder, 'mount');
mkdirSync(mount);

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function makeSparse(path: string, sizeBytes: number): void {
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
}

/** Has the kernel mount an image while something is done in it. */
async function mounted(path: string, options: string, work: () => Promise<void> | void): Promise<void> {
  execFileSync('mount', ['-o', options, path, mount]);
  try {
    await work();
  } finally {
    execFileSync('umount', [mount]);
  }
}

/** Whether the kernel mounts here what somebody else's program makes: in a container it may not, even for root. */
function mayMount(type: string, sizeBytes: number, make: (path: string) => unknown): boolean {
  const probe = join(folder, `probe-${type}`);
  makeSparse(probe, sizeBytes);
  make(probe);
  return (
    spawnSync('mount', ['-t', type, '-o', 'loop', probe, mount], { stdio: 'ignore' }).status === 0 &&
    spawnSync('umount', [mount]).status === 0
  );
}

/** Clean, and nothing printed but the passes and the summary. */
function expectClean(path: string): void {
  const remarks = runInRoot('e2fsck', ['-fn', path])
    .split('\n')
    .filter((line) => !/^(Pass [1-5]: |$)/.test(line));
  expect(remarks).toEqual([expect.stringMatching(/ files \(.*% non-contiguous\), [0-9]+\/[0-9]+ blocks$/)]);
}

const missing =
  REAL_PARTS_MISSING ??
  (mayMount('ext4', 4 << 20, (path) => runInRoot('mke2fs', ['-q', '-F', '-t', 'ext4', path]))
    ? undefined
    : 'no loop mounts');

function kernelTest(name: string, lacking: string | undefined, body: () => Promise<void>): void {
  if (lacking === undefined) test(name, body);
  else test.skip(`${name} skipped: ${lacking}`, body);
}

/** An ACL as the kernel hands it out: the owner, user 1000, the group, the mask, all others. */
const ACL = hexToBytes(
  '02000000' +
    '01000600ffffffff' +
    '02000700e8030000' +
    '04000400ffffffff' +
    '10000700ffffffff' +
    '20000400ffffffff',
);

const TREE: readonly TreeEntry[] = [
  dirEntry('d', { mode: 0o2755, uid: 70_000, gid: 80_000, mtimeSec: 2 ** 32 + 5, mtimeNsec: 123_456_789 }),
  fileEntry('d/content', utf8Bytes('content'), {
    mode: 0o4755,
    mtimeSec: 15_032_385_535,
    mtimeNsec: 999_999_999,
  }),
  fileEntry('d/before 1970', utf8Bytes('x'), { mtimeSec: -5, mtimeNsec: 7 }),
  hardlinkEntry('d/second', 'd/content'),
  fileEntry('attributes', new Uint8Array(5000).fill(1), {
    xattrs: new Map([
      ['security.selinux', utf8Bytes('system_u:object_r:etc_t:s0\0')],
      ['trusted.t', new Uint8Array(700).fill(2)],
      ['user.u', new Uint8Array(0)],
    ]),
  }),
  fileEntry('acl', utf8Bytes('x'), { mode: 0o674, xattrs: new Map([['system.posix_acl_access', ACL]]) }),
  fileEntry('comb', combSource(1400)),
  fileEntry(
    'hole',
    sparseSource(9_000_000, [{ offset: 8_000_000, source: sourceFromBytes(utf8Bytes('end')) }]),
  ),
  fileEntry('n\n\x1b\xff'),
  linkEntry('fast', 'f'.repeat(59)),
  linkEntry('slow', 's'.repeat(4095)),
  { ...COMMON, type: 'char', path: 'null', major: 1, minor: 3 },
  { ...COMMON, type: 'block', path: 'wide', major: 259, minor: 70_000 },
  { ...COMMON, type: 'fifo', path: 'pipe' },
];

kernelTest(
  'the kernel reads every name, content, owner, time and attribute that was written',
  missing,
  async () => {
    const archive = join(folder, 'seen.tar');
    for (const journal of [false, true]) {
      await writeSourceWhole(image, writeExt4(TREE, { ...EXT4_OPTIONS, sizeBytes: 64 << 20, journal }));
      await mounted(image, 'loop,ro', () => {
        const words = [
          '--create',
          '--sort=name',
          '--numeric-owner',
          '--format=pax',
          '--xattrs',
          '--xattrs-include=*',
        ];
        runInRoot('tar', [...words, `--directory=${mount}`, `--file=${archive}`, '.']);
      });
      const file = openFile(archive);
      expect(canonical(treeFromTar(file)).map(plain)).toEqual(canonical(TREE).map(plain));
      file.close();
    }
  },
);

kernelTest(
  'the kernel looks up 100,000 names through the index, and leaves a clean file system after heavy writes',
  missing,
  async () => {
    const names = Array.from({ length: 100_000 }, (_, i) => fileEntry(`many/name-${i}`));
    const tree = [
      dirEntry('many'),
      ...names,
      fileEntry('f', utf8Bytes('content')),
      fileEntry('comb', combSource(200)),
    ];
    const size = { ...EXT4_OPTIONS, sizeBytes: 512 << 20, inodeCount: 110_000 };
    for (const journal of [false, true]) {
      await writeSourceWhole(image, writeExt4(tree, { ...size, journal }));
      expectClean(image);
      await mounted(image, 'loop', () => {
        for (let i = 0; i < 100_000; i += 97) expect(lstatSync(join(mount, `many/name-${i}`)).size).toBe(0);
        expect(() => lstatSync(join(mount, 'many/name-100000'))).toThrow(/ENOENT/);
        for (let i = 0; i < 3000; i++) {
          if (i % 2 === 0) rmSync(join(mount, `many/name-${i}`));
          writeFileSync(join(mount, `many/new-${i}`), 'x'.repeat(i));
          if (i % 3 === 0) renameSync(join(mount, `many/new-${i}`), join(mount, `many/renamed-${i}`));
        }
        // Holes are filled: the extent tree grows under its indexes.
        const comb = openSync(join(mount, 'comb'), 'r+');
        for (let i = 0; i < 100; i += 2) writeSync(comb, utf8Bytes('filled'), 0, 6, i * 8192 + 4096);
        closeSync(comb);
        truncateSync(join(mount, 'f'), 70_000);
        mkdirSync(join(mount, 'a/b/c'), { recursive: true });
        symlinkSync('t'.repeat(300), join(mount, 'a/b/link'));
        // Until nothing is left.
        const large = openSync(join(mount, 'large'), 'w');
        const chunk = new Uint8Array(8 << 20).fill(1);
        expect(() => {
          for (;;) writeSync(large, chunk);
        }).toThrow(/ENOSPC/);
        closeSync(large);
      });
      expectClean(image);
      await mounted(image, 'loop,ro', () => {
        expect(readFileSync(join(mount, 'f')).subarray(0, 9).toString()).toBe('content\0\0');
        expect(readFileSync(join(mount, 'comb')).subarray(4096, 4102).toString()).toBe('filled');
        expect(readdirSync(join(mount, 'many'))).toHaveLength(100_000 - 1500 + 3000);
      });
    }
  },
);

/** Why this kernel or this machine has no such file system. Its maker is the machine's: nothing of ours is asked of it. */
function whyNot(type: string): string | undefined {
  const program = findOracle(`mkfs.${type}`);
  if (program === undefined) return `no mkfs.${type}`;
  return mayMount(type, 512 << 20, (path) => execFileSync(program, ['-q', path]))
    ? undefined
    : `no ${type} mounts`;
}

for (const type of ['xfs', 'btrfs']) {
  const lacking = missing ?? whyNot(type);
  kernelTest(
    `ext4 put on ${type} shares the image's blocks, and makes the same bytes as elsewhere`,
    lacking,
    async () => {
      const content = join(folder, 'content');
      writeFileSync(content, 'new content');
      const bytes = new Uint8Array(100 << 20).map((_, i) => 1 + (i % 251));
      const plainImage = join(folder, 'plain');
      const options = { ...EXT4_OPTIONS, sizeBytes: 256 << 20 };
      await writeSourceWhole(plainImage, writeExt4([dirEntry('d'), fileEntry('large', bytes)], options));
      await mounted(join(folder, `probe-${type}`), 'loop', async () => {
        const there = join(mount, 'image');
        copyFileSync(plainImage, there);
        execFileSync('sync', ['-f', mount]);
        // The old image keeps its blocks, so that new ones would show.
        const held = openSync(there, 'r');
        const before = freeBytes();
        await runCommand(ext4Put, folder, [there, `${content}:/d/new:0640`], {});
        execFileSync('sync', ['-f', mount]);
        expect(before - freeBytes()).toBeLessThan(20 << 20);
        closeSync(held);
        await runCommand(ext4Put, folder, [plainImage, `${content}:/d/new:0640`], {});
        expect(readFileSync(there).equals(readFileSync(plainImage))).toBe(true);
        expect(readdirSync(mount)).toEqual(['image']);
      });
      expectClean(plainImage);
    },
  );
}

function freeBytes(): number {
  const { bavail, bsize } = statfsSync(mount);
  return bavail * bsize;
}
