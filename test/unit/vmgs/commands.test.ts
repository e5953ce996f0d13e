import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import type { CommandEntry } from '../../../tools/commands/command.ts';
import { COMMANDS } from '../../../tools/commands/table.ts';
import { applyChange, withStore } from '../../../tools/commands/vmgs-file.ts';
import { BUILD_COMMANDS } from '../../../tools/commands/build-table.ts';
import { CvmError } from '../../../tools/errors.ts';
import { addFirstKey, writeFile } from '../../../tools/vmgs/update.ts';
import { wrapVhd } from '../../../tools/vmgs/vhd.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';
import { Device, SECRETS } from '../../support/vmgs-device.ts';

const root = scratchFolder();
afterAll(() => {
  rmSync(root, { recursive: true });
});
let folder = '';
let counter = 0;
beforeEach(() => {
  folder = join(root, `${counter++}`);
  mkdirSync(folder);
  put('key', new Uint8Array(32).fill(1));
  put('key2', new Uint8Array(32).fill(2));
  put('seed', new Uint8Array(32).fill(3));
  put('data', 'hello world');
});

type Options = Record<string, string | boolean | string[]>;
const at = (name: string): string => join(folder, name);
const put = (name: string, content: string | Uint8Array): void => {
  writeFileSync(at(name), content);
};
const sha256 = (name: string): string =>
  createHash('sha256')
    .update(readFileSync(at(name)))
    .digest('hex');
const entryOf = (verb: string): CommandEntry =>
  COMMANDS.find((entry) => entry.noun === 'vmgs' && entry.verb === verb) ?? expect.fail(`no vmgs ${verb}`);

async function vmgs(verb: string, args: string[], options: Options = {}): Promise<Outcome> {
  const { command } = await entryOf(verb).load();
  return runCommand(command, folder, args, options);
}

/** Runs a command that is refused: its code and its exit code, with the VMGS file as it was before. */
async function refused(verb: string, args: string[], options: Options = {}): Promise<[string, number]> {
  const { command } = await entryOf(verb).load();
  const [name = ''] = args;
  const before = existsSync(at(name)) && statSync(at(name)).isFile() ? sha256(name) : undefined;
  const listed = readdirSync(folder);
  try {
    const outcome = await runCommand(command, folder, args, options);
    return expect.fail(`not refused: ${outcome.out}`);
  } catch (error) {
    if (!(error instanceof CvmError)) throw error;
    if (before !== undefined) expect(sha256(name)).toBe(before);
    expect(readdirSync(folder)).toEqual(listed);
    return [error.code, command.exitCode?.(error) ?? error.exitCode];
  }
}
const json = async (verb: string, args: string[], options: Options = {}): Promise<Record<string, unknown>> =>
  JSON.parse((await vmgs(verb, args, { ...options, json: true })).out) as Record<string, unknown>;

describe('create', () => {
  test('vector P as one call', async () => {
    await vmgs('create', ['p.vmgs'], {
      fileSize: '131072',
      vhdId: '00112233-4455-4677-8899-aabbccddeeff',
      provisioner: 'openhcl',
      reason: 'empty',
      provisionerVersion: 'f85a038845b4fd5c74726be38f4be690c99db8c6',
      file: ['1=data'],
    });
    expect(sha256('p.vmgs')).toBe('61f5c3411e470f1a8b659e89a36a7450cde84116d9f8d9ffe0f8db2478c60aae');
  });

  test('same inputs, same bytes: plain without a seed, encrypted with one; and not without', async () => {
    for (const options of [{}, { marker: true }, { keyPath: 'key', seedPath: 'seed' }] as Options[]) {
      await vmgs('create', ['a'], { ...options, file: ['2=data', 'TPM_NVRAM=key2'] });
      await vmgs('create', ['b'], { ...options, file: ['tpm_nvram=key2', '2=data'] });
      expect(sha256('a')).toBe(sha256('b'));
      rmSync(at('a'));
      rmSync(at('b'));
    }
    await vmgs('create', ['a'], { keyPath: 'key' });
    await vmgs('create', ['b'], { keyPath: 'key' });
    expect(sha256('a')).not.toBe(sha256('b'));
    await vmgs('create', ['c'], { file: ['1=data'] });
    await vmgs('create', ['d'], { file: ['1=key'] });
    expect((await json('verify', ['c']))['findings']).toHaveLength(1);
    expect(
      readFileSync(at('c'))
        .subarray(-444, -428)
        .equals(readFileSync(at('d')).subarray(-444, -428)),
    ).toBe(false);
  });

  test('a seeded store has no key and nonce twice for two contents, also across stores', async () => {
    const sealed = async (name: string, content: string): Promise<string> => {
      put('content', content);
      await vmgs('create', [name], { keyPath: 'key', seedPath: 'seed', file: ['1=content'] });
      const { headers, active } = await json('dump-headers', [name]);
      const header = (headers as { keySlots: { nonce: string }[] }[])[(active as number) - 1];
      return header?.keySlots[0]?.nonce ?? '';
    };
    expect(new Set([await sealed('a', 'x'), await sealed('b', 'y'), await sealed('c', 'xy')]).size).toBe(3);
  });

  test('--force-create replaces all bytes and keeps the id of a file of that size', async () => {
    await vmgs('create', ['a'], { fileSize: '32768', vhdId: '00112233-4455-4677-8899-aabbccddeeff' });
    const first = sha256('a');
    await vmgs('write', ['a'], { fileId: '1', dataPath: 'data' });
    expect(await refused('create', ['a'], { fileSize: '32768' })).toEqual(['VMGS_EXISTS', 1]);
    await vmgs('create', ['a'], { fileSize: '32768', forceCreate: true });
    expect(sha256('a')).toBe(first);
    put('a', 'no VHD');
    await vmgs('create', ['a'], { fileSize: '32768', forcecreate: true });
    expect(sha256('a')).not.toBe(first);
  });

  const refusals: readonly (readonly [string, Options, string, number])[] = [
    ['a size that is too small', { fileSize: '16383' }, 'VMGS_SIZE', 1],
    ['a size off the grid', { fileSize: '16385' }, 'VMGS_SIZE', 1],
    ['a size that is no number', { fileSize: '4M' }, 'VMGS_SIZE', 1],
    ['a store too small for its file', { fileSize: '16384', file: ['1=data'] }, 'VMGS_NO_SPACE', 1],
    ['a key of 11 bytes', { keyPath: 'data' }, 'VMGS_KEY_LENGTH', 1],
    ['a key of zeros', { keyPath: 'zeros' }, 'VMGS_KEY_ZERO', 1],
    ['a missing key', { keyPath: 'nothing' }, 'FILE_NOT_FOUND', 1],
    ['a short seed', { keyPath: 'key', seedPath: 'data' }, 'VMGS_SEED', 1],
    ['an algorithm without a key', { encryptionAlgorithm: 'AES_GCM' }, 'OPTION_MISSING', 64],
    ['an unknown algorithm', { keyPath: 'key', encryptionAlgorithm: 'XTS' }, 'OPTION_ALGORITHM', 64],
    ['an unknown file id', { file: ['64=data'] }, 'OPTION_FILE_ID', 64],
    ['a file without a path', { file: ['1'] }, 'OPTION_FILE', 64],
    ['a file id twice', { file: ['3=data', 'TPM_NVRAM=data'] }, 'OPTION_FILE', 64],
    ['a marker and file 18', { marker: true, file: ['18=data'] }, 'OPTION_FILE', 64],
    ['a table', { file: ['63=data'] }, 'VMGS_TABLE_ID', 1],
    ['an unknown provisioner', { provisioner: 'OpenHCL' }, 'MARKER_VALUE', 64],
    ['an unknown reason', { reason: 'because' }, 'MARKER_VALUE', 64],
    ['attributes without 0x', { akcertAttrs: '42060004' }, 'MARKER_VALUE', 64],
    ['a version twice', { provisionerVersion: 'a', provisionerVersionFile: 'data' }, 'OPTION_REPEATED', 64],
    ['a sector size without --raw', { sectorSize: '512' }, 'OPTION_SECTOR_SIZE', 64],
    ['an id that is no GUID', { vhdId: '0011' }, 'OPTION_GUID', 64],
    [
      'an id for a file without a footer',
      { raw: true, vhdId: '00112233-4455-4677-8899-aabbccddeeff' },
      'OPTION_CONFLICT',
      64,
    ],
  ];
  test.each(refusals)('refuses %s, and makes nothing', async (_, options, code, exitCode) => {
    put('zeros', new Uint8Array(32));
    expect(await refused('create', ['new.vmgs'], options)).toEqual([code, exitCode]);
  });
});

describe('a file given with -f, and not at all', () => {
  test.each(COMMANDS.filter(({ noun, verb }) => noun === 'vmgs' && verb !== 'create'))(
    '$verb',
    async (entry) => {
      const { verb } = entry;
      const { command } = await entry.load();
      const ids: Options = {
        ...(verb === 'move' || verb === 'copy' ? { src: '1', dst: '2' } : {}),
        ...(['write', 'dump', 'delete', 'query-size'].includes(verb) ? { fileId: '1' } : {}),
        ...(verb === 'write' ? { dataPath: 'data' } : {}),
        ...(verb === 'copy-igvmfile' ? { dataPath: 'data', resourceCode: 'SNP' } : {}),
        ...(['encrypt', 'update-key'].includes(verb) ? { keyPath: 'key' } : {}),
        ...(verb === 'update-key' ? { newKeyPath: 'key2' } : {}),
        ...(verb.endsWith('remove-entry')
          ? { name: 'x', vendor: '8be4df61-93ca-11d2-aa0d-00e098032b8c' }
          : {}),
      };
      expect(await refused(verb, [], ids)).toEqual(['OPTION_MISSING', 64]);
      expect(await refused(verb, ['nothing.vmgs'], ids)).toEqual(['FILE_NOT_FOUND', 1]);
      expect(await refused(verb, [], { ...ids, filePath: 'nothing.vmgs' })).toEqual(['FILE_NOT_FOUND', 1]);
      expect(await refused(verb, [], { ...ids, filepath: 'nothing.vmgs' })).toEqual(['FILE_NOT_FOUND', 1]);
      expect(await refused(verb, ['a'], { ...ids, filepath: 'b' })).toEqual(['OPTION_REPEATED', 64]);
      expect(await refused(verb, ['.'], ids)).toEqual(['FILE_NOT_REGULAR', 1]);
      expect(command.options?.some(({ flags }) => flags === '--json')).toBe(true);
      expect(Object.keys(command)).toContain('exitCode');
    },
  );
});

test('what build actions run is make and check', () => {
  expect(BUILD_COMMANDS.filter(({ noun }) => noun === 'vmgs').map(({ verb }) => verb)).toEqual([
    'create',
    'verify',
  ]);
});

describe('files', () => {
  test('written, listed, measured, dumped, copied, moved, deleted', async () => {
    await vmgs('create', ['a']);
    await vmgs('write', ['a'], { fileId: 'TPM_NVRAM', dataPath: 'data' });
    expect(await vmgs('query-size', ['a'], { fileId: '3' })).toEqual({ code: 0, out: '11\n', err: '' });
    expect((await vmgs('query-size', ['a'], { fileId: '63' })).out).toBe('4096\n');
    expect((await vmgs('dump', ['a'], { fileId: '3', rawStdout: true })).out).toBe('hello world');
    expect((await vmgs('dump', ['a'], { fileId: '3' })).out).toBe(
      '0x68,0x65,0x6c,0x6c,0x6f,0x20,0x77,0x6f,0x72,0x6c,0x64,                           hello world\n',
    );
    await vmgs('copy', ['a'], { src: '3', dst: '4' });
    await vmgs('move', ['a'], { srcFileId: '3', dstFileId: '20' });
    await vmgs('dump', ['a'], { fileId: '20', dataPath: 'out' });
    expect(readFileSync(at('out'), 'utf8')).toBe('hello world');
    const { files } = await json('list', ['a']);
    expect(
      (files as { id: number; name: string | null; encrypted: boolean }[]).map(({ id, name }) => [id, name]),
    ).toEqual([
      [0, 'FILE_TABLE'],
      [4, 'RTC_SKEW'],
      [20, null],
      [63, 'EXTENDED_FILE_TABLE'],
    ]);
    await vmgs('delete', ['a'], { fileId: '20' });
    await vmgs('dump', ['a'], { all: true, dataPath: 'all' });
    expect(readdirSync(at('all'))).toEqual(['4-RTC_SKEW.bin']);
    expect(readFileSync(at('all/4-RTC_SKEW.bin'), 'utf8')).toBe('hello world');
    expect((await vmgs('verify', ['a'], { strict: true })).code).toBe(0);
  });

  const refusals: readonly (readonly [string, string, Options, string, number])[] = [
    ['overwriting', 'write', { fileId: '3', dataPath: 'data' }, 'VMGS_FILE_EXISTS', 1],
    [
      'a key for a plain store',
      'write',
      { fileId: '1', dataPath: 'data', keyPath: 'key' },
      'VMGS_NOT_ENCRYPTED',
      1,
    ],
    ['a file larger than the store', 'write', { fileId: '1', dataPath: 'large' }, 'VMGS_NO_SPACE', 1],
    ['a table', 'write', { fileId: '0', dataPath: 'data' }, 'VMGS_TABLE_ID', 1],
    ['dumping a table', 'dump', { fileId: '63' }, 'VMGS_TABLE_ID', 1],
    ['dumping nothing', 'dump', { fileId: '5' }, 'VMGS_NOT_FOUND', 4],
    ['the size of nothing', 'query-size', { fileId: '5' }, 'VMGS_NOT_FOUND', 4],
    ['deleting nothing', 'delete', { fileId: '5' }, 'VMGS_NOT_FOUND', 4],
    ['moving nothing', 'move', { src: '5', dst: '6' }, 'VMGS_NOT_FOUND', 4],
    ['moving over a file', 'move', { src: '3', dst: '4' }, 'VMGS_FILE_EXISTS', 1],
    ['copying over a file', 'copy', { src: '3', dst: '4' }, 'VMGS_FILE_EXISTS', 1],
    ['moving onto itself', 'move', { src: '3', dst: '3' }, 'OPTION_CONFLICT', 64],
    ['moving a table', 'move', { src: '63', dst: '5' }, 'VMGS_TABLE_ID', 1],
    ['no file id', 'dump', {}, 'OPTION_MISSING', 64],
    ['a file id of two spellings', 'dump', { fileId: '3', fileid: '3' }, 'OPTION_REPEATED', 64],
    ['raw bytes and JSON', 'dump', { fileId: '3', rawStdout: true, json: true }, 'OPTION_CONFLICT', 64],
    ['all and one', 'dump', { fileId: '3', all: true }, 'OPTION_CONFLICT', 64],
    ['all to nowhere', 'dump', { all: true }, 'OPTION_MISSING', 64],
    ['no data', 'write', { fileId: '3' }, 'OPTION_MISSING', 64],
    [
      'a key exchange of a plain store',
      'update-key',
      { keyPath: 'key', newKeyPath: 'key2' },
      'VMGS_NOT_ENCRYPTED',
      1,
    ],
    ['a UEFI variable of nothing', 'uefi-nvram dump', {}, 'VMGS_NOT_FOUND', 4],
    ['a dump over the store', 'dump', { fileId: '3', dataPath: './a' }, 'OUTPUT_IS_INPUT', 64],
    ['UEFI variables over the store', 'uefi-nvram dump', { outputPath: 'a' }, 'OUTPUT_IS_INPUT', 64],
    ['a folder that is a file', 'dump', { all: true, dataPath: 'data' }, 'FILE_ACCESS', 1],
  ];
  test.each(refusals)('refuses %s (%s), the file untouched', async (_, verb, options, code, exitCode) => {
    put('large', new Uint8Array(70_000));
    await vmgs('create', ['a'], { fileSize: '65536', file: ['3=data', '4=data'] });
    expect(await refused(verb, ['a'], options)).toEqual([code, exitCode]);
  });

  test('a read-only file can be read and checked', async () => {
    await vmgs('create', ['a'], { marker: true });
    chmodSync(at('a'), 0o400);
    const before = sha256('a');
    for (const verb of ['list', 'verify', 'dump-headers', 'dump-file-table', 'marker show', 'marker check'])
      expect((await vmgs(verb, ['a'])).code).toBe(0);
    expect((await vmgs('query-encryption', ['a'])).code).toBe(2);
    expect(sha256('a')).toBe(before);
  });

  test('another writer in between is noticed, and keeps what it wrote', async () => {
    await vmgs('create', ['a'], { fileSize: '65536' });
    const io = { cwd: folder, env: {}, isTerminal: false, out: () => undefined, err: () => undefined };
    const late = withStore(io, ['a'], {}, async (store, file) => {
      const content = sourceFromBytes(new Uint8Array(8));
      const change = writeFile(store, { id: 4, content, encrypt: false });
      await vmgs('write', ['a'], { fileId: '3', dataPath: 'data' });
      applyChange(file, change);
    });
    await expectCvmRejection(() => late, 'FILE_CHANGED', 'usage');
    expect((await vmgs('dump', ['a'], { fileId: '3', rawStdout: true })).out).toBe('hello world');
    expect((await vmgs('verify', ['a'], { strict: true })).code).toBe(0);
  });

  test('a raw store of 4096-byte sectors', async () => {
    const raw = { raw: true, sectorSize: '4096' };
    await vmgs('create', ['a'], { ...raw, fileSize: '65536' });
    expect(statSync(at('a')).size).toBe(65_536);
    await vmgs('write', ['a'], { ...raw, fileId: '1', dataPath: 'data' });
    expect(readFileSync(at('a')).subarray(4096, 4104).toString()).toBe('GUESTRTS');
    expect((await vmgs('verify', ['a'], { ...raw, strict: true })).code).toBe(0);
    expect(await refused('list', ['a'])).toEqual(['VHD_COOKIE', 1]);
  });

  test.each([
    ['VHD', {}],
    ['512', { raw: true }],
    ['4096', { raw: true, sectorSize: '4096' }],
  ])('a store of sectors of %s shows its newest state, found without being told', async (_, made) => {
    await vmgs('create', ['a'], { ...made, fileSize: '65536' });
    const raw = 'raw' in made ? { raw: true } : {};
    for (let id = 1; id < 4; id++) {
      // The first write is the one that a single header cannot tell.
      const options = { ...(id === 1 ? made : raw), fileId: `${id}`, dataPath: 'data' };
      await vmgs('write', ['a'], options);
      expect((await vmgs('dump', ['a'], { ...raw, fileId: `${id}`, rawStdout: true })).out).toBe(
        'hello world',
      );
      expect((await vmgs('verify', ['a'], { ...raw, strict: true })).code).toBe(0);
    }
  });
});

describe('what cannot be opened', () => {
  const stores: readonly (readonly [string, (bytes: Buffer) => Buffer, string, number])[] = [
    ['an empty file', () => Buffer.alloc(0), 'VMGS_EMPTY', 3],
    ['a VHD of zeros', (bytes) => bytes.fill(0, 0, 8192), 'VMGS_EMPTY', 3],
    ['a truncated VHD', (bytes) => bytes.subarray(0, 65_536), 'VHD_COOKIE', 1],
    ['a VHD cut within a sector', (bytes) => bytes.subarray(0, 65_000), 'VHD_LENGTH', 1],
    ['a VHD with a footer of another sum', (bytes) => flip(bytes, bytes.length - 1), 'VHD_CHECKSUM', 1],
    ['both headers bad', (bytes) => flip(flip(bytes, 20), 512 + 20), 'VMGS_HEADERS', 1],
    ['a GPT', (bytes) => bytes.fill('EFI PART', 512, 520), 'VMGS_V1', 5],
    ['overlapping extents', (bytes) => overlap(bytes), 'VMGS_OVERLAP', 1],
    ['a table behind the end', (bytes) => resized(bytes), 'VHD_SIZE', 1],
  ];
  const flip = (bytes: Buffer, index: number): Buffer => {
    bytes[index] = (bytes[index] as number) ^ 1;
    return bytes;
  };
  /** Entry 4 of the table in block 4 gets the place of entry 3. */
  const overlap = (bytes: Buffer): Buffer => {
    const table = bytes.readUInt32LE(24) * 4096;
    bytes.copy(bytes, table + 4 * 64, table + 3 * 64, table + 3 * 64 + 4);
    return bytes;
  };
  /** A footer that names a larger disk. */
  const resized = (bytes: Buffer): Buffer => {
    const footer = bytes.length - 512;
    bytes.writeUInt32BE(1 << 24, footer + 52);
    const sum = bytes
      .subarray(footer)
      .reduce((total, byte, i) => (i >= 64 && i < 68 ? total : total + byte), 0);
    bytes.writeUInt32BE(~sum >>> 0, footer + 64);
    return bytes;
  };

  test.each(stores)('%s: one named error, the file untouched', async (_, damage, code, exitCode) => {
    await vmgs('create', ['good'], { fileSize: '65536', file: ['3=data', '4=data'] });
    put('a', damage(readFileSync(at('good'))));
    expect(await refused('write', ['a'], { fileId: '1', dataPath: 'data' })).toEqual([code, exitCode]);
    expect((await vmgs('verify', ['a'])).code).toBe(1);
    const report = await json('verify', ['a']);
    expect(report['ok']).toBe(false);
    expect(JSON.stringify(report['findings'])).toContain(code.replace('VMGS_OVERLAP', 'OVERLAP'));
  });

  test('a gap between the sequences', async () => {
    await vmgs('create', ['good'], { fileSize: '65536', file: ['3=data', '4=data'] });
    // The first header of another store with more writes, beside this one's second.
    await vmgs('create', ['other'], { fileSize: '65536', file: ['3=data', '4=data', '5=data', '6=data'] });
    const bytes = readFileSync(at('good'));
    readFileSync(at('other')).copy(bytes, 0, 0, 512);
    put('a', bytes);
    expect(await refused('list', ['a'])).toEqual(['VMGS_SEQUENCE', 1]);
  });

  test('dump-headers shows both headers before it fails', async () => {
    put('zeros', new Uint8Array(65_536));
    const { code, out, err } = await vmgs('dump-headers', ['zeros'], { raw: true });
    expect([code, out, err.split('\n')[0]]).toEqual([
      3,
      'Header 1: empty\nHeader 2: empty\n',
      'error VMGS_EMPTY (exit 3): the store is empty: both headers are zero',
    ]);
    const shown = await json('dump-headers', ['zeros'], { raw: true });
    expect(shown).toMatchObject({
      ok: false,
      error: { code: 'VMGS_EMPTY', exitCode: 3 },
      headers: [{ empty: true }, { empty: true }],
    });
  });
});

describe('encryption', () => {
  const files = { file: ['3=data'], fileSize: '131072' };

  test('query-encryption: the exit codes of vmgstool', async () => {
    await vmgs('create', ['a']);
    expect((await vmgs('query-encryption', ['a'])).code).toBe(2);
    await vmgs('encrypt', ['a'], { keyPath: 'key' });
    expect((await vmgs('query-encryption', ['a'])).code).toBe(7);
    await vmgs('write', ['a'], { fileId: '7', dataPath: 'data' });
    expect((await vmgs('query-encryption', ['a'])).code).toBe(6);
    await vmgs('write', ['a'], { fileId: '6', dataPath: 'data' });
    expect((await vmgs('query-encryption', ['a'])).code).toBe(0);
  });

  test('a plain store gets a key; its files stay plain until they are rewritten', async () => {
    await vmgs('create', ['a'], { ...files, marker: true });
    const { out } = await vmgs('encrypt', ['a'], { keyPath: 'key', encryptionAlgorithm: 'AES_GCM' });
    expect(out).toBe('plain: 3 TPM_NVRAM, 18 PROVISIONING_MARKER\n');
    expect(await json('encrypt', ['a'], { keyPath: 'key', rewrite: ['3'] })).toMatchObject({
      rewritten: [3],
      plain: [18],
    });
    expect(await json('encrypt', ['a'], { keyPath: 'key', rewriteAll: true })).toMatchObject({
      rewritten: [],
      plain: [18],
    });
    expect((await vmgs('dump', ['a'], { fileId: '3', keyPath: 'key', rawStdout: true })).out).toBe(
      'hello world',
    );
    const locked = await vmgs('dump', ['a'], { fileId: '3', rawStdout: true });
    expect(locked.err).toMatch(/^warning/);
    expect(locked.out).not.toContain('hello');
    expect((await vmgs('verify', ['a'], { keyPath: 'key', strict: true })).code).toBe(0);
    // The plaintext is still in a free block; a rebuild has none of it.
    expect(readFileSync(at('a')).includes('hello world')).toBe(true);
    await vmgs('encrypt', ['a'], { keyPath: 'key', rebuild: 'b' });
    expect(readFileSync(at('b')).includes('hello world')).toBe(false);
    expect((await vmgs('dump', ['b'], { fileId: '3', keyPath: 'key', rawStdout: true })).out).toBe(
      'hello world',
    );
    expect((await vmgs('marker check', ['b'])).code).toBe(0);
    expect((await vmgs('verify', ['b'], { keyPath: 'key', strict: true })).code).toBe(0);
  });

  test('keys are exchanged; the old one is out', async () => {
    await vmgs('create', ['a'], { ...files, keyPath: 'key' });
    await vmgs('update-key', ['a'], { keyPath: 'key', newKeyPath: 'key2' });
    expect(await refused('list', ['a'], { keyPath: 'key' })).toEqual(['VMGS_KEY_WRONG', 1]);
    expect((await vmgs('dump', ['a'], { fileId: '3', keyPath: 'key2', rawStdout: true })).out).toBe(
      'hello world',
    );
    expect((await vmgs('verify', ['a'], { keyPath: 'key2', strict: true })).code).toBe(0);
  });

  test('an empty file is stored plain, and overwritten without being asked', async () => {
    put('empty', '');
    await vmgs('create', ['a'], { keyPath: 'key', file: ['2=empty'] });
    await vmgs('write', ['a'], { keyPath: 'key', fileId: '2', dataPath: 'data' });
    expect((await vmgs('dump', ['a'], { fileId: '2', keyPath: 'key', rawStdout: true })).out).toBe(
      'hello world',
    );
  });

  test('files of one byte are never refused as ciphertext of zeros', async () => {
    put('byte', 'x');
    await vmgs('create', ['a'], { keyPath: 'key' });
    for (let i = 0; i < 40; i++)
      await vmgs('write', ['a'], { keyPath: 'key', fileId: `${i + 19}`, dataPath: 'byte' });
    expect((await vmgs('verify', ['a'], { keyPath: 'key', strict: true })).code).toBe(0);
  });

  const data18 = { fileId: '18', dataPath: 'data', keyPath: 'key' };
  const over18 = { src: '3', dst: '18', keyPath: 'key', allowOverwrite: true };
  const refusals: readonly (readonly [string, string, Options, string])[] = [
    ['a wrong key', 'write', { fileId: '1', dataPath: 'data', keyPath: 'key2' }, 'VMGS_KEY_WRONG'],
    [
      'a plain write over an encrypted file',
      'write',
      { fileId: '3', dataPath: 'data', allowOverwrite: true },
      'VMGS_LOCKED',
    ],
    ['a move without the key', 'move', { src: '3', dst: '4' }, 'VMGS_LOCKED'],
    ['a copy without the key', 'copy', { src: '3', dst: '4' }, 'VMGS_LOCKED'],
    ['encrypting twice', 'encrypt', { keyPath: 'key' }, 'VMGS_ENCRYPTED'],
    ['rewriting with a wrong key', 'encrypt', { keyPath: 'key2', rewriteAll: true }, 'VMGS_KEY_WRONG'],
    ['encrypting the marker', 'encrypt', { keyPath: 'key', rewrite: ['18'] }, 'VMGS_MARKER_PLAIN'],
    ['writing a marker encrypted', 'write', { ...data18, allowOverwrite: true }, 'VMGS_MARKER_PLAIN'],
    ['copying over the marker', 'copy', { ...over18 }, 'VMGS_MARKER_PLAIN'],
    ['moving over the marker', 'move', { ...over18 }, 'VMGS_MARKER_PLAIN'],
    ['rewriting nothing', 'encrypt', { keyPath: 'key', rewrite: ['9'] }, 'VMGS_NOT_FOUND'],
    ['a rebuild over a file', 'encrypt', { keyPath: 'key', rebuild: 'data' }, 'VMGS_EXISTS'],
    ['a new key of zeros', 'update-key', { keyPath: 'key', newKeyPath: 'zeros' }, 'VMGS_KEY_ZERO'],
    ['a new key that is short', 'update-key', { keyPath: 'key', newKeyPath: 'data' }, 'VMGS_KEY_LENGTH'],
    ['a wrong old key', 'update-key', { keyPath: 'key2', newKeyPath: 'key2' }, 'VMGS_KEY_WRONG'],
    ['checking with a key of zeros', 'verify', { keyPath: 'zeros' }, 'VMGS_KEY_ZERO'],
  ];
  test.each(refusals)('refuses %s (%s), the file untouched', async (_, verb, options, code) => {
    put('zeros', new Uint8Array(32));
    await vmgs('create', ['a'], { ...files, marker: true, keyPath: 'key' });
    expect((await refused(verb, ['a'], options))[0]).toBe(code);
  });

  test('with the key a file may be stored plain, and a deletion leaves nothing stale', async () => {
    await vmgs('create', ['a'], { ...files, keyPath: 'key' });
    await vmgs('write', ['a'], {
      fileId: '3',
      dataPath: 'data',
      keyPath: 'key',
      plain: true,
      allowOverwrite: true,
    });
    expect((await vmgs('dump', ['a'], { fileId: '3', rawStdout: true })).out).toBe('hello world');
    await vmgs('write', ['a'], { fileId: '4', dataPath: 'data', keyPath: 'key' });
    await vmgs('delete', ['a'], { fileId: '4', keyPath: 'key' });
    expect((await vmgs('verify', ['a'], { keyPath: 'key', strict: true })).code).toBe(0);
    await vmgs('write', ['a'], { fileId: '4', dataPath: 'data', keyPath: 'key' });
    expect((await vmgs('delete', ['a'], { fileId: '4' })).err).toMatch(/^warning/);
    expect((await vmgs('verify', ['a'], { keyPath: 'key', strict: true })).code).toBe(1);
  });
});

describe('marker', () => {
  test('written once, while the store is new', async () => {
    await vmgs('create', ['a']);
    await vmgs('marker write', ['a'], { provisioner: 'hcl', provisionerVersion: 'abc"\u00e9\n' });
    expect((await vmgs('dump', ['a'], { fileId: '18', rawStdout: true })).out).toBe(
      Buffer.from(
        '{"provisioner":"hcl","reason":"request","tpm_version":"1.38","tpm_nvram_size":32768,"akcert_size":4096,' +
          '"akcert_attrs":"0x42060004","provisioner_version":"abc\\"\u00e9\\n"}',
      ).toString('latin1'),
    );
    expect(await refused('marker write', ['a'])).toEqual(['MARKER_EXISTS', 1]);
    await vmgs('marker write', ['a'], { force: true });
    expect(await json('marker show', ['a'])).toEqual({
      ok: true,
      deviations: [],
      marker: {
        provisioner: 'unknown',
        reason: 'request',
        tpm_version: '1.38',
        tpm_nvram_size: 32768,
        akcert_size: 4096,
        akcert_attrs: '0x42060004',
        provisioner_version: '',
      },
    });
  });

  test('not into a store that is in use', async () => {
    await vmgs('create', ['a'], { file: ['3=data'] });
    expect(await refused('marker write', ['a'])).toEqual(['MARKER_LATE', 1]);
    await vmgs('create', ['b'], { keyPath: 'key' });
    expect(await refused('marker write', ['b'])).toEqual(['MARKER_LATE', 1]);
    await vmgs('marker write', ['b'], { force: true });
    expect((await vmgs('marker check', ['b'])).code).toBe(0);
    expect((await vmgs('verify', ['b'], { keyPath: 'key', strict: true })).code).toBe(0);
  });

  test('never encrypted, and not over one that is', async () => {
    await vmgs('create', ['b'], { keyPath: 'key', file: ['18=data', '3=data'] });
    expect((await vmgs('list', ['b'], { keyPath: 'key' })).out).toMatch(/TPM_NVRAM.*yes\n18 .* no\n/);
    // As another tool may leave it.
    const device = new Device(64 * 4096);
    device.apply(addFirstKey(device.store, new Uint8Array(32).fill(1), SECRETS));
    device.write(18, new TextEncoder().encode('hello world'), true);
    const file = wrapVhd(device.image, new Uint8Array(16).fill(1));
    put('a', file.read(0, file.sizeBytes));
    expect(await refused('marker write', ['a'], { force: true })).toEqual(['VMGS_LOCKED', 1]);
    expect(await refused('marker show', ['a'])).toEqual(['VMGS_MARKER_ENCRYPTED', 1]);
    expect((await json('verify', ['a'], { keyPath: 'key' }))['findings']).toMatchObject([
      { code: 'MARKER_ENCRYPTED' },
    ]);
  });

  test('checked for its form and for values', async () => {
    await vmgs('create', ['a'], { provisioner: 'havmgstooltvm', akcertAttrs: '0x0000ABCD' });
    expect(
      (await vmgs('marker check', ['a'], { provisioner: 'havmgstooltvm', akcertAttrs: '0xabcd' })).code,
    ).toBe(0);
    expect(await refused('marker check', ['a'], { provisioner: 'openhcl' })).toEqual(['MARKER_MISMATCH', 1]);
    expect(await refused('marker check', ['a'], { tpmNvramSize: '16384' })).toEqual(['MARKER_MISMATCH', 1]);
    await vmgs('create', ['b']);
    expect(await refused('marker check', ['b'])).toEqual(['VMGS_NOT_FOUND', 4]);
    put(
      'spaced',
      '{ "provisioner":"hcl","reason":"empty","tpm_version":"","tpm_nvram_size":0,"akcert_size":0,"akcert_attrs":"0x0","provisioner_version":""}',
    );
    await vmgs('create', ['c'], { file: ['18=spaced'] });
    expect(await refused('marker check', ['c'])).toEqual(['MARKER_FORM', 1]);
    expect((await vmgs('marker show', ['c'])).out).toContain('note');
  });
});

test('a large sparse store is opened at once', async () => {
  await vmgs('create', ['a'], { fileSize: '65536', raw: true });
  truncateSync(at('a'), 8 * 2 ** 30);
  expect(await json('list', ['a'], { raw: true })).toMatchObject({ storeBytes: 8 * 2 ** 30 });
  await vmgs('write', ['a'], { raw: true, fileId: '1', dataPath: 'data' });
  expect((await vmgs('verify', ['a'], { raw: true, strict: true })).code).toBe(0);
});
