import { jsonText, showText } from '../bytes/text.ts';
import { normalizedRecipe } from '../coconut/normalized.ts';
import type { IgvmTarget } from '../coconut/recipe.ts';
import { openRecipe, RECIPE_OPTIONS, RECIPES_ARGUMENT, type OpenRecipe } from './coconut-options.ts';
import type { Command } from './command.ts';
import { flagOption } from './options.ts';

export const command: Command = {
  summary: 'check COCONUT-SVSM build recipes',
  description:
    'Reads recipes as scripts/build.py and xbuild do, checks everything that would otherwise fail during a build, and ' +
    'shows what each would make. Runs nothing and writes nothing. With --json the recipes with their defaults filled in.',
  arguments: [RECIPES_ARGUMENT],
  options: [...RECIPE_OPTIONS, { flags: '--json', description: 'one JSON object a recipe, one a line' }],
  run(paths, options, io) {
    const checked = paths.map((path) => openRecipe(path, options, io));
    for (const { recipe, layout } of checked) {
      io.out(
        flagOption(options, 'json')
          ? `${jsonText(normalizedRecipe(recipe, layout))}\n`
          : summary({ recipe, layout }),
      );
    }
    return 0;
  },
};

function summary({ recipe, layout }: OpenRecipe): string {
  const parts = (names: readonly { readonly name: string }[]): string =>
    names.map(({ name }) => name).join(', ') || 'none';
  const { env, file, command: program } = recipe.firmware;
  const firmware = [
    ...(program === undefined ? [] : [`command ${program.join(' ')}`]),
    ...(file === undefined ? [] : [`file ${file}`]),
    ...(env === undefined ? [] : [`variable ${env}`]),
  ];
  const lines = [
    `${recipe.file}: good, layout ${layout.name}`,
    ...recipe.igvm.map((target) => `  ${target.hypervisor} -> ${target.output}: ${targetFacts(target)}`),
    `  kernel: ${parts(recipe.kernel)}`,
    `  firmware: ${firmware.join('; ') || 'none'}`,
    `  modules: ${recipe.modules.map(({ name, path }) => `${name} at /${path}`).join(', ') || 'none'}`,
  ];
  return `${lines.map(showText).join('\n')}\n`;
}

function targetFacts(target: IgvmTarget): string {
  return [
    target.platforms.join(' '),
    `policy 0x${target.policy.toString(16)}`,
    `comport ${target.comport ?? '1'}`,
    ...(target.checkKvm ? ['check-kvm'] : []),
    ...(target.nativeZeroes ? ['measure-native-zeroes'] : []),
    ...(target.noVtom ? ['no-vtom'] : []),
  ].join(', ');
}
