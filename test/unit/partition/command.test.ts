import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { createZstdCompress } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { command as ext4 } from '../../../tools/commands/ext4-build.ts';
import { command as partition } from '../../../tools/commands/partition-build.ts';
import { command as verify } from '../../../tools/commands/verity-verify.ts';
import { command as verityFormat } from '../../../tools/commands/verity-format.ts';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { writeFileWhole } from '../../../tools/commands/files.ts';
import { openImage } from '../../../tools/commands/image-files.ts';
import { treeToTar } from '../../../tools/tar/tree.ts';
import { compressFrames } from '../../../tools/zstd/compress.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { dirEntry, fileEntry } from '../../support/ext4-trees.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const folder = scratchFolder();
const at = (name: string): string => join(folder, name);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const SIZE = 8 << 20;
writeFileSync(
  at('content'),
  new Uint8Array(100_000).map((_, i) => i * 7),
);
writeFileSync(
  at('listing'),
  'dir /d 0755 0 0\nfile /d/a content 0644 1 2 /d/b\nslink /l d/a 0777 0 0\nnod /null 0666 0 0 c 1 3\n',
);
symlinkSync('content', at('link'));
const TREE = { listing: 'listing', file: ['content=content'], size: `${SIZE}` };
const build = (options: Record<string, string | string[] | boolean>) =>
  runCommand(partition, folder, [], { ...TREE, output: 'p.tzst', ...options });

async function imageOf(name: string): Promise<Buffer> {
  const image = await openImage(at(name));
  const bytes = Buffer.from(image.read(0, image.sizeBytes));
  image.close();
  return bytes;
}

test('a partition from a listing is what the three commands make of it', async () => {
  await runCommand(ext4, folder, [], { ...TREE, label: 'x', journal: true, output: 'raw' });
  const formatted = await runCommand(verityFormat, folder, ['raw'], {
    output: 'parts.tzst',
    hash: 'sha512',
    salt: 'aa',
  });
  const options = { label: 'x', journal: true, verityOffset: `${SIZE}`, hash: 'sha512', salt: 'aa' };
  const parts = await imageOf('parts.tzst');
  for (const jobs of ['1', '2']) {
    expect(await build({ ...options, jobs })).toEqual({ code: 0, out: formatted.out, err: '' });
    expect((await imageOf('p.tzst')).equals(parts)).toBe(true);
  }
  expect((await runCommand(verify, folder, ['p.tzst'], { hashOffset: `${SIZE}` })).out).toBe(formatted.out);
});

test('zeros of a tree are stored alike, whatever file its archive is in', async () => {
  const content = new Uint8Array(1 << 20).fill(1, 500_000, 500_010);
  const archive = concatBytes(...treeToTar([dirEntry(''), fileEntry('f', content)]));
  writeFileSync(at('plain.tar'), archive);
  // Of one frame without a size: it is decompressed into a file that has holes where the archive has zeros.
  const compressed = createZstdCompress();
  compressed.end(archive);
  writeFileSync(at('spooled.tar.zst'), await buffer(compressed));
  await writeFileWhole(at('frames.tar.zst'), compressFrames([archive]));
  const made: Buffer[] = [];
  for (const tar of ['plain.tar', 'spooled.tar.zst', 'frames.tar.zst']) {
    await runCommand(partition, folder, [], { tar, size: `${SIZE}`, output: 'p.tzst' });
    made.push(readFileSync(at('p.tzst')));
  }
  expect(made.map((bytes) => bytes.equals(made[0] as Buffer))).toEqual([true, true, true]);
});

test('a partition of another image is the same partition', async () => {
  const named = { size: `${SIZE}`, mtime: '0' };
  await runCommand(ext4, folder, [], { ...TREE, ...named, output: 'raw' });
  await build({ ...named });
  const first = readFileSync(at('p.tzst'));
  await runCommand(partition, folder, [], { ...named, image: 'raw', output: 'again.tzst' });
  expect(readFileSync(at('again.tzst')).equals(first)).toBe(true);
});

for (const [what, options, code] of [
  ['no tree', { listing: undefined, file: undefined }, 'TREE_INPUT'],
  ['two trees', { image: 'raw' }, 'TREE_INPUT'],
  ['a salt without a hash tree', { salt: 'aa' }, 'OPTION_MISSING'],
  ['a root hash without a hash tree', { rootHashOutput: 'hash' }, 'OPTION_MISSING'],
  ['a hash tree inside the file system', { verityOffset: '4096' }, 'VERITY_OVERLAP'],
  ['a hash tree at an odd place', { verityOffset: `${SIZE + 1}` }, 'VERITY_HASH_OFFSET'],
  ['an unknown algorithm', { verityOffset: `${SIZE}`, hash: 'md5' }, 'VERITY_ALGORITHM'],
  ['no jobs', { jobs: '0' }, 'OPTION_NUMBER'],
  ['the root hash behind the archive', { verityOffset: `${SIZE}`, output: '/dev/stdout' }, 'OPTION_OUTPUT'],
  ['an output that is the listing', { output: 'listing' }, 'OUTPUT_IS_INPUT'],
  [
    'a root hash that is a content',
    { verityOffset: `${SIZE}`, rootHashOutput: 'content' },
    'OUTPUT_IS_INPUT',
  ],
  ['an output that is added', { add: ['content:/x:0644'], output: 'link' }, 'OUTPUT_IS_INPUT'],
  ['one path for both outputs', { verityOffset: `${SIZE}`, rootHashOutput: 'none.tzst' }, 'OUTPUT_TWICE'],
  ['too little space', { size: `${1 << 16}` }, 'EXT4_FULL'],
  ['a prefix without file_contexts', { prefix: '/boot' }, 'OPTION_MISSING'],
] as const) {
  test(`refuses ${what} and writes nothing`, async () => {
    const given: OptionValues = { ...TREE, output: 'none.tzst', ...options };
    await expectCvmRejection(() => runCommand(partition, folder, [], given), code, 'usage');
    expect(existsSync(at('none.tzst'))).toBe(false);
  });
}

test('an archive that cannot even be looked at is an error of the file, not of ours', async () => {
  symlinkSync('loop', at('loop'));
  for (const tar of ['loop', 'n'.repeat(300)]) {
    const call = () => runCommand(partition, folder, [], { tar, size: `${SIZE}`, output: 'none.tzst' });
    await expectCvmRejection(call, 'FILE_ACCESS', 'usage');
  }
});
