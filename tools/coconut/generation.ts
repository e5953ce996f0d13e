import { nearestWord } from '../nearest.ts';
import type { Component } from './component.ts';
import { recipeError, type At } from './fields.ts';
import { memberPath } from './json-text.ts';
import type { Generation, Layout } from './layouts.ts';
import type { IgvmTarget, Recipe } from './recipe.ts';

/** The components that an image is made of, by generation; others are built and then of no use. */
const PARTS: Readonly<Record<Generation, readonly string[]>> = {
  stage2: ['tdx-stage1', 'stage2', 'svsm'],
  bldr: ['tdx-stage1', 'bldr', 'svsm'],
};

/** The components of an image that a recipe may have under a layout. */
export function imageParts(layout: Layout): readonly string[] {
  return PARTS[layout.generation];
}

/**
 * Checks what a recipe must have for a layout, so that nothing fails after an hour of cargo: components, platforms,
 * keys of the generation.
 *
 * @returns warnings, one sentence each
 * @throws CvmError format RECIPE_KEY_GENERATION | RECIPE_KEY_MISSING | RECIPE_COMPONENT_MISSING | RECIPE_POLICY_WITHOUT_SNP |
 *   RECIPE_STAGE1_WITHOUT_TDP | RECIPE_STAGE1_MISSING | RECIPE_BLDR_MISSING
 */
export function requireLayout(recipe: Recipe, layout: Layout, allowUnknownKeys = false): string[] {
  const warnings: string[] = [];
  if (layout.generation === 'stage2') refuseBldrKeys(recipe, allowUnknownKeys, warnings);
  else requireKeys(recipe);
  if (recipe.igvm.length === 0)
    warnings.push(`${recipe.file}: the recipe has no IGVM target, so no image is built`);
  else requireParts(recipe, layout);
  for (const target of recipe.igvm) {
    requireSnp(recipe, target);
    requireStage1(recipe, layout, target);
    if (layout.generation === 'bldr') requireBldr(recipe, target);
  }
  const parts = imageParts(layout);
  for (const { name, at } of recipe.kernel) {
    if (parts.includes(name)) continue;
    const nearest = nearestWord(name, parts);
    warnings.push(
      `${recipe.file}: ${at.path} is built, but no image of layout ${layout.name} holds it` +
        (nearest === undefined ? '' : `; the nearest component is ${nearest}`),
    );
  }
  return warnings;
}

function refuseBldrKeys(recipe: Recipe, allowed: boolean, warnings: string[]): void {
  for (const at of recipe.bldrOnly) {
    const isType = at.node.type === 'string' && at.path.endsWith('.type');
    if (allowed && !isType) {
      warnings.push(`${recipe.file}: ${at.path} is of the bldr generation and is ignored`);
      continue;
    }
    throw recipeError(
      recipe,
      at,
      isType ? 'RECIPE_BUILD_TYPE_UNKNOWN' : 'RECIPE_KEY_GENERATION',
      isType
        ? 'unknown build type: only recipes of the bldr generation have type test'
        : 'a recipe of the stage2 generation has a key of the bldr generation',
      {
        mend: isType
          ? 'write cargo or make'
          : 'remove it: the build of that generation knows no such key (--allow-unknown-keys ignores it)',
      },
    );
  }
}

function requireKeys(recipe: Recipe): void {
  const missing = (
    [
      ['igvm', '$.igvm'],
      ['kernel', '$.kernel'],
      ['modules', '$.fs.modules'],
    ] as const
  ).find(([part]) => !recipe.has[part]);
  if (missing === undefined) return;
  const [, path] = missing;
  throw recipeError(
    recipe,
    { path, node: recipe.root.node },
    'RECIPE_KEY_MISSING',
    'a recipe of the bldr generation lacks a part that it must have',
    {
      mend: `add ${path.endsWith('modules') ? '"fs": {"modules": {}}' : `"${path.slice(2)}": {}`}, even if it stays empty`,
    },
  );
}

const has = (recipe: Recipe, name: string): Component | undefined =>
  recipe.kernel.find((part) => part.name === name);

function requireParts(recipe: Recipe, layout: Layout): void {
  const needed = layout.generation === 'stage2' ? ['stage2', 'svsm'] : ['svsm'];
  const missing = needed.find((name) => has(recipe, name) === undefined);
  if (missing === undefined) return;
  const names = recipe.kernel.map((part) => part.name);
  throw recipeError(
    recipe,
    missingAt(recipe, missing),
    'RECIPE_COMPONENT_MISSING',
    `a recipe lacks the kernel component ${missing}`,
    {
      facts: [['components', names.join(', ') || 'none']],
      nearest: nearestWord(
        missing,
        names.filter((name) => !imageParts(layout).includes(name)),
      ),
      mend: `add "${missing}" to "kernel", or choose another layout with --layout`,
    },
  );
}

function missingAt(recipe: Recipe, name: string): At {
  return { path: memberPath('$.kernel', name), node: recipe.kernelAt.node };
}

/** igvmbuilder gets --policy for every image, and refuses it where there is no SEV-SNP. */
function requireSnp(recipe: Recipe, { platforms, platformsAt, policyText }: IgvmTarget): void {
  if (platforms.includes('snp')) return;
  throw recipeError(
    recipe,
    platformsAt,
    'RECIPE_POLICY_WITHOUT_SNP',
    'an IGVM target without the platform snp can be neither built nor measured',
    {
      facts: [
        ['platforms', platforms.join(', ')],
        ['policy', policyText],
        [
          'why',
          'a recipe always sets a guest policy (0x30000 by default), which only SEV-SNP has, and measures the SEV-SNP launch',
        ],
      ],
      mend: 'add "snp" to "platforms"; the other platforms stay as they are',
    },
  );
}

function requireStage1(
  recipe: Recipe,
  layout: Layout,
  { hypervisor, platforms, platformsAt }: IgvmTarget,
): void {
  const stage1 = has(recipe, 'tdx-stage1');
  const tdp = platforms.includes('tdp');
  if (stage1 !== undefined && !tdp) {
    throw recipeError(
      recipe,
      platformsAt,
      'RECIPE_STAGE1_WITHOUT_TDP',
      'a recipe builds tdx-stage1 for an IGVM target without the platform tdp',
      {
        facts: [
          ['target', hypervisor],
          ['platforms', platforms.join(', ')],
        ],
        mend: `add "tdp" to "platforms", or remove ${stage1.at.path}: every target gets it`,
      },
    );
  }
  if (stage1 === undefined && tdp && layout.generation === 'bldr') {
    throw recipeError(
      recipe,
      platformsAt,
      'RECIPE_STAGE1_MISSING',
      'an IGVM target with the platform tdp needs the kernel component tdx-stage1',
      { facts: [['target', hypervisor]], mend: 'add "tdx-stage1" to "kernel", or remove "tdp"' },
    );
  }
}

/** Without bldr the SVSM kernel itself starts, which TDX cannot do and SEV-SNP only below a vTOM. */
function requireBldr(recipe: Recipe, { hypervisor, platforms, platformsAt, noVtom }: IgvmTarget): void {
  if (has(recipe, 'bldr') !== undefined) return;
  if (!platforms.includes('tdp') && hypervisor === 'hyper-v' && !noVtom) return;
  throw recipeError(
    recipe,
    platformsAt,
    'RECIPE_BLDR_MISSING',
    'an IGVM target needs the kernel component bldr',
    {
      facts: [
        ['target', hypervisor],
        ['platforms', platforms.join(', ')],
      ],
      mend: 'add "bldr" to "kernel": only hyper-v without tdp and with a vTOM starts without it',
    },
  );
}
