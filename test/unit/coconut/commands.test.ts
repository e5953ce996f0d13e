/* eslint-disable @typescript-eslint/no-unsafe-member-access -- recipes are changed as free-form JSON */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { command as assemble } from '../../../tools/commands/coconut-assemble.ts';
import { command as build } from '../../../tools/commands/coconut-build.ts';
import { command as check } from '../../../tools/commands/coconut-check.ts';
import { command as plan } from '../../../tools/commands/coconut-plan.ts';
import type { Command, Io, OptionValues } from '../../../tools/commands/command.ts';
import { onPendingFiles, removePendingFiles } from '../../../tools/commands/pending-files.ts';
import { BLDR_KERNEL, LOADER, ovmf, STAGE1, STAGE2_KERNEL } from '../../support/coconut-parts.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { allTargetsRecipe, bldrRecipe, qemuRecipe, type Json } from '../../support/recipes.ts';
import { scratchFolder, type Outcome } from '../../support/run-command.ts';

const root = scratchFolder();
afterAll(() => {
  rmSync(root, { recursive: true });
});
let folder = '';
let count = 0;
beforeEach(() => {
  folder = join(root, `${count++}`);
  mkdirSync(folder);
});
const at = (name: string): string => join(folder, name);
const put = (name: string, content: string | Uint8Array): void => {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), content);
};
const recipe = (json: Json, name = 'r.json'): string => {
  put(name, JSON.stringify(json));
  return name;
};
const parts = (into = 'parts'): void => {
  put(`${into}/svsm`, STAGE2_KERNEL);
  put(`${into}/stage2`, LOADER);
  put(`${into}/tdx-stage1`, STAGE1);
  put(`${into}/userinit`, 'hello igvm\n');
};

/** Runs a command with these variables. */
async function run(
  command: Command,
  args: readonly string[],
  options: OptionValues = {},
  env: Record<string, string> = {},
  isTerminal = false,
): Promise<Outcome> {
  let out = '';
  let err = '';
  const io: Io = {
    out: (text) => void (out += String(text)),
    err: (text) => void (err += text),
    cwd: folder,
    env,
    isTerminal,
  };
  const code = await command.run(args, { output: 'bin', ...options }, io);
  return { code, out, err };
}

const digests = (out: string): string[] =>
  [...out.matchAll(/Launch Digest: ([0-9A-F]{96})\n/g)].map(([, hex]) => hex ?? '');

/** The first row of the vectors of stage2, and the last: without firmware, file system and stage1. */
const QEMU_ALL =
  '7DFD380F82C683C6258ABB5B70FCC948F2BBD848FFF410AD66C9B97DEEBF310F6AD999E75269438F89FA6A59B259CD92';
const QEMU_LEAST =
  'DB08896192A6D1265891C60ECA9F76B478D02986EB2DB737EEEFC1027BB518576E1AD2DC4BB20D3652C30415E2FD9E53';

describe('coconut build --components', () => {
  test('the digests of the vectors, printed as igvmmeasure prints them', async () => {
    parts();
    put('OVMF.fd', ovmf());
    const { out, err } = await run(
      build,
      [recipe(qemuRecipe())],
      { components: 'parts' },
      { FW_FILE: 'OVMF.fd' },
    );
    const rule = '='.repeat(111);
    expect(out).toBe(
      `\n${rule}\nigvmmeasure 'bin/coconut-qemu.igvm'\nLaunch Digest: ${QEMU_ALL}\n${rule}\n\n`,
    );
    expect(err).toBe('');
    expect(readdirSync(at('bin')).sort()).toEqual(['coconut-qemu.igvm', 'svsm-fs.bin']);
    const least = { igvm: { qemu: { platforms: ['snp'] } }, kernel: { stage2: {}, svsm: {} } };
    expect(digests((await run(build, [recipe(least)], { components: 'parts' })).out)).toEqual([QEMU_LEAST]);
  });

  test('hyper-v and vanadium: one recipe, three images, native zeroes where they are asked for', async () => {
    parts();
    const { out } = await run(build, [recipe(allTargetsRecipe())], { components: 'parts' });
    expect(digests(out)[1]).toBe(
      'FD95FFD036A385354A0E5177C7DB4A0E1C09F39E64AEE5D29FD17CF94C6F1D57C7CE04F36543FBBF62B86EB3D5B91DB8',
    );
    put('OVMF.fd', ovmf());
    const json = allTargetsRecipe();
    delete json.igvm.qemu;
    delete json.igvm['hyper-v'];
    json.firmware = { file: 'OVMF.fd' };
    expect(digests((await run(build, [recipe(json)], { components: 'parts' })).out)).toEqual([
      'F892EBA5F2BD9241F764F602A71B8A3D4F3888839140D430A8C1850CFE14B4D266ED8B9CB0940AD7B8B632E693ADB3FC',
    ]);
  });

  test('bldr', async () => {
    parts();
    put('parts/svsm', BLDR_KERNEL);
    put('parts/bldr', LOADER);
    put('parts/uapi_tester', 'hello igvm\n');
    const json = bldrRecipe();
    json.fs.modules = { userinit: { path: '/init' } };
    expect(digests((await run(build, [recipe(json)], { components: 'parts' })).out)).toEqual([
      'DD0F0236803A8DDFC70B688E393914F6DE84A429321D3CB874E4FC42583EB333E14B673774EED2090E2A825FBD6718C7',
    ]);
  });

  test('a variable that is not set is warned of; firmware can be named or refused', async () => {
    parts();
    const name = recipe(qemuRecipe());
    const options = { components: 'parts' };
    const without = await run(build, [name], options);
    expect(without.err).toContain('FW_FILE, which is not set');
    const refused = await run(build, [name], { ...options, withoutFirmware: true });
    expect(refused).toEqual({ ...without, err: '' });
    put('OVMF.fd', ovmf());
    expect(digests((await run(build, [name], { ...options, firmware: 'OVMF.fd' })).out)).toEqual([QEMU_ALL]);
    await expectCvmRejection(
      () => run(build, [name], { ...options, firmware: 'OVMF.fd', withoutFirmware: true }),
      'OPTION_CONFLICT',
      'usage',
    );
  });

  test('a part may stand where a build leaves it, but not in two places that differ', async () => {
    parts();
    rmSync(at('parts/userinit'));
    const name = recipe(allTargetsRecipe());
    await expectCvmRejection(() => run(build, [name], { components: 'parts' }), 'COMPONENT_MISSING', 'usage');
    expect(existsSync(at('bin'))).toBe(false);
    put('parts/fs/init', 'hello igvm\n');
    await run(build, [name], { components: 'parts' });
    put('parts/userinit', 'another');
    await expectCvmRejection(
      () => run(build, [name], { components: 'parts' }),
      'COMPONENT_AMBIGUOUS',
      'usage',
    );
  });

  test('an image takes the place of no part, no file system and no other image', async () => {
    parts();
    for (const output of ['svsm', 'svsm-fs.bin', 'fs/init']) {
      const json = qemuRecipe();
      json.igvm.qemu.output = output;
      await expectCvmRejection(
        () => run(build, [recipe(json)], { components: 'parts' }),
        'OUTPUT_TWICE',
        'usage',
      );
    }
    const both = [recipe(qemuRecipe()), recipe(qemuRecipe(), 's.json')];
    await expectCvmRejection(() => run(build, both, { components: 'parts' }), 'OUTPUT_TWICE', 'usage');
  });

  test('an error of one target says of which; a failed KVM check fails', async () => {
    parts();
    put('parts/tdx-stage1', 'x');
    const error = await expectCvmRejection(
      () => run(build, [recipe(allTargetsRecipe())], { components: 'parts' }),
      'IMAGE_STAGE1_SIZE',
      'format',
    );
    expect(Object.fromEntries(error.facts)).toMatchObject({ recipe: 'r.json', target: 'qemu ($.igvm.qemu)' });
    parts();
    const json = allTargetsRecipe();
    json.igvm['hyper-v']['check-kvm'] = true;
    await expectCvmRejection(
      () => run(build, [recipe(json)], { components: 'parts' }),
      'IGVM_KVM_VMSA_GPA',
      'mismatch',
    );
  });
});

describe('coconut build runs programs', () => {
  /** Programs that leave what cargo, make and objcopy leave, and say how they were called. */
  const programs = (change: Record<string, string> = {}): Record<string, string> => {
    const lines: Record<string, string> = {
      cargo:
        'for word; do case $last in --bin|--package) name=$word;; esac; last=$word; done\nmkdir -p target/x86_64-unknown-none/debug; echo "$name" > target/x86_64-unknown-none/debug/$name',
      make: 'mkdir -p bin; head -c 4096 /dev/zero > $1',
      objcopy: 'cp "$4" "$5"',
      ...change,
    };
    for (const [name, line] of Object.entries(lines)) {
      put(`path/${name}`, `#!/bin/sh\nset -eu\nlast=\necho "$0 $*" | sed 's:.*/path/::' >> log\n${line}\n`);
      chmodSync(at(`path/${name}`), 0o755);
    }
    return { PATH: `${at('path')}:/usr/bin:/bin` };
  };

  test('in the order of the plan, with its words', async () => {
    const name = recipe(allTargetsRecipe());
    const { out, err } = await run(build, [name], {}, programs());
    expect(digests(out)).toHaveLength(3);
    expect(err).toBe('');
    const planned = (await run(plan, [name])).out.trim().split('\n');
    const expected = planned
      .filter((line) => !/igvmbuilder|igvmmeasure|packit/.test(line))
      .map((line) => line.replace('fs//init', 'fs/init'));
    expect(readFileSync(at('log'), 'utf8').trim().split('\n')).toEqual(expected);
    const taken = await run(build, [name], { components: 'bin', output: 'again' });
    expect(digests(taken.out)).toEqual(digests(out));
  });

  test('the firmware command runs, and its file is taken', async () => {
    const json = qemuRecipe();
    put('made.fd', ovmf());
    json.firmware = { command: ['cp', 'made.fd', 'OVMF.fd'], file: 'OVMF.fd' };
    await run(build, [recipe(json)], {}, programs());
    expect(existsSync(at('OVMF.fd'))).toBe(true);
    rmSync(at('OVMF.fd'));
    await run(build, [recipe(json)], { components: 'bin', withoutFirmware: true });
    expect(existsSync(at('OVMF.fd'))).toBe(false);
  });

  test('type test: the executable that cargo names', async () => {
    const json = bldrRecipe();
    json.fs.modules = {};
    json.kernel.bldr = { objcopy: 'binary' };
    json.kernel['tdx-stage1'] = { type: 'make', output_file: 'bin/x', features: 'a,b' };
    put('svsm-test', BLDR_KERNEL);
    const cargo =
      'echo "$RUSTDOC-$LINK_TEST" >> vars; ' +
      `echo '{"reason":"compiler-artifact","target":{"name":"svsm","kind":["lib"]},"profile":{"test":true},"executable":"${at('svsm-test')}"}'`;
    const env = programs();
    put(
      'path/cargo',
      `#!/bin/sh\ncase $* in *nightly*) ${cargo};; *) mkdir -p target/x86_64-unknown-none/debug; echo b > target/x86_64-unknown-none/debug/bldr;; esac\n`,
    );
    put('path/make', '#!/bin/sh\necho $FEATURES $FEATURES_TEST >> vars; head -c 4096 /dev/zero > $1\n');
    expect(digests((await run(build, [recipe(json)], {}, env)).out)).toHaveLength(1);
    expect(readFileSync(at('vars'), 'utf8')).toBe('true-1\na,b a,b\n');
    expect(readFileSync(at('bin/svsm')).equals(Buffer.from(BLDR_KERNEL))).toBe(true);
  });

  test('a step that fails shows its command and its output, without what a terminal obeys', async () => {
    let err = '';
    const env = programs({ make: "printf 'no rule\\n\\033[2Jat all\\n'; exit 3" });
    const io: Io = {
      out: () => undefined,
      err: (text) => void (err += text),
      cwd: folder,
      env,
      isTerminal: false,
    };
    const error = await expectCvmRejection(
      async () => build.run([recipe(allTargetsRecipe())], { output: 'bin' }, io),
      'PROGRAM_FAILED',
      'usage',
    );
    expect(Object.fromEntries(error.facts)).toMatchObject({
      command: 'make bin/stage1-trampoline',
      'exit code': 3,
    });
    expect(err).toBe('no rule\n\\u{1b}[2Jat all\n');
  });

  test('a program that is missing, and one that leaves nothing', async () => {
    await expectCvmRejection(
      () => run(build, [recipe(qemuRecipe())], {}, { PATH: at('nowhere') }),
      'PROGRAM_NOT_FOUND',
      'usage',
    );
    const env = programs({ cargo: ':' });
    const error = await expectCvmRejection(
      () => run(build, [recipe(qemuRecipe())], {}, env),
      'COMPONENT_NOT_BUILT',
      'usage',
    );
    expect(Object.fromEntries(error.facts)['component']).toBe('svsm');
  });

  test('what ends the build ends the program that it waits for', async () => {
    const counts: number[] = [];
    onPendingFiles((count) => void counts.push(count));
    const env = programs({ cargo: 'exec sleep 100' });
    const built = expectCvmRejection(
      async () => run(build, [recipe(allTargetsRecipe())], {}, env),
      'PROGRAM_FAILED',
      'usage',
    );
    await vi.waitFor(() => {
      expect(existsSync(at('log'))).toBe(true);
    });
    expect(counts).toEqual([1]);
    removePendingFiles();
    expect(Object.fromEntries((await built).facts)['ended by']).toBe('SIGTERM');
    expect(counts).toEqual([1, 0]);
    onPendingFiles(() => undefined);
  });

  test('all recipes are looked at before anything runs', async () => {
    const bad = qemuRecipe();
    bad.igvm.qemu.output = 'other.igvm';
    bad.igvm.qemu.platforms = ['tdp'];
    const names = [recipe(qemuRecipe()), recipe(bad, 'bad.json')];
    await expectCvmRejection(() => run(build, names, {}, programs()), 'RECIPE_POLICY_WITHOUT_SNP', 'format');
    expect(existsSync(at('log'))).toBe(false);
  });

  test('output_file of cargo is tried first; verbose shows commands and output; a terminal shows progress', async () => {
    const json = allTargetsRecipe();
    json.kernel.svsm.output_file = 'svsm.elf';
    put('target/x86_64-unknown-none/debug/svsm.elf', 'the other');
    const shown = await run(
      build,
      [recipe(json)],
      { verbose: true },
      programs({ make: 'echo making >&2; head -c 4096 /dev/zero > $1' }),
    );
    expect(readFileSync(at('bin/svsm'), 'utf8')).toBe('the other');
    expect(shown.err).toContain('make bin/stage1-trampoline V=2\nmaking\n');
    const { err } = await run(build, [recipe(json)], {}, programs(), true);
    expect(err).toContain('[1/9] building svsm');
    expect(err.endsWith('\r\u001b[K')).toBe(true);
  });

  test('on a terminal, what a program says and what is warned of stands on lines of its own', async () => {
    const cleared = '\r\u001b[K';
    const verbose = await run(build, [recipe(qemuRecipe())], { verbose: true }, programs(), true);
    expect(verbose.err).toContain(`building tdx-stage1${cleared}make bin/stage1-trampoline V=2\n`);
    const { err } = await run(build, [recipe(qemuRecipe())], {}, programs(), true);
    expect(err).toMatch(/^warning: .*FW_FILE/);
    expect(err.indexOf('warning')).toBe(err.lastIndexOf('warning'));
    let failed = '';
    const io: Io = {
      out: () => undefined,
      err: (text) => void (failed += text),
      cwd: folder,
      env: programs({ make: 'echo no rule; exit 3' }),
      isTerminal: true,
    };
    await expectCvmRejection(
      async () => build.run([recipe(allTargetsRecipe())], { output: 'bin' }, io),
      'PROGRAM_FAILED',
      'usage',
    );
    expect(failed.endsWith(`building tdx-stage1${cleared}no rule\n`)).toBe(true);
  });

  test('firmware that must be there already is looked at before anything runs', async () => {
    const missing = { ...programs(), FW_FILE: 'nowhere.fd' };
    const name = recipe(qemuRecipe());
    await expectCvmRejection(() => run(build, [name], {}, missing), 'FILE_NOT_FOUND', 'usage');
    await expectCvmRejection(
      () => run(build, [name], { firmware: 'nowhere.fd' }, programs()),
      'FILE_NOT_FOUND',
      'usage',
    );
    expect(existsSync(at('log'))).toBe(false);
    // What a component makes on its way may be the firmware.
    const json = qemuRecipe();
    json.firmware = { file: 'made.fd' };
    put('OVMF.fd', ovmf());
    await run(
      build,
      [recipe(json)],
      {},
      programs({ make: 'head -c 4096 /dev/zero > $1; cp OVMF.fd made.fd' }),
    );
    expect(existsSync(at('made.fd'))).toBe(true);
  });
});

describe('coconut assemble', () => {
  const given = {
    component: ['svsm=parts/svsm', 'stage2=parts/stage2', 'tdx-stage1=parts/tdx-stage1'],
    module: ['userinit=parts/userinit'],
  };

  test('image, digest, facts and steps, and copies of them', async () => {
    parts();
    put('OVMF.fd', ovmf());
    const outcome = await run(assemble, [recipe(qemuRecipe())], {
      ...given,
      firmware: 'OVMF.fd',
      copy: ['qemu:igvm=c.igvm', 'qemu:digest.json=c.json'],
    });
    expect(outcome).toEqual({ code: 0, out: '', err: '' });
    expect(readdirSync(at('bin')).sort()).toEqual([
      'coconut-qemu.digest',
      'coconut-qemu.digest.json',
      'coconut-qemu.explain',
      'coconut-qemu.igvm',
    ]);
    expect(readFileSync(at('bin/coconut-qemu.digest'), 'utf8')).toBe(`${QEMU_ALL}\n`);
    expect(JSON.parse(readFileSync(at('c.json'), 'utf8'))).toMatchObject({
      digest: QEMU_ALL.toLowerCase(),
      policy: '0x30000',
      nativeZero: false,
    });
    expect(readFileSync(at('c.igvm')).length).toBe(78992);
  });

  const rows: readonly (readonly [string, (json: Json) => unknown, OptionValues, string])[] = [
    ['firmware that is not chosen', () => 0, given, 'FIRMWARE_NEEDED'],
    [
      'a firmware command that is not replaced',
      (j) => (j.firmware = { command: ['x'] }),
      given,
      'FIRMWARE_NEEDED',
    ],
    [
      'a firmware file that is not given',
      (j) => (j.firmware = { file: 'OVMF.fd' }),
      given,
      'FIRMWARE_NEEDED',
    ],
    [
      'firmware that the recipe lacks',
      (j) => delete j.firmware,
      { ...given, firmware: 'parts/svsm' },
      'FIRMWARE_UNWANTED',
    ],
    [
      'a part too few',
      () => 0,
      { ...given, component: given.component.slice(0, 1), withoutFirmware: true },
      'COMPONENT_MISSING',
    ],
    [
      'a stage1 too few',
      () => 0,
      { ...given, component: given.component.slice(0, 2), withoutFirmware: true },
      'COMPONENT_MISSING',
    ],
    [
      'no kernel',
      () => 0,
      { ...given, component: given.component.slice(1), withoutFirmware: true },
      'COMPONENT_MISSING',
    ],
    ['a module too few', () => 0, { component: given.component, withoutFirmware: true }, 'COMPONENT_MISSING'],
    [
      'a part too many',
      () => 0,
      { ...given, component: [...given.component, 'svms=parts/svsm'], withoutFirmware: true },
      'COMPONENT_UNUSED',
    ],
    [
      'a part twice',
      () => 0,
      { ...given, component: ['svsm=a', 'svsm=b'], withoutFirmware: true },
      'OPTION_PART',
    ],
    ['a part without a name', () => 0, { ...given, component: ['=a'], withoutFirmware: true }, 'OPTION_PART'],
    [
      'a copy of no target',
      () => 0,
      { ...given, withoutFirmware: true, copy: ['vanadium:igvm=x'] },
      'COPY_TARGET',
    ],
    ['a copy of no kind', () => 0, { ...given, withoutFirmware: true, copy: ['qemu:vmsa=x'] }, 'OPTION_COPY'],
    [
      'a copy over the image',
      () => 0,
      { ...given, withoutFirmware: true, copy: ['qemu:igvm=bin/coconut-qemu.igvm'] },
      'OUTPUT_TWICE',
    ],
  ];
  test.each(rows)('refuses %s', async (_, change, options, code) => {
    parts();
    const json = qemuRecipe();
    change(json);
    const error = await expectCvmRejection(() => run(assemble, [recipe(json)], options), code);
    if (/^(COMPONENT|FIRMWARE)_/.test(code)) expect(Object.fromEntries(error.facts)['recipe']).toBe('r.json');
    expect(existsSync(at('bin'))).toBe(false);
  });

  test('tdp without tdx-stage1 is an image without it in the first generation', async () => {
    parts();
    const json = qemuRecipe();
    delete json.kernel['tdx-stage1'];
    await run(assemble, [recipe(json)], {
      ...given,
      component: given.component.slice(0, 2),
      withoutFirmware: true,
    });
    expect(existsSync(at('bin/coconut-qemu.igvm'))).toBe(true);
  });
});

describe('coconut check and plan', () => {
  test('check says what would be made', async () => {
    expect((await run(check, [recipe(qemuRecipe())])).out).toBe(
      'r.json: good, layout stage2-2025-05\n' +
        '  qemu -> coconut-qemu.igvm: snp tdp native, policy 0x30000, comport 1, check-kvm\n' +
        '  kernel: svsm, stage2, tdx-stage1\n' +
        '  firmware: variable FW_FILE\n' +
        '  modules: userinit at /init\n',
    );
    const { out } = await run(check, [recipe(qemuRecipe()), recipe(bldrRecipe(), 's.json')], { json: true });
    expect(
      out
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { layout: string }).layout),
    ).toEqual(['stage2-2025-05', 'bldr-2026-08']);
  });

  test('nothing that a recipe says reaches a terminal as it is', async () => {
    const json = qemuRecipe();
    json.firmware = { file: '\u001b[2J' };
    for (const command of [check, plan])
      expect((await run(command, [recipe(json)])).out).not.toContain('\u001b');
  });

  test('plan takes the variable of the firmware, and tells commands as JSON', async () => {
    const { out } = await run(plan, [recipe(qemuRecipe())], { json: true }, { FW_FILE: '/fw' });
    const steps = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { what: string; argv: string[] });
    expect(steps.map(({ what }) => what)).toEqual([
      ...new Array<string>(3).fill('helper'),
      ...new Array<string>(3).fill('component'),
      ...new Array<string>(3).fill('objcopy'),
      'component',
      'objcopy',
      'file system',
      'igvm',
      'measure',
    ]);
    expect(steps[12]?.argv).toContain('/fw');
  });

  test('a recipe that is a folder, or missing, or large', async () => {
    mkdirSync(at('d'));
    await expectCvmRejection(() => run(check, ['d']), 'FILE_NOT_REGULAR', 'usage');
    await expectCvmRejection(() => run(check, ['none']), 'FILE_NOT_FOUND', 'usage');
    put('large', new Uint8Array((1 << 20) + 1));
    await expectCvmRejection(() => run(check, ['large']), 'SOURCE_TOO_LARGE', 'format');
  });
});
