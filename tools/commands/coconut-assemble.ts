import { usageError } from '../errors.ts';
import { HYPERVISORS, type Hypervisor, type Recipe } from '../coconut/recipe.ts';
import { nearestWord } from '../nearest.ts';
import { besideImage, writeImages } from './coconut-images.ts';
import { firmwareOption, FIRMWARE_OPTIONS, openRecipe, RECIPE_OPTIONS } from './coconut-options.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { openFile, requireDistinctOutputs, resolvePath, writeSourceWhole } from './files.ts';
import { requiredText, textsOption } from './options.ts';

/** What `--copy` can name of a target. */
const COPIES = { igvm: 'igvm', digest: 'digest', 'digest.json': 'json', explain: 'explain' } as const;

export const command: Command = {
  summary: 'build the IGVM files of a COCONUT-SVSM recipe from given parts',
  description:
    'Makes the IGVM file of every target of a recipe from parts that are built already and through objcopy, and beside ' +
    'it its launch digest (.digest), the digest with its facts (.digest.json) and step by step (.explain). Runs no ' +
    'program and reads no variable: what the recipe says of firmware is a file here, or --without-firmware.',
  arguments: [{ name: '<recipe>', description: 'COCONUT-SVSM build recipe (JSON)' }],
  options: [
    {
      flags: '--component <name=path>',
      description: 'a built component of the kernel, such as svsm=bin/svsm',
      repeatable: true,
    },
    {
      flags: '--module <name=path>',
      description: 'a built module of the file-system image, such as userinit=bin/fs/init',
      repeatable: true,
    },
    ...FIRMWARE_OPTIONS,
    { flags: '--output <dir>', description: 'folder for the files', required: true },
    {
      flags: '--copy <target:kind=path>',
      description: `write one file a second time: kind is ${Object.keys(COPIES).join(', ')}`,
      repeatable: true,
    },
    ...RECIPE_OPTIONS,
  ],
  async run([path = ''], options, io) {
    const opened = openRecipe(path, options, io);
    const { recipe } = opened;
    const components = namedPaths(options, 'component');
    const modules = namedPaths(options, 'module');
    refuseUnused(recipe, 'component', components, recipe.kernel);
    refuseUnused(recipe, 'module', modules, recipe.modules);
    const firmware = requireFirmwareChoice(recipe, options);
    const folder = requiredText(options, 'output');
    const copies = copiesOf(options);
    const places = new Map(
      recipe.igvm.map(({ hypervisor, output }) => [hypervisor, besideImage(folder, output)]),
    );
    requireDistinctOutputs(
      io,
      ...[...places.values()].flatMap((place) => Object.values(place)),
      ...copies.map(({ to }) => to),
    );
    const sources = copies.map(({ hypervisor, kind, to }) => {
      const place = places.get(hypervisor);
      if (place !== undefined) return { from: place[kind], to };
      throw usageError('COPY_TARGET', 'the recipe has no target of the name that is to be copied', {
        facts: [
          ['target', hypervisor],
          ['targets of the recipe', [...places.keys()].join(', ') || 'none'],
        ],
        mend: 'add the target to the recipe, or do not ask for it',
      });
    });
    // Files say it all; in a build log the digest would stand between other actions' words.
    const quiet: Io = { ...io, cwd: io.cwd, out: () => undefined };
    await writeImages(
      opened,
      { components, modules, firmware },
      ({ output }) => besideImage(folder, output),
      quiet,
    );
    for (const { from, to } of sources) {
      const file = openFile(resolvePath(io, from));
      try {
        await writeSourceWhole(resolvePath(io, to), file);
      } finally {
        file.close();
      }
    }
    return 0;
  },
};

/** @throws CvmError usage OPTION_PART */
function namedPaths(options: OptionValues, option: 'component' | 'module'): Map<string, string> {
  const paths = new Map<string, string>();
  for (const word of textsOption(options, option)) {
    const equals = word.indexOf('=');
    const name = word.slice(0, Math.max(0, equals));
    if (name === '' || paths.has(name)) {
      throw usageError('OPTION_PART', `--${option} takes <name=path>, each name once`, {
        facts: [['found', word]],
      });
    }
    paths.set(name, word.slice(equals + 1));
  }
  return paths;
}

/** A file that no image takes is a mistake in a name. @throws CvmError usage COMPONENT_UNUSED */
function refuseUnused(
  recipe: Recipe,
  kind: 'component' | 'module',
  given: ReadonlyMap<string, string>,
  known: readonly { readonly name: string }[],
): void {
  const names = known.map(({ name }) => name);
  const unused = [...given.keys()].find((name) => !names.includes(name));
  if (unused === undefined) return;
  const nearest = nearestWord(unused, names);
  throw usageError('COMPONENT_UNUSED', `a file is given for a ${kind} that the recipe does not have`, {
    facts: [
      ['recipe', recipe.file],
      [kind, unused],
      [`${kind}s of the recipe`, names.join(', ') || 'none'],
    ],
    ...(nearest === undefined ? {} : { nearest }),
    mend: `name a ${kind} of the recipe, or leave the file out`,
  });
}

/**
 * Firmware must be chosen by whoever calls: nothing that a recipe names can be run or read here, and dropping it silently
 * would change the digest.
 * @throws CvmError usage FIRMWARE_NEEDED | FIRMWARE_UNWANTED
 */
function requireFirmwareChoice(recipe: Recipe, options: OptionValues): string | undefined {
  const { env, file, command: program, at } = recipe.firmware;
  const named = [
    ...(program === undefined ? [] : [`command ${program.join(' ')}`]),
    ...(file === undefined ? [] : [`file ${file}`]),
    ...(env === undefined ? [] : [`variable ${env}`]),
  ];
  const choice = firmwareOption(options);
  if (choice === undefined && named.length > 0) {
    throw usageError('FIRMWARE_NEEDED', 'the recipe names firmware that can be neither made nor read here', {
      facts: [
        ['recipe', recipe.file],
        ['at', at.path],
        ['firmware', named.join('; ')],
      ],
      mend: 'give the firmware: --firmware PATH, in a BUILD file firmware = "…"; or build without: --without-firmware, firmware = None',
    });
  }
  if (choice?.path !== undefined && named.length === 0) {
    throw usageError('FIRMWARE_UNWANTED', 'firmware is given for a recipe that has none', {
      facts: [
        ['recipe', recipe.file],
        ['firmware', choice.path],
      ],
      mend: 'leave it out, or add "firmware": {"file": "…"} to the recipe',
    });
  }
  return choice?.path;
}

interface Copy {
  readonly hypervisor: Hypervisor;
  readonly kind: (typeof COPIES)[keyof typeof COPIES];
  readonly to: string;
}

/** @throws CvmError usage OPTION_COPY */
function copiesOf(options: OptionValues): Copy[] {
  return textsOption(options, 'copy').map((word) => {
    const [, target = '', kindText = '', path = ''] = /^([^:=]+):([^=]+)=(.+)$/.exec(word) ?? [];
    const hypervisor = HYPERVISORS.find((known) => known === target);
    const kind = Object.hasOwn(COPIES, kindText) ? COPIES[kindText as keyof typeof COPIES] : undefined;
    if (hypervisor !== undefined && kind !== undefined) return { hypervisor, kind, to: path };
    throw usageError('OPTION_COPY', '--copy takes <target:kind=path>', {
      facts: [
        ['found', word],
        ['targets', HYPERVISORS.join(', ')],
        ['kinds', Object.keys(COPIES).join(', ')],
      ],
    });
  });
}
