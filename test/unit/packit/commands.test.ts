import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { command as list } from '../../../tools/commands/packit-list.ts';
import { command as pack } from '../../../tools/commands/packit-pack.ts';
import { command as unpack } from '../../../tools/commands/packit-unpack.ts';
import { writePackit } from '../../../tools/packit/archive.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const folder = scratchFolder();
afterAll(() => {
  rmSync(folder, { recursive: true });
});
const at = (name: string): string => join(folder, name);
const archive = (output: string, ...names: readonly string[]): void => {
  const made = writePackit(names.map((name) => ({ name, content: sourceFromBytes(utf8Bytes(`<${name}>`)) })));
  writeFileSync(at(output), made.read(0, made.sizeBytes));
};

test('a folder is packed in order, links followed, and comes out again as it was', async () => {
  mkdirSync(at('in/a'), { recursive: true });
  mkdirSync(at('in/empty'));
  for (const name of ['a/z', 'a.b', 'b', '\u{1f600}']) writeFileSync(at(`in/${name}`), name);
  symlinkSync('a/z', at('in/link'));
  await runCommand(pack, folder, [], { input: 'in', output: 'x.bin' });
  const { out } = await runCommand(list, folder, ['x.bin'], { json: true });
  const names = out
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { name: string }).name);
  expect(names).toEqual(['a/z', 'a.b', 'b', 'link', '\u{1f600}']);
  await runCommand(unpack, folder, ['x.bin'], { output: 'out' });
  expect(readFileSync(at('out/link'), 'utf8')).toBe('a/z');
  await runCommand(pack, folder, [], { input: 'out', output: 'y.bin' });
  expect(readFileSync(at('y.bin')).equals(readFileSync(at('x.bin')))).toBe(true);
});

test('files by name make the same archive as a folder', async () => {
  mkdirSync(at('f'));
  writeFileSync(at('f/init'), 'one');
  await runCommand(pack, folder, [], { input: 'f', output: 'f1' });
  await runCommand(pack, folder, [], { file: ['init=f/init'], output: 'f2' });
  expect(readFileSync(at('f1')).equals(readFileSync(at('f2')))).toBe(true);
});

test('a name by hand is a place below the root, as a packed folder would name it', async () => {
  writeFileSync(at('one'), '1');
  writeFileSync(at('two'), '2');
  await runCommand(pack, folder, [], { file: ['/b//init=one', './a/../a=two'], output: 'g1' });
  await runCommand(pack, folder, [], { file: ['b/init=one', 'a=two'], output: 'g2' });
  expect(readFileSync(at('g1')).equals(readFileSync(at('g2')))).toBe(true);
  await runCommand(unpack, folder, ['g1'], { output: 'g' });
  expect(readFileSync(at('g/b/init'), 'utf8')).toBe('1');
});

describe('refusals leave nothing behind', () => {
  test.each([
    ['a name above the folder', ['ok', '../evil'], 'PACKIT_NAME_CLIMBS'],
    ['one name twice', ['a', './a'], 'PACKIT_NAME_TWICE'],
    ['a file where another needs a folder', ['a', 'a/b'], 'PACKIT_NAME_TWICE'],
    ['the same the other way round', ['a/b', 'a'], 'PACKIT_NAME_TWICE'],
    ['a folder as a file', ['a/'], 'PACKIT_NAME'],
  ])('%s', async (_, names, code) => {
    archive('bad.bin', ...names);
    await expectCvmRejection(
      () => runCommand(unpack, folder, ['bad.bin'], { output: 'bad' }),
      code,
      'format',
    );
    expect(existsSync(at('bad'))).toBe(false);
    expect(existsSync(at('evil'))).toBe(false);
  });

  test('a folder that is not empty', async () => {
    archive('good.bin', 'a');
    mkdirSync(at('full'));
    writeFileSync(at('full/x'), '');
    await expectCvmRejection(
      () => runCommand(unpack, folder, ['good.bin'], { output: 'full' }),
      'OUTPUT_NOT_EMPTY',
      'usage',
    );
  });

  test('packing: no input, a missing folder, a loop of links, a name twice', async () => {
    const run = (options: Record<string, string | string[]>): Promise<unknown> =>
      runCommand(pack, folder, [], { ...options, output: 'n.bin' });
    await expectCvmRejection(() => run({}), 'OPTION_MISSING', 'usage');
    await expectCvmRejection(() => run({ input: 'nowhere' }), 'FILE_NOT_FOUND', 'usage');
    await expectCvmRejection(() => run({ file: ['x'] }), 'OPTION_FILE', 'usage');
    writeFileSync(at('one'), '');
    await expectCvmRejection(() => run({ file: ['a=one', 'a=one'] }), 'OPTION_FILE', 'usage');
    for (const file of ['../evil=one', 'a/../../evil=one', '/=one', 'a/=one', '=one']) {
      await expectCvmRejection(() => run({ file: [file] }), 'OPTION_FILE', 'usage');
    }
    for (const files of [
      ['/a=one', 'a=one'],
      ['a=one', 'a/b=one'],
      ['a/b/c=one', 'a.b=one', 'a=one'],
    ]) {
      await expectCvmRejection(() => run({ file: files }), 'OPTION_FILE', 'usage');
    }
    mkdirSync(at('loop'));
    symlinkSync('.', at('loop/self'));
    const error = await expectCvmRejection(() => run({ input: 'loop' }), 'FILE_ACCESS', 'usage');
    expect(Object.fromEntries(error.facts)['system']).toContain('ELOOP');
    expect(existsSync(at('n.bin'))).toBe(false);
  });
});
