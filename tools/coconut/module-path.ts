import { CvmError } from '../errors.ts';
import { placeOfName, requireArchiveName } from '../packit/name.ts';
import { describe, recipeError, type At, type Reading } from './fields.ts';

/** Folders and file of a path: far more than any image of ours. */
const PARTS_MAX = 64;

/**
 * Where a module stands in the file-system image: relative, `/` between parts, as if it had been put into a folder and
 * the folder packed. A leading `/` is the image's root.
 * @throws CvmError format RECIPE_MODULE_PATH
 */
export function imagePath(reading: Reading, at: At, text: string): string {
  const place = placeOfName(text);
  if (typeof place === 'object' && place.path.split('/').length <= PARTS_MAX) {
    try {
      requireArchiveName(place.path);
      return place.path;
    } catch (cause) {
      if (!(cause instanceof CvmError)) throw cause;
    }
  }
  throw recipeError(reading, at, 'RECIPE_MODULE_PATH', 'a module has no place in the file-system image', {
    facts: [['path', describe({ ...at.node, type: 'string', text })]],
    mend: 'give the path of a file inside the image, such as "/init"',
  });
}

interface Placed {
  readonly name: string;
  readonly path: string;
  readonly at: At;
}

/** No file twice, and none where another needs a folder. @throws CvmError format RECIPE_MODULE_PATH_TWICE */
export function requireDistinctPaths(reading: Reading, modules: readonly Placed[]): void {
  const files = new Map<string, Placed>();
  const folders = new Map<string, Placed>();
  for (const module of modules) {
    const above = foldersOf(module.path);
    const other =
      files.get(module.path) ??
      folders.get(module.path) ??
      above.map((folder) => files.get(folder)).find((file) => file !== undefined);
    if (other !== undefined) {
      throw recipeError(
        reading,
        module.at,
        'RECIPE_MODULE_PATH_TWICE',
        'two modules have one place in the file-system image',
        {
          facts: [
            ['modules', `${other.name}, ${module.name}`],
            ['paths', `${other.path}, ${module.path}`],
          ],
          mend: 'give each a "path" of its own',
        },
      );
    }
    files.set(module.path, module);
    for (const folder of above) folders.set(folder, module);
  }
}

/** `a` and `a/b` of `a/b/c`. */
function foldersOf(path: string): string[] {
  const parts = path.split('/');
  return parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join('/'));
}
