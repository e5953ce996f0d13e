import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { usageError, type Fact } from '../errors.ts';
import { inPackOrder, placeOfName } from '../packit/name.ts';
import { writePackit, type PackitFile } from '../packit/archive.ts';
import type { Command } from './command.ts';
import { fileError, openFile, resolvePath, writeSourceWhole, type OpenFile } from './files.ts';
import { requiredText, textsOption } from './options.ts';

/** A link that leads back to a folder above it ends here; Linux takes no deeper path. */
const DEPTH_MAX = 256;

export const command: Command = {
  summary: 'make a packit archive of a folder or of files',
  description:
    'Writes a packit archive, the file-system image of COCONUT-SVSM: the files of a folder, links followed, in the ' +
    'order of packit pack, each folder sorted by name. The archive depends on names and contents alone. A name of --file ' +
    'is a path below the root of the image: /init is init, and none climbs above.',
  options: [
    { flags: '--input <dir>', description: 'folder whose files go in, under their names below it' },
    { flags: '--file <name=path>', description: 'a file and its name in the archive', repeatable: true },
    { flags: '--output <file>', description: 'the archive', required: true },
  ],
  async run(_args, options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    const named = textsOption(options, 'file').map((word): Found => {
      const equals = word.indexOf('=');
      const name = nameInArchive(word.slice(0, Math.max(0, equals)), word);
      return { name, path: resolvePath(io, word.slice(equals + 1)) };
    });
    const input = options['input'];
    if (typeof input !== 'string' && named.length === 0) {
      throw usageError('OPTION_MISSING', 'there is nothing to pack', {
        mend: 'give --input DIR, or --file NAME=PATH for each file',
      });
    }
    const found = typeof input === 'string' ? filesBelow(resolvePath(io, input), '', 0) : [];
    const files = inPackOrder([...found, ...named]);
    requireDistinctNames(files);
    const opened: OpenFile[] = [];
    try {
      const contents: PackitFile[] = files.map(({ name, path }) => {
        const content = openFile(path);
        opened.push(content);
        return { name, content };
      });
      await writeSourceWhole(output, writePackit(contents));
    } finally {
      for (const file of opened) file.close();
    }
    return 0;
  },
};

interface Found {
  readonly name: string;
  readonly path: string;
}

/** As a packed folder would name it: whoever unpacks the archive refuses other names. @throws CvmError usage OPTION_FILE */
function nameInArchive(name: string, word: string): string {
  const place = placeOfName(name);
  if (typeof place === 'object') return place.path;
  throw usageError(
    'OPTION_FILE',
    place === 'climbs'
      ? '--file names a place above the root of the archive'
      : '--file takes <name=path>, the name of a file first',
    { facts: [['found', word]], mend: 'give a name such as init or bin/tool' },
  );
}

/** All files below a folder, links followed; folders themselves are not stored. */
function filesBelow(folder: string, prefix: string, depth: number): Found[] {
  if (depth > DEPTH_MAX) {
    throw usageError('FOLDER_DEPTH', 'a folder is nested too deeply, or holds a link to a folder above it', {
      facts: [['folder', folder]],
      mend: 'remove the link',
    });
  }
  const facts: Fact[] = [['folder', folder]];
  return listFolder(folder).flatMap((bytes) => {
    const name = bytes.toString('utf8');
    const path = join(folder, name);
    if (Buffer.compare(Buffer.from(name, 'utf8'), bytes) !== 0) {
      throw usageError('FILE_NAME', 'a file has a name that is not UTF-8', {
        facts: [...facts, ['name', bytes.toString('latin1')]],
        mend: 'rename it: an archive holds UTF-8 names only',
      });
    }
    return isFolder(path)
      ? filesBelow(path, `${prefix}${name}/`, depth + 1)
      : [{ name: prefix + name, path }];
  });
}

function listFolder(folder: string): Buffer[] {
  try {
    return readdirSync(folder, { encoding: 'buffer' });
  } catch (cause) {
    throw fileError(folder, 'read', cause);
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (cause) {
    throw fileError(path, 'read', cause);
  }
}

/** No name twice, and no file where another needs a folder. @throws CvmError usage OPTION_FILE */
function requireDistinctNames(files: readonly Found[]): void {
  const names = new Set(files.map(({ name }) => name));
  const above = files.flatMap(({ name }) => foldersAbove(name)).find((folder) => names.has(folder));
  const again = above ?? files.find(({ name }, i) => name === files[i - 1]?.name)?.name;
  if (again === undefined) return;
  throw usageError(
    'OPTION_FILE',
    above === undefined
      ? 'two files have one name in the archive'
      : 'the archive would have a file where another file needs a folder',
    { facts: [['name', again]], mend: 'give each file a name of its own' },
  );
}

/** `a` and `a/b` of `a/b/c`. */
function foldersAbove(name: string): string[] {
  return [...name.matchAll(/\//g)].map(({ index }) => name.slice(0, index));
}
