import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { digestSource } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { showText } from '../bytes/text.ts';
import type { Component } from '../coconut/component.ts';
import {
  builtFiles,
  buildStep,
  firmwareStep,
  objcopyStep,
  OUTPUT_FOLDER,
  shellLine,
  type PlanOptions,
  type Step,
} from '../coconut/plan.ts';
import { imageParts } from '../coconut/generation.ts';
import { testExecutable } from '../coconut/test-executable.ts';
import { usageError } from '../errors.ts';
import { makeFolder, writeImages, type PartFiles } from './coconut-images.ts';
import {
  BUILD_OPTIONS,
  firmwareOption,
  FIRMWARE_OPTIONS,
  openRecipe,
  RECIPE_OPTIONS,
  recipeFirmware,
  RECIPES_ARGUMENT,
  type OpenRecipe,
} from './coconut-options.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { openFile, requireDistinctOutputs, resolvePath } from './files.ts';
import { flagOption, textOption } from './options.ts';
import { runProgram } from './run-program.ts';

/** The packed file system, as upstream calls it. */
const FS_IMAGE = 'svsm-fs.bin';

export const command: Command = {
  summary: 'build and measure the IGVM files of COCONUT-SVSM recipes',
  description:
    'Runs what a recipe asks for, cargo, make, objcopy and the firmware command, in the folder it is called in, the root ' +
    'of an SVSM tree; then makes the file-system image, the IGVM files and their launch digests itself, and prints the ' +
    'digests as igvmmeasure does. With --components nothing is run: the parts are taken from a folder, by name (svsm, ' +
    'stage2, userinit) or where a build puts them (fs/init), already through objcopy. cvm coconut plan shows the commands.',
  arguments: [RECIPES_ARGUMENT],
  options: [
    ...BUILD_OPTIONS,
    { flags: '--components <dir>', description: 'folder of built parts; no program is run' },
    ...FIRMWARE_OPTIONS,
    { flags: '--output <dir>', description: 'folder for parts and images', defaultValue: OUTPUT_FOLDER },
    ...RECIPE_OPTIONS,
  ],
  async run(paths, options, io) {
    // All recipes are looked at before the first program runs.
    const recipes = paths.map((path) => openRecipe(path, options, io));
    const folder = textOption(options, 'output') ?? OUTPUT_FOLDER;
    requireOwnPlaces(recipes, folder, io);
    const builds = recipes.map((opened) => ({ opened, firmware: chooseFirmware(opened, options, io) }));
    const components = textOption(options, 'components');
    for (const { opened, firmware } of builds) {
      const progress = new Progress(opened, io, components === undefined);
      const parts =
        components === undefined
          ? await buildParts(opened, folder, options, firmware.command, progress)
          : takeParts(opened, components, io);
      const files: PartFiles = { ...parts, firmware: firmware.path };
      progress.step('images', opened.recipe.igvm.map(({ output }) => output).join(', '));
      progress.end();
      const hasFs = opened.recipe.modules.length > 0 && opened.recipe.igvm.length > 0;
      if (opened.recipe.igvm.length === 0) continue;
      await writeImages(
        opened,
        files,
        ({ output }) => ({ igvm: join(folder, output) }),
        io,
        hasFs ? join(folder, FS_IMAGE) : undefined,
      );
    }
    return 0;
  },
};

/** No image takes the place of another, of a part, or of the file system. @throws CvmError usage OUTPUT_TWICE */
function requireOwnPlaces(recipes: readonly OpenRecipe[], folder: string, io: Io): void {
  const parts = new Set(recipes.flatMap(({ recipe }) => recipe.kernel.map(({ name }) => name)));
  const modules = new Set(recipes.flatMap(({ recipe }) => recipe.modules.map(({ path }) => `fs/${path}`)));
  const images = recipes.flatMap(({ recipe }) => recipe.igvm.map(({ output }) => output));
  requireDistinctOutputs(
    io,
    ...[...parts, ...modules, ...images, FS_IMAGE].map((name) => join(folder, name)),
  );
}

/**
 * The firmware of a recipe's images and the command that makes it. What must be there before the build is looked at now,
 * not after an hour of cargo; what a command makes, or `file` names, may come into being on the way.
 * @throws CvmError usage OPTION_CONFLICT | FILE_*
 */
function chooseFirmware(
  { recipe }: OpenRecipe,
  options: OptionValues,
  io: Io,
): { readonly command: Step | undefined; readonly path: string | undefined } {
  const choice = firmwareOption(options);
  const command = choice === undefined ? firmwareStep(recipe) : undefined;
  const path = choice === undefined ? recipeFirmware(recipe, io) : choice.path;
  const isMade = command !== undefined || (choice === undefined && recipe.firmware.file !== undefined);
  if (path !== undefined && !isMade) openFile(resolvePath(io, path)).close();
  return { command, path };
}

/** Says on a terminal what is being done; elsewhere nothing, as long as all goes well. */
class Progress {
  /** For what else is said meanwhile: it takes the place of the progress. */
  readonly io: Io;
  readonly #io: Io;
  readonly #steps: number;
  #done = 0;
  #isShown = false;

  constructor({ recipe }: OpenRecipe, io: Io, runs: boolean) {
    this.#io = io;
    this.io = {
      ...io,
      cwd: io.cwd,
      err: (text) => {
        if (text !== '') this.end();
        io.err(text);
      },
    };
    const programs = 2 * (recipe.kernel.length + recipe.modules.length);
    this.#steps = (runs ? programs + (recipe.firmware.command === undefined ? 0 : 1) : 0) + 1;
  }

  step(what: string, name: string): void {
    this.#done++;
    if (!this.#io.isTerminal) return;
    this.#isShown = true;
    this.#io.err(`\r\u001b[K[${this.#done}/${this.#steps}] ${what} ${showText(name)}`);
  }

  end(): void {
    if (this.#isShown) this.#io.err('\r\u001b[K');
    this.#isShown = false;
  }
}

async function buildParts(
  { recipe, layout }: OpenRecipe,
  folder: string,
  options: OptionValues,
  firmware: Step | undefined,
  progress: Progress,
): Promise<Omit<PartFiles, 'firmware'>> {
  const { io } = progress;
  const plan: PlanOptions = {
    release: flagOption(options, 'release'),
    offline: flagOption(options, 'offline'),
    verbose: flagOption(options, 'verbose'),
  };
  const run = async (step: Step, wantsOutput = false): Promise<string> => {
    progress.step(step.what === 'component' ? 'building' : step.what, step.name);
    const shown = shellLine(step);
    if (plan.verbose) io.err(`${showText(shown)}\n`);
    try {
      return await runProgram(
        { argv: step.argv, env: step.env, shown },
        { verbose: plan.verbose, wantsOutput },
        io,
      );
    } catch (error) {
      progress.end();
      throw error;
    }
  };
  const build = async (component: Component): Promise<string> => {
    const output = await run(buildStep(component, layout, plan), component.type === 'test');
    if (component.type === 'test') return testExecutable(output, component.name);
    return builtFile(component, builtFiles(component, layout, plan), io);
  };
  const copy = async (component: Component, source: string, target: string): Promise<void> => {
    makeFolder(io, dirname(target));
    await run(objcopyStep(component, source, target, layout, plan));
  };
  const buildAll = async (parts: readonly (readonly [Component, string])[]): Promise<Map<string, string>> => {
    const built = new Map<string, string>();
    if (layout.generation === 'stage2') {
      const sources: string[] = [];
      for (const [component] of parts) sources.push(await build(component));
      for (const [i, [component, target]] of parts.entries()) await copy(component, sources[i] ?? '', target);
    } else {
      for (const [component, target] of parts) await copy(component, await build(component), target);
    }
    for (const [{ name }, target] of parts) built.set(name, target);
    return built;
  };

  makeFolder(io, folder);
  const components = await buildAll(recipe.kernel.map((part) => [part, join(folder, part.name)]));
  if (firmware !== undefined) await run(firmware);
  const modules = await buildAll(recipe.modules.map((module) => [module, join(folder, 'fs', module.path)]));
  return { components, modules };
}

/** @throws CvmError usage COMPONENT_NOT_BUILT */
function builtFile({ name }: Component, candidates: readonly string[], io: Io): string {
  const found = candidates.find((path) => isFile(io, path));
  if (found !== undefined) return found;
  throw usageError('COMPONENT_NOT_BUILT', 'a build went well and left no file', {
    facts: [
      ['component', name],
      ['looked for', candidates.join(', ')],
    ],
    mend: 'let the build put its file there: cargo with CARGO_TARGET_DIR or build.target-dir puts it elsewhere',
  });
}

function isFile(io: Io, path: string): boolean {
  return statSync(resolvePath(io, path), { throwIfNoEntry: false })?.isFile() === true;
}

/** Parts of a folder: under their names, or where a build leaves them. */
function takeParts({ recipe, layout }: OpenRecipe, folder: string, io: Io): Omit<PartFiles, 'firmware'> {
  const take = (name: string, places: readonly string[]): [string, string] => {
    const [found, second] = [...new Set(places)].filter((place) => isFile(io, join(folder, place)));
    if (found === undefined) {
      throw usageError('COMPONENT_MISSING', 'the folder of built parts lacks one', {
        facts: [
          ['folder', folder],
          ['part', name],
          ['looked for', [...new Set(places)].join(', ')],
        ],
        mend: 'put the built part there, already through objcopy',
      });
    }
    if (second !== undefined && !sameBytes(io, join(folder, found), join(folder, second))) {
      throw usageError('COMPONENT_AMBIGUOUS', 'the folder of built parts has two files for one', {
        facts: [
          ['folder', folder],
          ['part', name],
          ['files', `${found}, ${second}`],
        ],
        mend: 'remove the one that is not meant',
      });
    }
    return [name, join(folder, found)];
  };
  const wanted = imageParts(layout);
  const kernel = recipe.kernel.filter(({ name }) => wanted.includes(name));
  return {
    components: new Map(kernel.map(({ name }) => take(name, [name]))),
    modules: new Map(recipe.modules.map(({ name, path }) => take(name, [name, `fs/${path}`]))),
  };
}

function sameBytes(io: Io, a: string, b: string): boolean {
  const digest = (path: string): string => {
    const file = openFile(resolvePath(io, path));
    try {
      return bytesToHex(digestSource('sha256', file));
    } finally {
      file.close();
    }
  };
  return digest(a) === digest(b);
}
