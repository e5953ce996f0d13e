import { formatError } from '../errors.ts';
import type { Ext4Node } from './tree-walk.ts';

/** What is read of one image at once, holes included: many times the largest image these tools make. */
export const CONTENT_LIMIT_BYTES = 2 ** 40;

/**
 * Refuses a tree whose files add up to more than {@link CONTENT_LIMIT_BYTES}. A file's size costs nothing to claim:
 * a small image of holes, or of blocks that many files share, could keep a reader busy for years.
 * @throws CvmError format EXT4_CONTENT_TOO_LARGE
 */
export function checkContentSize(nodes: Iterable<Ext4Node>): void {
  const all = withinContentLimit(nodes);
  while (all.next().done !== true);
}

/** The nodes, up to the file with which they are too much. @throws CvmError as {@link checkContentSize} */
export function* withinContentLimit(nodes: Iterable<Ext4Node>): Generator<Ext4Node> {
  let total = 0;
  for (const node of nodes) {
    const { entry } = node;
    if (entry.type === 'file') total += entry.content.sizeBytes;
    if (total <= CONTENT_LIMIT_BYTES) {
      yield node;
      continue;
    }
    throw formatError(
      'EXT4_CONTENT_TOO_LARGE',
      'the files of the ext4 image are larger than is read at once',
      {
        facts: [
          ['limit', `${CONTENT_LIMIT_BYTES} bytes`],
          ['exceeded by', `inode sizes of at least ${total} bytes, holes included`],
        ],
        mend: 'look for a sparse file of absurd size with cvm ext4 list (without --json)',
      },
    );
  }
}
