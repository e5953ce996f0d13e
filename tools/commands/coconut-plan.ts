import { jsonText, showText } from '../bytes/text.ts';
import { planRecipes, shellLine } from '../coconut/plan.ts';
import {
  BUILD_OPTIONS,
  openRecipe,
  RECIPE_OPTIONS,
  recipeFirmware,
  RECIPES_ARGUMENT,
} from './coconut-options.ts';
import type { Command } from './command.ts';
import { flagOption } from './options.ts';

export const command: Command = {
  summary: 'show the commands that a COCONUT-SVSM build runs',
  description:
    'Prints, in order, the commands that scripts/build.py (recipes with stage2) or xbuild (recipes with bldr) runs for ' +
    'the recipes: cargo, make, objcopy, the firmware command, packit, igvmbuilder and igvmmeasure. Runs nothing. The ' +
    'variable of firmware.env is read, as its value is part of a command. Where xbuild takes a random order, the ' +
    "recipe's stands.",
  arguments: [RECIPES_ARGUMENT],
  options: [
    ...BUILD_OPTIONS,
    ...RECIPE_OPTIONS,
    { flags: '--json', description: 'one JSON object a command, one a line: what, name, argv, env' },
  ],
  run(paths, options, io) {
    const recipes = paths.map((path) => {
      const opened = openRecipe(path, options, io);
      return { ...opened, firmware: recipeFirmware(opened.recipe, io) };
    });
    const steps = planRecipes(recipes, {
      release: flagOption(options, 'release'),
      offline: flagOption(options, 'offline'),
      verbose: flagOption(options, 'verbose'),
    });
    const json = flagOption(options, 'json');
    for (const step of steps) io.out(`${json ? jsonText(step) : showText(shellLine(step))}\n`);
    return 0;
  },
};
