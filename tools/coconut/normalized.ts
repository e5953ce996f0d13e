import type { Component } from './component.ts';
import type { Layout } from './layouts.ts';
import type { Recipe } from './recipe.ts';

/** A recipe with its defaults filled in and its paths as they are meant, as a value for JSON. */
export function normalizedRecipe(recipe: Recipe, layout: Layout): unknown {
  const { env, file, command } = recipe.firmware;
  return {
    recipe: recipe.file,
    layout: layout.name,
    igvm: Object.fromEntries(
      recipe.igvm.map((target) => [
        target.hypervisor,
        {
          output: target.output,
          platforms: target.platforms,
          policy: `0x${target.policy.toString(16)}`,
          comport: target.comport ?? '1',
          measure: 'print',
          'check-kvm': target.checkKvm,
          'measure-native-zeroes': target.nativeZeroes,
          ...(layout.generation === 'bldr' ? { 'no-vtom': target.noVtom } : {}),
        },
      ]),
    ),
    kernel: components(recipe.kernel),
    firmware: {
      ...(env === undefined ? {} : { env }),
      ...(file === undefined ? {} : { file }),
      ...(command === undefined ? {} : { command }),
    },
    fs: { modules: components(recipe.modules) },
  };
}

function components(parts: readonly (Component & { readonly path?: string })[]): unknown {
  // No key of a component can be __proto__ and get lost: fromEntries defines, it does not assign.
  return Object.fromEntries(
    parts.map((part) => [
      part.name,
      {
        type: part.type,
        ...(part.outputFile === undefined ? {} : { output_file: part.outputFile }),
        ...(part.manifest === undefined ? {} : { manifest: part.manifest }),
        features: part.features.join(','),
        ...(part.noDefaultFeatures ? { no_default_features: true } : {}),
        binary: part.binary,
        objcopy: part.objcopy,
        ...(part.path === undefined ? {} : { path: part.path }),
        ...(part.toolchain === undefined ? {} : { toolchain: part.toolchain }),
        ...(part.env.length === 0 ? {} : { env: Object.fromEntries(part.env) }),
      },
    ]),
  );
}
