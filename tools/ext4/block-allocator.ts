import { groupBlocks, groupStart, metadataBlocks, type Geometry } from './geometry.ts';

/** Adjacent blocks of the file system. */
export interface BlockRun {
  readonly firstBlock: number;
  readonly count: number;
}

/**
 * Hands out blocks in ascending order and never takes one back, so that every group's used blocks are a prefix of
 * the group: one number describes its bitmap. When blocks run out it counts on, so that the error can say how many
 * are missing.
 */
export class BlockAllocator {
  readonly #geometry: Geometry;
  #group = 0;
  /** The next free block, counted from the group's start. */
  #next: number;
  #missing = 0;
  #allocated = 0;

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
    this.#next = metadataBlocks(geometry, 0);
  }

  /** Up to `count` blocks, fewer only when there are no more; cut where a group's metadata stands between. */
  allocate(count: number): BlockRun[] {
    const runs: BlockRun[] = [];
    let left = count;
    while (left > 0) {
      const free = groupBlocks(this.#geometry, this.#group) - this.#next;
      if (free === 0) {
        if (this.#group + 1 === this.#geometry.groupCount) {
          this.#missing += left;
          return runs;
        }
        this.#group++;
        this.#next = metadataBlocks(this.#geometry, this.#group);
        continue;
      }
      const taken = Math.min(free, left);
      runs.push({ firstBlock: groupStart(this.#group) + this.#next, count: taken });
      this.#next += taken;
      this.#allocated += taken;
      left -= taken;
    }
    return runs;
  }

  /** One block. Once blocks have run out the number is meaningless, and {@link missingBlocks} is not 0. */
  allocateOne(): number {
    return this.allocate(1)[0]?.firstBlock ?? 0;
  }

  get missingBlocks(): number {
    return this.#missing;
  }

  get allocatedBlocks(): number {
    return this.#allocated;
  }

  /** Blocks in use at the start of a group, its metadata included. */
  usedBlocks(group: number): number {
    if (group < this.#group) return groupBlocks(this.#geometry, group);
    return group === this.#group ? this.#next : metadataBlocks(this.#geometry, group);
  }
}
