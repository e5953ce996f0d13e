/**
 * Changes of a store, as steps: writes and flushes, in the order that keeps the old state until the new one is
 * complete. Everything that a header names is written to blocks that the old state does not use, and flushed; then the
 * other header slot is written, and flushed. Nothing here touches a device.
 *
 * Two differences from openvmm's `write_files_internal`, both for crash safety: the flush after the header, without
 * which a device may bring the next update's data to disk before this header; and new blocks of a delete or a move
 * never come from the files that it frees, which the old header still names.
 */
import { isZero } from '../bytes/compare.ts';
import { sourceFromBytes, sparseSource, type ByteSource } from '../bytes/source.ts';
import { bug, formatError, usageError } from '../errors.ts';
import { allocate, type BlockRun } from './allocate.ts';
import { seal, type Sealed } from './cipher.ts';
import {
  EMPTY_EXTENDED_ENTRY,
  encodeExtendedTable,
  encodeFileTable,
  ENCRYPTED_ATTRIBUTES,
  findOverlaps,
  plainEntry,
  type ExtendedEntry,
  type FileEntry,
  type FileTable,
} from './file-table.ts';
import { EXTENDED_FILE_TABLE_ID, FILE_TABLE_ID, isTableId, showFileId } from './file-ids.ts';
import {
  encodeHeader,
  EMPTY_KEY_SLOT,
  headerOffset,
  isUsed,
  otherSlot,
  type Header,
  type KeySlot,
  type Slot,
} from './header.ts';
import {
  blocksFor,
  capacityBlocks,
  checkStoreBytes,
  FILE_COUNT,
  FIRST_FILE_BLOCK,
  VMGS_BLOCK_BYTES,
  type StoreGeometry,
} from './layout.ts';
import type { Purpose, Secrets } from './secrets.ts';
import { ENCRYPTED_FILE_LIMIT_BYTES, encryptedTooLarge, type Store, type Unlocked } from './store.ts';

/** What has to happen to a store's bytes, in order. Between two flushes a device may reorder writes. */
export type Step =
  { readonly kind: 'write'; readonly offset: number; readonly data: ByteSource } | { readonly kind: 'flush' };

/** Steps, and the store as it is when they are done. */
export interface Change {
  readonly steps: readonly Step[];
  readonly store: Store;
}

const FLUSH: Step = { kind: 'flush' };

/** A file that is to be written. */
export interface NewFile {
  readonly id: number;
  readonly content: ByteSource;
  readonly encrypt: boolean;
}

/**
 * Formats a store of zeros: an empty file table in block 2, an empty extended one in block 3, one header.
 * @throws CvmError format VMGS_SIZE
 */
export function formatStore(geometry: StoreGeometry): Change {
  checkStoreBytes(geometry.storeBytes);
  const files: (FileEntry | undefined)[] = new Array<undefined>(FILE_COUNT).fill(undefined);
  files[FILE_TABLE_ID] = plainEntry(FIRST_FILE_BLOCK, 1, VMGS_BLOCK_BYTES);
  files[EXTENDED_FILE_TABLE_ID] = plainEntry(FIRST_FILE_BLOCK + 1, 1, VMGS_BLOCK_BYTES);
  const header: Header = {
    sequence: 1,
    fileTableBlock: FIRST_FILE_BLOCK,
    algorithm: 0,
    markers: 0,
    slots: [EMPTY_KEY_SLOT, EMPTY_KEY_SLOT],
    reserved: 0,
  };
  const steps: Step[] = [
    { kind: 'write', offset: headerOffset(1, geometry), data: zeros(geometry.sectorBytes) },
    blockWrite(geometry, FIRST_FILE_BLOCK, sourceFromBytes(encodeFileTable(files))),
    blockWrite(geometry, FIRST_FILE_BLOCK + 1, zeros(VMGS_BLOCK_BYTES)),
    FLUSH,
    headerWrite(geometry, 0, header),
    FLUSH,
  ];
  return { steps, store: { geometry, activeSlot: 0, header, files, unlocked: undefined } };
}

/**
 * Writes one file.
 * @param secrets needed when the store is unlocked: its tables are encrypted anew with every update
 * @throws CvmError usage VMGS_TABLE_ID | VMGS_NO_SPACE | VMGS_TWO_KEYS; format VMGS_OVERLAP | VMGS_TABLE_ENTRY |
 *   VMGS_FILE_TOO_LARGE
 */
export function writeFile(store: Store, file: NewFile, secrets?: Secrets): Change {
  requireFileId(file.id);
  return rewrite(store, { files: store.files, extended: store.unlocked?.extended, put: file }, secrets);
}

/** Takes a file out of the tables; its bytes stay in free blocks. @throws CvmError as {@link writeFile} */
export function deleteFile(store: Store, id: number, secrets?: Secrets): Change {
  requireFileId(id);
  return rewrite(
    store,
    {
      files: store.files.with(id, undefined),
      extended: store.unlocked?.extended.with(id, EMPTY_EXTENDED_ENTRY),
    },
    secrets,
  );
}

/** Gives a file another id; what had that id is deleted. @throws CvmError as {@link writeFile} */
export function moveFile(store: Store, from: number, to: number, secrets?: Secrets): Change {
  requireFileId(from);
  requireFileId(to);
  const moved = store.unlocked?.extended[from];
  return rewrite(
    store,
    {
      files: store.files.with(from, undefined).with(to, store.files[from]),
      extended:
        moved === undefined
          ? undefined
          : store.unlocked?.extended.with(from, EMPTY_EXTENDED_ENTRY).with(to, moved),
    },
    secrets,
  );
}

/**
 * Gives a plain store its first key. Files that are there stay plain until they are written anew.
 * @throws CvmError as {@link writeFile}
 */
export function addFirstKey(store: Store, datastoreKey: Uint8Array, secrets: Secrets): Change {
  const extended = Array.from({ length: FILE_COUNT }, () => EMPTY_EXTENDED_ENTRY);
  const unlocked: Unlocked = { datastoreKey, keySlot: 0, metadataKey: new Uint8Array(), extended };
  const encrypted: Store = { ...store, header: { ...store.header, algorithm: 1 }, unlocked };
  return rewrite(encrypted, { files: store.files, extended }, secrets);
}

/**
 * Exchanges the key of an unlocked store: adds the new one, then takes the old one away; while both slots are used, the
 * one that is not in use goes first. A cut between the two leaves a store that both keys open. Files and tables are not
 * touched, but for tables under the all-zero key: those are encrypted anew first, as the new slot would hold it again.
 * @throws CvmError as {@link writeFile}, for such tables
 */
export function updateKey(store: Store, newKey: Uint8Array, secrets: Secrets): Change {
  if (store.unlocked === undefined) throw bug('the key of a locked store cannot be updated');
  const { keySlot: oldSlot } = store.unlocked;
  const newSlot = otherSlot(oldSlot);
  const changes: Change[] = [];
  const current = (): Store => changes.at(-1)?.store ?? store;
  if (isUsed(store.header.slots[newSlot])) changes.push(setKeySlot(current(), newSlot, EMPTY_KEY_SLOT));
  if (isZero(store.unlocked.metadataKey)) {
    const { files } = current();
    changes.push(rewrite(current(), { files, extended: store.unlocked.extended }, secrets));
  }
  const { metadataKey } = current().unlocked ?? store.unlocked;
  const sequence = nextSequence(current().header);
  changes.push(setKeySlot(current(), newSlot, wrapKey(newKey, newSlot, metadataKey, sequence, secrets)));
  changes.push(setKeySlot(current(), oldSlot, EMPTY_KEY_SLOT));
  const unlocked = { ...(current().unlocked ?? store.unlocked), datastoreKey: newKey, keySlot: newSlot };
  return {
    steps: changes.flatMap(({ steps }) => steps),
    store: { ...current(), unlocked },
  };
}

/** Writes a header that differs in one key slot. */
export function setKeySlot(store: Store, slot: Slot, value: KeySlot): Change {
  const slots = store.header.slots.with(slot, value) as unknown as Header['slots'];
  const header = { ...store.header, sequence: nextSequence(store.header), slots };
  return finish(store, [], { ...store, header });
}

/** The metadata key under a datastore key. */
export function wrapKey(
  datastoreKey: Uint8Array,
  slot: Slot,
  metadataKey: Uint8Array,
  sequence: number,
  secrets: Secrets,
): KeySlot {
  const purpose: Purpose = { use: 'slot', id: slot, sequence, plaintext: metadataKey, attempt: 0 };
  const nonce = secrets.nonce(purpose);
  const { ciphertext, tag } = seal(datastoreKey, nonce, metadataKey);
  return { nonce, reserved: 0, tag, wrapped: ciphertext };
}

interface Rewrite {
  readonly files: FileTable;
  readonly extended: readonly ExtendedEntry[] | undefined;
  readonly put?: NewFile;
}

/** One update: a file or none, and the tables with it. */
function rewrite(store: Store, wanted: Rewrite, secrets: Secrets | undefined): Change {
  requireSound(store);
  const { geometry, unlocked } = store;
  if (unlocked !== undefined && store.header.slots.every(isUsed)) throw twoKeys();
  const sequence = nextSequence(store.header);
  const grant = granter(store);
  const tableBlock = grant(1);
  const put = wanted.put === undefined ? undefined : preparePut(wanted.put, grant, sequence, secrets);

  let files = wanted.files.with(FILE_TABLE_ID, plainEntry(tableBlock, 1, VMGS_BLOCK_BYTES));
  let { extended } = wanted;
  const steps: Step[] = [];
  if (put !== undefined) {
    files = files.with(put.id, put.entry);
    extended = extended?.with(put.id, put.extended);
    steps.push(blockWrite(geometry, put.entry.firstBlock, put.data));
  }

  let header: Header = { ...store.header, sequence, fileTableBlock: tableBlock };
  let stillUnlocked: Unlocked | undefined;
  if (unlocked !== undefined && extended !== undefined) {
    if (secrets === undefined) throw bug('an unlocked store is updated without a source of keys');
    // The extended table is what counts for an open store; the copy of its attributes follows.
    const table = extended;
    files = files.map((entry, id) => withAttributes(entry, id, table));
    const block = grant(1);
    const kept = files.map((entry, id) => keptExtended(entry, table[id]));
    const sealed = sealDrawn('table', EXTENDED_FILE_TABLE_ID, sequence, encodeExtendedTable(kept), secrets);
    files = files.with(EXTENDED_FILE_TABLE_ID, {
      ...plainEntry(block, 1, VMGS_BLOCK_BYTES),
      nonce: sealed.nonce,
      tag: sealed.tag,
      attributes: ENCRYPTED_ATTRIBUTES,
    });
    steps.push(blockWrite(geometry, block, sourceFromBytes(sealed.ciphertext)));
    const { datastoreKey, keySlot } = unlocked;
    const slot = wrapKey(datastoreKey, keySlot, sealed.key, sequence, secrets);
    header = { ...header, slots: header.slots.with(keySlot, slot) as unknown as Header['slots'] };
    stillUnlocked = { datastoreKey, keySlot, metadataKey: sealed.key, extended: kept };
  }
  steps.push(blockWrite(geometry, tableBlock, sourceFromBytes(encodeFileTable(files))));
  return finish(store, steps, { ...store, header, files, unlocked: stillUnlocked });
}

interface Put {
  readonly id: number;
  readonly entry: FileEntry;
  readonly extended: ExtendedEntry;
  readonly data: ByteSource;
}

/** An empty file is stored plain: readers refuse ciphertext that is all zeros, and there is nothing to hide. */
function preparePut(
  { id, content, encrypt }: NewFile,
  grant: (blocks: number) => number,
  sequence: number,
  secrets: Secrets | undefined,
): Put {
  const blocks = blocksFor(content.sizeBytes);
  const entry = plainEntry(grant(blocks), blocks, content.sizeBytes);
  if (!encrypt || content.sizeBytes === 0) {
    return { id, entry, extended: EMPTY_EXTENDED_ENTRY, data: content };
  }
  if (secrets === undefined) throw bug('a file is encrypted without a source of keys');
  if (content.sizeBytes > ENCRYPTED_FILE_LIMIT_BYTES) throw encryptedTooLarge(content.sizeBytes);
  const sealed = sealDrawn('file', id, sequence, content.read(0, content.sizeBytes), secrets);
  return {
    id,
    entry: { ...entry, nonce: sealed.nonce, tag: sealed.tag, attributes: ENCRYPTED_ATTRIBUTES },
    extended: { ...EMPTY_EXTENDED_ENTRY, attributes: ENCRYPTED_ATTRIBUTES, key: sealed.key },
    data: sourceFromBytes(sealed.ciphertext),
  };
}

/** Encrypts under a key and a nonce of its own, drawn again while the ciphertext is all zeros: readers refuse that. */
function sealDrawn(
  use: Purpose['use'],
  id: number,
  sequence: number,
  plaintext: Uint8Array,
  secrets: Secrets,
): Sealed & { readonly key: Uint8Array; readonly nonce: Uint8Array } {
  for (let attempt = 0; attempt < 64; attempt++) {
    const purpose: Purpose = { use, id, sequence, plaintext, attempt };
    const key = secrets.key(purpose);
    const nonce = secrets.nonce(purpose);
    const sealed = seal(key, nonce, plaintext);
    if (!isZero(sealed.ciphertext)) return { ...sealed, key, nonce };
  }
  throw bug('64 draws made ciphertexts of zeros: the source of keys is broken');
}

/** Data and tables, a flush, the header in the other slot, a flush. */
function finish(store: Store, writes: readonly Step[], next: Store): Change {
  const activeSlot = otherSlot(store.activeSlot);
  return {
    steps: [...writes, FLUSH, headerWrite(store.geometry, activeSlot, next.header), FLUSH],
    store: { ...next, activeSlot },
  };
}

/** Grants runs of blocks that neither the old state nor an earlier grant uses. */
function granter(store: Store): (blocks: number) => number {
  const taken: BlockRun[] = store.files.filter((entry) => entry !== undefined);
  return (blocks) => {
    const firstBlock = allocate(taken, blocks, capacityBlocks(store.geometry));
    taken.push({ firstBlock, blocks });
    return firstBlock;
  };
}

function nextSequence({ sequence }: Header): number {
  return (sequence + 1) >>> 0;
}

function withAttributes(
  entry: FileEntry | undefined,
  id: number,
  extended: readonly ExtendedEntry[],
): FileEntry | undefined {
  if (entry === undefined || isTableId(id)) return entry;
  return { ...entry, attributes: extended[id]?.attributes ?? 0 };
}

/** Entries of files that are gone, and those of the tables, stay empty. */
function keptExtended(entry: FileEntry | undefined, extended: ExtendedEntry | undefined): ExtendedEntry {
  if (entry === undefined || extended === undefined) return EMPTY_EXTENDED_ENTRY;
  return { ...EMPTY_EXTENDED_ENTRY, attributes: extended.attributes, key: extended.key };
}

function blockWrite({ sectorBytes }: StoreGeometry, block: number, data: ByteSource): Step {
  const padded = Math.ceil(data.sizeBytes / sectorBytes) * sectorBytes;
  return {
    kind: 'write',
    offset: block * VMGS_BLOCK_BYTES,
    data: padded === data.sizeBytes ? data : sparseSource(padded, [{ offset: 0, source: data }]),
  };
}

function headerWrite(geometry: StoreGeometry, slot: Slot, header: Header): Step {
  const source = sourceFromBytes(encodeHeader(header));
  const data = sparseSource(geometry.sectorBytes, [{ offset: 0, source }]);
  return { kind: 'write', offset: headerOffset(slot, geometry), data };
}

function zeros(sizeBytes: number): ByteSource {
  return sparseSource(sizeBytes, []);
}

/** @throws CvmError usage VMGS_TABLE_ID */
export function requireFileId(id: number): void {
  if (!isTableId(id)) return;
  throw usageError('VMGS_TABLE_ID', 'the tables of a store are no files to work on', {
    facts: [['file id', showFileId(id)]],
    mend: 'give an id from 1 to 62',
  });
}

/** What openvmm finds out only when it overwrites something: refused before anything is written. */
function requireSound(store: Store): void {
  const [overlap] = findOverlaps(store.files);
  if (overlap !== undefined) {
    throw formatError('VMGS_OVERLAP', 'two files of the store share blocks', {
      facts: [['files', overlap.map(showFileId).join(' and ')]],
      mend: 'take the store from a backup: a write would destroy one of them',
    });
  }
  const entry = store.files[FILE_TABLE_ID];
  if (entry?.firstBlock === store.header.fileTableBlock && entry.blocks === 1) return;
  throw formatError('VMGS_TABLE_ENTRY', 'the header and the file table disagree about where the table is', {
    facts: [
      ['header', `block ${store.header.fileTableBlock}`],
      [
        'file table',
        entry === undefined ? 'not allocated' : `block ${entry.firstBlock}, ${entry.blocks} blocks`,
      ],
    ],
    mend: 'take the store from a backup: a write would destroy the table',
  });
}

function twoKeys(): Error {
  return usageError(
    'VMGS_TWO_KEYS',
    'the store is between two keys: a write would shut out the one not given',
    {
      mend: 'finish the exchange first: cvm vmgs update-key',
    },
  );
}
