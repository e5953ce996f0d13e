import { rawFromUtf8, showRaw } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { readPackit, type PackitEntry } from '../packit/archive.ts';
import { unpackPath } from '../packit/name.ts';
import { NO_XATTRS, parentPath, type DirectoryEntry, type FileEntry, type TreeEntry } from '../tree/entry.ts';
import { inTreeOrder } from '../tree/order.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { inFile } from './in-file.ts';
import { requiredText } from './options.ts';
import { writeTreeToFolder } from './tree-folder.ts';

/** An archive stores neither; the times are those of nothing. */
const COMMON = { uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, xattrs: NO_XATTRS } as const;

/** Far above any image of an SVSM, far below what memory and inodes bear. */
const ENTRIES_MAX = 1 << 18;

export const command: Command = {
  summary: 'take a packit archive apart',
  description:
    'Fills a new or empty folder with the files of an archive. A name that climbs out of the folder, and one that comes ' +
    'twice, is refused before anything is written. Files are made with mode 644 and times of zero, as the archive has none.',
  arguments: [{ name: '<archive>', description: 'packit archive: the file-system image of COCONUT-SVSM' }],
  options: [
    { flags: '--output <dir>', description: 'folder to fill: it must be empty or not exist', required: true },
  ],
  async run([path = ''], options, io) {
    const archive = openFile(resolvePath(io, path));
    try {
      const entries = inFile(path, () => treeOf(readPackit(archive)));
      await writeTreeToFolder(entries, resolvePath(io, requiredText(options, 'output')), false);
    } finally {
      archive.close();
    }
    return 0;
  },
};

/** @throws CvmError format PACKIT_NAME_CLIMBS | PACKIT_NAME | PACKIT_NAME_TWICE | PACKIT_FILES */
function treeOf(archived: Iterable<PackitEntry>): TreeEntry[] {
  const files = new Map<string, FileEntry & { readonly at: number }>();
  const folders = new Map<string, DirectoryEntry>();
  const root: DirectoryEntry = { ...COMMON, type: 'dir', path: '', mode: 0o755 };
  for (const { at, name, content } of archived) {
    const path = rawFromUtf8(unpackPath(name, at));
    if (files.has(path)) throw nameTwice(at, path);
    files.set(path, { ...COMMON, type: 'file', path, mode: 0o644, content, at });
    for (let above = parentPath(path); above !== '' && !folders.has(above); above = parentPath(above)) {
      folders.set(above, { ...root, path: above });
    }
    if (files.size + folders.size > ENTRIES_MAX) {
      throw formatError('PACKIT_FILES', 'an archive holds more files and folders than are unpacked', {
        facts: [
          ['at', at],
          ['limit', ENTRIES_MAX],
        ],
        mend: 'use cvm packit list to see what it holds',
      });
    }
  }
  for (const { at, path } of files.values()) if (folders.has(path)) throw nameTwice(at, path);
  return inTreeOrder<TreeEntry>([root, ...folders.values(), ...files.values()]);
}

function nameTwice(at: number, path: string): Error {
  return formatError('PACKIT_NAME_TWICE', 'two entries of an archive have one place', {
    facts: [
      ['at', at],
      ['path', showRaw(path).slice(0, 200)],
    ],
    mend: 'do not trust this archive; packit pack makes none like it',
  });
}
