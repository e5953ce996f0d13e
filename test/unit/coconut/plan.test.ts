/* eslint-disable @typescript-eslint/no-unsafe-member-access -- recipes are changed as free-form JSON */
import { describe, expect, test } from 'vitest';
import { planRecipes, shellLine, type PlanOptions } from '../../../tools/coconut/plan.ts';
import { testExecutable } from '../../../tools/coconut/test-executable.ts';
import { expectCvmError } from '../../support/errors.ts';
import { allTargetsRecipe, bldrRecipe, check, qemuRecipe, type Json } from '../../support/recipes.ts';

const DEBUG: PlanOptions = { release: false, offline: false, verbose: false };

function plan(json: Json, options: Partial<PlanOptions> = {}, firmware?: string): string[] {
  const { recipe, layout } = check(json);
  return planRecipes([{ recipe, layout, firmware }], { ...DEBUG, ...options }).map(shellLine);
}

const HELPERS = [
  'cargo build --package igvmbuilder --target x86_64-unknown-linux-gnu',
  'cargo build --package igvmmeasure --target x86_64-unknown-linux-gnu',
  'cargo build --package packit --features cli --target x86_64-unknown-linux-gnu',
];

describe('the commands are those that scripts/build.py was seen to run', () => {
  test('qemu', () => {
    expect(plan(qemuRecipe(), {}, '/fw/OVMF.fd')).toEqual([
      ...HELPERS,
      'cargo build --bin svsm --features vtpm --target x86_64-unknown-none',
      'cargo build --bin stage2 --manifest-path kernel/Cargo.toml --target x86_64-unknown-none',
      'make bin/stage1-trampoline',
      'objcopy -O elf64-x86-64 --strip-unneeded target/x86_64-unknown-none/debug/svsm bin/svsm',
      'objcopy -O binary --strip-unneeded target/x86_64-unknown-none/debug/stage2 bin/stage2',
      'objcopy -O binary --strip-unneeded bin/stage1-trampoline bin/tdx-stage1',
      'cargo build --package userinit --target x86_64-unknown-none',
      'objcopy -O elf64-x86-64 --strip-unneeded target/x86_64-unknown-none/debug/userinit bin/fs//init',
      'packit pack --input bin/fs --output bin/svsm-fs.bin',
      'igvmbuilder --sort --output bin/coconut-qemu.igvm --policy 0x30000 --stage2 bin/stage2 --kernel bin/svsm --tdx-stage1 bin/tdx-stage1 --snp --tdp --native --firmware /fw/OVMF.fd --filesystem bin/svsm-fs.bin qemu',
      'igvmmeasure --check-kvm bin/coconut-qemu.igvm measure',
    ]);
  });

  test('all targets', () => {
    const common = '--policy 0x30000 --stage2 bin/stage2 --kernel bin/svsm --tdx-stage1 bin/tdx-stage1';
    expect(plan(allTargetsRecipe()).slice(-6)).toEqual([
      `igvmbuilder --sort --output bin/coconut-qemu.igvm ${common} --snp --tdp --filesystem bin/svsm-fs.bin qemu`,
      'igvmmeasure --check-kvm bin/coconut-qemu.igvm measure',
      `igvmbuilder --sort --output bin/coconut-hyperv.igvm ${common} --comport 3 --snp --tdp --vsm --filesystem bin/svsm-fs.bin hyper-v`,
      'igvmmeasure bin/coconut-hyperv.igvm measure',
      `igvmbuilder --sort --output bin/coconut-vanadium.igvm ${common} --snp --tdp --filesystem bin/svsm-fs.bin vanadium`,
      'igvmmeasure --check-kvm --native-zero bin/coconut-vanadium.igvm measure',
    ]);
  });

  test('nothing but defaults', () => {
    expect(plan({ igvm: { qemu: {} }, kernel: { stage2: {}, svsm: {} } }).slice(-2)).toEqual([
      'igvmbuilder --sort --output bin/default.json --policy 0x30000 --stage2 bin/stage2 --kernel bin/svsm --snp --tdp --vsm qemu',
      'igvmmeasure bin/default.json measure',
    ]);
  });

  test('release, offline and verbose have their places', () => {
    const lines = plan(qemuRecipe(), { release: true, offline: true, verbose: true });
    expect(lines[2]).toBe(
      'cargo build -vv --package packit --locked --offline --features cli --release --target x86_64-unknown-linux-gnu',
    );
    expect(lines[4]).toBe(
      'cargo build -vv --bin stage2 --locked --offline --manifest-path kernel/Cargo.toml --release --target x86_64-unknown-none',
    );
    expect(lines[5]).toBe('make bin/stage1-trampoline RELEASE=1 V=2');
    expect(lines[6]).toBe(
      'objcopy -O elf64-x86-64 --strip-unneeded target/x86_64-unknown-none/release/svsm bin/svsm',
    );
  });

  test('helpers are built once for all recipes; a firmware command runs before the modules', () => {
    const json = qemuRecipe();
    json.firmware = { command: ['make', '-C', 'o v m f', "it's"], file: 'f.fd' };
    const { recipe, layout } = check(json);
    const planned = { recipe, layout, firmware: 'f.fd' };
    const lines = planRecipes([planned, planned], DEBUG).map(shellLine);
    expect(lines.filter((line) => line.includes('igvmbuilder --target'))).toHaveLength(1);
    expect(lines[9]).toBe("make -C 'o v m f' 'it'\\''s'");
    expect(lines[10]).toBe('cargo build --package userinit --target x86_64-unknown-none');
  });
});

describe('the commands of xbuild', () => {
  test('a recipe of type test, for release', () => {
    const more = '--release --offline --locked -vv';
    expect(plan(bldrRecipe(), { release: true, offline: true, verbose: true })).toEqual([
      `RUSTDOC=true LINK_TEST=1 cargo +nightly test --no-run --message-format=json-render-diagnostics --package svsm --target x86_64-unknown-none --no-default-features ${more}`,
      "objcopy -O elf64-x86-64 --strip-unneeded '<test executable>' bin/svsm",
      `cargo build --bin bldr --target x86_64-unknown-none --manifest-path boot/bldr/Cargo.toml ${more}`,
      'objcopy -O binary --strip-unneeded target/x86_64-unknown-none/release/bldr bin/bldr',
      `cargo build --bin tdx-stage1 --target x86_64-unknown-none --manifest-path stage1/Cargo.toml ${more}`,
      'objcopy -O binary --strip-unneeded target/x86_64-unknown-none/release/tdx-stage1 bin/tdx-stage1',
      `cargo build --package uapi_tester --target x86_64-unknown-none ${more}`,
      'objcopy -O elf64-x86-64 --strip-unneeded target/x86_64-unknown-none/release/uapi_tester bin/fs/test/uapi_tester',
      `cargo build --package igvmbuilder ${more}`,
      'igvmbuilder --sort --output bin/coconut-test-hyperv.igvm --policy 0x30000 --kernel bin/svsm --tdx-stage1 bin/tdx-stage1 --bldr bin/bldr --filesystem bin/svsm-fs.bin --comport 3 --verbose --snp --tdp --vsm hyper-v',
      `cargo build --package igvmmeasure ${more}`,
      'igvmmeasure bin/coconut-test-hyperv.igvm measure',
    ]);
  });

  test('make gets the features in variables; debug builds keep their symbols', () => {
    const json = bldrRecipe();
    json.kernel['tdx-stage1'] = { type: 'make', output_file: 'x', features: 'a b' };
    json.kernel.svsm = { output_file: 'ignored' };
    const lines = plan(json);
    expect(lines).toContain('FEATURES=a,b FEATURES_TEST=a,b make x');
    expect(lines).toContain(
      'objcopy -O elf64-x86-64 --strip-debug target/x86_64-unknown-none/debug/svsm bin/svsm',
    );
  });
});

describe('the test executable', () => {
  const message = (changes: object = {}): string =>
    JSON.stringify({
      reason: 'compiler-artifact',
      target: { name: 'uapi_tester', kind: ['lib'] },
      profile: { test: true },
      executable: '/t/a',
      ...changes,
    });
  test('is the last of the library, built as a test', () => {
    const output = [
      message(),
      'not JSON',
      message({ executable: '/t/b' }),
      message({ executable: '/t/c', profile: { test: false } }),
      message({ executable: '/t/d', target: { name: 'other', kind: ['lib'] } }),
      message({ executable: '/t/e', target: { name: 'uapi_tester', kind: ['bin'] } }),
      message({ executable: null }),
      'null',
      '{"reason":1,"target":null}',
    ].join('\n');
    expect(testExecutable(output, 'uapi-tester')).toBe('/t/b');
  });
  test('or there is none', () => {
    expectCvmError(() => testExecutable('', 'x'), 'TEST_EXECUTABLE_MISSING', 'usage');
  });
});
