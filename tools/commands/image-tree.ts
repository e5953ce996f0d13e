import { readAll } from '../bytes/source.ts';
import { rawFromUtf8, showText, utf8FromBytes, type RawText } from '../bytes/text.ts';
import { formatError, usageError } from '../errors.ts';
import { withinContentLimit } from '../ext4/content-limit.ts';
import { openExt4 } from '../ext4/reader.ts';
import { LOST_AND_FOUND } from '../ext4/tree-plan.ts';
import { applyFileContexts, limitFileContexts, parseFileContexts } from '../selinux/file-contexts.ts';
import { treeFromTar } from '../tar/tree.ts';
import { addFile, findEntry, plainDirectory, stripContents, subtree, withTimes } from '../tree/edit.ts';
import { NO_XATTRS, type TreeEntry } from '../tree/entry.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { aboutFile } from './error-path.ts';
import { MEMBER_OPTION, openNamedImage } from './ext4-options.ts';
import { openFile, requireOtherThanInputs, resolvePath, statIfAny, type OpenFile } from './files.ts';
import { growHeapSlowlyFor, growingHeapSlowly } from './heap-growth.ts';
import { openDecompressed } from './image-files.ts';
import { LISTING_INPUT_OPTIONS, openListedTree } from './listing-options.ts';
import { optionFlag, parseDecimal, requiredText, textOption, textsOption } from './options.ts';

/** Where a root tree keeps its policy's labels. */
const TREE_CONTEXTS = 'etc/selinux/default/contexts/files/file_contexts';
const CONTEXTS_LIMIT_BYTES = 64 << 20;

export const TAR_OPTION: OptionSpec = {
  flags: '--tar <file>',
  description: 'the tree: a tar archive, plain or zstd',
  required: true,
};
export const ADD_OPTION: OptionSpec = {
  flags: '--add <src:dst:mode[:uid:gid]>',
  description:
    'file to add: its path here, its absolute path in the image, its octal mode, its owner (0:0 when absent); time 0',
  repeatable: true,
};
export const STRIP_OPTION: OptionSpec = {
  flags: '--strip <path>',
  description: 'directory whose content stays out, or file that does; what is not there is no error',
  repeatable: true,
};
export const SUBTREE_OPTION: OptionSpec = {
  flags: '--subtree <dir>',
  description: 'directory of the tree that becomes the root of the image',
};
export const MTIME_OPTION: OptionSpec = {
  flags: '--mtime <seconds>',
  description: 'one modification time for everything, instead of those of the archive',
};

/** All that a tree can come from, exactly one of three, and how it is edited. */
export const TREE_OPTIONS: readonly OptionSpec[] = [
  { flags: TAR_OPTION.flags, description: TAR_OPTION.description },
  ...LISTING_INPUT_OPTIONS,
  {
    flags: '--image <img>',
    description: 'the tree: that of another ext4 image, partition .tzst or update-img.tar.zst',
  },
  MEMBER_OPTION,
  ADD_OPTION,
  STRIP_OPTION,
  SUBTREE_OPTION,
  MTIME_OPTION,
];

/** How a tree is labelled: not at all, by a file, or by the file that the tree itself holds. */
export type LabelSource =
  | { readonly kind: 'keep' }
  | { readonly kind: 'file'; readonly path: string; readonly prefix: string }
  | { readonly kind: 'tree' };

/** Files that were opened for a tree: its contents are read while the image is written. */
export interface ImageTree {
  readonly entries: readonly TreeEntry[];
  close(): void;
}

/** As much as a tree of these options takes on disk, as far as that shows at a glance; 0 when it does not. */
export function inputBytes(options: OptionValues, io: Io): number {
  const path = textOption(options, 'tar') ?? textOption(options, 'image');
  if (path === undefined) return 0;
  return statIfAny(resolvePath(io, path))?.size ?? 0;
}

/**
 * The tree of an image from the options above. In this order: archive, listing or image; without `--strip`; cut to
 * `--subtree`; with `--add`, whose paths are those of the image; with one time for all; with labels. Root and
 * lost+found are there.
 *
 * @throws CvmError usage TREE_INPUT | OPTION_ADD | OPTION_PATH | TREE_NO_DIRECTORY | TREE_ADD, those of files, tar,
 *   listings, ext4 and file_contexts
 */
export async function openImageTree(
  options: OptionValues,
  io: Io,
  labels: LabelSource,
  mtimeSec: number | undefined = mtimeOption(options),
): Promise<ImageTree> {
  requireOutputsApart(options, io);
  const opened: OpenFile[] = [];
  const close = (): void => {
    for (const file of opened) file.close();
  };
  try {
    const whole = await openInput(options, io, opened);
    growHeapSlowlyFor(whole.length);
    const base = treePath(textOption(options, 'subtree') ?? '/', '--subtree');
    const strips = textsOption(options, 'strip').map((path) => treePath(path, '--strip'));
    let entries = subtree(stripContents(whole, strips), base);
    for (const text of textsOption(options, 'add')) {
      const { source, path, mode, uid, gid } = parseAdd(text);
      const content = openFile(resolvePath(io, source));
      opened.push(content);
      entries = addFile(entries, { ...ADDED_FILE, path, mode, uid, gid, content });
    }
    if (!entries.some(({ path }) => path === LOST_AND_FOUND)) {
      entries.push(plainDirectory(LOST_AND_FOUND, 0, 0o700));
    }
    if (mtimeSec !== undefined) entries = withTimes(entries, mtimeSec);
    return { entries: label(entries, whole, base, labels, io), close };
  } catch (error) {
    close();
    throw error;
  }
}

/** (An image may be rebuilt in its own place: it is whole until the new one takes its name.) */
function requireOutputsApart(options: OptionValues, io: Io): void {
  const inputs = [
    textOption(options, 'tar'),
    textOption(options, 'listing'),
    ...textsOption(options, 'file').map((word) => word.slice(word.indexOf('=') + 1)),
    ...textsOption(options, 'add').map((text) => parseAdd(text).source),
  ];
  for (const name of ['output', 'rootHashOutput'])
    requireOtherThanInputs(io, textOption(options, name), inputs);
}

export function mtimeOption(options: OptionValues): number | undefined {
  const text = textOption(options, 'mtime');
  return text === undefined ? undefined : parseDecimal(text, '--mtime', 0, 2 ** 32 - 1);
}

const ADDED_FILE = { type: 'file', mtimeSec: 0, mtimeNsec: 0, xattrs: NO_XATTRS } as const;

/** @throws CvmError usage TREE_INPUT, and those of the input */
async function openInput(options: OptionValues, io: Io, opened: OpenFile[]): Promise<readonly TreeEntry[]> {
  const inputs = ['tar', 'listing', 'image'].filter((name) => textOption(options, name) !== undefined);
  const [kind] = inputs;
  if (kind === undefined || inputs.length > 1) {
    throw usageError('TREE_INPUT', 'a tree comes from exactly one archive, listing or image', {
      facts: [['given', inputs.map(optionFlag).join(', ') || 'none']],
      mend: 'give one of --tar FILE, --listing FILE and --image IMG, as far as the command has them',
    });
  }
  if (kind === 'listing') {
    const listed = openListedTree(options, io);
    opened.push(...listed.files);
    return listed.entries;
  }
  const path = resolvePath(io, requiredText(options, kind));
  if (kind === 'tar') {
    const archive = await openDecompressed(path);
    opened.push(archive);
    return await aboutFile(path, () => treeFromTar(archive));
  }
  const source = await openNamedImage(path, options);
  opened.push(source);
  return await aboutFile(path, () => {
    const image = openExt4(source);
    image.verifyBitmaps();
    const nodes = growingHeapSlowly(withinContentLimit(image.nodes()));
    return Array.from(nodes, ({ entry }) => entry);
  });
}

/** An absolute path of a tree, without its slashes at both ends. @throws CvmError usage OPTION_PATH */
function treePath(text: string, option: string): RawText {
  const path = rawFromUtf8(text.replace(/^\/+|\/+$/g, ''));
  const parts = path.split('/');
  const isPlain = path === '' || !parts.some((part) => part === '' || part === '.' || part === '..');
  if (isPlain && text.startsWith('/') && !path.includes('\0')) return path;
  // A subtree is often named as in the archive, without its slash.
  if (isPlain && option === '--subtree' && path !== '' && !path.includes('\0')) return path;
  throw usageError('OPTION_PATH', `${option} takes an absolute path without "." and ".."`, {
    facts: [['found', showText(text)]],
  });
}

/** The source may hold colons, the place in the image may not. @throws CvmError usage OPTION_ADD */
export function parseAdd(text: string): {
  readonly source: string;
  readonly path: RawText;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Whether the owner was said. */
  readonly hasOwner: boolean;
} {
  const [, source, place, mode, uid, gid] =
    /^(.+):(\/[^:]*[^:/]):([0-7]{3,4})(?::([0-9]{1,10}):([0-9]{1,10}))?$/s.exec(text) ?? [];
  if (source === undefined || place === undefined || mode === undefined) {
    throw usageError('OPTION_ADD', 'a file to add is SRC:DST:MODE or SRC:DST:MODE:UID:GID', {
      facts: [['found', showText(text)]],
      mend: 'write the file, its absolute path in the image and an octal mode: notes.txt:/etc/notes.txt:0644',
    });
  }
  return {
    source,
    path: treePath(place, '--add'),
    mode: Number.parseInt(mode, 8),
    uid: parseDecimal(uid ?? '0', 'the owner of an added file', 0, 2 ** 32 - 1),
    gid: parseDecimal(gid ?? '0', 'the group of an added file', 0, 2 ** 32 - 1),
    hasOwner: uid !== undefined,
  };
}

function label(
  entries: TreeEntry[],
  whole: readonly TreeEntry[],
  base: RawText,
  labels: LabelSource,
  io: Io,
): TreeEntry[] {
  switch (labels.kind) {
    case 'keep':
      return entries;
    case 'file': {
      const file = openFile(resolvePath(io, labels.path));
      try {
        const text = utf8FromBytes(readAll(file, CONTEXTS_LIMIT_BYTES, 'file_contexts'), 'file_contexts');
        return applyFileContexts(entries, parseFileContexts(text), { prefix: labels.prefix });
      } finally {
        file.close();
      }
    }
    case 'tree': {
      const text = treeContexts(whole);
      if (text === undefined) return entries;
      const limited = base === '' ? text : limitFileContexts(text, `/${base}`);
      return applyFileContexts(entries, parseFileContexts(limited));
    }
  }
}

function treeContexts(whole: readonly TreeEntry[]): string | undefined {
  const entry = findEntry(whole, TREE_CONTEXTS);
  if (entry === undefined) return undefined;
  if (entry.type !== 'file') {
    throw formatError('SELINUX_CONTEXTS_TYPE', "the tree's file_contexts is not a regular file", {
      facts: [
        ['path', `/${TREE_CONTEXTS}`],
        ['type', entry.type],
      ],
    });
  }
  return utf8FromBytes(readAll(entry.content, CONTEXTS_LIMIT_BYTES, 'file_contexts'), 'file_contexts');
}
