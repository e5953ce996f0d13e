import { execFileSync } from 'node:child_process';
import fs, {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CHUNK_BYTES, sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { openFile, resolvePath, writeFileWhole, writeSourceWhole } from '../../../tools/commands/files.ts';
import { removePendingFiles } from '../../../tools/commands/pending-files.ts';
import { CvmError } from '../../../tools/errors.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import { piecesSource } from '../../support/trees.ts';

const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'cvm-files-'));
let count = 0;

/** A path of its own in a folder of its own. */
function place(name = 'out'): string {
  const own = join(folder, `${count++}`);
  mkdirSync(own);
  return join(own, name);
}

function neighbours(path: string): string[] {
  return readdirSync(join(path, '..')).sort();
}

describe('paths', () => {
  test('are resolved against the folder of the call', () => {
    expect(resolvePath({ cwd: '/a/b' }, '../c')).toBe('/a/c');
    expect(resolvePath({ cwd: '/a/b' }, '/c')).toBe('/c');
  });

  test.each(['', 'a\0b'])('rejects %j', (path) => {
    expectCvmError(() => resolvePath({ cwd: '/' }, path), 'PATH_INVALID', 'usage');
  });
});

describe('reading', () => {
  test('any range of a file, until it is closed', () => {
    const path = place();
    writeFileSync(path, 'content');
    const file = openFile(path);
    expect(file.sizeBytes).toBe(7);
    expect(file.extents).toEqual([{ offset: 0, length: 7 }]);
    expect(file.read(3, 2)).toEqual(utf8Bytes('te'));
    expectCvmError(() => file.read(3, 5), 'SOURCE_BOUNDS', 'format');
    file.close();
    file.close();
    expectCvmError(() => file.read(0, 1), 'INTERNAL', 'bug');
  });

  test('an empty file has no extents', () => {
    const path = place();
    writeFileSync(path, '');
    const file = openFile(path);
    expect(file.extents).toEqual([]);
    expect(file.read(0, 0)).toHaveLength(0);
    file.close();
  });

  test('rejects what is not there, a folder, a device and a pipe, without waiting for the pipe', () => {
    expectCvmError(() => openFile(place()), 'FILE_NOT_FOUND', 'usage');
    expectCvmError(() => openFile(join(place(), 'below')), 'FILE_NOT_FOUND');
    expectCvmError(() => openFile(folder), 'FILE_NOT_REGULAR', 'usage');
    expectCvmError(() => openFile('/dev/null'), 'FILE_NOT_REGULAR', 'usage');
    const pipe = place('pipe');
    execFileSync('mkfifo', [pipe]);
    expectCvmError(() => openFile(pipe), 'FILE_NOT_REGULAR');
  });

  test('rejects a path whose parent is a file', () => {
    const path = place();
    writeFileSync(path, '');
    expectCvmError(() => openFile(join(path, 'below')), 'FILE_NOT_FOUND', 'usage');
  });

  test('a file that shrinks while it is read is refused, not filled with zeros', () => {
    const path = place();
    writeFileSync(path, 'content');
    const file = openFile(path);
    truncateSync(path, 3);
    expectCvmError(() => file.read(0, 7), 'FILE_SHRANK', 'format');
    file.close();
  });
});

describe('writing whole', () => {
  test('chunks of all sizes, from generators of both kinds, in new folders', async () => {
    function* chunks(): Generator<Uint8Array> {
      yield utf8Bytes('a');
      yield new Uint8Array(0);
      yield new Uint8Array(CHUNK_BYTES).fill(0x62);
      yield new Uint8Array(CHUNK_BYTES - 1).fill(0x63);
      yield utf8Bytes('de');
    }
    async function* asyncChunks(): AsyncGenerator<Uint8Array> {
      for (const chunk of chunks()) yield await Promise.resolve(chunk);
    }
    const expected = Buffer.concat([...chunks()]);
    for (const source of [chunks(), asyncChunks()]) {
      const path = place('new/folders/out');
      await writeFileWhole(path, source);
      expect(Buffer.compare(readFileSync(path), expected)).toBe(0);
      expect(neighbours(path)).toEqual(['out']);
    }
  });

  test('a generator may use its buffer again', async () => {
    function* reusing(): Generator<Uint8Array> {
      const buffer = new Uint8Array(3);
      for (let i = 1; i <= 4; i++) yield buffer.fill(0x30 + i);
    }
    const path = place();
    await writeFileWhole(path, reusing());
    expect(readFileSync(path, 'latin1')).toBe('111222333444');
  });

  test('while it writes, the old file stands; when it fails, it stays and nothing is left beside it', async () => {
    const path = place();
    writeFileSync(path, 'old');
    function* failing(): Generator<Uint8Array> {
      yield new Uint8Array(3 * CHUNK_BYTES);
      expect(readFileSync(path, 'latin1')).toBe('old');
      expect(neighbours(path)).toHaveLength(2);
      throw new Error('broken');
    }
    await expect(writeFileWhole(path, failing())).rejects.toThrow('broken');
    expect(readFileSync(path, 'latin1')).toBe('old');
    expect(neighbours(path)).toEqual(['out']);
  });

  test('a check sees the whole file, and its refusal leaves nothing', async () => {
    const path = place();
    await expectCvmRejection(
      () =>
        writeFileWhole(path, [utf8Bytes('content')], (written) => {
          expect(readFileSync(written, 'latin1')).toBe('content');
          expect(existsSync(path)).toBe(false);
          expectCvmError(() => openFile(path), 'FILE_NOT_FOUND');
          resolvePath({ cwd: '/' }, '');
        }),
      'PATH_INVALID',
    );
    expect(neighbours(path)).toEqual([]);
  });

  test('what a signal interrupts can be removed', async () => {
    const path = place();
    function* interrupted(): Generator<Uint8Array> {
      yield new Uint8Array(2 * CHUNK_BYTES);
      expect(neighbours(path)).toHaveLength(1);
      removePendingFiles();
      expect(neighbours(path)).toEqual([]);
    }
    await expectCvmRejection(() => writeFileWhole(path, interrupted()), 'FILE_NOT_FOUND');
    expect(neighbours(path)).toEqual([]);
  });

  test('through a symbolic link the file behind it is written, and the link stays', async () => {
    const path = place();
    writeFileSync(path, 'old');
    symlinkSync('out', join(path, '../link'));
    await writeFileWhole(join(path, '../link'), [utf8Bytes('new')]);
    expect(readFileSync(path, 'latin1')).toBe('new');
    expect(neighbours(path)).toEqual(['link', 'out']);
  });

  test('what the disk could not take shows, though the system says it once alone', async () => {
    const path = place();
    const { fdatasync } = fs;
    fs.fdatasync = ((_: number, done: fs.NoParamCallback) => {
      setImmediate(done, Object.assign(new Error('no'), { code: 'EIO', syscall: 'fdatasync' }));
    }) as typeof fdatasync;
    syncBuiltinESMExports();
    try {
      const chunks = Array.from({ length: 20 }, () => new Uint8Array(CHUNK_BYTES));
      await expectCvmRejection(() => writeFileWhole(path, chunks), 'FILE_ACCESS', 'usage');
      expect(neighbours(path)).toEqual([]);
      function* failing(): Generator<Uint8Array> {
        yield* chunks;
        throw new CvmError('format', 'SOURCE_BROKE', 'broken');
      }
      await expectCvmRejection(() => writeFileWhole(path, failing()), 'SOURCE_BROKE');
    } finally {
      fs.fdatasync = fdatasync;
      syncBuiltinESMExports();
    }
  });

  test('a device is written to, not replaced', async () => {
    await writeFileWhole('/dev/null', [utf8Bytes('gone')]);
    await writeSourceWhole('/dev/null', sourceFromBytes(utf8Bytes('gone')));
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
    await expectCvmRejection(() => writeFileWhole('/dev/null', [], () => undefined), 'FILE_NOT_REGULAR');
  });

  test('rejects a folder as output, and a folder that is a file', async () => {
    await expectCvmRejection(() => writeFileWhole(folder, []), 'FILE_NOT_REGULAR', 'usage');
    const path = place();
    writeFileSync(path, '');
    await expectCvmRejection(() => writeFileWhole(join(path, 'below'), []), 'FILE_ACCESS', 'usage');
  });
});

test('a source becomes a file with its holes, also those nobody knew of', async () => {
  const path = place();
  const sizeBytes = 3 * 2 ** 30;
  const data = new Uint8Array(2 << 20);
  data.fill(7, 0, 4096);
  data.fill(8, data.length - 100);
  await writeSourceWhole(path, piecesSource(sizeBytes, [[2 ** 30, data]]));
  const { size, blocks } = statSync(path);
  expect(size).toBe(sizeBytes);
  expect(blocks * 512).toBeLessThan(1 << 20);
  const file = openFile(path);
  expect(file.read(2 ** 30 - 1, 3)).toEqual(new Uint8Array([0, 7, 7]));
  expect(file.read(2 ** 30 + data.length - 101, 3)).toEqual(new Uint8Array([0, 8, 8]));
  expect(file.read(sizeBytes - 1, 1)).toEqual(new Uint8Array(1));
  file.close();
});

describe('the file behind an open descriptor', () => {
  const appended = (path: string): number => fs.openSync(path, 'a');

  test('is written on from where others are: nothing of it is lost, and its name stays', async () => {
    for (const [flags, before] of [
      ['a', 'before\n'],
      ['w', ''],
    ] as const) {
      const path = place();
      writeFileSync(path, 'before\n');
      const handle = fs.openSync(path, flags);
      for (const name of [`/dev/fd/${handle}`, `/proc/self/fd/${handle}`]) {
        await writeFileWhole(name, [utf8Bytes('chunk\n')]);
        await writeSourceWhole(name, sourceFromBytes(utf8Bytes('source\n')));
      }
      fs.writeSync(handle, 'after\n');
      fs.closeSync(handle);
      expect(readFileSync(path, 'utf8')).toBe(`${before}chunk\nsource\nchunk\nsource\nafter\n`);
      expect(neighbours(path)).toEqual(['out']);
    }
  });

  test('cannot be checked before it is there', async () => {
    const path = place();
    const handle = appended(path);
    await expectCvmRejection(
      () => writeFileWhole(`/dev/fd/${handle}`, [utf8Bytes('x')], () => undefined),
      'FILE_NOT_REGULAR',
      'usage',
    );
    fs.closeSync(handle);
    expect(readFileSync(path, 'utf8')).toBe('');
  });
});
