import { chownSync, existsSync, lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readU32, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { command as extract } from '../../../tools/commands/ext4-extract.ts';
import { command as list } from '../../../tools/commands/ext4-list.ts';
import { openFile } from '../../../tools/commands/files.ts';
import { writeTzst } from '../../../tools/commands/image-files.ts';
import { GD, INODE } from '../../../tools/ext4/layout.ts';
import { treeFromTar } from '../../../tools/tar/tree.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';
import { open, Patch, vectorImage, vectorListing, VECTORS } from './image-patch.ts';

let folder = '';
const path = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = scratchFolder();
  for (const name of VECTORS) writeFileSync(path(`${name}.img`), vectorImage(name));
  await writeTzst(path('default-4k.tzst'), sourceFromBytes(vectorImage('default-4k')));
});
afterAll(() => rmSync(folder, { recursive: true }));

for (const name of VECTORS) {
  test(`list --json prints the listing of ${name}`, async () => {
    const { code, out } = await runCommand(list, folder, [`${name}.img`], { json: true });
    expect(code).toBe(0);
    expect(out).toBe(vectorListing(name));
  });
}

test('list reads a partition that travels as .tzst', async () => {
  const { out } = await runCommand(list, folder, ['default-4k.tzst'], { json: true });
  expect(out).toBe(vectorListing('default-4k'));
});

test('list prints a line for each name', async () => {
  const { out } = await runCommand(list, folder, ['inline-4k.img'], {});
  expect(out.split('\n').length).toBe(442);
  expect(out).toContain('-rwsr-xr-x   1     0     0          18 2020-09-13 12:26:40 /bin/run.sh\n');
});

test('list checks the bitmaps, which no listing needs', async () => {
  const patch = new Patch('default-4k');
  const bitmap = patch.block(readU32(patch.descriptor(0), GD.inodeBitmapLow));
  bitmap[100] = (bitmap[100] ?? 0) ^ 1;
  writeFileSync(path('bitmap.img'), patch.bytes);
  await expectCvmRejection(
    () => runCommand(list, folder, ['bitmap.img'], {}),
    'EXT4_INODE_BITMAP_CHECKSUM',
    'format',
  );
});

test('list --json of an image that breaks in the middle prints nothing', async () => {
  const patch = new Patch('ext2-1k-i128');
  writeU32(
    patch.slot(patch.inodeNumber('/many/entry-0399-abcdefghijabcdefghijabcdefghij')),
    INODE.blockArea,
    99999,
  );
  writeFileSync(path('late.img'), patch.bytes);
  let printed = '';
  const io = {
    out: (text: string) => (printed += text),
    err: () => undefined,
    cwd: folder,
    env: {},
    isTerminal: false,
  };
  await expectCvmRejection(
    async () => list.run(['late.img'], { json: true }, io),
    'EXT4_BLOCK_MAP',
    'format',
  );
  expect(printed).toBe('');
});

test('hostile names reach the terminal and JSON as codes only', async () => {
  const patch = new Patch('ext2-1k-i128');
  const image = patch.bytes;
  const at = Buffer.from(image.buffer).indexOf('hello-hard2');
  image.set(Buffer.from('\u001b[2J\u202eab'), at);
  image.set([0x07], at + 9);
  image.set([0xf0], at + 10);
  writeFileSync(path('names.img'), image);
  const text = (await runCommand(list, folder, ['names.img'], {})).out;
  const json = (await runCommand(list, folder, ['names.img'], { json: true })).out;

  for (const out of [text, json])
    expect(out.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
  const entry = (JSON.parse(json) as { path: string; pathBase64?: string }[]).find(({ pathBase64 }) =>
    Buffer.from(pathBase64 ?? '', 'base64')
      .toString('latin1')
      .startsWith('/bin/\u001b'),
  );
  expect(entry?.path).toContain('\u202e');
});

test('list refuses a member that no container has', async () => {
  await expectCvmRejection(
    () => runCommand(list, folder, ['inline-4k.img'], { member: 'disk.img' }),
    'OPTION_MEMBER',
    'usage',
  );
});

test('extract --tar keeps everything but sockets', async () => {
  for (const name of VECTORS) {
    const { code, err } = await runCommand(extract, folder, [`${name}.img`], { tar: `${name}.tar` });
    expect([code, err]).toEqual([0, 'not kept: 1 sockets, for which tar has no form\n']);
    const file = openFile(path(`${name}.tar`));
    const entries = open(vectorImage(name))
      .entries()
      .filter((entry) => entry.type !== 'socket');
    const back = treeFromTar(file);
    expect(back.length).toBe(entries.length);
    entries.forEach((entry, i) => {
      const { content: expected, ...meta } = { content: undefined, ...entry };
      const { content: found, ...metaBack } = { content: undefined, ...(back[i] as typeof entry) };
      expect(metaBack).toEqual(meta);
      if (expected !== undefined && found !== undefined && expected.sizeBytes < 1 << 20) {
        expect(Buffer.compare(found.read(0, found.sizeBytes), expected.read(0, expected.sizeBytes))).toBe(0);
      }
    });
    file.close();
  }
});

test('extract --output says what a folder cannot keep', async () => {
  const { code, err } = await runCommand(extract, folder, ['default-4k.tzst'], { output: 'out' });
  expect(code).toBe(0);
  expect(err).toBe(
    'not kept: 5 devices, fifos or sockets; extended attributes of 3 entries; owners (--tar keeps all but sockets)\n',
  );
  expect(readFileSync(path('out/etc/hello.txt'), 'utf8')).toBe('hello, world\n');
  await expectCvmRejection(
    () => runCommand(extract, folder, ['default-4k.tzst'], { output: 'out' }),
    'OUTPUT_NOT_EMPTY',
    'usage',
  );
});

test('extract of a damaged image leaves neither folder nor archive behind', async () => {
  const patch = new Patch('default-4k');
  patch.slot(patch.inodeNumber('/many'))[INODE.uidLow] = 1;
  writeFileSync(path('damaged.img'), patch.bytes);
  const before = readdirSync(folder);
  for (const options of [{ output: 'damaged' }, { tar: 'damaged.tar' }]) {
    await expectCvmRejection(
      () => runCommand(extract, folder, ['damaged.img'], options),
      'EXT4_INODE_CHECKSUM',
      'format',
    );
  }
  expect(readdirSync(folder)).toEqual(before);
});

test('extract wants one place to write to, not none and not two', async () => {
  for (const options of [{}, { output: 'x', tar: 'y' }]) {
    await expectCvmRejection(
      () => runCommand(extract, folder, ['inline-4k.img'], options),
      'OPTION_OUTPUT',
      'usage',
    );
  }
  expect(existsSync(path('x'))).toBe(false);
});

/** Whether owners can be changed here: not without root, and not in a sandbox that knows one user. */
function ownersCanChange(): boolean {
  const probe = path('owner-probe');
  writeFileSync(probe, '');
  try {
    chownSync(probe, 70000, 80001);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(probe);
  }
}

test('extract --owners keeps owners and special bits, or says that it cannot', async () => {
  if (!ownersCanChange()) {
    await expectCvmRejection(
      () => runCommand(extract, folder, ['default-4k.img'], { output: 'owned', owners: true }),
      'OUTPUT_WRITE',
      'usage',
    );
    expect(existsSync(path('owned'))).toBe(false);
    return;
  }
  await runCommand(extract, folder, ['default-4k.img'], { output: 'owned', owners: true });
  const kept = ['etc/f61', 'bin/run.sh', 'many', 'etc/fast'].map((name) => {
    const stat = lstatSync(path(`owned/${name}`));
    return [stat.uid, stat.gid, (stat.mode & 0o7777).toString(8)];
  });
  expect(kept).toEqual([
    [70000, 80001, '644'],
    [0, 0, '4755'],
    [0, 0, '2750'],
    [65534, 65534, '777'],
  ]);
});
