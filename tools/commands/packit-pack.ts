import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { usageError, type Fact } from '../errors.ts';
import { inPackOrder } from '../packit/name.ts';
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
    'order of packit pack, each folder sorted by name. The archive depends on names and contents alone.',
  options: [
    { flags: '--input <dir>', description: 'folder whose files go in, under their names below it' },
    { flags: '--file <name=path>', description: 'a file and its name in the archive', repeatable: true },
    { flags: '--output <file>', description: 'the archive', required: true },
  ],
  async run(_args, options, io) {
    const output = resolvePath(io, requiredText(options, 'output'));
    const named = textsOption(options, 'file').map((word): Found => {
      const equals = word.indexOf('=');
      if (equals > 0) return { name: word.slice(0, equals), path: resolvePath(io, word.slice(equals + 1)) };
      throw usageError('OPTION_FILE', '--file takes <name=path>', { facts: [['found', word]] });
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

function requireDistinctNames(files: readonly Found[]): void {
  const again = files.find(({ name }, i) => name === files[i - 1]?.name);
  if (again === undefined) return;
  throw usageError('OPTION_FILE', 'two files have one name in the archive', {
    facts: [['name', again.name]],
    mend: 'give each file a name of its own',
  });
}
