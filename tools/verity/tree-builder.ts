import { equalBytes } from '../bytes/compare.ts';
import { bug } from '../errors.ts';
import { blockDigest, type DigestRun } from './block-digest.ts';
import type { VerityParameters } from './parameters.ts';
import type { TreeShape } from './tree-shape.ts';

/** Keeps bytes for later, in memory or elsewhere. */
export interface ByteStore {
  /** Keeps nothing of the buffer. @returns where the bytes stand */
  append(bytes: Uint8Array): number;
  read(at: number, length: number): Uint8Array;
}

/** In memory. */
export function memoryStore(): ByteStore {
  const kept: Uint8Array[] = [];
  return {
    append: (bytes) => kept.push(bytes.slice()) - 1,
    read: (at, length) => (kept[at] as Uint8Array).subarray(0, length),
  };
}

/** The block over nothing but blocks of one digest. */
interface Uniform {
  readonly of: Uint8Array;
  readonly at: number;
  readonly digest: Uint8Array;
}

/** A level of the tree while it is made: blocks that are done, and the one that is being filled. */
interface Level {
  readonly partial: Uint8Array;
  usedSlots: number;
  blocks: number;
  /** Runs of equal blocks: the first one's index, and where in the store it stands. */
  readonly starts: number[];
  readonly ats: number[];
  uniform: Uniform | undefined;
}

/**
 * A hash tree, made from level 0 up while digests come in. Memory follows what is hashed, not what is covered: blocks over
 * equal digests are one, however many there are, and a block is kept as its place in the store.
 */
export class TreeBuilder {
  rootHash: Uint8Array | undefined;
  readonly #shape: TreeShape;
  readonly #store: ByteStore;
  readonly #levels: readonly Level[];
  readonly #digestOf: (block: Uint8Array) => Uint8Array;
  #read: { readonly at: number; readonly block: Uint8Array } | undefined;

  constructor(parameters: VerityParameters, shape: TreeShape, store: ByteStore) {
    this.#shape = shape;
    this.#store = store;
    this.#digestOf = blockDigest(parameters, parameters.hashBlockBytes);
    this.#levels = shape.levels.map(() => ({
      partial: new Uint8Array(parameters.hashBlockBytes),
      usedSlots: 0,
      blocks: 0,
      starts: [],
      ats: [],
      uniform: undefined,
    }));
  }

  /** Takes the digests of the next data blocks. */
  add(run: DigestRun): void {
    this.#add(0, run);
  }

  /** Ends the levels, from the lowest up, with blocks that are not full. @throws CvmError bug when blocks are missing */
  finish(): Uint8Array {
    this.#levels.forEach((level, index) => {
      if (level.usedSlots > 0) this.#closePartial(index, level);
      if (level.blocks !== this.#shape.levels[index]) throw bug('a hash tree lacks digests');
    });
    if (this.rootHash === undefined) throw bug('a hash tree lacks digests');
    return this.rootHash;
  }

  /** A block of the tree, counted from its top level down as it is stored. */
  block(index: number): Uint8Array {
    let within = index;
    for (const level of this.#levels.toReversed()) {
      if (within < level.blocks)
        return this.#readAt(level.ats[lastUpTo(level.starts, within)] as number, level);
      within -= level.blocks;
    }
    throw bug('a hash tree has no such block');
  }

  #readAt(at: number, { partial }: Level): Uint8Array {
    if (this.#read?.at !== at) this.#read = { at, block: this.#store.read(at, partial.length) };
    return this.#read.block;
  }

  #add(index: number, { count, digests }: DigestRun): void {
    const level = this.#levels[index];
    if (level === undefined) {
      this.rootHash = digests.slice();
      return;
    }
    const { digestBytes, slotsPerBlock } = this.#shape;
    const isShared = digests.length === digestBytes;
    for (let done = 0; done < count;) {
      if (isShared && level.usedSlots === 0 && count - done >= slotsPerBlock) {
        const blocks = Math.floor((count - done) / slotsPerBlock);
        const { at, digest } = this.#uniform(level, digests);
        this.#close(index, level, at, blocks, digest);
        done += blocks * slotsPerBlock;
        continue;
      }
      const taken = Math.min(slotsPerBlock - level.usedSlots, count - done);
      for (let i = 0; i < taken; i++) this.#setSlot(level, digests, isShared ? 0 : done + i);
      done += taken;
      if (level.usedSlots === slotsPerBlock) this.#closePartial(index, level);
    }
  }

  #setSlot(level: Level, digests: Uint8Array, index: number): void {
    const { digestBytes, slotBytes } = this.#shape;
    level.partial.set(
      digests.subarray(index * digestBytes, (index + 1) * digestBytes),
      level.usedSlots * slotBytes,
    );
    level.usedSlots++;
  }

  #closePartial(index: number, level: Level): void {
    const digest = this.#digestOf(level.partial);
    const at = this.#store.append(level.partial);
    level.partial.fill(0);
    level.usedSlots = 0;
    this.#close(index, level, at, 1, digest);
  }

  #close(index: number, level: Level, at: number, blocks: number, digest: Uint8Array): void {
    if (level.ats.at(-1) !== at) {
      level.starts.push(level.blocks);
      level.ats.push(at);
    }
    level.blocks += blocks;
    this.#add(index + 1, { count: blocks, digests: digest });
  }

  #uniform(level: Level, of: Uint8Array): Uniform {
    if (level.uniform === undefined || !equalBytes(level.uniform.of, of)) {
      const { slotsPerBlock } = this.#shape;
      for (let slot = 0; slot < slotsPerBlock; slot++) this.#setSlot(level, of, 0);
      const digest = this.#digestOf(level.partial);
      level.uniform = { of: of.slice(), at: this.#store.append(level.partial), digest };
      level.partial.fill(0);
      level.usedSlots = 0;
    }
    return level.uniform;
  }
}

/** The index of the last of ascending numbers that is at most `value`. */
function lastUpTo(numbers: readonly number[], value: number): number {
  let low = 0;
  let high = numbers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((numbers[middle] as number) <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}
