/** Trees on this machine's disk, and the same seen in an image, as lines that can be compared. */
import { createHash } from 'node:crypto';
import { lstatSync, lutimesSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { jsonLine } from '../../tools/ext4/listing.ts';
import type { Ext4Image } from '../../tools/ext4/reader.ts';

export const MTIME_SEC = 1_600_000_000;

/** Gives everything in a folder one time. */
export function settleTimes(path: string): void {
  if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) settleTimes(join(path, name));
  lutimesSync(path, MTIME_SEC, MTIME_SEC);
}

/** What the tree on disk is, a line for each name below the root: depth first, names in byte order. */
export function describeFolder(folder: string, prefix = ''): string[] {
  return readdirSync(folder)
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .flatMap((name) => {
      const path = join(folder, name);
      const stat = lstatSync(path);
      const line = [
        `${prefix}${name}`,
        (stat.mode & 0o7777).toString(8),
        stat.uid,
        stat.gid,
        stat.nlink,
        stat.isDirectory() ? '' : stat.size,
        stat.mtimeMs,
        stat.isSymbolicLink() ? readlinkSync(path) : '',
        stat.isFile() ? createHash('sha256').update(readFileSync(path)).digest('hex') : '',
      ];
      return [line.join(' '), ...(stat.isDirectory() ? describeFolder(path, `${prefix}${name}/`) : [])];
    });
}

/** The same lines for an image, lost+found aside. */
export function describeImage(image: Ext4Image): string[] {
  return [...image.nodes()]
    .filter(({ entry }) => entry.path !== '' && entry.path !== 'lost+found')
    .map((node) => {
      const { entry, first } = node;
      return [
        entry.path,
        first.mode.toString(8),
        first.uid,
        first.gid,
        node.links,
        first.type === 'dir' ? '' : node.sizeBytes,
        first.mtimeSec * 1000 + first.mtimeNsec / 1e6,
        first.type === 'symlink' ? first.target : '',
        first.type === 'file' ? (JSON.parse(jsonLine(node)) as { sha256: string }).sha256 : '',
      ].join(' ');
    });
}
