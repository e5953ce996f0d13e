import { readAll } from '../bytes/source.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import type { TreeEntry } from '../tree/entry.ts';
import { treeFromListing } from '../tree/listing.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { openFile, type OpenFile, resolvePath } from './files.ts';
import { requiredText, textsOption } from './options.ts';

const LISTING_BYTES_MAX = 64 << 20;

/** A tree from a listing. */
export const LISTING_INPUT_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--listing <file>',
    description: "the tree: entries in the words of Linux's gen_init_cpio",
  },
  {
    flags: '--file <name=path>',
    description: 'the file that the listing calls by this name',
    repeatable: true,
  },
];

/** What `tree tar` and `tree cpio` share. */
export const LISTING_OPTIONS: readonly OptionSpec[] = [
  ...LISTING_INPUT_OPTIONS.map((option) =>
    option.flags.startsWith('--listing') ? { ...option, required: true } : option,
  ),
  { flags: '--output <file>', description: 'the archive', required: true },
];

export interface ListedTree {
  readonly entries: readonly TreeEntry[];
  /** The contents: to be closed when they have been read. */
  readonly files: readonly OpenFile[];
}

/** Reads a listing and opens what it names. */
export function openListedTree(options: OptionValues, io: Io): ListedTree {
  const files: OpenFile[] = [];
  const open = (path: string): OpenFile => {
    const file = openFile(resolvePath(io, path));
    files.push(file);
    return file;
  };
  try {
    const listing = open(requiredText(options, 'listing'));
    const text = utf8FromBytes(readAll(listing, LISTING_BYTES_MAX, 'the listing'), 'the listing');
    const contents = new Map<string, OpenFile>();
    for (const word of textsOption(options, 'file')) {
      const equals = word.indexOf('=');
      const name = word.slice(0, Math.max(0, equals));
      if (name === '' || contents.has(name)) {
        throw usageError('OPTION_FILE', '--file takes <name=path>, each name once', {
          facts: [['found', word]],
        });
      }
      contents.set(name, open(word.slice(equals + 1)));
    }
    return { entries: treeFromListing(text, contents), files };
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
}

/** Reads the tree, hands it on while its files are open, and closes them. */
export async function withListedTree(
  options: OptionValues,
  io: Io,
  use: (entries: readonly TreeEntry[]) => Promise<void>,
): Promise<void> {
  const { entries, files } = openListedTree(options, io);
  try {
    await use(entries);
  } finally {
    for (const file of files) file.close();
  }
}
