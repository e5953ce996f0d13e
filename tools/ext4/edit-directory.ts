import { readU16, readU32, readU8, writeU16, writeU32, writeU8 } from '../bytes/little-endian.ts';
import { rawFromBytes, rawToBytes, type RawText } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { directoryLeafChecksum, htreeChecksum, inodeSeed } from './checksum.ts';
import { hashName, type NameHash } from './directory-hash.ts';
import { writeMapping } from './edit-mapping.ts';
import type { EditVolume } from './edit-volume.ts';
import type { FileExtent } from './extent-tree.ts';
import { blockRuns, ownedRuns } from './file-mapping.ts';
import { hasFlag, type Inode } from './inode.ts';
import {
  DIRENT,
  DIRENT_HEADER_BYTES,
  DIRENT_TAIL_BYTES,
  DIRENT_TAIL_TYPE,
  DIRENT_TYPE,
  HASH_HALF_MD4,
  HTREE_ENTRY_BYTES,
  HTREE_NODE,
  HTREE_ROOT,
  INCOMPAT,
  INODE_FLAG,
  RO_COMPAT,
} from './layout.ts';
import { hasIncompat, hasRoCompat } from './superblock.ts';

/** What changes in a directory's inode when it gets a block more. */
export interface GrownDirectory {
  readonly blockArea: Uint8Array;
  readonly sizeBytes: number;
  /** Blocks more that it owns. */
  readonly blocks: number;
}

interface NewRecord {
  readonly name: RawText;
  readonly inode: number;
}

/**
 * Puts the name of a regular file into a directory: into free room of a block, of an indexed directory into the block
 * of its hash, which is split when it is full.
 * @returns what the directory's inode has to say from now on, when it grew
 * @throws CvmError usage EXT4_EDIT_UNSUPPORTED | EXT4_EDIT_DIRECTORY | EXT4_FULL
 */
export function addName(volume: EditVolume, directory: Inode, record: NewRecord): GrownDirectory | undefined {
  if (hasFlag(directory, INODE_FLAG.inlineData))
    throw unsupported('the names of the directory stand in its inode');
  const edit = new DirectoryEdit(volume, directory);
  return hasFlag(directory, INODE_FLAG.htree) ? edit.addIndexed(record) : edit.addLinear(record);
}

function unsupported(why: string): Error {
  return usageError('EXT4_EDIT_UNSUPPORTED', 'the directory cannot be changed in place', {
    facts: [['because', why]],
    mend: 'make the image anew: cvm ext4 build --image IMG --add SRC:DST:MODE',
  });
}

const padded = (nameBytes: number): number => Math.ceil((DIRENT_HEADER_BYTES + nameBytes) / 4) * 4;

class DirectoryEdit {
  readonly #volume: EditVolume;
  readonly #directory: Inode;
  readonly #blocks: number[] = [];
  readonly #blockSize: number;
  /** Bytes of a leaf that records tile. */
  readonly #room: number;
  readonly #hasChecksums: boolean;
  readonly #owner: number;

  constructor(volume: EditVolume, directory: Inode) {
    const { superblock } = volume;
    this.#volume = volume;
    this.#directory = directory;
    this.#blockSize = superblock.blockSize;
    this.#hasChecksums = hasRoCompat(superblock, RO_COMPAT.metadataChecksum);
    this.#room = this.#blockSize - (this.#hasChecksums ? DIRENT_TAIL_BYTES : 0);
    this.#owner = inodeSeed(superblock.seed, directory.number, directory.generation);
    for (const run of blockRuns(volume, directory, 0, directory.sizeBytes / this.#blockSize)) {
      for (let i = 0; i < run.count; i++) this.#blocks.push(run.diskBlock + i);
    }
  }

  addLinear(record: NewRecord): GrownDirectory | undefined {
    for (const block of this.#blocks) {
      if (this.#insert(block, record)) return undefined;
    }
    const { block, grown } = this.#append();
    this.#fillLeaf(this.#volume.fresh(block), [record]);
    return grown;
  }

  addIndexed(record: NewRecord): GrownDirectory | undefined {
    const hash = this.#hashOf(record.name);
    const root = this.#read(0);
    const version = readU8(root, HTREE_ROOT.hashVersion);
    const { hashFlags } = this.#volume.superblock;
    if (version !== HASH_HALF_MD4 || (hashFlags & 1) === 0)
      throw unsupported('names are hashed in another way');
    const levels = readU8(root, HTREE_ROOT.levels);
    let node = 0;
    for (let level = 0; level < levels; level++) node = this.#child(node, hash).child;
    const { child: leaf, slot } = this.#child(node, hash);
    if (this.#insert(this.#diskBlock(leaf), record)) return undefined;
    return this.#split(node, slot, leaf, record);
  }

  #hashOf(name: RawText): NameHash {
    return hashName(name, this.#volume.superblock.hashSeed);
  }

  #diskBlock(fileBlock: number): number {
    const block = this.#blocks[fileBlock];
    if (block === undefined) throw unsupported(`its index names block ${fileBlock}, which it does not have`);
    return block;
  }

  #read(fileBlock: number): Uint8Array {
    return this.#volume.blocks.block(this.#diskBlock(fileBlock), 'a block of a directory');
  }

  /** Where limit and count of an index block stand. */
  #entriesAt(node: number): number {
    return node === 0 ? HTREE_ROOT.limit : HTREE_NODE.limit;
  }

  /** The slot of an index block whose names include the hash, and where it leads. */
  #child(node: number, { major }: NameHash): { readonly slot: number; readonly child: number } {
    const bytes = this.#read(node);
    const at = this.#entriesAt(node);
    const count = readU16(bytes, at + 2);
    const limit = readU16(bytes, at);
    if (count === 0 || count > limit || at + limit * HTREE_ENTRY_BYTES > this.#blockSize) {
      throw unsupported('its index is malformed');
    }
    let slot = 0;
    while (slot + 1 < count && readU32(bytes, at + (slot + 1) * HTREE_ENTRY_BYTES) <= major) slot++;
    return { slot, child: readU32(bytes, at + slot * HTREE_ENTRY_BYTES + 4) & 0x0fffffff };
  }

  /** Moves the upper half of a full leaf's names to a new block, and tells the index. */
  #split(node: number, slot: number, leaf: number, record: NewRecord): GrownDirectory {
    const at = this.#entriesAt(node);
    const count = readU16(this.#read(node), at + 2);
    const limit = readU16(this.#read(node), at);
    if (count >= limit) {
      throw usageError('EXT4_EDIT_DIRECTORY', 'the index of the directory is full', {
        facts: [['entries', count]],
        mend: 'make the image anew: cvm ext4 build --image IMG --add SRC:DST:MODE',
      });
    }
    const names = [...this.#records(this.#read(leaf)), record].map((known) => ({
      record: known,
      hash: this.#hashOf(known.name),
    }));
    names.sort((a, b) => a.hash.major - b.hash.major || a.hash.minor - b.hash.minor);
    const middle = this.#middle(names.map(({ record: { name } }) => padded(name.length)));
    const first = names[middle]?.hash.major ?? 0;
    const continued = names[middle - 1]?.hash.major === first;
    const { block, fileBlock, grown } = this.#append();
    const lower = this.#volume.change(this.#diskBlock(leaf), 'a block of a directory');
    this.#fillLeaf(
      lower,
      names.slice(0, middle).map(({ record: known }) => known),
    );
    this.#fillLeaf(
      this.#volume.fresh(block),
      names.slice(middle).map(({ record: known }) => known),
    );
    const index = this.#volume.change(this.#diskBlock(node), 'a block of a directory');
    const place = at + (slot + 1) * HTREE_ENTRY_BYTES;
    index.copyWithin(place + HTREE_ENTRY_BYTES, place, at + count * HTREE_ENTRY_BYTES);
    writeU32(index, place, first + (continued ? 1 : 0));
    writeU32(index, place + 4, fileBlock);
    writeU16(index, at + 2, count + 1);
    if (this.#hasChecksums) {
      const tail = at + limit * HTREE_ENTRY_BYTES;
      writeU32(index, tail + 4, htreeChecksum(this.#owner, index, at, count + 1, tail));
    }
    return grown;
  }

  /** Where the bytes of records are halved; neither half is empty. */
  #middle(lengths: readonly number[]): number {
    const total = lengths.reduce((sum, length) => sum + length, 0);
    let sum = 0;
    for (let i = 0; i < lengths.length; i++) {
      sum += lengths[i] ?? 0;
      if (sum * 2 >= total) return Math.min(Math.max(1, i), lengths.length - 1);
    }
    return 1;
  }

  *#records(bytes: Uint8Array): Generator<NewRecord & { readonly type: number }> {
    for (let at = 0; at < this.#room; at += this.#length(bytes, at)) {
      const nameLength = readU8(bytes, at + DIRENT.nameLength);
      const inode = readU32(bytes, at + DIRENT.inode);
      if (inode === 0) continue;
      const name = rawFromBytes(bytes.subarray(at + DIRENT.name, at + DIRENT.name + nameLength));
      yield { name, inode, type: readU8(bytes, at + DIRENT.type) };
    }
  }

  #length(bytes: Uint8Array, at: number): number {
    const length = readU16(bytes, at + DIRENT.recordLength);
    return this.#blockSize === 65_536 && (length === 0 || length === 65_535) ? 65_536 : length;
  }

  #writeLength(bytes: Uint8Array, at: number, length: number): void {
    writeU16(bytes, at + DIRENT.recordLength, length === 65_536 ? 65_535 : length);
  }

  #writeRecord(
    bytes: Uint8Array,
    at: number,
    length: number,
    record: NewRecord & { readonly type?: number },
  ): void {
    bytes.fill(0, at, at + length);
    writeU32(bytes, at + DIRENT.inode, record.inode);
    this.#writeLength(bytes, at, length);
    writeU8(bytes, at + DIRENT.nameLength, record.name.length);
    const typed = hasIncompat(this.#volume.superblock, INCOMPAT.filetype);
    writeU8(bytes, at + DIRENT.type, typed ? (record.type ?? DIRENT_TYPE.file) : 0);
    bytes.set(rawToBytes(record.name), at + DIRENT.name);
  }

  #fillLeaf(bytes: Uint8Array, records: readonly (NewRecord & { readonly type?: number })[]): void {
    bytes.fill(0);
    let at = 0;
    records.forEach((record, i) => {
      const length = i + 1 === records.length ? this.#room - at : padded(record.name.length);
      this.#writeRecord(bytes, at, length, record);
      at += length;
    });
    if (this.#hasChecksums) {
      writeU16(bytes, this.#room + DIRENT.recordLength, DIRENT_TAIL_BYTES);
      writeU8(bytes, this.#room + DIRENT.type, DIRENT_TAIL_TYPE);
    }
    this.#sealLeaf(bytes);
  }

  #sealLeaf(bytes: Uint8Array): void {
    if (this.#hasChecksums) writeU32(bytes, this.#blockSize - 4, directoryLeafChecksum(this.#owner, bytes));
  }

  /** Takes what is left behind a record, or a record that is unused. @returns whether there was room */
  #insert(block: number, record: NewRecord): boolean {
    const bytes = this.#volume.blocks.block(block, 'a block of a directory');
    const needed = padded(record.name.length);
    for (let at = 0; at < this.#room;) {
      const length = this.#length(bytes, at);
      const isUsed = readU32(bytes, at + DIRENT.inode) !== 0;
      const own = isUsed ? padded(readU8(bytes, at + DIRENT.nameLength)) : 0;
      if (length - own >= needed) {
        const changed = this.#volume.change(block, 'a block of a directory');
        if (isUsed) this.#writeLength(changed, at, own);
        this.#writeRecord(changed, at + own, length - own, record);
        this.#sealLeaf(changed);
        return true;
      }
      at += length;
    }
    return false;
  }

  /** A block more at the end. */
  #append(): { readonly block: number; readonly fileBlock: number; readonly grown: GrownDirectory } {
    const volume = this.#volume;
    const directory = this.#directory;
    if (!hasFlag(directory, INODE_FLAG.extents)) throw unsupported('it has no extents');
    const { group } = volume.inodePlace(directory.number);
    const before = this.#treeBlocks();
    const data = this.#blocks.length;
    const block = volume.allocateBlock(group);
    // The tree is made anew; its blocks come back first, the data's are taken again at once.
    const extents = extentsOf([...this.#blocks, block]);
    this.#freeTree();
    const { blockArea, treeBlocks } = writeMapping(volume, extents, directory, group);
    const fileBlock = data;
    this.#blocks.push(block);
    return {
      block,
      fileBlock,
      grown: { blockArea, sizeBytes: (data + 1) * this.#blockSize, blocks: 1 + treeBlocks - before },
    };
  }

  #treeBlocks(): number {
    let all = 0;
    for (const { count } of ownedRuns(this.#volume, this.#directory)) all += count;
    return all - this.#blocks.length;
  }

  #freeTree(): void {
    const data = new Set(this.#blocks);
    for (const { firstBlock, count } of [...ownedRuns(this.#volume, this.#directory)]) {
      if (count === 1 && !data.has(firstBlock)) this.#volume.freeBlocks(firstBlock, 1);
    }
  }
}

function extentsOf(blocks: readonly number[]): FileExtent[] {
  const extents: { fileBlock: number; firstBlock: number; count: number }[] = [];
  blocks.forEach((block, fileBlock) => {
    const last = extents.at(-1);
    if (last !== undefined && last.firstBlock + last.count === block && last.count < 32_768) last.count++;
    else extents.push({ fileBlock, firstBlock: block, count: 1 });
  });
  return extents;
}
