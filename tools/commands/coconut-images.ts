import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildImage } from '../coconut/build-image.ts';
import { imageParts } from '../coconut/generation.ts';
import type { ImageParts } from '../coconut/image-input.ts';
import type { IgvmTarget } from '../coconut/recipe.ts';
import { CvmError, usageError } from '../errors.ts';
import { writeIgvm } from '../igvm/writer.ts';
import { writePackit } from '../packit/archive.ts';
import { inPackOrder } from '../packit/name.ts';
import type { ByteSource } from '../bytes/source.ts';
import type { OpenRecipe } from './coconut-options.ts';
import type { Io } from './command.ts';
import {
  fileError,
  openFile,
  resolvePath,
  writeFileWhole,
  writeSourceWhole,
  type OpenFile,
} from './files.ts';
import { command as measure } from './igvm-measure.ts';

/** Where the parts of a recipe's images are: paths by component and module name, as the caller means them. */
export interface PartFiles {
  readonly components: ReadonlyMap<string, string>;
  readonly modules: ReadonlyMap<string, string>;
  readonly firmware: string | undefined;
}

/** The files of one target, beside each other. */
export interface ImagePaths {
  readonly igvm: string;
  readonly digest?: string;
  readonly json?: string;
  readonly explain?: string;
}

/**
 * Builds, writes and measures the image of every target of a recipe. The file-system image is built once.
 *
 * @param pathsOf where a target's files go
 * @param fsPath where the file-system image goes besides, when it is wanted and there is one
 * @throws CvmError those of openFile, buildImage and writeIgvm, with recipe and target among the facts; those of igvm measure
 */
export async function writeImages(
  { recipe, layout }: OpenRecipe,
  files: PartFiles,
  pathsOf: (target: IgvmTarget) => ImagePaths,
  io: Io,
  fsPath?: string,
): Promise<void> {
  const opened: OpenFile[] = [];
  const open = (path: string): OpenFile => {
    const file = openFile(resolvePath(io, path));
    opened.push(file);
    return file;
  };
  try {
    // What the recipe names must be there: an image without it would have another digest.
    const part = (name: string): ByteSource | undefined =>
      recipe.kernel.some((component) => component.name === name)
        ? open(requirePath(recipe, files.components, name, 'component'))
        : undefined;
    const fs =
      recipe.modules.length === 0
        ? undefined
        : writePackit(
            inPackOrder(
              recipe.modules.map(({ name, path }) => ({
                name: path,
                content: open(requirePath(recipe, files.modules, name, 'module')),
              })),
            ),
          );
    if (fs !== undefined && fsPath !== undefined) await writeSourceWhole(resolvePath(io, fsPath), fs);
    const [stage1Name = '', loaderName = '', kernelName = ''] = imageParts(layout);
    const parts: ImageParts = {
      kernel: open(requirePath(recipe, files.components, kernelName, 'component')),
      loader: part(loaderName),
      stage1: part(stage1Name),
      fs,
      firmware: files.firmware === undefined ? undefined : open(files.firmware),
    };
    for (const target of recipe.igvm) {
      const bytes = inTarget(recipe.file, target, () =>
        writeIgvm(
          buildImage(
            {
              layout,
              hypervisor: target.hypervisor,
              platforms: target.platforms,
              policy: target.policy,
              comport: target.comport ?? '1',
              noVtom: target.noVtom,
            },
            parts,
          ),
        ),
      );
      await writeAndMeasure(target, bytes, pathsOf(target), io);
    }
  } finally {
    for (const file of opened) file.close();
  }
}

async function writeAndMeasure(
  target: IgvmTarget,
  bytes: Uint8Array,
  paths: ImagePaths,
  io: Io,
): Promise<void> {
  await writeFileWhole(resolvePath(io, paths.igvm), [bytes]);
  // Read back: the digest is that of the file, not of what was meant to be in it.
  await measure.run(
    [paths.igvm],
    {
      platform: 'sev-snp',
      checkKvm: target.checkKvm,
      nativeZero: target.nativeZeroes,
      digestOutput: paths.digest,
      jsonOutput: paths.json,
      explainOutput: paths.explain,
    },
    io,
  );
}

/** @throws CvmError usage COMPONENT_MISSING */
function requirePath(
  { file }: OpenRecipe['recipe'],
  paths: ReadonlyMap<string, string>,
  name: string,
  kind: 'component' | 'module',
): string {
  const path = paths.get(name);
  if (path !== undefined) return path;
  throw usageError('COMPONENT_MISSING', `a recipe names a ${kind} for which there is no file`, {
    facts: [
      ['recipe', file],
      [kind, name],
      ['files given for', [...paths.keys()].join(', ') || 'none'],
    ],
    mend: `give the built file of ${name}`,
  });
}

export function makeFolder(io: Io, folder: string): void {
  const path = resolvePath(io, folder);
  try {
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    throw fileError(path, 'write', cause);
  }
}

/** Where the other files of an image stand: beside it, under its name without `.igvm`. */
export function besideImage(folder: string, output: string): Required<ImagePaths> {
  const stem = join(folder, output.replace(/\.igvm$/, ''));
  return {
    igvm: join(folder, output),
    digest: `${stem}.digest`,
    json: `${stem}.digest.json`,
    explain: `${stem}.explain`,
  };
}

/** Errors of one target say of which. */
function inTarget<T>(recipe: string, { hypervisor, at }: IgvmTarget, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
    throw new CvmError(error.kind, error.code, error.message, {
      facts: [['recipe', recipe], ['target', `${hypervisor} (${at.path})`], ...error.facts],
      ...(error.nearest === undefined ? {} : { nearest: error.nearest }),
      ...(error.mend === undefined ? {} : { mend: error.mend }),
      cause: error,
    });
  }
}
