import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { COMMANDS } from '../../../tools/commands/table.ts';
import { scratchFolder } from '../../support/run-command.ts';

const CVM = fileURLToPath(new URL('../../../tools/cvm-main.ts', import.meta.url));
const folder = scratchFolder();
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}
const cvm = (...words: readonly string[]): Ended =>
  spawnSync(
    process.execPath,
    ['--preserve-symlinks', '--preserve-symlinks-main', '--no-warnings', CVM, 'vmgs', ...words],
    { cwd: folder, encoding: 'utf8' },
  );

test("a script that calls vmgstool by its former words does what today's words do", () => {
  writeFileSync(join(folder, 'data'), 'hello');
  writeFileSync(join(folder, 'key'), new Uint8Array(32).fill(1));
  writeFileSync(join(folder, 'key2'), new Uint8Array(32).fill(2));
  const former = [
    ['-c', '-FilePath', 'a', '-fs', '-s', '131072'],
    ['-Create', '-filepath', 'a', '-filesize', '131072', '-fc'],
    ['-w', '-f', 'a', '-datapath', 'data', '-FILEID', '5', '-ow'],
    ['-encrypt', '-f', 'a', '-k', 'key', '-ea', 'AES_GCM'],
    ['-uk', '-f', 'a', '-k', 'key', '-n', 'key2', '-encryptionalgorithm', 'AES_GCM'],
    ['-qs', '-f', 'a', '-i', 'ATTEST'],
    ['-r', '-f', 'a', '-i', '5', '-d', 'out'],
    ['-rh', '-f', 'a'],
  ].map((words) => cvm(...words));
  // -fs was never a flag.
  expect(former.map(({ status }) => status)).toEqual([64, 0, 0, 0, 0, 0, 0, 0]);
  for (const { stderr } of former)
    expect(stderr).toMatch(/^warning: -\w+ is a former name: write vmgs [a-z-]+\n/);
  expect(former[5]?.stdout).toBe('5\n');
  expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('hello');
});

test('the former words are those of vmgstool, and stand for one verb each', () => {
  const all = COMMANDS.flatMap(({ verb, formerly }) => (formerly?.words ?? []).map((word) => [word, verb]));
  expect(Object.fromEntries(all)).toEqual({
    ...{
      '-c': 'create',
      '-create': 'create',
      '-w': 'write',
      '-write': 'write',
      '-r': 'dump',
      '-dump': 'dump',
    },
    ...{
      '-rh': 'dump-headers',
      '-dumpheaders': 'dump-headers',
      '-qs': 'query-size',
      '-querysize': 'query-size',
    },
    ...{ '-uk': 'update-key', '-updatekey': 'update-key', '-e': 'encrypt', '-encrypt': 'encrypt' },
  });
  expect(all).toHaveLength(14);
});
