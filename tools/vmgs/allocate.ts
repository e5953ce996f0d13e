/** Where new files go: best fit over the free gaps. Source: openvmm, `vmgs_impl.rs`, `allocate_helper`. */
import { formatError, usageError } from '../errors.ts';
import { FIRST_FILE_BLOCK } from './layout.ts';

/** A run of blocks. */
export interface BlockRun {
  readonly firstBlock: number;
  readonly blocks: number;
}

/**
 * The first block of the smallest gap that takes `count` blocks; of equal gaps the first. The gap at the end wins only
 * when it is strictly smaller.
 *
 * @param taken runs that are in use, in any order
 * @param capacity blocks of the store
 * @throws CvmError format VMGS_OVERLAP when runs overlap; usage VMGS_NO_SPACE
 */
export function allocate(taken: readonly BlockRun[], count: number, capacity: number): number {
  let last = FIRST_FILE_BLOCK;
  const gaps: BlockRun[] = [];
  for (const run of taken.toSorted((a, b) => a.firstBlock - b.firstBlock)) {
    if (run.firstBlock < last) {
      throw formatError('VMGS_OVERLAP', 'two files of the store share blocks', {
        facts: [['block', run.firstBlock]],
        mend: 'take the store from a backup; cvm vmgs verify names the files',
      });
    }
    gaps.push({ firstBlock: last, blocks: run.firstBlock - last });
    last = run.firstBlock + run.blocks;
  }
  gaps.push({ firstBlock: last, blocks: capacity - last });
  const [best] = gaps.filter(({ blocks }) => blocks >= count).toSorted((a, b) => a.blocks - b.blocks);
  if (best !== undefined) return best.firstBlock;
  throw usageError('VMGS_NO_SPACE', 'the store has no gap that takes the file', {
    facts: [
      ['needed', `${count} blocks of 4096 bytes, in one piece`],
      ['largest gap', `${Math.max(...gaps.map(({ blocks }) => blocks))} blocks`],
      ['store', `${capacity} blocks`],
    ],
    mend: 'make a larger store: an update needs room for the old and the new version and for its tables',
  });
}
