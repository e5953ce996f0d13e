import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { command as format } from '../../../tools/commands/verity-format.ts';
import { command as verify } from '../../../tools/commands/verity-verify.ts';
import { writeExt4 } from '../../../tools/ext4/writer.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { EXT4_OPTIONS } from '../../support/ext4-trees.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const folder = scratchFolder();
afterAll(() => {
  rmSync(folder, { recursive: true });
});

type Options = Record<string, string | boolean>;
const at = (name: string): string => join(folder, name);
const image = (name: string, bytes: number): string => {
  writeFileSync(
    at(name),
    new Uint8Array(bytes).map((_, i) => (i >> 12) & 0xff),
  );
  return name;
};
const runFormat = (name: string, options: Options = {}): Promise<Outcome> =>
  runCommand(format, folder, [name], options);
const runVerify = (name: string, options: Options = {}): Promise<Outcome> =>
  runCommand(verify, folder, [name], options);

/** 300 counted blocks with the default salt: the vector of the reference. */
const ROOT = 'a1c66a67509bbc919e37c20787ce1d119a09aa67cfcef90566b8b857c47b8270';

describe('verity format and verify', () => {
  test('in place: prints the root hash, and the image verifies without being told where its tree is', async () => {
    const name = image('a.img', 300 * 4096);
    expect(await runFormat(name)).toEqual({ code: 0, out: `${ROOT}\n`, err: '' });
    expect(statSync(at(name)).size).toBe((300 + 1 + 4) * 4096);
    expect(await runVerify(name, { rootHash: ROOT.toUpperCase() })).toEqual({
      code: 0,
      out: `${ROOT}\n`,
      err: '',
    });
    const { out } = await runVerify(name, { json: true });
    expect(JSON.parse(out)).toEqual({
      rootHash: ROOT,
      expected: false,
      hashOffset: 300 * 4096,
      hashType: 1,
      algorithm: 'sha256',
      dataBlockBytes: 4096,
      hashBlockBytes: 4096,
      dataBlocks: 300,
      salt: '89bc06702975f10b41dd53e26eb9aef0adde93bc13d73e8f26b496dddefe2483',
      uuid: '1736291d-aceb-42d7-b044-43ee31d86cd4',
    });
  });

  test('to another file, raw or .tzst, with the root hash in a third', async () => {
    const name = image('b.img', 300 * 4096);
    for (const output of ['b.out', 'b.tzst']) {
      const outcome = await runFormat(name, { output, rootHashOutput: 'hash' });
      expect(outcome).toEqual({ code: 0, out: '', err: '' });
      expect(readFileSync(at('hash'), 'latin1')).toBe(`${ROOT}\n`);
      expect((await runVerify(output, { rootHash: ROOT })).code).toBe(0);
    }
    expect(statSync(at(name)).size).toBe(300 * 4096);
  });

  test('twice at one offset is the same as once, and leaves what stands behind', async () => {
    const name = image('c.img', 400 * 4096);
    const zeroed = readFileSync(at(name));
    writeFileSync(at(name), zeroed.fill(0, 300 * 4096, 305 * 4096));
    const options = { hashOffset: `${300 * 4096}` };
    expect((await runFormat(name, options)).out).toBe(`${ROOT}\n`);
    const once = readFileSync(at(name));
    expect((await runFormat(name, options)).out).toBe(`${ROOT}\n`);
    expect(readFileSync(at(name)).equals(once)).toBe(true);
    expect(once.readUInt8(399 * 4096)).toBe(399 & 0xff);
  });

  test('a tree over data is refused, and the image stays as it is; also over free space of a file system', async () => {
    const name = image('over.img', 400 * 4096);
    const before = readFileSync(at(name));
    const error = await expectCvmRejection(
      () => runFormat(name, { hashOffset: `${300 * 4096}` }),
      'VERITY_OVERWRITES',
      'usage',
    );
    expect(Object.fromEntries(error.facts)).toMatchObject({ 'data at byte': 300 * 4096 });
    expect(readFileSync(at(name)).equals(before)).toBe(true);

    const ext4 = writeExt4([], { ...EXT4_OPTIONS, sizeBytes: 1 << 20, inodeCount: 32 });
    writeFileSync(at('fs.img'), ext4.read(0, 1 << 20));
    await expectCvmRejection(() => runFormat('fs.img', { hashOffset: `${900 << 10}` }), 'VERITY_OVERWRITES');
    await expectCvmRejection(
      () => runFormat('fs.img', { hashOffset: `${900 << 10}`, output: 'other' }),
      'VERITY_OVERWRITES',
    );
    expect(existsSync(at('other'))).toBe(false);
    expect((await runFormat('fs.img')).code).toBe(0);
  });

  test('a changed block is a mismatch that names it', async () => {
    const name = image('d.img', 300 * 4096);
    await runFormat(name);
    const bytes = readFileSync(at(name));
    bytes[123 * 4096 + 5] = 1;
    writeFileSync(at(name), bytes);
    const error = await expectCvmRejection(() => runVerify(name), 'VERITY_DATA_BLOCK', 'mismatch');
    expect(Object.fromEntries(error.facts)).toMatchObject({ 'data block': 123 });
  });

  test('any number of appended blocks is found at the end', async () => {
    for (const blocks of [1, 2, 3, 127, 128, 129, 130]) {
      const name = image('e.img', blocks * 4096);
      const { out } = await runFormat(name);
      expect((await runVerify(name, { rootHash: out.trim() })).out).toBe(out);
    }
  });

  const refusals: readonly (readonly [string, Options, string])[] = [
    ['a salt that is not hex', { salt: 'xyz' }, 'OPTION_SALT'],
    ['a salt of 257 bytes', { salt: '00'.repeat(257) }, 'VERITY_PARAMETER'],
    ['a UUID that is none', { uuid: '1' }, 'OPTION_UUID'],
    ['an unknown algorithm', { hash: 'md5' }, 'VERITY_ALGORITHM'],
    ['hash type 2', { format: '2' }, 'OPTION_NUMBER'],
    ['a block size of 1000', { dataBlockSize: '1000' }, 'VERITY_PARAMETER'],
    ['a hash offset of 100', { hashOffset: '100' }, 'VERITY_OVERLAP'],
    ['a hash offset off the grid', { hashOffset: '40961' }, 'VERITY_HASH_OFFSET'],
    [
      'data blocks that reach over the hash offset',
      { hashOffset: '40960', dataBlocks: '11' },
      'VERITY_OVERLAP',
    ],
    ['more data blocks than there are', { hashOffset: '409600', dataBlocks: '11' }, 'VERITY_DATA_SIZE'],
  ];
  test.each(refusals)('format refuses %s, and leaves the image alone', async (_, options, code) => {
    const name = image('f.img', 10 * 4096);
    const before = readFileSync(at(name));
    await expectCvmRejection(() => runFormat(name, options), code, 'usage');
    expect(readFileSync(at(name)).equals(before)).toBe(true);
    expect(existsSync(at('hash.out'))).toBe(false);
  });

  test('verify refuses an image without a tree, a wrong offset, and a root hash that is none', async () => {
    const name = image('g.img', 10 * 4096);
    await expectCvmRejection(() => runVerify(name), 'HASH_OFFSET_NEEDED', 'usage');
    await expectCvmRejection(() => runVerify(name, { hashOffset: '4096' }), 'VERITY_NO_SUPERBLOCK', 'format');
    await expectCvmRejection(() => runVerify(name, { rootHash: 'ab' }), 'OPTION_ROOT_HASH', 'usage');
    await runFormat(name);
    await expectCvmRejection(() => runVerify(name, { rootHash: ROOT }), 'VERITY_ROOT_HASH', 'mismatch');
  });
});
