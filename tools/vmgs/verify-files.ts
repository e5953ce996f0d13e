/** Findings on the tables of a store and on its files. */
import { isZero } from '../bytes/compare.ts';
import type { ByteSource } from '../bytes/source.ts';
import { finding, type Finding, type Severity } from './findings.ts';
import {
  boundsFault,
  encodeExtendedTable,
  EMPTY_EXTENDED_ENTRY,
  ENCRYPTED_ATTRIBUTES,
  findOverlaps,
  looksEncrypted,
  type ExtendedEntry,
  type FileEntry,
  type FileTable,
} from './file-table.ts';
import {
  EXTENDED_FILE_TABLE_ID,
  FILE_TABLE_ID,
  isTableId,
  PROVISIONING_MARKER_ID,
  showFileId,
} from './file-ids.ts';
import { ALGORITHM_NONE, type Header } from './header.ts';
import { blocksFor, capacityBlocks, FILE_COUNT, VMGS_BLOCK_BYTES } from './layout.ts';
import { parseMarker, MARKER_LIMIT_BYTES } from './marker.ts';
import {
  ENCRYPTED_FILE_LIMIT_BYTES,
  hasZeroKeyDefect,
  isEncryptedFile,
  isEncryptedStore,
  isStale,
  readFile,
  readRawFile,
  type Store,
} from './store.ts';
import { findingOf, FROM_BACKUP } from './verify-headers.ts';

const ENTRY_BYTES = VMGS_BLOCK_BYTES / FILE_COUNT;

/** The file table as it lies there: bounds, overlaps, and what every writer keeps. */
export function checkFileTable(
  bytes: Uint8Array,
  files: FileTable,
  header: Header,
  capacity: number,
): Finding[] {
  const tableAt = header.fileTableBlock * VMGS_BLOCK_BYTES;
  const at = (id: number): string => `file ${showFileId(id)}, byte ${tableAt + id * ENTRY_BYTES}`;
  const found: Finding[] = [];
  const add = (
    severity: Severity,
    code: string,
    id: number,
    what: string,
    mend: string | null = null,
  ): void => {
    found.push(finding(severity, code, at(id), what, mend));
  };
  files.forEach((entry, id) => {
    if (entry === undefined) {
      const residue = bytes.subarray(id * ENTRY_BYTES, (id + 1) * ENTRY_BYTES);
      if (!isZero(residue)) add('warning', 'ENTRY_RESIDUE', id, 'no file, and its entry is not zero');
      return;
    }
    const fault = boundsFault(entry, capacity);
    if (fault !== undefined) {
      add(
        'error',
        'FILE_BOUNDS',
        id,
        `${fault}: ${entry.blocks} blocks from ${entry.firstBlock}, ${entry.sizeBytes} bytes`,
        FROM_BACKUP,
      );
    } else if (entry.blocks !== blocksFor(entry.sizeBytes)) {
      add('warning', 'FILE_BLOCKS', id, `${entry.sizeBytes} bytes in ${entry.blocks} blocks`);
    }
    if (!isZero(entry.reserved)) add('warning', 'ENTRY_RESERVED', id, 'reserved bytes are not zero');
    found.push(...checkEntryCrypto(entry, id, header, at(id)));
    if (entry.sizeBytes === 0) add('info', 'FILE_EMPTY', id, 'the file is empty');
  });
  const table = files[FILE_TABLE_ID];
  if (
    table?.firstBlock !== header.fileTableBlock ||
    table.blocks !== 1 ||
    table.sizeBytes !== VMGS_BLOCK_BYTES
  ) {
    const what =
      'the entry of the file table is not where the header has it: a write would destroy the table';
    add('error', 'TABLE_ENTRY', FILE_TABLE_ID, what, FROM_BACKUP);
  }
  if (files[EXTENDED_FILE_TABLE_ID]?.sizeBytes !== VMGS_BLOCK_BYTES) {
    const severity = header.algorithm === ALGORITHM_NONE ? 'warning' : 'error';
    add(
      severity,
      'EXTENDED_TABLE',
      EXTENDED_FILE_TABLE_ID,
      'there is no extended file table of one block',
      FROM_BACKUP,
    );
  }
  for (const [id, other] of findOverlaps(files))
    add('error', 'OVERLAP', id, `shares blocks with file ${showFileId(other)}`, FROM_BACKUP);
  return found;
}

function checkEntryCrypto(entry: FileEntry, id: number, header: Header, at: string): Finding[] {
  const { attributes } = entry;
  const hasSeal = !isZero(entry.nonce) || !isZero(entry.tag);
  const isEncrypted = header.algorithm !== ALGORITHM_NONE;
  if (attributes !== 0 && attributes !== ENCRYPTED_ATTRIBUTES)
    return [
      finding(
        'warning',
        'ATTRIBUTES',
        at,
        `attributes ${attributes}: writers set 0 or ${ENCRYPTED_ATTRIBUTES}`,
      ),
    ];
  if (looksEncrypted(entry) && !isEncrypted)
    return [
      finding(
        'error',
        'ENCRYPTED_WITHOUT_KEY',
        at,
        'the file is encrypted, and the store is not',
        FROM_BACKUP,
      ),
    ];
  if (attributes === 0 && hasSeal && id !== EXTENDED_FILE_TABLE_ID)
    return [
      finding(
        'info',
        'OLD_ATTRIBUTES',
        at,
        'encrypted by a writer from before 2026, which did not mark it so',
      ),
    ];
  if (attributes === ENCRYPTED_ATTRIBUTES && isZero(entry.tag))
    return [finding('error', 'NO_TAG', at, 'the file is called encrypted, and has no tag', FROM_BACKUP)];
  return [];
}

/** What can be seen of an open store: encryption, the marker, and with a key all encrypted files. */
export function checkFiles(source: ByteSource, store: Store): Finding[] {
  const found: Finding[] = [];
  const place = (id: number): string => {
    const block = store.files[id]?.firstBlock ?? 0;
    return `file ${showFileId(id)}, byte ${block * VMGS_BLOCK_BYTES}`;
  };
  if (hasZeroKeyDefect(source, store)) {
    const what = 'the tables are encrypted with an all-zero key: anybody can read the keys of all files';
    const mend =
      'treat what is in it as known: cvm vmgs encrypt --rebuild makes a store under fresh keys; then change the secrets';
    found.push(finding('error', 'ZERO_KEY', place(EXTENDED_FILE_TABLE_ID), what, mend));
  }
  if (!isEncryptedStore(store)) {
    const isBlank =
      store.files[EXTENDED_FILE_TABLE_ID] === undefined || isZeroFile(source, store, EXTENDED_FILE_TABLE_ID);
    if (!isBlank)
      found.push(
        finding(
          'warning',
          'EXTENDED_TABLE_DATA',
          place(EXTENDED_FILE_TABLE_ID),
          'the store is not encrypted, and the table is not zero',
        ),
      );
  } else if (store.unlocked === undefined) {
    const what = 'without its key, tags, keys and encrypted files are not checked';
    found.push(finding('info', 'LOCKED', 'store', what, 'give the key with --key-path'));
  } else {
    found.push(...checkExtended(store, place), ...checkEncrypted(source, store, place));
  }
  return [...found, ...checkMarker(source, store, place(PROVISIONING_MARKER_ID))];
}

function isZeroFile(source: ByteSource, store: Store, id: number): boolean {
  return isZero(readRawFile(source, store, id).read(0, store.files[id]?.sizeBytes ?? 0));
}

function checkExtended(store: Store, place: (id: number) => string): Finding[] {
  const found: Finding[] = [];
  store.unlocked?.extended.forEach((extended, id) => {
    if (isTableId(id)) return;
    const entry = store.files[id];
    const at = place(id);
    if (!isZero(extended.reserved))
      found.push(
        finding('warning', 'EXTENDED_RESERVED', at, 'reserved bytes of its extended entry are not zero'),
      );
    if (entry === undefined) {
      if (!isBlank(extended)) {
        const what =
          'there is no such file, and its extended entry is not empty: it was deleted without the key';
        found.push(finding('warning', 'EXTENDED_STALE', at, what, 'write any file with the key'));
      }
      return;
    }
    const { attributes } = extended;
    if (attributes !== 0 && attributes !== ENCRYPTED_ATTRIBUTES)
      found.push(finding('warning', 'ATTRIBUTES', at, `attributes ${attributes} in the extended table`));
    if ((attributes & 1) !== 0 && isStale(entry)) {
      const what =
        'written plain without the key under an id that was encrypted: it cannot be read once a key is used';
      found.push(finding('error', 'STALE_ENTRY', at, what, 'delete the file and write it with the key'));
    } else if (attributes === 0 && looksEncrypted(entry)) {
      found.push(
        finding(
          'error',
          'ATTRIBUTES_DIFFER',
          at,
          'encrypted by the file table, plain by the extended one',
          FROM_BACKUP,
        ),
      );
    } else if (entry.attributes !== attributes && entry.attributes !== 0) {
      found.push(
        finding(
          'warning',
          'ATTRIBUTES_DIFFER',
          at,
          `attributes ${entry.attributes}, in the extended table ${attributes}`,
        ),
      );
    }
    if (attributes === 0 && !isZero(extended.key))
      found.push(
        finding('warning', 'EXTENDED_STALE', at, 'the file is plain, and its extended entry has a key'),
      );
  });
  return found;
}

function isBlank(extended: ExtendedEntry): boolean {
  return isZero(encodeExtendedTable([{ ...EMPTY_EXTENDED_ENTRY, ...extended }]));
}

function checkEncrypted(source: ByteSource, store: Store, place: (id: number) => string): Finding[] {
  const found: Finding[] = [];
  store.files.forEach((entry, id) => {
    if (entry === undefined || isTableId(id)) return;
    if (!isEncryptedFile(store, id)) {
      if (id !== PROVISIONING_MARKER_ID && entry.sizeBytes > 0) {
        const mend = 'if it is a secret: cvm vmgs encrypt --rewrite';
        found.push(finding('info', 'PLAIN_FILE', place(id), 'the file is plain in an encrypted store', mend));
      }
      return;
    }
    if (isStale(entry)) return;
    if (isZero(store.unlocked?.extended[id]?.key ?? new Uint8Array()))
      found.push(
        finding(
          'error',
          'ZERO_KEY',
          place(id),
          'the file is encrypted with an all-zero key',
          'write it anew with the key',
        ),
      );
    if (entry.sizeBytes <= ENCRYPTED_FILE_LIMIT_BYTES && isZeroFile(source, store, id)) {
      const what = 'the ciphertext is all zeros, and openvmm refuses to read that';
      found.push(finding('error', 'ZERO_CIPHERTEXT', place(id), what, 'write it anew with the key'));
    }
    try {
      readFile(source, store, id);
    } catch (error) {
      found.push(findingOf(error, place(id)));
    }
  });
  return found;
}

function checkMarker(source: ByteSource, store: Store, at: string): Finding[] {
  const entry = store.files[PROVISIONING_MARKER_ID];
  if (entry === undefined) {
    return [
      finding(
        'info',
        'NO_MARKER',
        'store',
        'nothing tells who made the store: it has no provisioning marker',
      ),
    ];
  }
  if (isEncryptedFile(store, PROVISIONING_MARKER_ID)) {
    const what =
      'the provisioning marker is encrypted: OpenHCL writes it plain, and cannot overwrite this one';
    return [
      finding(
        'warning',
        'MARKER_ENCRYPTED',
        at,
        what,
        'delete it, and write it with cvm vmgs marker write --force',
      ),
    ];
  }
  try {
    const size = Math.min(entry.sizeBytes, MARKER_LIMIT_BYTES + 1);
    const { deviations } = parseMarker(readRawFile(source, store, PROVISIONING_MARKER_ID).read(0, size));
    return deviations.map((what) => finding('info', 'MARKER_FORM', at, what));
  } catch (error) {
    return [{ ...findingOf(error, at), severity: 'warning' }];
  }
}

/** Blocks that no file uses. */
export function freeBlocks(store: Store): number {
  const used = store.files.reduce((sum, entry) => sum + (entry?.blocks ?? 0), 0);
  return capacityBlocks(store.geometry) - 2 - used;
}
