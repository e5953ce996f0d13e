import { readAll } from '../bytes/source.ts';
import { showText } from '../bytes/text.ts';
import { requireLayout } from '../coconut/generation.ts';
import { chooseLayout, LAYOUT_NAMES, type Layout } from '../coconut/layouts.ts';
import { parseRecipe, RECIPE_BYTES_MAX, type Recipe } from '../coconut/recipe.ts';
import { usageError } from '../errors.ts';
import type { ArgumentSpec, Io, OptionSpec, OptionValues } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { inFile } from './in-file.ts';
import { flagOption, textOption } from './options.ts';

/** What the commands on recipes share. */
export const RECIPES_ARGUMENT: ArgumentSpec = {
  name: '<recipe...>',
  description: 'COCONUT-SVSM build recipes (JSON)',
};

export const RECIPE_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--layout <name>',
    description: `where the image's parts go: ${LAYOUT_NAMES.join(' or ')}, or stage2 or bldr for the newest; shown by the component of that name when absent`,
  },
  {
    flags: '--svsm-commit <hex>',
    description:
      'commit of COCONUT-SVSM that the parts are built from: its layout, or an error if none is known',
  },
  { flags: '--allow-unknown-keys', description: 'warn of keys that mean nothing, as upstream ignores them' },
];

export const BUILD_OPTIONS: readonly OptionSpec[] = [
  { flags: '-r, --release', description: 'build for release' },
  { flags: '-o, --offline', description: 'let cargo use no network and change no lock' },
  { flags: '-v, --verbose', description: 'let cargo and make show what they do' },
];

export const FIRMWARE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--firmware <path>', description: 'the guest firmware: OVMF, or an IGVM file for hyper-v' },
  { flags: '--without-firmware', description: 'build without the firmware that the recipe names' },
];

/**
 * What the caller said of firmware: a path, none (`path` undefined), or nothing at all.
 * @throws CvmError usage OPTION_CONFLICT
 */
export function firmwareOption(options: OptionValues): { readonly path: string | undefined } | undefined {
  const path = textOption(options, 'firmware');
  const without = flagOption(options, 'withoutFirmware');
  if (path !== undefined && without) {
    throw usageError('OPTION_CONFLICT', '--firmware and --without-firmware exclude each other', {
      mend: 'leave one of the two out',
    });
  }
  if (path !== undefined) return { path };
  return without ? { path: undefined } : undefined;
}

export interface OpenRecipe {
  readonly recipe: Recipe;
  readonly layout: Layout;
}

/**
 * Reads and checks a recipe. Warnings go to standard error.
 * @throws CvmError usage LAYOUT_*, those of `openFile`; format JSON_*, RECIPE_*
 */
export function openRecipe(path: string, options: OptionValues, io: Io): OpenRecipe {
  const allowUnknownKeys = flagOption(options, 'allowUnknownKeys');
  const file = openFile(resolvePath(io, path));
  let bytes: Uint8Array;
  try {
    bytes = inFile(path, () => readAll(file, RECIPE_BYTES_MAX, 'the recipe'));
  } finally {
    file.close();
  }
  const recipe = parseRecipe(bytes, path, allowUnknownKeys);
  const layout = chooseLayout(recipe, textOption(options, 'layout'), textOption(options, 'svsmCommit'));
  const warnings = [...recipe.warnings, ...requireLayout(recipe, layout, allowUnknownKeys)];
  for (const warning of warnings) io.err(`warning: ${showText(warning)}\n`);
  return { recipe, layout };
}

/**
 * The firmware that a recipe names without running anything: its file, else the value of its variable.
 * Warns when the variable is not set, where upstream is silent.
 */
export function recipeFirmware({ firmware, file }: Recipe, io: Io): string | undefined {
  if (firmware.file !== undefined || firmware.env === undefined) return firmware.file;
  const value = io.env[firmware.env];
  if (value !== undefined && value !== '') return value;
  io.err(
    `warning: ${showText(file)}: $.firmware.env names ${showText(firmware.env)}, which is not set: the images have no firmware\n`,
  );
  return undefined;
}
