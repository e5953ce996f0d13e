import { showRaw, type RawText } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { readDirectory, type DirectoryRecord } from './directory.ts';
import type { MappedVolume } from './file-mapping.ts';
import { readEntry, readNamedInode, readTarget, type FirstEntry } from './inode-entry.ts';
import type { Inode } from './inode.ts';
import { ROOT_INODE } from './layout.ts';
import { MAX_PATH_BYTES, treeTooLarge } from './tree-walk.ts';

/** As on Linux. */
const MAX_SYMLINKS = 40;

/**
 * The entry at a path, with or without leading `/`, following symbolic links in every component as Linux does, with
 * the root of the image as root. The entry's own path is where they led. Undefined when there is none.
 * @throws CvmError format EXT4_SYMLINK_LOOP and those of every structure met
 */
export function lookup(volume: MappedVolume, path: RawText): FirstEntry | undefined {
  const pending = path.split('/').reverse();
  // From the root to where the lookup stands; each name but the root's is a component of the path so far.
  let trail: { readonly name: RawText; readonly inode: Inode }[] = [
    { name: '', inode: readNamedInode(volume, ROOT_INODE).inode },
  ];
  let followed = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const here = trail.at(-1);
    if (here?.inode.type !== 'dir') return undefined;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      if (trail.length > 1) trail.pop();
      continue;
    }
    const record = findRecord(volume, here.inode, trail.at(-2)?.inode.number ?? ROOT_INODE, name);
    if (record === undefined) return undefined;
    const { inode } = readNamedInode(volume, record.inode, record);
    if (inode.type !== 'symlink') {
      trail.push({ name, inode });
      if (trail.length > MAX_PATH_BYTES) throw treeTooLarge('components in a path', MAX_PATH_BYTES);
      continue;
    }
    followed += 1;
    if (followed > MAX_SYMLINKS) {
      throw formatError(
        'EXT4_SYMLINK_LOOP',
        'a path in the ext4 image leads through too many symbolic links',
        {
          facts: [
            ['path', showRaw(path)],
            ['limit', MAX_SYMLINKS],
          ],
        },
      );
    }
    const target = readTarget(volume, inode);
    if (target.startsWith('/')) trail = trail.slice(0, 1);
    pending.push(...target.split('/').reverse());
  }
  const found = trail.at(-1);
  if (found === undefined) return undefined;
  const components = trail.slice(1).map((step) => step.name);
  return readEntry(volume, components.join('/'), readNamedInode(volume, found.inode.number));
}

function findRecord(
  volume: MappedVolume,
  directory: Inode,
  parent: number,
  name: RawText,
): DirectoryRecord | undefined {
  for (const record of readDirectory(volume, directory, parent)) if (record.name === name) return record;
  return undefined;
}
