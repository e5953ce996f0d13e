/** Bundles where they lie: folders and archives. */
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, sep } from 'node:path';
import { readAll, type ByteSource } from '../bytes/source.ts';
import { rawFromBytes, rawToBytes, showRaw, type RawText } from '../bytes/text.ts';
import type { BundleContents, BundleItem } from '../dstack/contents.ts';
import { BUNDLE_FILES } from '../dstack/metadata.ts';
import { formatError, usageError, type CvmError } from '../errors.ts';
import { gunzip, isGzip } from '../gzip/decompress.ts';
import { BLOCK_BYTES, isTarHeader } from '../tar/header.ts';
import { readTar, type TarMember } from '../tar/reader.ts';
import { fileError, openFile, sourceFromHandle, type OpenFile } from './files.ts';
import { spool } from './image-files.ts';

/** A bundle has about a dozen files. */
const ITEMS_LIMIT = 256;

export interface OpenBundle {
  readonly path: string;
  readonly contents: BundleContents;
  close(): void;
}

/**
 * Opens a bundle: a folder, or a tar archive, plain or gzip.
 * @throws CvmError usage FILE_*; format BUNDLE_NOT_ARCHIVE | BUNDLE_ITEMS | BUNDLE_MEMBER | BUNDLE_MEMBER_TWICE |
 *   BUNDLE_FOLDERS, | BUNDLE_MEMBER_PATH | BUNDLE_MEMBER_LINK
 */
export async function openBundle(path: string): Promise<OpenBundle> {
  let isFolder: boolean;
  try {
    isFolder = statSync(path).isDirectory();
  } catch (cause) {
    throw fileError(path, 'read', cause);
  }
  return isFolder ? openFolder(path) : await openArchive(path);
}

function openFolder(path: string): OpenBundle {
  const opened: OpenFile[] = [];
  const close = (): void => {
    for (const file of opened) file.close();
  };
  try {
    const root = realpathSync(path);
    const items = new Map<RawText, BundleItem>();
    const names = readdirSync(root, { encoding: 'buffer' }).map((name) => rawFromBytes(name));
    if (names.length > ITEMS_LIMIT) throw tooMany(path, names.length);
    for (const name of names.sort()) items.set(name, folderItem(root, name, opened));
    return { path, contents: { form: 'folder', name: basename(root), items }, close };
  } catch (error) {
    close();
    throw fileError(path, 'read', error);
  }
}

function folderItem(root: string, name: RawText, opened: OpenFile[]): BundleItem {
  const place = Buffer.concat([Buffer.from(`${root}${sep}`), rawToBytes(name)]);
  let real: Buffer = place;
  if (lstatSync(place).isSymbolicLink()) {
    const target = showRaw(rawFromBytes(readlinkSync(place, { encoding: 'buffer' })));
    const resolved = resolveLink(place);
    if (resolved === undefined) return { kind: 'dangling', target };
    const inside = Buffer.from(`${root}${root.endsWith(sep) ? '' : sep}`);
    if (!resolved.subarray(0, inside.length).equals(inside)) return { kind: 'escape', target };
    real = resolved;
  }
  const stat = statSync(real);
  if (stat.isDirectory()) return { kind: 'other', what: 'a folder' };
  if (!stat.isFile()) return { kind: 'other', what: 'a pipe, socket or device' };
  const shown = join(root, showRaw(name));
  let handle: number;
  try {
    handle = openSync(real, 'r');
  } catch (cause) {
    throw fileError(shown, 'read', cause);
  }
  try {
    const file = sourceFromHandle(shown, handle, stat.size);
    opened.push(file);
    return { kind: 'file', content: file };
  } catch (error) {
    closeSync(handle);
    throw error;
  }
}

/** undefined when a link leads to nothing, or in circles. */
function resolveLink(place: Buffer): Buffer | undefined {
  try {
    return realpathSync(place, { encoding: 'buffer' });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR') return undefined;
    throw cause;
  }
}

async function openArchive(path: string): Promise<OpenBundle> {
  let file: OpenFile = openFile(path);
  try {
    if (isGzip(file)) {
      const compressed = file;
      file = await spool(path, gunzip(compressed), tmpdir(), 'GZIP_BOMB');
      compressed.close();
    }
    if (file.sizeBytes < BLOCK_BYTES || !isTarHeader(file.read(0, BLOCK_BYTES))) {
      throw formatError('BUNDLE_NOT_ARCHIVE', 'the file is no tar archive, plain or gzip', {
        facts: [['file', path]],
        mend: 'give the folder of a dstack image, its .tar.gz, or an mr_<digest>.tar.gz',
      });
    }
    const contents = archiveContents(file, path);
    return { path, contents, close: () => file.close() };
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * The files of an archive, below one folder or flat. Only plain files and folders may be members: whoever extracts a link
 * may write or read elsewhere.
 */
function archiveContents(archive: ByteSource, path: string): BundleContents {
  const folders = new Set<string>();
  const files = new Map<string, TarMember>();
  for (const member of readTar(archive)) {
    const name = memberPath(member, path);
    if (member.type === 'dir') {
      if (name !== '') folders.add(name);
    } else if (files.has(name)) {
      throw formatError('BUNDLE_MEMBER_TWICE', 'the archive has two members of one name', {
        facts: [
          ['file', path],
          ['member', showRaw(name)],
        ],
        mend: 'readers differ in which of the two counts: do not use it',
      });
    } else {
      files.set(name, member);
    }
    if (files.size + folders.size > ITEMS_LIMIT) throw tooMany(path, files.size + folders.size);
  }
  const isFlat = files.has(BUNDLE_FILES.sums) || files.has(BUNDLE_FILES.metadata);
  if (isFlat) {
    const items = new Map<string, BundleItem>([...files].map(([name, member]) => [name, fileItem(member)]));
    for (const name of folders) items.set(name, { kind: 'other', what: 'a folder' });
    return { form: 'flat', name: undefined, items };
  }
  const tops = new Set([...files.keys(), ...folders].map((name) => name.split('/')[0] ?? ''));
  const [top] = tops;
  if (top === undefined || tops.size !== 1 || files.has(top)) {
    throw formatError('BUNDLE_FOLDERS', 'the archive is not one bundle, neither flat nor below one folder', {
      facts: [
        ['file', path],
        ['top', [...tops].slice(0, 20).map(showRaw).join(', ') || 'nothing'],
      ],
    });
  }
  const items = new Map<string, BundleItem>();
  for (const [name, member] of files) items.set(name.slice(top.length + 1), fileItem(member));
  for (const name of folders) {
    if (name !== top) items.set(name.slice(top.length + 1), { kind: 'other', what: 'a folder' });
  }
  return { form: 'folder', name: top, items };
}

const fileItem = (member: TarMember): BundleItem => ({ kind: 'file', content: member.content });

/** A member's path without `./`. */
function memberPath(member: TarMember, archive: string): string {
  const facts = [
    ['file', archive],
    ['member', showRaw(member.name)],
    ['type', member.type],
  ] as const;
  if (member.type === 'hardlink' || member.type === 'symlink') {
    throw formatError('BUNDLE_MEMBER_LINK', 'the archive holds a link', {
      facts: [...facts, ['leads to', showRaw(member.linkName)]],
      mend: 'a bundle has plain files only: do not extract this archive',
    });
  }
  if (member.type !== 'file' && member.type !== 'dir') {
    throw formatError('BUNDLE_MEMBER', 'the archive holds something that is neither a file nor a folder', {
      facts,
    });
  }
  const parts = member.name.split('/').filter((part) => part !== '' && part !== '.');
  if (member.name.startsWith('/') || parts.includes('..')) {
    throw formatError('BUNDLE_MEMBER_PATH', 'a member of the archive leads out of its folder', {
      facts,
      mend: 'do not extract this archive',
    });
  }
  return parts.join('/');
}

function tooMany(path: string, count: number): CvmError {
  return formatError('BUNDLE_ITEMS', 'there are more files than any bundle has', {
    facts: [
      ['path', path],
      ['found', count],
      ['limit', ITEMS_LIMIT],
    ],
  });
}

/** A small file in whole, for documents beside a bundle. @throws CvmError usage FILE_*; format SOURCE_TOO_LARGE */
export function readSmallFile(path: string, limitBytes: number, what: string): Uint8Array {
  const file = openFile(path);
  try {
    return readAll(file, limitBytes, what);
  } finally {
    file.close();
  }
}

/** @throws CvmError usage OPTION_CHOICE */
export function choiceOption<T extends string>(value: string, known: readonly T[], flag: string): T {
  const found = known.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw usageError('OPTION_CHOICE', `${flag} is not one of its values`, {
    facts: [
      ['found', value],
      ['known', known.join(', ')],
    ],
  });
}
