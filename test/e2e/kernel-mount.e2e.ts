/** A file system of ours in the hands of Linux itself. Bazel's sandbox mounts nothing, so this is asked out here. */
import { execFileSync, spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import { writeSourceWhole } from '../../tools/commands/files.ts';
import { writeExt4 } from '../../tools/ext4/writer.ts';
import { dirEntry, EXT4_OPTIONS, fileEntry } from '../support/ext4-trees.ts';
import { REAL_PARTS_MISSING, runInRoot } from './oracle-root.ts';

const folder = mkdtempSync(join(tmpdir(), 'cvm-mount-'));
const image = join(folder, 'image');
const mount = join(folder, 'mount');
mkdirSync(mount);

afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Whether the kernel mounts here what mke2fs made: in a container it may not, even for root. */
function mayMount(): boolean {
  const probe = join(folder, 'probe');
  writeFileSync(probe, '');
  truncateSync(probe, 4 << 20);
  runInRoot('mke2fs', ['-q', '-F', '-t', 'ext4', probe]);
  return (
    spawnSync('mount', ['-o', 'loop', probe, mount], { stdio: 'ignore' }).status === 0 &&
    spawnSync('umount', [mount]).status === 0
  );
}

const missing = REAL_PARTS_MISSING ?? (mayMount() ? undefined : 'no loop mounts');
(missing === undefined ? test : test.skip)(
  `the kernel looks up 100,000 names through the index, and leaves a clean file system after heavy writes${missing === undefined ? '' : ` skipped: ${missing}`}`,
  async () => {
    const names = Array.from({ length: 100_000 }, (_, i) => fileEntry(`many/name-${i}`));
    const tree = [dirEntry('many'), ...names, fileEntry('f', utf8Bytes('content'))];
    const size = { ...EXT4_OPTIONS, sizeBytes: 512 << 20, inodeCount: 110_000 };
    await writeSourceWhole(image, writeExt4(tree, { ...size, journal: true }));
    runInRoot('e2fsck', ['-fn', image]);
    execFileSync('mount', ['-o', 'loop', image, mount]);
    try {
      for (let i = 0; i < 100_000; i += 97) expect(lstatSync(join(mount, `many/name-${i}`)).size).toBe(0);
      expect(() => lstatSync(join(mount, 'many/name-100000'))).toThrow(/ENOENT/);
      for (let i = 0; i < 3000; i++) {
        if (i % 2 === 0) rmSync(join(mount, `many/name-${i}`));
        writeFileSync(join(mount, `many/new-${i}`), 'x'.repeat(i));
      }
      writeFileSync(join(mount, 'large'), new Uint8Array(100 << 20).fill(1));
    } finally {
      execFileSync('umount', [mount]);
    }
    runInRoot('e2fsck', ['-fn', image]);
  },
);
