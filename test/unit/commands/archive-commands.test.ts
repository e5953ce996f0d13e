import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { command as fileSha256 } from '../../../tools/commands/file-sha256.ts';
import { command as treeCpio } from '../../../tools/commands/tree-cpio.ts';
import { command as treeTar } from '../../../tools/commands/tree-tar.ts';
import { treeFromTar } from '../../../tools/tar/tree.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const LISTING = `
dir /etc 0750 0 4
file /etc/version version 0640 0 4 /etc/also
slink /bin usr/bin 0777 0 0
nod /console 0600 0 5 c 5 1
`;

function inputs(): string {
  const folder = scratchFolder();
  writeFileSync(join(folder, 'listing'), LISTING);
  writeFileSync(join(folder, 'v'), '1.2.3\n');
  return folder;
}

const GOOD: OptionValues = { listing: 'listing', file: ['version=v'], output: 'out' };

describe('cvm tree tar', () => {
  test('owners, modes, links and devices come from the listing, times are zero', async () => {
    const folder = inputs();
    await runCommand(treeTar, folder, [], GOOD);
    const entries = treeFromTar(sourceFromBytes(readFileSync(join(folder, 'out'))));
    expect(entries).toMatchObject([
      { path: '', type: 'dir', mode: 0o755 },
      { path: 'bin', type: 'symlink', target: 'usr/bin' },
      { path: 'console', type: 'char', gid: 5, major: 5, minor: 1 },
      { path: 'etc', type: 'dir', mode: 0o750, gid: 4 },
      { path: 'etc/also', type: 'file', mode: 0o640, gid: 4, mtimeSec: 0 },
      { path: 'etc/version', type: 'hardlink', linkPath: 'etc/also' },
    ]);
  });

  test('with --gzip the same archive as one gzip member that tells neither name nor time', async () => {
    const folder = inputs();
    await runCommand(treeTar, folder, [], GOOD);
    await runCommand(treeTar, folder, [], { ...GOOD, output: 'out.gz', gzip: true });
    const member = readFileSync(join(folder, 'out.gz'));
    expect(member.subarray(0, 10).toString('hex')).toBe('1f8b08000000000000ff');
    expect(gunzipSync(member).equals(readFileSync(join(folder, 'out')))).toBe(true);
  });

  test.each<[string, OptionValues, string]>([
    ['a file the listing does not name', { file: ['version=v', 'other=v'] }, 'LISTING_SOURCE_UNUSED'],
    ['a name that has no file', { file: [] }, 'LISTING_SOURCE_UNKNOWN'],
    ['a name given twice', { file: ['version=v', 'version=listing'] }, 'OPTION_FILE'],
    ['a file without a name', { file: ['v'] }, 'OPTION_FILE'],
    ['a file that is not there', { file: ['version=absent'] }, 'FILE_NOT_FOUND'],
    ['a listing that is not there', { listing: 'absent' }, 'FILE_NOT_FOUND'],
    ['a listing that is none', { listing: 'v' }, 'LISTING_LINE'],
  ])('rejects %s, and writes nothing', async (_, options, code) => {
    for (const command of [treeTar, treeCpio]) {
      const folder = inputs();
      await expectCvmRejection(() => runCommand(command, folder, [], { ...GOOD, ...options }), code);
      expect(readdirSync(folder).sort()).toEqual(['listing', 'v']);
    }
  });
});

test('cvm tree cpio makes the same bytes of the same listing, wherever it lies', async () => {
  const [first, second] = [inputs(), inputs()];
  for (const folder of [first, second]) await runCommand(treeCpio, folder, [], GOOD);
  expect(readFileSync(join(first, 'out'), 'latin1')).toBe(readFileSync(join(second, 'out'), 'latin1'));
  expect(readFileSync(join(first, 'out'), 'latin1').startsWith('070701')).toBe(true);
});

describe('cvm file sha256', () => {
  test('one line: digest, two spaces, the name without its folder', async () => {
    const folder = inputs();
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'sub/image'), 'abc');
    const { out } = await runCommand(fileSha256, folder, ['sub/image'], {});
    expect(out).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  image\n');
    await runCommand(fileSha256, folder, ['sub/image'], { output: 'sums' });
    expect(readFileSync(join(folder, 'sums'), 'utf8')).toBe(out);
  });

  test.each(['a\nb', 'a\\b'])('rejects the name %j, which has no plain line', async (name) => {
    const folder = inputs();
    writeFileSync(join(folder, name), '');
    await expectCvmRejection(() => runCommand(fileSha256, folder, [name], {}), 'FILE_NAME', 'usage');
  });

  const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  /** A folder with `sub/image`, which is abc, `empty`, and this sum file beside them. */
  function summed(sums: string): string {
    const folder = inputs();
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'sub/image'), 'abc');
    writeFileSync(join(folder, 'empty'), '');
    writeFileSync(join(folder, 'SHA256SUMS'), sums);
    return folder;
  }

  test.each([
    ['one space', `${EMPTY} empty\n${ABC} sub/image\n`],
    ['two spaces', `${EMPTY}  empty\n${ABC}  sub/image\n`],
    ['a space and *', `${EMPTY} *empty\n${ABC} *sub/image\n`],
  ])('--check takes %s before the names', async (_, sums) => {
    const { code, out } = await runCommand(fileSha256, summed(sums), ['SHA256SUMS'], { check: true });
    expect([code, out]).toEqual([0, 'empty: OK\nsub/image: OK\n']);
  });

  test('--check looks beside the sum file, wherever it was called', async () => {
    const folder = summed(`${EMPTY} empty\n`);
    const { code } = await runCommand(fileSha256, join(folder, 'sub'), ['../SHA256SUMS'], { check: true });
    expect(code).toBe(0);
  });

  test.each([
    ['another file', `${EMPTY} sub/image\n`, 'SUMS_MISMATCH', 'mismatch'],
    ['a missing file', `${ABC} gone\n${EMPTY} empty\n`, 'SUMS_MISMATCH', 'mismatch'],
    ['a folder', `${ABC} sub\n`, 'SUMS_MISMATCH', 'mismatch'],
    ['a path out of the folder', `${ABC} ../image\n`, 'SUMS_NAME', 'format'],
    ['an absolute path', `${ABC} /etc/hostname\n`, 'SUMS_NAME', 'format'],
    ['a line that is no entry', `${EMPTY} empty\n# end\n`, 'SUMS_LINE', 'format'],
    ['nothing', '', 'SUMS_EMPTY', 'format'],
  ] as const)('--check refuses %s', async (_, sums, code, kind) => {
    await expectCvmRejection(
      () => runCommand(fileSha256, summed(sums), ['SHA256SUMS'], { check: true }),
      code,
      kind,
    );
  });

  test('--check writes nothing', async () => {
    const options = { check: true, output: 'x' };
    await expectCvmRejection(
      () => runCommand(fileSha256, summed(`${EMPTY} empty\n`), ['SHA256SUMS'], options),
      'OPTION_CONFLICT',
      'usage',
    );
  });
});
