import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sourceFromBytes, type ByteSource } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { onPendingFiles, removePendingFiles } from '../../../tools/commands/pending-files.ts';
import { writeTreeToFolder } from '../../../tools/commands/tree-folder.ts';
import { CvmError, formatError, type ErrorKind } from '../../../tools/errors.ts';
import { NO_XATTRS, type EntryCommon, type TreeEntry } from '../../../tools/tree/entry.ts';
import { open, vectorImage, VECTORS } from './image-patch.ts';

let work = '';
beforeEach(() => {
  work = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'extract-'));
});
afterEach(() => rmSync(work, { recursive: true }));

const COMMON = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 1_600_000_000, mtimeNsec: 0, xattrs: NO_XATTRS };
const ROOT: TreeEntry = { ...COMMON, path: '', type: 'dir' };
const folder = (path: string): TreeEntry => ({ ...COMMON, path, type: 'dir' });
const link = (path: string, target: string): TreeEntry => ({ ...COMMON, path, type: 'symlink', target });
const hardlink = (path: string, linkPath: string): TreeEntry => ({
  ...COMMON,
  path,
  type: 'hardlink',
  linkPath,
});
const file = (path: string, content: ByteSource = sourceFromBytes(utf8Bytes('content'))): TreeEntry => ({
  ...COMMON,
  path,
  type: 'file',
  content,
});

async function refused(
  entries: readonly TreeEntry[],
  to = 'out',
): Promise<{ kind: ErrorKind; code: string }> {
  try {
    await writeTreeToFolder(entries, join(work, to), false);
  } catch (error) {
    if (error instanceof CvmError) return { kind: error.kind, code: error.code };
    throw error;
  }
  throw new Error('not refused');
}

for (const name of VECTORS) {
  test(`the files of ${name} come out with contents, modes, links and times`, async () => {
    const entries = open(vectorImage(name)).entries();
    const out = join(work, 'new', 'out');
    const notKept = await writeTreeToFolder(entries, out, false);
    expect(notKept).toEqual({ special: 5, withXattrs: 3, owners: true });
    for (const entry of entries) {
      const path = Buffer.concat([Buffer.from(`${out}/`), Buffer.from(entry.path, 'latin1')]);
      if (
        entry.type === 'char' ||
        entry.type === 'block' ||
        entry.type === 'fifo' ||
        entry.type === 'socket'
      ) {
        expect(existsSync(path)).toBe(false);
        continue;
      }
      const stat = lstatSync(path);
      expect(stat.mtimeMs).toBe(entry.mtimeSec * 1000);
      if (entry.type === 'symlink') expect(readlinkSync(path, 'latin1')).toBe(entry.target);
      else expect(stat.mode & 0o7777).toBe(entry.mode & 0o777);
      if (entry.type === 'file' && entry.content.sizeBytes < 1 << 20 && entry.mode !== 0) {
        expect(Buffer.compare(readFileSync(path), entry.content.read(0, entry.content.sizeBytes))).toBe(0);
      }
    }
    expect(statSync(join(out, 'etc/hello.txt')).ino).toBe(statSync(join(out, 'bin/hello-hard2')).ino);
    expect(statSync(join(out, 'etc/sparse-70m')).size).toBeGreaterThan(70 << 20);
    expect(statSync(join(out, 'etc/sparse-70m')).blocks * 512).toBeLessThan(1 << 20);
    expect(readdirSync(join(work, 'new'))).toEqual(['out']);
  });
}

const ESCAPES: readonly (readonly [what: string, entries: readonly TreeEntry[]])[] = [
  ['a file behind a link that leads outside', [ROOT, link('a', '/'), file('a/x')]],
  ['a file behind a link that leads inside', [ROOT, folder('b'), link('a', 'b'), file('a/x')]],
  ['a folder behind a link', [ROOT, link('a', '..'), folder('a/x')]],
  ['a name that is ..', [ROOT, file('..')]],
  ['a path with .. in it', [ROOT, folder('a'), file('a/../../x')]],
  ['an absolute path', [ROOT, file('/etc/x')]],
  ['a name that is .', [ROOT, link('.', 'x')]],
  ['a name with a NUL', [ROOT, file('a\0b')]],
  ['a parent that is a file', [ROOT, file('a'), file('a/x')]],
  ['a parent that is missing', [ROOT, file('a/x')]],
  ['a second root', [ROOT, ROOT]],
  ['a further name of something outside', [ROOT, hardlink('a', '../outside')]],
  ['a further name of something behind a link', [ROOT, link('l', '/etc'), hardlink('a', 'l/passwd')]],
  ['a further name of a folder', [ROOT, folder('b'), hardlink('a', 'b')]],
  ['no root', [file('a')]],
];

for (const [what, entries] of ESCAPES) {
  test(`a tree with ${what} is refused and leaves nothing behind`, async () => {
    writeFileSync(join(work, 'outside'), 'outside');
    expect(await refused(entries)).toEqual({ kind: 'format', code: 'TREE_ESCAPES' });
    expect(readdirSync(work)).toEqual(['outside']);
  });
}

test('one name twice is refused and leaves nothing behind: the second does not replace the first', async () => {
  for (const second of [file('a'), folder('a'), link('a', 'x'), hardlink('a', 'a')]) {
    expect((await refused([ROOT, link('a', '/dev/null'), second])).code).toBe('OUTPUT_WRITE');
    expect(readdirSync(work)).toEqual([]);
  }
});

test('a folder that holds something is refused and stays as it is', async () => {
  mkdirSync(join(work, 'out'));
  writeFileSync(join(work, 'out', '.hidden'), 'mine');
  expect(await refused([ROOT, file('a')])).toEqual({ kind: 'usage', code: 'OUTPUT_NOT_EMPTY' });
  expect(readdirSync(join(work, 'out'))).toEqual(['.hidden']);
});

test('a file in the place of the folder is refused and stays as it is', async () => {
  writeFileSync(join(work, 'out'), 'mine');
  expect(await refused([ROOT, file('a')])).toEqual({ kind: 'usage', code: 'OUTPUT_WRITE' });
  expect(readFileSync(join(work, 'out'), 'utf8')).toBe('mine');
});

test('an empty folder is filled, also one that is reached through a link', async () => {
  mkdirSync(join(work, 'real'));
  symlinkSync('real', join(work, 'out'));
  await writeTreeToFolder([ROOT, file('a')], join(work, 'out'), false);
  expect(readdirSync(join(work, 'real'))).toEqual(['a']);
  expect(lstatSync(join(work, 'out')).isSymbolicLink()).toBe(true);
});

test('a content that turns out to be damaged leaves nothing behind, and its error comes through', async () => {
  const broken: ByteSource = {
    sizeBytes: 10,
    extents: [{ offset: 0, length: 10 }],
    read() {
      throw formatError('BROKEN', 'broken');
    },
  };
  expect(await refused([ROOT, folder('a'), file('a/x'), file('a/y', broken)])).toEqual({
    kind: 'format',
    code: 'BROKEN',
  });
  expect(readdirSync(work)).toEqual([]);
});

test('a folder that nobody may write into is filled, whatever its mode says', async () => {
  const closed: TreeEntry = { ...COMMON, path: 'a', type: 'dir', mode: 0o555 };
  await writeTreeToFolder([ROOT, closed, file('a/x')], join(work, 'out'), false);
  expect(statSync(join(work, 'out/a')).mode & 0o777).toBe(0o555);
  expect(readFileSync(join(work, 'out/a/x'), 'utf8')).toBe('content');
  // So that the test's own clean-up may empty it.
  chmodSync(join(work, 'out/a'), 0o755);
});

test('a signal takes away what is half written: the folder is known as such until it has its name', async () => {
  const counts: number[] = [];
  onPendingFiles((count) => counts.push(count));
  try {
    await writeTreeToFolder([ROOT, file('a')], join(work, 'out'), false);
    expect(counts).toEqual([1, 0]);
    const done = writeTreeToFolder([ROOT, file('a')], join(work, 'second'), false);
    expect(readdirSync(work).filter((name) => name.startsWith('.second.partial-'))).toHaveLength(1);
    removePendingFiles();
    expect(readdirSync(work)).toEqual(['out']);
    await expect(done).rejects.toThrow();
  } finally {
    onPendingFiles(() => undefined);
  }
});

test('owners count as lost where they are not those of whoever extracts, and special bits always', async () => {
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  const own: TreeEntry = { ...ROOT, uid, gid };
  const lost = async (to: string, more: Partial<EntryCommon>): Promise<boolean> =>
    (await writeTreeToFolder([own, { ...file('f'), uid, gid, ...more }], join(work, to), false)).owners;
  expect(await lost('a', {})).toBe(false);
  expect(await lost('b', { uid: uid + 1 })).toBe(true);
  expect(await lost('c', { gid: gid + 1 })).toBe(true);
  expect(await lost('d', { mode: 0o4755 })).toBe(true);
});
