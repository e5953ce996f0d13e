import {
  describe,
  expectChoice,
  expectFlag,
  expectMembers,
  expectText,
  knownMembers,
  recipeError,
  type At,
  type Reading,
} from './fields.ts';

export const BUILD_TYPES = ['cargo', 'make', 'test'] as const;
export type BuildType = (typeof BUILD_TYPES)[number];

/** How one part of the kernel or of the file system is built ("COBI object" in upstream's words). */
export interface Component {
  readonly name: string;
  readonly type: BuildType;
  /** `make`: the target and the file it makes. `cargo`: a file name that is tried before the component's. */
  readonly outputFile: string | undefined;
  readonly manifest: string | undefined;
  readonly features: readonly string[];
  readonly noDefaultFeatures: boolean;
  /** `--bin NAME` instead of `--package NAME`. */
  readonly binary: boolean;
  /** The target of `objcopy -O`. */
  readonly objcopy: string;
  /** Where a module goes in the image, as the recipe has it. */
  readonly pathText: string | undefined;
  readonly pathAt: At | undefined;
  readonly toolchain: string | undefined;
  /** Variables of the build command, in the recipe's order. */
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly at: At;
}

const DEFAULT_OBJCOPY = 'elf64-x86-64';

/**
 * The components of `kernel` or of `fs.modules`, in the recipe's order.
 * @param bldrOnly takes the places of what only recipes of the second generation have
 * @throws CvmError format RECIPE_*
 */
export function parseComponents(
  reading: Reading,
  at: At,
  kind: 'kernel' | 'module',
  bldrOnly: At[],
): Component[] {
  return expectMembers(reading, at).map(({ key, at: componentAt }) => {
    requireName(reading, componentAt, key);
    return parseComponent(reading, componentAt, key, kind, bldrOnly);
  });
}

/** A component's name is a word of a command and the name of a file. */
function requireName(reading: Reading, at: At, name: string): void {
  if (!/^[./]*$|^-|\/|\0/.test(name)) return;
  throw recipeError(reading, at, 'RECIPE_NAME', 'a component has a name that no package can have', {
    facts: [['name', name]],
    mend: 'name it as its cargo package: letters, digits, - and _',
  });
}

function parseComponent(
  reading: Reading,
  at: At,
  name: string,
  kind: 'kernel' | 'module',
  bldrOnly: At[],
): Component {
  const fields = knownMembers(reading, at, [
    'type',
    'output_file',
    'manifest',
    'features',
    'binary',
    'objcopy',
    'path',
    'no_default_features',
    'toolchain',
    'env',
  ]);
  const type =
    fields.type === undefined
      ? 'cargo'
      : expectChoice(
          reading,
          fields.type,
          BUILD_TYPES,
          'RECIPE_BUILD_TYPE_UNKNOWN',
          'a recipe names a build type that is none',
        );
  if (fields.type !== undefined && type === 'test') bldrOnly.push(fields.type);
  for (const key of ['no_default_features', 'toolchain', 'env'] as const) {
    if (fields[key] !== undefined) bldrOnly.push(fields[key]);
  }
  if (kind === 'kernel' && fields.path !== undefined) {
    reading.warnings.push(`${reading.file}: ${fields.path.path} has no meaning outside fs.modules`);
  }
  const outputFile = nonEmpty(reading, fields.output_file);
  if (type === 'make' && outputFile === undefined) {
    throw recipeError(
      reading,
      at,
      'RECIPE_OUTPUT_FILE_MISSING',
      `build type make in package ${name} requires an 'output_file' attribute`,
      { mend: 'add "output_file": the make target, which is also the file it makes' },
    );
  }
  const toolchain = nonEmpty(reading, fields.toolchain);
  if (fields.toolchain !== undefined && type !== 'test') {
    throw recipeError(
      reading,
      fields.toolchain,
      'RECIPE_TOOLCHAIN',
      'only a component of type test may name a toolchain',
      {
        facts: [
          ['toolchain', describe(fields.toolchain.node)],
          ['type', type],
        ],
        mend: 'remove it, or write "type": "test"',
      },
    );
  }
  return {
    name,
    type,
    outputFile,
    manifest: nonEmpty(reading, fields.manifest),
    features: (expectText(reading, fields.features) ?? '').split(/[,\s]+/).filter((word) => word !== ''),
    noDefaultFeatures: expectFlag(reading, fields.no_default_features) ?? false,
    binary: expectFlag(reading, fields.binary) ?? false,
    objcopy: nonEmpty(reading, fields.objcopy) ?? DEFAULT_OBJCOPY,
    pathText: expectText(reading, fields.path),
    pathAt: fields.path,
    toolchain,
    env: fields.env === undefined ? [] : parseEnv(reading, fields.env),
    at,
  };
}

function parseEnv(reading: Reading, at: At): (readonly [string, string])[] {
  return expectMembers(reading, at).map(({ key, at: valueAt }) => {
    if (key === '' || key.includes('=') || key.includes('\0')) {
      throw recipeError(reading, valueAt, 'RECIPE_ENV_NAME', 'a variable has a name that none can have', {
        facts: [['found', key]],
        mend: 'give a name without = and NUL',
      });
    }
    return [key, expectText(reading, valueAt) ?? ''] as const;
  });
}

function nonEmpty(reading: Reading, at: At | undefined): string | undefined {
  const text = expectText(reading, at);
  if (at === undefined || text !== '') return text;
  throw recipeError(reading, at, 'RECIPE_TEXT_EMPTY', 'a value of a recipe is empty', {
    mend: 'give a value, or remove the key',
  });
}
