import { utf8FromBytes } from '../bytes/text.ts';
import { nearestWord } from '../nearest.ts';
import { parseComponents, type Component } from './component.ts';
import {
  describe,
  expectChoice,
  expectFlag,
  expectItems,
  expectMembers,
  expectText,
  knownMembers,
  recipeError,
  wrongType,
  type At,
  type Reading,
} from './fields.ts';
import { memberPath, parseJsonText } from './json-text.ts';
import { imagePath, requireDistinctPaths } from './module-path.ts';

export const HYPERVISORS = ['qemu', 'hyper-v', 'vanadium'] as const;
export type Hypervisor = (typeof HYPERVISORS)[number];

export const PLATFORMS = ['native', 'snp', 'tdp', 'vsm'] as const;
export type Platform = (typeof PLATFORMS)[number];

/** COM ports by number: 0x3f8, 0x2f8, 0x3e8, 0x2e8. */
export const COMPORTS = ['1', '2', '3', '4'] as const;
export type Comport = (typeof COMPORTS)[number];

/** One IGVM file to build. */
export interface IgvmTarget {
  readonly hypervisor: Hypervisor;
  /** A file name, relative to the output folder. */
  readonly output: string;
  /** In the order of the recipe. */
  readonly platforms: readonly Platform[];
  /** The text as the recipe has it. */
  readonly policyText: string;
  /** GUEST_POLICY of SEV-SNP, 64 bits. */
  readonly policy: bigint;
  readonly comport: Comport | undefined;
  readonly checkKvm: boolean;
  readonly nativeZeroes: boolean;
  readonly noVtom: boolean;
  readonly at: At;
  readonly platformsAt: At;
}

/** Where the guest firmware comes from: the command runs first, then `file` wins over the variable `env`. */
export interface FirmwareRecipe {
  readonly env: string | undefined;
  readonly file: string | undefined;
  readonly command: readonly string[] | undefined;
  readonly at: At;
}

/** A component that goes into the file-system image under a path: `init`, `a/b`. */
export interface FsModule extends Component {
  readonly path: string;
}

export interface Recipe {
  /** As errors name it. */
  readonly file: string;
  readonly igvm: readonly IgvmTarget[];
  readonly kernel: readonly Component[];
  readonly firmware: FirmwareRecipe;
  readonly modules: readonly FsModule[];
  /** What only the second generation of recipes has, and where it was found. */
  readonly bldrOnly: readonly At[];
  readonly root: At;
  readonly kernelAt: At;
  /** Which of the parts that one generation demands were there. */
  readonly has: { readonly igvm: boolean; readonly kernel: boolean; readonly modules: boolean };
  readonly warnings: readonly string[];
}

const DEFAULT_OUTPUT = 'default.json';
const DEFAULT_PLATFORMS: readonly Platform[] = ['snp', 'tdp', 'vsm'];
const DEFAULT_POLICY = '0x30000';

/** Recipes are a few kilobytes. */
export const RECIPE_BYTES_MAX = 1 << 20;

/**
 * Reads a COCONUT-SVSM build recipe: a JSON object with `igvm`, `kernel`, `firmware` and `fs`. Source:
 * coconut-svsm/svsm Documentation/docs/installation/BUILD_RECIPES.md, and what scripts/build.py (76aede89) and xbuild
 * (f4bc4bcd) take. What depends on the generation of the recipe is checked by `requireLayout`.
 *
 * @param file names the recipe in errors
 * @throws CvmError format JSON_*, TEXT_NOT_UTF8, RECIPE_*: each names the file, the JSON path and the line
 */
export function parseRecipe(bytes: Uint8Array, file: string, allowUnknownKeys = false): Recipe {
  const node = parseJsonText(utf8FromBytes(bytes, file), file);
  const reading: Reading = { file, allowUnknownKeys, warnings: [] };
  const root: At = { path: '$', node };
  const { igvm, kernel, firmware, fs } = knownMembers(reading, root, ['igvm', 'kernel', 'firmware', 'fs']);
  const bldrOnly: At[] = [];
  const modules = fs === undefined ? undefined : knownMembers(reading, fs, ['modules']).modules;
  const recipe: Recipe = {
    file,
    igvm: igvm === undefined ? [] : parseTargets(reading, igvm, bldrOnly),
    kernel: kernel === undefined ? [] : parseComponents(reading, kernel, 'kernel', bldrOnly),
    firmware: parseFirmware(reading, firmware ?? emptyAt('$.firmware', root)),
    modules: modules === undefined ? [] : parseModules(reading, modules, bldrOnly),
    bldrOnly,
    root,
    kernelAt: kernel ?? emptyAt('$.kernel', root),
    has: { igvm: igvm !== undefined, kernel: kernel !== undefined, modules: modules !== undefined },
    warnings: reading.warnings,
  };
  requireDistinctOutputs(reading, recipe.igvm);
  return recipe;
}

function emptyAt(path: string, { node }: At): At {
  return { path, node: { line: node.line, column: node.column, type: 'object', members: [] } };
}

function parseTargets(reading: Reading, at: At, bldrOnly: At[]): IgvmTarget[] {
  return expectMembers(reading, at).map(({ key, at: targetAt }) => {
    const hypervisor = HYPERVISORS.find((known) => known === key);
    if (hypervisor === undefined) {
      const nearest = nearestWord(key, HYPERVISORS);
      throw recipeError(
        reading,
        targetAt,
        'RECIPE_TARGET_UNKNOWN',
        'a recipe names an IGVM target that is none',
        {
          facts: [
            ['found', key],
            ['known', HYPERVISORS.join(', ')],
          ],
          nearest,
          mend: `write ${nearest ?? 'one of the known targets'}`,
        },
      );
    }
    return parseTarget(reading, targetAt, hypervisor, bldrOnly);
  });
}

function parseTarget(reading: Reading, at: At, hypervisor: Hypervisor, bldrOnly: At[]): IgvmTarget {
  const fields = knownMembers(reading, at, [
    'output',
    'platforms',
    'policy',
    'comport',
    'measure',
    'check-kvm',
    'measure-native-zeroes',
    'no-vtom',
  ]);
  const platforms =
    fields.platforms === undefined ? DEFAULT_PLATFORMS : parsePlatforms(reading, fields.platforms);
  if (fields.measure !== undefined) {
    expectChoice(
      reading,
      fields.measure,
      ['print'],
      'RECIPE_MEASURE_UNKNOWN',
      'a recipe names a measure type that is none',
    );
  }
  if (fields['no-vtom'] !== undefined) bldrOnly.push(fields['no-vtom']);
  return {
    hypervisor,
    output: parseOutput(reading, fields.output),
    platforms,
    ...parsePolicy(reading, fields.policy),
    comport: fields.comport === undefined ? undefined : parseComport(reading, fields.comport),
    checkKvm: expectFlag(reading, fields['check-kvm']) ?? false,
    nativeZeroes: expectFlag(reading, fields['measure-native-zeroes']) ?? false,
    noVtom: expectFlag(reading, fields['no-vtom']) ?? false,
    at,
    platformsAt: fields.platforms ?? at,
  };
}

function parsePlatforms(reading: Reading, at: At): Platform[] {
  const platforms = expectItems(reading, at).map((item) =>
    expectChoice(
      reading,
      item,
      PLATFORMS,
      'RECIPE_PLATFORM_UNKNOWN',
      'a recipe names an IGVM platform that is none',
    ),
  );
  const again = platforms.findIndex((platform, i) => platforms.indexOf(platform) !== i);
  if (again >= 0) {
    throw recipeError(reading, at, 'RECIPE_PLATFORM_TWICE', 'a recipe names one platform twice', {
      facts: [['platform', platforms[again] ?? '']],
      mend: 'name it once: igvmbuilder refuses a flag that comes twice',
    });
  }
  if (platforms.length === 0) {
    throw recipeError(
      reading,
      at,
      'RECIPE_PLATFORMS_EMPTY',
      'an IGVM target without a platform cannot start',
      { mend: `name at least one of ${PLATFORMS.join(', ')}, or remove the key for snp, tdp and vsm` },
    );
  }
  return platforms;
}

/** A hex number of 64 bits, with or without 0x, as igvmbuilder reads it. */
function parsePolicy(reading: Reading, at: At | undefined): { policyText: string; policy: bigint } {
  if (at?.node.type === 'number') {
    throw wrongType(reading, at, 'a string', 'write it in double quotes and in hex, such as "0x30000"');
  }
  const policyText = expectText(reading, at) ?? DEFAULT_POLICY;
  if (at === undefined || /^(0x)?[0-9a-fA-F]{1,16}$/.test(policyText))
    return { policyText, policy: BigInt(`0x${policyText.replace(/^0x/, '')}`) };
  throw recipeError(reading, at, 'RECIPE_POLICY', 'a guest policy is not a hex number of 64 bits', {
    facts: [['found', describe(at.node)]],
    mend: 'write it as "0x30000": at most 16 hex digits',
  });
}

function parseComport(reading: Reading, at: At): Comport {
  if (at.node.type === 'number') {
    throw wrongType(reading, at, 'a string', `write it in double quotes: "${at.node.text.slice(0, 20)}"`);
  }
  return expectChoice(
    reading,
    at,
    COMPORTS,
    'RECIPE_COMPORT',
    'a recipe names a serial port that a PC does not have',
  );
}

/** A name inside the output folder. */
function parseOutput(reading: Reading, at: At | undefined): string {
  const text = expectText(reading, at) ?? DEFAULT_OUTPUT;
  const parts = text.split('/');
  if (at === undefined || !parts.some((part) => part === '' || part === '.' || part === '..')) return text;
  throw recipeError(reading, at, 'RECIPE_OUTPUT', 'an output is not a file inside the output folder', {
    facts: [['found', describe(at.node)]],
    mend: 'give a file name such as "coconut-qemu.igvm"',
  });
}

function requireDistinctOutputs(reading: Reading, targets: readonly IgvmTarget[]): void {
  for (const [i, target] of targets.entries()) {
    const earlier = targets.slice(0, i).find(({ output }) => output === target.output);
    if (earlier === undefined) continue;
    const at: At = { path: memberPath(target.at.path, 'output'), node: target.at.node };
    throw recipeError(reading, at, 'RECIPE_OUTPUT_TWICE', 'two IGVM targets have one output', {
      facts: [
        ['output', target.output],
        ['targets', `${earlier.hypervisor}, ${target.hypervisor}`],
      ],
      mend: 'give each its own "output": the later would overwrite the earlier',
    });
  }
}

function parseFirmware(reading: Reading, at: At): FirmwareRecipe {
  const fields = knownMembers(reading, at, ['env', 'file', 'command']);
  const name = expectText(reading, fields.env);
  if (fields.env !== undefined && (name === '' || name?.includes('=') === true)) {
    throw recipeError(reading, fields.env, 'RECIPE_ENV_NAME', 'a variable has a name that none can have', {
      facts: [['found', describe(fields.env.node)]],
      mend: 'give the name alone, such as "FW_FILE"',
    });
  }
  const file = expectText(reading, fields.file);
  if (fields.file !== undefined && file === '') {
    throw recipeError(reading, fields.file, 'RECIPE_FIRMWARE_FILE', 'the firmware has no file name', {
      mend: 'name the file, or remove the key',
    });
  }
  return { env: name, file, command: parseCommand(reading, fields.command), at };
}

function parseCommand(reading: Reading, at: At | undefined): string[] | undefined {
  if (at === undefined) return undefined;
  if (at.node.type !== 'array') {
    throw recipeError(
      reading,
      at,
      'RECIPE_FIRMWARE_COMMAND',
      'the value of firmware.command must be a JSON array',
      {
        facts: [['found', describe(at.node)]],
        mend: 'write program and arguments as strings: ["make", "-C", "ovmf"]',
      },
    );
  }
  const words = expectItems(reading, at).map((item) => expectText(reading, item) ?? '');
  if (words.length > 0 && words[0] !== '') return words;
  throw recipeError(reading, at, 'RECIPE_FIRMWARE_COMMAND', 'the firmware command names no program', {
    mend: 'name the program first, or remove the key',
  });
}

function parseModules(reading: Reading, at: At, bldrOnly: At[]): FsModule[] {
  const modules = parseComponents(reading, at, 'module', bldrOnly).map((component) => ({
    ...component,
    path: imagePath(reading, component.pathAt ?? component.at, component.pathText ?? component.name),
  }));
  requireDistinctPaths(reading, modules);
  return modules;
}
