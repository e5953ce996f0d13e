import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { rawFromUtf8 } from '../../../tools/bytes/text.ts';
import { FileMaker, FileNotMade } from '../../../tools/commands/file-maker.ts';
import { removePendingFiles } from '../../../tools/commands/pending-files.ts';
import { writeTreeToFolder } from '../../../tools/commands/tree-folder.ts';
import { CvmError } from '../../../tools/errors.ts';
import type { TreeEntry } from '../../../tools/tree/entry.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { dirEntry, fileEntry, hardlinkEntry, linkEntry } from '../../support/ext4-trees.ts';
import { noise } from '../../support/noise.ts';

const work = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'file-maker-'));
afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

/** Enough for a thread, and then as much again: 30 MiB in files of up to 100 KB. */
const MANY: readonly TreeEntry[] = Array.from({ length: 600 }, (_, i) =>
  fileEntry(`d${i % 7}/f${i}`, noise((i * 7919) % 104_729, i + 1), {
    mode: [0o644, 0o400, 0o755][i % 3] as number,
    mtimeSec: 1_000_000_000 + i,
  }),
);
const FOLDERS = Array.from({ length: 7 }, (_, i) => dirEntry(`d${i}`));

function expectFile(path: string, entry: TreeEntry): void {
  if (entry.type !== 'file') throw new Error('no file');
  const { mode, mtimeMs } = statSync(path);
  expect(mode & 0o777, path).toBe(entry.mode);
  expect(mtimeMs / 1000, path).toBe(entry.mtimeSec);
  expect(readFileSync(path).equals(entry.content.read(0, entry.content.sizeBytes)), path).toBe(true);
}

describe('a tree of many files', () => {
  test('comes out whole, with links to files that a thread makes', async () => {
    const large = noise((3 << 20) + 5, 9);
    const holes = sparseSource(9 << 20, [
      { offset: 4096, source: sourceFromBytes(noise(100, 3)) },
      { offset: 5 << 20, source: sourceFromBytes(noise(70_000, 4)) },
    ]);
    const entries = [
      dirEntry(''),
      ...FOLDERS,
      ...MANY,
      fileEntry('large', large),
      fileEntry('holes', holes),
      fileEntry('empty'),
      hardlinkEntry('other', 'd4/f599'),
      linkEntry('soft', 'd4/f599'),
    ];
    const out = join(work, 'whole');
    await writeTreeToFolder(entries, out, false);
    for (const entry of entries) if (entry.type === 'file') expectFile(join(out, entry.path), entry);
    expect(lstatSync(join(out, 'other')).ino).toBe(lstatSync(join(out, 'd4/f599')).ino);
    expect(statSync(join(out, 'holes')).blocks).toBeLessThan(400);
    expect(readdirSync(work)).toEqual(['whole']);
  });

  test.each([0, 5, 300, 599])(
    'a file that cannot be made, number %i, is named, and nothing stays',
    async (index) => {
      const folder = mkdtempSync(join(work, 'refused-'));
      const name = `d1/${'n'.repeat(300)}`;
      const entries = [
        dirEntry(''),
        ...FOLDERS,
        ...MANY.slice(0, index),
        fileEntry(name, noise(10)),
        ...MANY.slice(index),
      ];
      const error = await writeTreeToFolder(entries, join(folder, 'out'), false).catch(
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({ code: 'OUTPUT_WRITE', kind: 'usage' });
      expect((error as CvmError).facts[0]).toEqual(['at', `/${name}`]);
      expect((error as CvmError).facts[1]?.[1]).toContain('ENAMETOOLONG');
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  test('what a content throws comes through, and nothing stays', async () => {
    const folder = mkdtempSync(join(work, 'broken-'));
    for (const size of [10, 2 << 20]) {
      const broken: ByteSource = {
        sizeBytes: size,
        extents: [{ offset: 0, length: size }],
        read() {
          throw new CvmError('format', 'SOURCE_BROKE', 'broken');
        },
      };
      const entries = [dirEntry(''), ...FOLDERS, ...MANY, fileEntry('z', broken)];
      await expectCvmRejection(() => writeTreeToFolder(entries, join(folder, 'out'), false), 'SOURCE_BROKE');
      expect(readdirSync(folder)).toEqual([]);
    }
  });

  test('a signal takes away what is there, and the thread makes no more', async () => {
    const folder = mkdtempSync(join(work, 'signal-'));
    const done = writeTreeToFolder([dirEntry(''), ...FOLDERS, ...MANY], join(folder, 'out'), false);
    const outcome = done.catch((thrown: unknown) => thrown);
    const filled = (): number =>
      readdirSync(folder).reduce(
        (sum, name) => sum + readdirSync(join(folder, name), { recursive: true }).length,
        0,
      );
    while (filled() < 400) await setImmediate();
    removePendingFiles();
    expect(readdirSync(folder)).toEqual([]);
    expect(await outcome).toMatchObject({ code: 'OUTPUT_WRITE' });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('a maker of files', () => {
  const file = (path: string, content: Uint8Array) => ({
    path: rawFromUtf8(path),
    content: sourceFromBytes(content),
    mode: 0o640,
    owner: undefined,
    mtime: '1.5',
  });

  test('makes nothing through a link, and takes no place of another', async () => {
    const outside = join(work, 'outside');
    for (const length of [3, 2 << 20]) {
      for (const place of ['link', 'taken']) {
        const folder = mkdtempSync(join(work, 'places-'));
        symlinkSync(outside, join(folder, 'link'));
        writeFileSync(join(folder, 'taken'), 'before');
        const maker = new FileMaker();
        await expect(
          maker.add(file(join(folder, place), noise(length))).then(() => maker.finish()),
        ).rejects.toBeInstanceOf(FileNotMade);
        await maker.close();
        expect(readFileSync(join(folder, 'taken'), 'utf8')).toBe('before');
        expect(() => statSync(outside)).toThrow('ENOENT');
      }
    }
  });

  test('leaves others their turns while it makes a file of many small pieces', async () => {
    const count = 20_000;
    const pieces = Array.from({ length: count }, (_, i) => ({
      offset: 2 * i,
      source: sourceFromBytes(Uint8Array.of(1 + (i % 255))),
    }));
    const content = sparseSource(2 * count, pieces);
    const folder = mkdtempSync(join(work, 'pieces-'));
    const maker = new FileMaker();
    const before = noise(70_000, 2);
    await maker.add(file(join(folder, 'before'), before));
    let isDone = false;
    const made = maker
      .add({ ...file(join(folder, 'f'), noise(0)), content })
      .then(() => maker.finish())
      .finally(() => {
        isDone = true;
      });
    let turns = 0;
    for (; !isDone; turns++) await setImmediate();
    await made;
    await maker.close();
    expect(turns).toBeGreaterThan(count / 100);
    expect(readFileSync(join(folder, 'f')).equals(content.read(0, 2 * count))).toBe(true);
    expect(readFileSync(join(folder, 'before')).equals(before)).toBe(true);
  });

  /** Adds small files until a thread has some of them in hand. */
  async function addUntilPosted(maker: FileMaker, folder: string): Promise<Worker> {
    const posted = vi.spyOn(Worker.prototype, 'postMessage');
    try {
      for (let i = 0; posted.mock.contexts.length === 0; i++)
        await maker.add(file(join(folder, `f${i}`), noise(2000)));
      return posted.mock.contexts[0] as Worker;
    } finally {
      posted.mockRestore();
    }
  }

  test.runIf(availableParallelism() > 1)('makes no file in its thread after a signal', async () => {
    for (let i = 0; i < 5; i++) {
      const folder = mkdtempSync(join(work, 'stopped-'));
      const maker = new FileMaker();
      await addUntilPosted(maker, folder);
      removePendingFiles();
      const made = readdirSync(folder).length;
      await maker.finish();
      await maker.close();
      expect(readdirSync(folder)).toHaveLength(made);
    }
  });

  test.runIf(availableParallelism() > 1)('does not wait for a thread that has ended', async () => {
    const maker = new FileMaker();
    const worker = await addUntilPosted(maker, mkdtempSync(join(work, 'ended-')));
    await worker.terminate();
    await expect(maker.finish()).rejects.toThrow('the thread that makes files ended');
    await maker.close();
  });

  test('keeps any bytes of a name, and a time with a fraction', async () => {
    const maker = new FileMaker();
    const folder = mkdtempSync(join(work, 'names-'));
    await maker.add({ ...file('', noise(5)), path: `${rawFromUtf8(folder)}/\xff\xfe\n` });
    await maker.finish();
    await maker.close();
    const [name] = readdirSync(folder, { encoding: 'buffer' });
    expect(name).toEqual(Buffer.from('\xff\xfe\n', 'latin1'));
    const path = Buffer.concat([Buffer.from(`${folder}/`), name as Buffer]);
    expect(statSync(path)).toMatchObject({ mtimeMs: 1500, size: 5 });
    expect(statSync(path).mode & 0o777).toBe(0o640);
  });
});
