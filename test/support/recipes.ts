import { utf8Bytes } from '../../tools/bytes/text.ts';
import { requireLayout } from '../../tools/coconut/generation.ts';
import { chooseLayout, type Layout } from '../../tools/coconut/layouts.ts';
import { parseRecipe, type Recipe } from '../../tools/coconut/recipe.ts';

/** A value of JSON that tests change. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- paths into free-form JSON
export type Json = any;

export const SVSM = { features: 'vtpm', binary: true };
export const STAGE2 = { manifest: 'kernel/Cargo.toml', binary: true, objcopy: 'binary' };
export const STAGE1 = { type: 'make', output_file: 'bin/stage1-trampoline', objcopy: 'binary' };

/** The shape of configs/qemu-target.json of the first generation. */
export function qemuRecipe(): Json {
  return {
    igvm: {
      qemu: {
        output: 'coconut-qemu.igvm',
        platforms: ['snp', 'tdp', 'native'],
        policy: '0x30000',
        measure: 'print',
        'check-kvm': true,
      },
    },
    kernel: { svsm: SVSM, stage2: STAGE2, 'tdx-stage1': STAGE1 },
    firmware: { env: 'FW_FILE' },
    fs: { modules: { userinit: { path: '/init' } } },
  };
}

/** The shape of configs/all-targets.json of the first generation. */
export function allTargetsRecipe(): Json {
  return {
    igvm: {
      qemu: { output: 'coconut-qemu.igvm', platforms: ['snp', 'tdp'], 'check-kvm': true },
      'hyper-v': {
        output: 'coconut-hyperv.igvm',
        platforms: ['snp', 'tdp', 'vsm'],
        comport: '3',
        measure: 'print',
      },
      vanadium: {
        output: 'coconut-vanadium.igvm',
        platforms: ['snp', 'tdp'],
        'check-kvm': true,
        'measure-native-zeroes': true,
      },
    },
    kernel: { svsm: { ...SVSM, features: 'vtpm,enable-gdb' }, stage2: STAGE2, 'tdx-stage1': STAGE1 },
    fs: { modules: { userinit: { path: '/init' } } },
  };
}

/** The shape of a recipe of the second generation, of type test as upstream's own. */
export function bldrRecipe(): Json {
  return {
    igvm: {
      'hyper-v': { output: 'coconut-test-hyperv.igvm', platforms: ['snp', 'tdp', 'vsm'], comport: '3' },
    },
    kernel: {
      svsm: {
        type: 'test',
        toolchain: 'nightly',
        no_default_features: true,
        env: { RUSTDOC: 'true', LINK_TEST: '1' },
      },
      bldr: { manifest: 'boot/bldr/Cargo.toml', binary: true, objcopy: 'binary' },
      'tdx-stage1': { manifest: 'stage1/Cargo.toml', binary: true, objcopy: 'binary' },
    },
    firmware: {},
    fs: { modules: { uapi_tester: { path: '/test/uapi_tester' } } },
  };
}

export interface Checked {
  readonly recipe: Recipe;
  readonly layout: Layout;
  readonly warnings: readonly string[];
}

/** Reads and checks a recipe as the commands do. */
export function check(json: Json, allowUnknownKeys = false, layoutName?: string): Checked {
  const text = typeof json === 'string' ? json : JSON.stringify(json, null, 2);
  const recipe = parseRecipe(utf8Bytes(text), 'r.json', allowUnknownKeys);
  const layout = chooseLayout(recipe, layoutName);
  return {
    recipe,
    layout,
    warnings: [...recipe.warnings, ...requireLayout(recipe, layout, allowUnknownKeys)],
  };
}
