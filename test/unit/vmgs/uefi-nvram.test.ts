import { mkdirSync, rmSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { guidToBytes } from '../../../tools/bytes/guid.ts';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { COMMANDS } from '../../../tools/commands/table.ts';
import { CvmError } from '../../../tools/errors.ts';
import { encodeNvram, parseNvram, type NvramVariable } from '../../../tools/vmgs/uefi-nvram.ts';
import { EFI_GLOBAL_VARIABLE, showEfiTime, variableContent } from '../../../tools/vmgs/uefi-variables.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const ucs2 = (text: string): Uint8Array => new Uint8Array(Buffer.from(`${text}\0`, 'utf16le'));
const variable = (name: string, data: Uint8Array, vendor = EFI_GLOBAL_VARIABLE): NvramVariable => ({
  vendor,
  name,
  attributes: 7,
  time: new Uint8Array(16),
  data,
});
/** A load option with a SCSI node and the end. */
const loadOption = (description: string): Uint8Array =>
  concatBytes(
    hexToBytes('01000000' + '0c00'),
    ucs2(description),
    hexToBytes('030208000100 0200 7fff0400'.replaceAll(' ', '')),
    hexToBytes('abcd'),
  );

const VARIABLES = [
  variable('BootOrder', hexToBytes('0a000100')),
  variable('Boot000A', loadOption('Windows')),
  variable('Boot0001', loadOption('Linux \u202e')),
  variable('Boot0002', loadOption('kept')),
  variable(
    'db',
    concatBytes(
      guidToBytes('c1c41626-504c-4092-aca9-41f936934328'),
      hexToBytes('4c000000' + '00000000' + '30000000'),
      new Uint8Array(48),
    ),
  ),
  variable('Custom', hexToBytes('0011'), '77fa9abd-0359-4d32-bd60-28f4e78f784b'),
];

describe('the store of variables', () => {
  test('the layout of an entry', () => {
    expect(encodeNvram([variable('A', hexToBytes('ff'))])).toEqual(
      hexToBytes(
        '00000000' +
          '35000000' +
          '07000000' +
          '00'.repeat(16) +
          '61dfe48bca93d211aa0d00e098032b8c' +
          '0400' +
          '0100' +
          '41000000' +
          'ff',
      ),
    );
  });

  test('what is written is read', () => {
    const entry = fc.record({
      vendor: fc.uuid().map((text) => text.toLowerCase()),
      name: fc.string({ maxLength: 30 }).filter((text) => !text.includes('\0')),
      attributes: fc.nat(0xffff_ffff),
      time: fc.uint8Array({ minLength: 16, maxLength: 16 }),
      data: fc.uint8Array({ maxLength: 100 }),
    });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 10 }), (variables) => {
        expect(parseNvram(encodeNvram(variables))).toEqual(variables);
      }),
      { seed: 1 },
    );
  });

  const patches: readonly (readonly [string, (bytes: Uint8Array) => Uint8Array])[] = [
    ['an unknown type', (b) => (writeU32(b, 0, 1), b)],
    ['a length of 0', (b) => (writeU32(b, 4, 0), b)],
    ['a length above the file', (b) => (writeU32(b, 4, 0xffffffff), b)],
    ['a name that reaches out', (b) => (writeU16(b, 44, 0xffff), b)],
    ['a name without its NUL', (b) => ((b[50] = 0x41), b)],
    ['a NUL inside the name', (b) => (b.set([0, 0], 48), b)],
    ['an odd name', (b) => (writeU16(b, 44, 3), writeU16(b, 46, 2), b)],
    ['bytes behind the last', (b) => concatBytes(b, new Uint8Array(7))],
  ];
  test.each(patches)('refuses %s', (_, patch) => {
    const bytes = patch(encodeNvram([variable('A', hexToBytes('ff'))]));
    expectCvmError(() => parseNvram(bytes), 'NVRAM_ENTRY', 'format');
  });

  test('refuses more than openvmm reads', () => {
    expectCvmError(() => parseNvram(new Uint8Array(131_073)), 'NVRAM_SIZE', 'format');
  });

  test('any bytes: variables, or an error of the house', () => {
    const good = encodeNvram(VARIABLES);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
        const bytes = good.slice();
        bytes[at] = value;
        try {
          for (const { name, data } of parseNvram(bytes)) variableContent(name, data);
        } catch (error) {
          expect(error).toBeInstanceOf(CvmError);
          expect((error as CvmError).kind).toBe('format');
        }
      }),
      { numRuns: 500, seed: 2 },
    );
  });
});

describe('what variables mean', () => {
  test('boot order, load options, signature lists', () => {
    expect(variableContent('BootOrder', hexToBytes('0a000100'))).toEqual({
      kind: 'boot order',
      order: [10, 1],
    });
    expect(variableContent('Boot0001', loadOption('x'))).toEqual({
      kind: 'load option',
      option: {
        attributes: 1,
        description: 'x',
        paths: [
          { type: 3, subtype: 2, text: 'SCSI target 1, LUN 2' },
          { type: 127, subtype: 255, text: 'end' },
        ],
        optional: hexToBytes('abcd'),
      },
    });
    const db = VARIABLES.find(({ name }) => name === 'db');
    expect(variableContent('db', db?.data ?? new Uint8Array())).toMatchObject({
      lists: [
        {
          type: 'Sha256',
          signatures: [{ owner: '00000000-0000-0000-0000-000000000000', data: new Uint8Array(32) }],
        },
      ],
    });
    expect(variableContent('Lang', new Uint8Array(3))).toEqual({ kind: 'data', malformed: false });
  });

  test('cut anywhere they are malformed, and nothing worse', () => {
    for (const [name, whole] of [
      ['Boot0001', loadOption('x').slice(0, -2)],
      ['db', VARIABLES[4]?.data ?? new Uint8Array()],
      ['BootOrder', hexToBytes('0100')],
    ] as const) {
      for (let length = 1; length < whole.length; length += 2)
        expect(variableContent(name, whole.slice(0, length))).toEqual({ kind: 'data', malformed: true });
    }
  });

  test('a time', () => {
    expect(showEfiTime(hexToBytes('ea070b15091e050000e1f50500000000'))).toBe('2026-11-21 09:30:05.100000000');
  });
});

describe('commands', () => {
  const folder = join(scratchFolder(), 'nvram');
  mkdirSync(folder);
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const vmgs = async (
    verb: string,
    args: string[],
    options: Record<string, string | boolean | string[]> = {},
  ): Promise<Outcome> => {
    const entry =
      COMMANDS.find(({ noun, verb: known }) => noun === 'vmgs' && known === verb) ?? expect.fail(verb);
    return runCommand((await entry.load()).command, folder, args, options);
  };
  const put = (name: string, content: string | Uint8Array): void => {
    writeFileSync(join(folder, name), content);
  };
  const names = async (file: string, options: Record<string, string> = {}): Promise<string[]> => {
    const { out } = await vmgs('uefi-nvram dump', [file], { ...options, json: true });
    return (JSON.parse(out) as { variables: { name: string }[] }).variables.map(({ name }) => name);
  };
  put('nvram', encodeNvram(VARIABLES));
  put('key', new Uint8Array(32).fill(1));

  test('dump, on the terminal and in a file', async () => {
    await vmgs('create', ['a'], { file: ['BIOS_NVRAM=nvram'] });
    const { out } = await vmgs('uefi-nvram dump', ['a']);
    expect(out).toContain(
      'Name: BootOrder\nAttributes: 0x7\nSize: 0x4\nTimestamp: 0000-00-00 00:00:00.000000000\nBoot Order: 10 1\n',
    );
    expect(out).toContain('description: Linux \\u{202e}\n  - SCSI target 1, LUN 2\n  - end\n  - opt: abcd\n');
    await vmgs('uefi-nvram dump', ['a'], { outputPath: 'out' });
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe(out);
    expect((await vmgs('uefi-nvram dump', ['a'], { truncate: true })).out).toContain('...');
  });

  test.each([{}, { keyPath: 'key' }])('entries are removed, %o', async (key) => {
    await vmgs('create', ['b'], { file: ['BIOS_NVRAM=nvram'], forceCreate: true, ...key });
    const dry = await vmgs('uefi-nvram remove-boot-entries', ['b'], { ...key, dryRun: true });
    expect(dry.out).toBe('0: Boot000A: Windows\n1: Boot0001: Linux \\u{202e}\n');
    expect(await names('b', key)).toHaveLength(6);
    await vmgs('uefi-nvram remove-boot-entries', ['b'], key);
    expect(await names('b', key)).toEqual(['Boot0002', 'db', 'Custom']);
    await expectCvmRejection(
      () => vmgs('uefi-nvram remove-boot-entries', ['b'], key),
      'NVRAM_NOT_FOUND',
      'usage',
    );
    await vmgs('uefi-nvram remove-entry', ['b'], {
      ...key,
      name: 'db',
      vendor: EFI_GLOBAL_VARIABLE.toUpperCase(),
    });
    expect(await names('b', key)).toEqual(['Boot0002', 'Custom']);
    const wrong = { ...key, name: 'Custom', vendor: EFI_GLOBAL_VARIABLE };
    const error = await expectCvmRejection(
      () => vmgs('uefi-nvram remove-entry', ['b'], wrong),
      'NVRAM_NOT_FOUND',
      'usage',
    );
    expect(error.nearest).toContain('77fa9abd');
    await expectCvmRejection(
      () => vmgs('uefi-nvram remove-entry', ['b'], { ...wrong, vendor: 'x' }),
      'OPTION_GUID',
      'usage',
    );
  });

  test('an encrypted store needs its key', async () => {
    await vmgs('create', ['c'], { file: ['BIOS_NVRAM=nvram'], keyPath: 'key' });
    await expectCvmRejection(() => vmgs('uefi-nvram dump', ['c']), 'VMGS_LOCKED', 'usage');
    await expectCvmRejection(() => vmgs('uefi-nvram remove-boot-entries', ['c']), 'VMGS_LOCKED', 'usage');
  });

  test('variables of a store of version 1', async () => {
    const nvram = (data: unknown): string =>
      JSON.stringify({
        Version: { Major: 1, Minor: 0 },
        Devices: {
          'ac6b8dc1-3257-4a70-b1b2-a9c9215659ad': {
            States: {
              Nvram: {
                Vendors: {
                  [EFI_GLOBAL_VARIABLE]: { Variables: { BootOrder: { Attributes: 7, Data: data } } },
                },
              },
            },
          },
        },
      });
    put('v1.json', nvram([1, 0]));
    expect((await vmgs('uefi-nvram dump-from-json', ['v1.json'])).out).toContain('Boot Order: 1\n');
    for (const bad of [nvram([256]), nvram('x'), nvram([0.5]), '{}', 'x', '[]', 'null']) {
      put('bad.json', bad);
      await expectCvmRejection(() => vmgs('uefi-nvram dump-from-json', ['bad.json']), 'NVRAM_JSON', 'format');
    }
  });
});
