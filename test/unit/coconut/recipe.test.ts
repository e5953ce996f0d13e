/* eslint-disable @typescript-eslint/no-unsafe-member-access -- recipes are changed as free-form JSON */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { chooseLayout } from '../../../tools/coconut/layouts.ts';
import { normalizedRecipe } from '../../../tools/coconut/normalized.ts';
import { parseRecipe } from '../../../tools/coconut/recipe.ts';
import { CvmError } from '../../../tools/errors.ts';
import { expectCvmError } from '../../support/errors.ts';
import { allTargetsRecipe, bldrRecipe, check, qemuRecipe, STAGE1, type Json } from '../../support/recipes.ts';

describe('defaults and forms', () => {
  test('everything that a recipe may leave out', () => {
    const { recipe, layout } = check({ igvm: { qemu: {} }, kernel: { stage2: {}, svsm: {} } });
    expect(layout.name).toBe('stage2-2025-05');
    expect(normalizedRecipe(recipe, layout)).toEqual({
      recipe: 'r.json',
      layout: 'stage2-2025-05',
      igvm: {
        qemu: {
          output: 'default.json',
          platforms: ['snp', 'tdp', 'vsm'],
          policy: '0x30000',
          comport: '1',
          measure: 'print',
          'check-kvm': false,
          'measure-native-zeroes': false,
        },
      },
      kernel: {
        stage2: { type: 'cargo', features: '', binary: false, objcopy: 'elf64-x86-64' },
        svsm: { type: 'cargo', features: '', binary: false, objcopy: 'elf64-x86-64' },
      },
      firmware: {},
      fs: { modules: {} },
    });
  });

  test('the generation shows in stage2 or bldr; order is that of the file', () => {
    expect(check(bldrRecipe()).layout.name).toBe('bldr-2026-08');
    const text = '{"kernel":{"svsm":{},"10":{},"2":{},"stage2":{}},"igvm":{"qemu":{}}}';
    expect(check(text).recipe.kernel.map(({ name }) => name)).toEqual(['svsm', '10', '2', 'stage2']);
  });

  test('features may stand between commas, blanks or both', () => {
    const json = qemuRecipe();
    json.kernel.svsm.features = ' a,b  c ,, d\t';
    expect(check(json).recipe.kernel[0]?.features).toEqual(['a', 'b', 'c', 'd']);
  });

  test('module paths are taken as if the module stood in a packed folder; its name is the default', () => {
    const json = qemuRecipe();
    json.fs.modules = { a: { path: '//x/./y/../z' }, b: {}, c: { path: 'd/e' } };
    expect(check(json).recipe.modules.map(({ path }) => path)).toEqual(['x/z', 'b', 'd/e']);
  });

  test.each([
    ['0x30000', 0x30000n],
    ['b0000', 0xb0000n],
    ['0xffffffffffffffff', 0xffff_ffff_ffff_ffffn],
  ])('policy %s', (text, value) => {
    const json = qemuRecipe();
    json.igvm.qemu.policy = text;
    expect(check(json).recipe.igvm[0]?.policy).toBe(value);
  });

  test('a component that no image holds is warned of, with the nearest that one does', () => {
    const json = qemuRecipe();
    json.kernel.svms = {};
    expect(check(json).warnings).toEqual([
      'r.json: $.kernel.svms is built, but no image of layout stage2-2025-05 holds it; the nearest component is svsm',
    ]);
  });

  test('unknown keys are ignored with a warning when that is asked for', () => {
    const json = qemuRecipe();
    json.igvm.qemu.platform = ['snp'];
    json.extra = 1;
    expect(check(json, true).warnings).toEqual([
      'r.json: $.extra is no key of a recipe and is ignored',
      'r.json: $.igvm.qemu.platform is no key of a recipe and is ignored; the nearest known key is platforms',
    ]);
  });
});

type Change = (json: Json) => unknown;

/** What is done to the qemu recipe, the code, the JSON path, and a word of the mend. */
const REFUSALS: readonly (readonly [string, Change, string, string, string])[] = [
  // Those of scripts/build.py and xbuild.
  [
    'an unknown target',
    (j) => (j.igvm.hyperv = {}),
    'RECIPE_TARGET_UNKNOWN',
    '$.igvm.hyperv',
    'write hyper-v',
  ],
  [
    'an unknown platform',
    (j) => (j.igvm.qemu.platforms[1] = 'tdx'),
    'RECIPE_PLATFORM_UNKNOWN',
    '$.igvm.qemu.platforms[1]',
    'write tdp',
  ],
  [
    'an unknown measure',
    (j) => (j.igvm.qemu.measure = 'sign'),
    'RECIPE_MEASURE_UNKNOWN',
    '$.igvm.qemu.measure',
    'write',
  ],
  [
    'an unknown build type',
    (j) => (j.kernel.svsm = { type: 'crago' }),
    'RECIPE_BUILD_TYPE_UNKNOWN',
    '$.kernel.svsm.type',
    'write cargo',
  ],
  [
    'make without output_file',
    (j) => (j.kernel['tdx-stage1'] = { type: 'make' }),
    'RECIPE_OUTPUT_FILE_MISSING',
    '$.kernel["tdx-stage1"]',
    'output_file',
  ],
  [
    'a firmware command that is a string',
    (j) => (j.firmware.command = 'make ovmf'),
    'RECIPE_FIRMWARE_COMMAND',
    '$.firmware.command',
    '["make"',
  ],
  [
    'an empty firmware command',
    (j) => (j.firmware.command = []),
    'RECIPE_FIRMWARE_COMMAND',
    '$.firmware.command',
    'program',
  ],
  ['a number as comport', (j) => (j.igvm.qemu.comport = 3), 'RECIPE_TYPE', '$.igvm.qemu.comport', '"3"'],
  [
    'no stage2',
    (j) => delete j.kernel.stage2 && (j.kernel.stage3 = {}),
    'LAYOUT_NEEDED',
    '$.kernel',
    '--layout',
  ],
  ['no svsm', (j) => delete j.kernel.svsm, 'RECIPE_COMPONENT_MISSING', '$.kernel.svsm', 'add "svsm"'],
  // The rest.
  [
    'comport 5',
    (j) => (j.igvm.qemu.comport = '5'),
    'RECIPE_COMPORT',
    '$.igvm.qemu.comport',
    'write one of the known words',
  ],
  [
    'an unknown key',
    (j) => (j.igvm.qemu.platfroms = []),
    'RECIPE_KEY_UNKNOWN',
    '$.igvm.qemu.platfroms',
    'write platforms',
  ],
  ['an unknown key at the top', (j) => (j.kernal = {}), 'RECIPE_KEY_UNKNOWN', '$.kernal', 'write kernel'],
  [
    'an unknown key of a component',
    (j) => (j.kernel.svsm.feature = ''),
    'RECIPE_KEY_UNKNOWN',
    '$.kernel.svsm.feature',
    'features',
  ],
  ['an unknown key of fs', (j) => (j.fs.module = {}), 'RECIPE_KEY_UNKNOWN', '$.fs.module', 'modules'],
  ['two generations', (j) => (j.kernel.bldr = {}), 'LAYOUT_NEEDED', '$.kernel', '--layout'],
  [
    'no snp',
    (j) => (j.igvm.qemu.platforms = ['tdp']),
    'RECIPE_POLICY_WITHOUT_SNP',
    '$.igvm.qemu.platforms',
    'add "snp"',
  ],
  [
    'tdx-stage1 without tdp',
    (j) => (j.igvm.qemu.platforms = ['snp']),
    'RECIPE_STAGE1_WITHOUT_TDP',
    '$.igvm.qemu.platforms',
    '$.kernel["tdx-stage1"]',
  ],
  [
    'a platform twice',
    (j) => (j.igvm.qemu.platforms = ['snp', 'snp']),
    'RECIPE_PLATFORM_TWICE',
    '$.igvm.qemu.platforms',
    'once',
  ],
  [
    'no platform',
    (j) => (j.igvm.qemu.platforms = []),
    'RECIPE_PLATFORMS_EMPTY',
    '$.igvm.qemu.platforms',
    'at least one',
  ],
  [
    'a policy that is none',
    (j) => (j.igvm.qemu.policy = '0X30000'),
    'RECIPE_POLICY',
    '$.igvm.qemu.policy',
    '0x30000',
  ],
  [
    'a policy that is a number, which quotes alone would make another',
    (j) => (j.igvm.qemu.policy = 196608),
    'RECIPE_TYPE',
    '$.igvm.qemu.policy',
    'in hex',
  ],
  [
    'a policy of 65 bits',
    (j) => (j.igvm.qemu.policy = '0x10000000000000000'),
    'RECIPE_POLICY',
    '$.igvm.qemu.policy',
    '16',
  ],
  [
    'an output above the folder',
    (j) => (j.igvm.qemu.output = '../x'),
    'RECIPE_OUTPUT',
    '$.igvm.qemu.output',
    'file name',
  ],
  [
    'an absolute output',
    (j) => (j.igvm.qemu.output = '/x'),
    'RECIPE_OUTPUT',
    '$.igvm.qemu.output',
    'file name',
  ],
  [
    'one output twice',
    (j) => (j.igvm['hyper-v'] = { output: 'coconut-qemu.igvm' }),
    'RECIPE_OUTPUT_TWICE',
    '$.igvm["hyper-v"].output',
    'its own',
  ],
  [
    'a module above the root',
    (j) => (j.fs.modules.userinit.path = 'a/../../b'),
    'RECIPE_MODULE_PATH',
    '$.fs.modules.userinit.path',
    'path',
  ],
  [
    'a module without a name',
    (j) => (j.fs.modules.userinit.path = '/'),
    'RECIPE_MODULE_PATH',
    '$.fs.modules.userinit.path',
    'path',
  ],
  [
    'two modules at one place',
    (j) => (j.fs.modules.b = { path: 'init' }),
    'RECIPE_MODULE_PATH_TWICE',
    '$.fs.modules.b',
    'of its own',
  ],
  [
    'a module below a module',
    (j) => (j.fs.modules.b = { path: 'init/b' }),
    'RECIPE_MODULE_PATH_TWICE',
    '$.fs.modules.b',
    'of its own',
  ],
  [
    'a module where another needs a folder',
    (j) => (j.fs.modules = { a: { path: 'd/a' }, b: { path: 'd' } }),
    'RECIPE_MODULE_PATH_TWICE',
    '$.fs.modules.b',
    'of its own',
  ],
  ['a component like an option', (j) => (j.kernel['--x'] = {}), 'RECIPE_NAME', '$.kernel["--x"]', 'letters'],
  ['a component with a folder', (j) => (j.kernel['a/b'] = {}), 'RECIPE_NAME', '$.kernel["a/b"]', 'letters'],
  ['a component called ..', (j) => (j.kernel['..'] = {}), 'RECIPE_NAME', '$.kernel[".."]', 'letters'],
  [
    'a toolchain outside test',
    (j) => (j.kernel.svsm.toolchain = 'nightly'),
    'RECIPE_TOOLCHAIN',
    '$.kernel.svsm.toolchain',
    'test',
  ],
  [
    'a key of the other generation',
    (j) => (j.kernel.svsm.no_default_features = true),
    'RECIPE_KEY_GENERATION',
    '$.kernel.svsm.no_default_features',
    'remove',
  ],
  [
    'no-vtom in stage2',
    (j) => (j.igvm.qemu['no-vtom'] = true),
    'RECIPE_KEY_GENERATION',
    '$.igvm.qemu["no-vtom"]',
    'remove',
  ],
  [
    'type test in stage2',
    (j) => (j.kernel.svsm.type = 'test'),
    'RECIPE_BUILD_TYPE_UNKNOWN',
    '$.kernel.svsm.type',
    'cargo or make',
  ],
  [
    'an empty manifest',
    (j) => (j.kernel.svsm.manifest = ''),
    'RECIPE_TEXT_EMPTY',
    '$.kernel.svsm.manifest',
    'remove',
  ],
  ['a NUL', (j) => (j.firmware.file = 'a\0'), 'RECIPE_TEXT', '$.firmware.file', 'remove'],
  [
    'an empty firmware file',
    (j) => (j.firmware.file = ''),
    'RECIPE_FIRMWARE_FILE',
    '$.firmware.file',
    'name',
  ],
  ['a variable with =', (j) => (j.firmware.env = 'A=B'), 'RECIPE_ENV_NAME', '$.firmware.env', 'name'],
  [
    'a flag in quotes',
    (j) => (j.igvm.qemu['check-kvm'] = 'true'),
    'RECIPE_TYPE',
    '$.igvm.qemu["check-kvm"]',
    'without quotes',
  ],
  [
    'a list as text',
    (j) => (j.igvm.qemu.platforms = 'snp'),
    'RECIPE_TYPE',
    '$.igvm.qemu.platforms',
    'brackets',
  ],
  ['null as an object', (j) => (j.kernel.svsm = null), 'RECIPE_TYPE', '$.kernel.svsm', 'braces'],
  ['a list as the firmware', (j) => (j.firmware = []), 'RECIPE_TYPE', '$.firmware', 'braces'],
];

describe('refusals name the file, the JSON path and the mend', () => {
  test.each(REFUSALS)('%s', (_, change, code, path, mend) => {
    const json = structuredClone(qemuRecipe());
    change(json);
    const error = expectCvmError(() => check(json), code);
    const facts = Object.fromEntries(error.facts);
    expect(facts['recipe']).toBe('r.json');
    expect(`${facts['at']}`.replace(/ \(line.*$/, '')).toBe(path);
    expect(error.mend).toContain(mend);
    expect(error.message).not.toBe('');
  });

  test('the place is that of the value', () => {
    const error = expectCvmError(() => check('{\n "igvm": {\n  "qemu": {"policy": "x"}}}'), 'RECIPE_POLICY');
    expect(Object.fromEntries(error.facts)['at']).toBe('$.igvm.qemu.policy (line 3 column 22)');
  });

  const BLDR_REFUSALS: readonly (readonly [string, Change, string, string])[] = [
    ['no fs', (j) => delete j.fs, 'RECIPE_KEY_MISSING', '$.fs.modules'],
    ['no modules', (j) => delete j.fs.modules, 'RECIPE_KEY_MISSING', '$.fs.modules'],
    ['no igvm', (j) => delete j.igvm, 'RECIPE_KEY_MISSING', '$.igvm'],
    ['no svsm', (j) => delete j.kernel.svsm, 'RECIPE_COMPONENT_MISSING', '$.kernel.svsm'],
    [
      'tdp without tdx-stage1',
      (j) => delete j.kernel['tdx-stage1'],
      'RECIPE_STAGE1_MISSING',
      '$.igvm["hyper-v"].platforms',
    ],
    [
      'a variable without a name',
      (j) => (j.kernel.svsm.env[''] = 'x'),
      'RECIPE_ENV_NAME',
      '$.kernel.svsm.env[""]',
    ],
  ];
  test.each(BLDR_REFUSALS)('bldr: %s', (_, change, code, path) => {
    const json = structuredClone(bldrRecipe());
    change(json);
    const error = expectCvmError(() => check(json), code, 'format');
    expect(`${Object.fromEntries(error.facts)['at']}`.replace(/ \(line.*$/, '')).toBe(path);
  });

  test('a kernel that starts by itself: hyper-v without tdp and with a vTOM alone', () => {
    const json = bldrRecipe();
    delete json.kernel.bldr;
    expectCvmError(() => check(json, false, 'bldr-2026-08'), 'RECIPE_BLDR_MISSING');
    delete json.kernel['tdx-stage1'];
    json.igvm['hyper-v'].platforms = ['snp', 'vsm'];
    expect(check(json, false, 'bldr-2026-08').warnings).toEqual([]);
    json.igvm['hyper-v']['no-vtom'] = true;
    expectCvmError(() => check(json, false, 'bldr-2026-08'), 'RECIPE_BLDR_MISSING');
  });
});

describe('JSON', () => {
  const refusals: readonly (readonly [string, string, string, string])[] = [
    ['nothing', '', 'JSON_SYNTAX', '$ (line 1 column 1)'],
    ['a comma too many', '{\n "a": 1,\n}', 'JSON_SYNTAX', '$ (line 3 column 1)'],
    ['a comment', '{ // x\n}', 'JSON_SYNTAX', '$ (line 1 column 3)'],
    ['a missing bracket', '[1', 'JSON_SYNTAX', '$ (line 1 column 3)'],
    [
      'a missing value',
      '{"igvm": {"hyper-v": [1, ]}}',
      'JSON_SYNTAX',
      '$.igvm["hyper-v"][1] (line 1 column 26)',
    ],
    ['something behind', '{} {}', 'JSON_SYNTAX', '$ (line 1 column 4)'],
    ['a raw line break in a string', '"a\nb"', 'JSON_SYNTAX', '$ (line 1 column 3)'],
    ['a bad escape', '"\\x41"', 'JSON_SYNTAX', '$ (line 1 column 2)'],
    ['a short escape', '"\\u12"', 'JSON_SYNTAX', '$ (line 1 column 2)'],
    ['a leading zero', '01', 'JSON_SYNTAX', '$ (line 1 column 2)'],
    ['NaN', 'NaN', 'JSON_SYNTAX', '$ (line 1 column 1)'],
    ['a byte order mark', '\ufeff{}', 'JSON_SYNTAX', '$ (line 1 column 1)'],
    ['depth', '['.repeat(70), 'JSON_DEPTH', `$${'[0]'.repeat(64)} (line 1 column 65)`],
  ];
  test.each(refusals)('%s', (_, text, code, at) => {
    const error = expectCvmError(() => parseRecipe(utf8Bytes(text), 'r.json'), code, 'format');
    expect(Object.fromEntries(error.facts)).toMatchObject({ file: 'r.json', at });
  });

  test('one key twice', () => {
    const error = expectCvmError(() => check('{"fs": {"a": {},\n "a": {}}}'), 'JSON_KEY_TWICE');
    expect(Object.fromEntries(error.facts)).toMatchObject({
      path: '$.fs.a',
      first: 'line 1 column 9',
      again: 'line 2 column 2',
    });
  });

  test('not UTF-8', () => {
    expectCvmError(() => parseRecipe(Uint8Array.of(0x22, 0xff, 0x22), 'r.json'), 'TEXT_NOT_UTF8');
  });
});

describe('layouts', () => {
  const { recipe } = check(qemuRecipe());
  test('by name, by commit, by generation', () => {
    expect(chooseLayout(recipe, 'bldr-2026-08').generation).toBe('bldr');
    expect(chooseLayout(recipe, undefined, 'f4bc4bcd').name).toBe('bldr-2026-08');
    expect(chooseLayout(recipe).name).toBe('stage2-2025-05');
    expect(chooseLayout(recipe, 'bldr').name).toBe('bldr-2026-08');
  });
  test('what no table fits is refused', () => {
    expectCvmError(() => chooseLayout(recipe, undefined, 'deadbeef'), 'LAYOUT_NEEDED', 'usage');
    expectCvmError(() => chooseLayout(recipe, undefined, 'f4bc'), 'SVSM_COMMIT', 'usage');
    const error = expectCvmError(() => chooseLayout(recipe, 'bldr-2026-07'), 'LAYOUT_UNKNOWN', 'usage');
    expect(error.nearest).toBe('bldr-2026-08');
  });
});

test('whatever is done to a recipe, it is read or refused by name', () => {
  const junk = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom('snp', 'make', 'test', '../x', '', '0x1', 'tdp'),
  );
  const places: readonly (readonly string[])[] = [
    ['igvm'],
    ['kernel'],
    ['fs'],
    ['firmware'],
    ['igvm', 'qemu'],
    ['kernel', 'svsm'],
    ['fs', 'modules'],
    ...['output', 'platforms', 'policy', 'comport', 'measure', 'check-kvm', 'no-vtom'].map((k) => [
      'igvm',
      'qemu',
      k,
    ]),
    ...['type', 'output_file', 'features', 'binary', 'objcopy', 'env', 'toolchain'].map((k) => [
      'kernel',
      'svsm',
      k,
    ]),
    ['fs', 'modules', 'userinit', 'path'],
    ['fs', 'modules', 'x'],
    ['firmware', 'command'],
    ['firmware', 'env'],
  ];
  const base = fc.constantFrom(qemuRecipe, allTargetsRecipe, bldrRecipe);
  fc.assert(
    fc.property(base, fc.constantFrom(...places), junk, fc.boolean(), (make, place, value, allow) => {
      const json = structuredClone(make());
      let node = json;
      for (const key of place.slice(0, -1)) node = node[key] ?? {};
      node[place.at(-1)!] = value;
      try {
        check(json, allow);
      } catch (error) {
        expect(error).toBeInstanceOf(CvmError);
        expect((error as CvmError).kind).not.toBe('bug');
        expect((error as CvmError).mend).toBeDefined();
      }
    }),
    { seed: 8, numRuns: 2000 },
  );
});

test('JSON is read as JSON.parse reads it, or refused by both', () => {
  const text = fc.oneof(
    fc.json({ maxDepth: 4 }),
    fc.string({
      unit: fc.constantFrom(
        '{',
        '}',
        '[',
        ']',
        '"',
        ':',
        ',',
        '1',
        '-',
        '.',
        'e',
        'a',
        ' ',
        '\\',
        'u',
        'true',
        'null',
      ),
    }),
  );
  fc.assert(
    fc.property(text, (source) => {
      let peer: { value: unknown } | undefined;
      try {
        peer = { value: JSON.parse(source) };
      } catch {
        peer = undefined;
      }
      // Two equal keys are the one difference.
      const ours = ((): boolean | undefined => {
        try {
          parseRecipe(utf8Bytes(`{"firmware": ${source}}`), 'r');
          return true;
        } catch (error) {
          const { code } = error as CvmError;
          return code === 'JSON_KEY_TWICE' ? undefined : !code.startsWith('JSON_');
        }
      })();
      if (ours !== undefined && !source.includes('}')) expect(ours).toBe(peer !== undefined);
    }),
    { seed: 8, numRuns: 2000 },
  );
});

test('a make component is what STAGE1 is', () => {
  expect(check(qemuRecipe()).recipe.kernel[2]).toMatchObject({
    type: 'make',
    outputFile: STAGE1.output_file,
  });
});
