import type { Component } from './component.ts';
import type { Layout } from './layouts.ts';
import type { FsModule, IgvmTarget, Recipe } from './recipe.ts';

/** A program with its arguments, and variables on top of the caller's. */
export interface Step {
  readonly what: 'helper' | 'component' | 'objcopy' | 'firmware' | 'file system' | 'igvm' | 'measure';
  /** The component, module, target or helper it is for. */
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface PlanOptions {
  readonly release: boolean;
  readonly offline: boolean;
  readonly verbose: boolean;
}

/** A recipe with what was found out about it. */
export interface PlannedRecipe {
  readonly recipe: Recipe;
  readonly layout: Layout;
  /** The firmware that goes into the images: the recipe's file, or the value of its variable. */
  readonly firmware: string | undefined;
}

/** The folder that upstream builds into. */
export const OUTPUT_FOLDER = 'bin';

/** What objcopy is given for a component of type test: cargo names the file when it has built it. */
export const TEST_EXECUTABLE = '<test executable>';

const GUEST_TARGET = 'x86_64-unknown-none';
const HOST_TARGET = 'x86_64-unknown-linux-gnu';

/**
 * All that upstream runs for these recipes, in its order. Of scripts/build.py (generation stage2): helpers once, then per
 * recipe all kernel components, all objcopies, the firmware command, the modules with theirs, packit, and per target
 * igvmbuilder and igvmmeasure. Of xbuild (generation bldr): each component with its objcopy, igvmbuilder and igvmmeasure
 * built when they are first needed, packit as a library.
 */
export function planRecipes(recipes: readonly PlannedRecipe[], options: PlanOptions): Step[] {
  const built = new Set<string>();
  // build.py builds its three helpers before it looks at a recipe.
  const first = recipes.some(({ layout }) => layout.generation === 'stage2')
    ? ['igvmbuilder', 'igvmmeasure', 'packit'].map((name) => helperStep(name, 'stage2', options))
    : [];
  return [...first, ...recipes.flatMap((planned) => recipeSteps(planned, options, built))];
}

function recipeSteps(planned: PlannedRecipe, options: PlanOptions, built: Set<string>): Step[] {
  const { recipe, layout } = planned;
  const { kernel, modules } = recipe;
  const pair = (component: Component, target: string): [Step, Step] => [
    buildStep(component, layout, options),
    objcopyStep(component, builtFiles(component, layout, options)[0], target, layout, options),
  ];
  const kernelSteps = kernel.map((component) => pair(component, `${OUTPUT_FOLDER}/${component.name}`));
  const moduleSteps = modules.map((module) => pair(module, stagedModule(module, layout)));
  const inOrder = (pairs: readonly [Step, Step][]): Step[] =>
    layout.generation === 'stage2'
      ? [...pairs.map(([build]) => build), ...pairs.map(([, objcopy]) => objcopy)]
      : pairs.flat();
  const firmware = firmwareStep(recipe);
  return [
    ...inOrder(kernelSteps),
    ...(firmware === undefined ? [] : [firmware]),
    ...inOrder(moduleSteps),
    ...(modules.length > 0 && layout.generation === 'stage2' ? [packStep()] : []),
    ...recipe.igvm.flatMap((target) => {
      const helper = (name: string): Step[] => {
        if (layout.generation === 'stage2' || built.has(name)) return [];
        built.add(name);
        return [helperStep(name, 'bldr', options)];
      };
      return [
        ...helper('igvmbuilder'),
        igvmStep(target, planned, options),
        ...helper('igvmmeasure'),
        measureStep(target),
      ];
    }),
  ];
}

/** Where a module is staged: build.py puts the path behind the folder as it is. */
function stagedModule(module: FsModule, { generation }: Layout): string {
  return `${OUTPUT_FOLDER}/fs/${generation === 'stage2' ? (module.pathText ?? module.name) : module.path}`;
}

function helperStep(name: string, generation: 'stage2' | 'bldr', options: PlanOptions): Step {
  const features = name === 'packit' ? ['--features', 'cli'] : [];
  const argv =
    generation === 'stage2'
      ? [
          ...cargoStart(options),
          '--package',
          name,
          ...(options.offline ? ['--locked', '--offline'] : []),
          ...features,
          ...(options.release ? ['--release'] : []),
          '--target',
          HOST_TARGET,
        ]
      : ['cargo', 'build', '--package', name, ...cargoEnd(options)];
  return { what: 'helper', name, argv, env: {} };
}

function cargoStart({ verbose }: PlanOptions): string[] {
  return ['cargo', 'build', ...(verbose ? ['-vv'] : [])];
}

function cargoEnd({ release, offline, verbose }: PlanOptions): string[] {
  return [
    ...(release ? ['--release'] : []),
    ...(offline ? ['--offline', '--locked'] : []),
    ...(verbose ? ['-vv'] : []),
  ];
}

/** The command that builds a component. */
export function buildStep(component: Component, layout: Layout, options: PlanOptions): Step {
  const { name, type } = component;
  const isStage2 = layout.generation === 'stage2';
  const variables = isStage2 ? {} : Object.fromEntries(component.env);
  if (type === 'make') {
    const argv = [
      'make',
      component.outputFile ?? '',
      ...(options.release ? ['RELEASE=1'] : []),
      ...(options.verbose ? ['V=2'] : []),
    ];
    const features = component.features.join(',');
    // xbuild gives make no variables of the recipe's `env`, and these two instead.
    return {
      what: 'component',
      name,
      argv,
      env: isStage2 ? {} : { FEATURES: features, FEATURES_TEST: features },
    };
  }
  const features = component.features.length > 0 ? ['--features', component.features.join(',')] : [];
  const manifest = component.manifest === undefined ? [] : ['--manifest-path', component.manifest];
  const noDefaults = component.noDefaultFeatures && !isStage2 ? ['--no-default-features'] : [];
  const target = ['--target', GUEST_TARGET];
  const argv =
    type === 'test'
      ? [
          'cargo',
          ...(component.toolchain === undefined ? [] : [`+${component.toolchain}`]),
          'test',
          '--no-run',
          '--message-format=json-render-diagnostics',
          '--package',
          name,
          ...target,
          ...noDefaults,
          ...features,
          ...manifest,
          ...cargoEnd(options),
        ]
      : isStage2
        ? [
            ...cargoStart(options),
            component.binary ? '--bin' : '--package',
            name,
            ...(options.offline ? ['--locked', '--offline'] : []),
            ...features,
            ...manifest,
            ...(options.release ? ['--release'] : []),
            ...target,
          ]
        : [
            'cargo',
            'build',
            component.binary ? '--bin' : '--package',
            name,
            ...target,
            ...noDefaults,
            ...features,
            ...manifest,
            ...cargoEnd(options),
          ];
  return { what: 'component', name, argv, env: variables };
}

/**
 * The files that a component's build may make, the likeliest first. build.py looks for `output_file` first and falls back
 * to the name; xbuild knows the name alone.
 */
export function builtFiles(
  component: Component,
  { generation }: Layout,
  options: PlanOptions,
): readonly [string, ...string[]] {
  if (component.type === 'make') return [component.outputFile ?? ''];
  if (component.type === 'test') return [TEST_EXECUTABLE];
  const named = `${cargoFolder(options)}/${component.name}`;
  if (component.outputFile === undefined || generation === 'bldr') return [named];
  return [`${cargoFolder(options)}/${component.outputFile}`, named];
}

function cargoFolder({ release }: PlanOptions): string {
  return `target/${GUEST_TARGET}/${release ? 'release' : 'debug'}`;
}

/** The command that copies a built component to its place, stripped. */
export function objcopyStep(
  component: Component,
  source: string,
  target: string,
  { generation }: Layout,
  { release }: PlanOptions,
): Step {
  const strip = generation === 'stage2' || release ? '--strip-unneeded' : '--strip-debug';
  return {
    what: 'objcopy',
    name: component.name,
    argv: ['objcopy', '-O', component.objcopy, strip, source, target],
    env: {},
  };
}

/** The firmware's own command, when the recipe has one. */
export function firmwareStep({ firmware }: Recipe): Step | undefined {
  if (firmware.command === undefined) return undefined;
  return { what: 'firmware', name: 'firmware', argv: firmware.command, env: {} };
}

function packStep(): Step {
  const argv = ['packit', 'pack', '--input', `${OUTPUT_FOLDER}/fs`, '--output', fsImage()];
  return { what: 'file system', name: 'packit', argv, env: {} };
}

const fsImage = (): string => `${OUTPUT_FOLDER}/svsm-fs.bin`;

function igvmStep(
  target: IgvmTarget,
  { recipe, layout, firmware }: PlannedRecipe,
  options: PlanOptions,
): Step {
  const part = (flag: string, name: string): string[] =>
    recipe.kernel.some((component) => component.name === name) ? [flag, `${OUTPUT_FOLDER}/${name}`] : [];
  const stage1 = part('--tdx-stage1', 'tdx-stage1');
  const comport = target.comport === undefined ? [] : ['--comport', target.comport];
  const platforms = target.platforms.map((platform) => `--${platform}`);
  const firmwareWords = firmware === undefined ? [] : ['--firmware', firmware];
  const fs = recipe.modules.length > 0 ? ['--filesystem', fsImage()] : [];
  const head = [
    'igvmbuilder',
    '--sort',
    '--output',
    `${OUTPUT_FOLDER}/${target.output}`,
    '--policy',
    target.policyText,
  ];
  const tail =
    layout.generation === 'stage2'
      ? [
          ...part('--stage2', 'stage2'),
          ...part('--kernel', 'svsm'),
          ...stage1,
          ...comport,
          ...platforms,
          ...firmwareWords,
          ...fs,
        ]
      : [
          ...part('--kernel', 'svsm'),
          ...stage1,
          ...part('--bldr', 'bldr'),
          ...firmwareWords,
          ...fs,
          ...comport,
          ...(options.verbose ? ['--verbose'] : []),
          ...(target.noVtom ? ['--no-vtom'] : []),
          ...platforms,
        ];
  return { what: 'igvm', name: target.hypervisor, argv: [...head, ...tail, target.hypervisor], env: {} };
}

function measureStep(target: IgvmTarget): Step {
  const argv = [
    'igvmmeasure',
    ...(target.checkKvm ? ['--check-kvm'] : []),
    ...(target.nativeZeroes ? ['--native-zero'] : []),
    `${OUTPUT_FOLDER}/${target.output}`,
    'measure',
  ];
  return { what: 'measure', name: target.hypervisor, argv, env: {} };
}

/** One command as a shell would take it. */
export function shellLine({ env, argv }: Pick<Step, 'env' | 'argv'>): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${quote(value)}`);
  return [...variables, ...argv.map(quote)].join(' ');
}

/** Words of safe letters stay as they are. */
function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./<>-]+$/.test(word) && !/[<>]/.test(word)
    ? word
    : `'${word.replaceAll("'", "'\\''")}'`;
}
