/**
 * A store as it is read: which header counts, which files there are, what a key opens. Reading a store touches its two
 * header blocks and its tables, whatever its size. Source: openvmm, `vmgs_impl.rs` (`open`, `unlock_with_encryption_key`).
 */
import { isZero } from '../bytes/compare.ts';
import { sliceSource, sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { formatError, mismatchError, trustError, usageError, type CvmError } from '../errors.ts';
import { checkKey, unseal } from './cipher.ts';
import {
  checkBounds,
  decodeExtendedTable,
  decodeFileTable,
  looksEncrypted,
  type ExtendedTable,
  type FileEntry,
  type FileTable,
} from './file-table.ts';
import { EXTENDED_FILE_TABLE_ID, isTableId, showFileId } from './file-ids.ts';
import { ALGORITHM_NONE, isUsed, readHeaders, type Header, type Headers, type Slot } from './header.ts';
import { capacityBlocks, VMGS_BLOCK_BYTES, type StoreGeometry } from './layout.ts';

/** What a datastore key opened. */
export interface Unlocked {
  readonly datastoreKey: Uint8Array;
  /** Which slot the key opened: the one that every update wraps anew. */
  readonly keySlot: Slot;
  readonly metadataKey: Uint8Array;
  readonly extended: ExtendedTable;
}

export interface Store {
  readonly geometry: StoreGeometry;
  readonly activeSlot: Slot;
  readonly header: Header;
  readonly files: FileTable;
  /** Undefined while no key was used, and in a store without encryption. */
  readonly unlocked: Unlocked | undefined;
}

/** Encrypted files are held in memory. */
export const ENCRYPTED_FILE_LIMIT_BYTES = 2 ** 30;

/**
 * Opens a store; nothing is written, also where openvmm would clear the reprovisioned mark.
 * @param source the store's bytes, without a VHD footer
 * @throws CvmError format VMGS_SIZE | VMGS_EMPTY | VMGS_V1 | VMGS_HEADERS | VMGS_SEQUENCE | VMGS_FILE_BOUNDS
 */
export function openStore(source: ByteSource, geometry: StoreGeometry): Store {
  return openWithHeaders(source, geometry, readHeaders(source, geometry));
}

/** {@link openStore} for whoever has read the headers already. */
export function openWithHeaders(source: ByteSource, geometry: StoreGeometry, headers: Headers): Store {
  const { active, slots } = headers;
  if (typeof active !== 'number') throw active;
  const { header } = slots[active];
  const files = readFileTable(source, geometry, header);
  checkBounds(files, capacityBlocks(geometry));
  return { geometry, activeSlot: active, header, files, unlocked: undefined };
}

/** The file table that a header names, its entries unchecked. @throws CvmError format VMGS_FILE_BOUNDS */
export function readFileTable(source: ByteSource, geometry: StoreGeometry, header: Header): FileTable {
  if (header.fileTableBlock >= capacityBlocks(geometry)) {
    throw formatError('VMGS_FILE_BOUNDS', 'the file table lies behind the end of the store', {
      facts: [
        ['block', header.fileTableBlock],
        ['blocks of the store', capacityBlocks(geometry)],
      ],
      mend: 'the store was cut short: take it from a backup',
    });
  }
  return decodeFileTable(source.read(header.fileTableBlock * VMGS_BLOCK_BYTES, VMGS_BLOCK_BYTES));
}

export function isEncryptedStore(store: Store): boolean {
  return store.header.algorithm !== ALGORITHM_NONE;
}

/**
 * Opens the tables of an encrypted store with a datastore key.
 * @throws CvmError usage VMGS_NOT_ENCRYPTED | VMGS_KEY_LENGTH | VMGS_KEY_ZERO; mismatch VMGS_KEY_WRONG;
 *   format VMGS_EXTENDED_TABLE; trust VMGS_EXTENDED_TABLE_TAG
 */
export function unlock(source: ByteSource, store: Store, key: Uint8Array): Store {
  checkKey(key, 'the key');
  if (!isEncryptedStore(store)) throw notEncrypted();
  const entry = extendedEntry(store);
  for (const keySlot of [0, 1] as const) {
    const slot = store.header.slots[keySlot];
    if (!isUsed(slot)) continue;
    const metadataKey = unseal(key, slot.nonce, { ciphertext: slot.wrapped, tag: slot.tag });
    if (metadataKey === undefined) continue;
    const bytes = unseal(metadataKey, entry.nonce, { ciphertext: rawBytes(source, entry), tag: entry.tag });
    if (bytes === undefined) {
      throw trustError(
        'VMGS_EXTENDED_TABLE_TAG',
        'the extended file table was changed: its tag does not fit',
        {
          facts: [['at', `block ${entry.firstBlock}`]],
          mend: 'take the store from a backup',
        },
      );
    }
    const extended = decodeExtendedTable(bytes);
    return { ...store, unlocked: { datastoreKey: key, keySlot, metadataKey, extended } };
  }
  const used = store.header.slots.filter(isUsed).length;
  throw mismatchError('VMGS_KEY_WRONG', 'the key does not open the store', {
    facts: [['keys of the store', used]],
    mend: 'give the file with the key that the store was encrypted with',
  });
}

export function notEncrypted(): CvmError {
  return usageError('VMGS_NOT_ENCRYPTED', 'a key is given, and the store is not encrypted', {
    mend: 'leave the key out, or encrypt the store first: cvm vmgs encrypt',
  });
}

/** The entry of the extended file table. @throws CvmError format VMGS_EXTENDED_TABLE */
export function extendedEntry(store: Store): FileEntry {
  const entry = store.files[EXTENDED_FILE_TABLE_ID];
  if (entry?.sizeBytes === VMGS_BLOCK_BYTES) return entry;
  throw formatError('VMGS_EXTENDED_TABLE', 'the store has no extended file table of one block', {
    facts: [['size', entry === undefined ? 'not allocated' : `${entry.sizeBytes} bytes`]],
    mend: 'take the store from a backup',
  });
}

/** Whether a file is encrypted: what the extended table says once it is open, else what the entry's bytes show. */
export function isEncryptedFile(store: Store, id: number): boolean {
  const entry = store.files[id];
  if (entry === undefined) return false;
  const extended = isTableId(id) ? undefined : store.unlocked?.extended[id];
  return extended === undefined ? looksEncrypted(entry) : (extended.attributes & 1) !== 0;
}

/** A file's entry. @throws CvmError usage VMGS_NOT_FOUND */
export function fileEntry(store: Store, id: number): FileEntry {
  const entry = store.files[id];
  if (entry !== undefined) return entry;
  const present = store.files.flatMap((file, other) => (file === undefined ? [] : [showFileId(other)]));
  throw usageError('VMGS_NOT_FOUND', 'the store has no such file', {
    facts: [
      ['file id', showFileId(id)],
      ['files', present.join(', ')],
    ],
  });
}

/** A file's bytes as they lie in the store: ciphertext, if it is encrypted. @throws CvmError usage VMGS_NOT_FOUND */
export function readRawFile(source: ByteSource, store: Store, id: number): ByteSource {
  const entry = fileEntry(store, id);
  return sliceSource(source, entry.firstBlock * VMGS_BLOCK_BYTES, entry.sizeBytes);
}

/**
 * A file's content. Plain files are read when they are asked for, encrypted ones at once.
 * @throws CvmError usage VMGS_NOT_FOUND | VMGS_LOCKED; format VMGS_FILE_TOO_LARGE; trust VMGS_FILE_TAG
 */
export function readFile(source: ByteSource, store: Store, id: number): ByteSource {
  const entry = fileEntry(store, id);
  const raw = readRawFile(source, store, id);
  if (!isEncryptedFile(store, id)) return raw;
  const extended = store.unlocked?.extended[id];
  if (extended === undefined) {
    throw usageError('VMGS_LOCKED', 'the file is encrypted, and no key is given', {
      facts: [['file id', showFileId(id)]],
      mend: 'add --key-path',
    });
  }
  const sealed = { ciphertext: rawBytes(source, entry), tag: entry.tag };
  const plaintext = unseal(extended.key, entry.nonce, sealed);
  if (plaintext !== undefined) return sourceFromBytes(plaintext);
  throw trustError('VMGS_FILE_TAG', 'an encrypted file was changed: its tag does not fit', {
    facts: [
      ['file id', showFileId(id)],
      ['at', `block ${entry.firstBlock}`],
      ...(isStale(entry) ? [['seen', 'a plain file under an id that was encrypted before'] as const] : []),
    ],
    mend: 'take the file from a backup',
  });
}

/** Whether an entry that the extended table calls encrypted was written plain while the store was locked. */
export function isStale(entry: FileEntry): boolean {
  return !looksEncrypted(entry);
}

function rawBytes(source: ByteSource, entry: FileEntry): Uint8Array {
  if (entry.sizeBytes > ENCRYPTED_FILE_LIMIT_BYTES) throw encryptedTooLarge(entry.sizeBytes);
  return source.read(entry.firstBlock * VMGS_BLOCK_BYTES, entry.sizeBytes);
}

export function encryptedTooLarge(sizeBytes: number): CvmError {
  return formatError('VMGS_FILE_TOO_LARGE', 'an encrypted file is larger than is taken', {
    facts: [
      ['size', `${sizeBytes} bytes`],
      ['limit', `${ENCRYPTED_FILE_LIMIT_BYTES} bytes`],
    ],
    mend: 'store large files plain: what is in them is measured, or encrypted by whoever wrote it',
  });
}

/**
 * Whether the tables were written with the all-zero key, as openvmm did from January to August 2026: anybody can read
 * the keys of all files. Seen without a key, too.
 */
export function hasZeroKeyDefect(source: ByteSource, store: Store): boolean {
  if (!isEncryptedStore(store)) return false;
  if (store.unlocked !== undefined) return isZero(store.unlocked.metadataKey);
  const entry = store.files[EXTENDED_FILE_TABLE_ID];
  if (entry?.sizeBytes !== VMGS_BLOCK_BYTES || !isZero(entry.nonce)) return false;
  const sealed = { ciphertext: rawBytes(source, entry), tag: entry.tag };
  return unseal(new Uint8Array(32), entry.nonce, sealed) !== undefined;
}
