/** A new store from nothing but its inputs: zeros, formatted, then the marker, then the key, then files by id. */
import { digestBytes } from '../bytes/digest.ts';
import { concatBytes } from '../bytes/compare.ts';
import { sourceFromBytes, sparseSource, type ByteSource } from '../bytes/source.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { createHash } from 'node:crypto';
import { PROVISIONING_MARKER_ID } from './file-ids.ts';
import type { StoreGeometry } from './layout.ts';
import { applySteps } from './overlay.ts';
import type { Secrets } from './secrets.ts';
import { seededVhdId } from './secrets.ts';
import type { Store } from './store.ts';
import { addFirstKey, formatStore, writeFile, type Change, type Step } from './update.ts';

export interface NewStore {
  readonly geometry: StoreGeometry;
  /** The bytes of file 18, which is written first and plain, as OpenHCL does right after formatting. */
  readonly marker?: Uint8Array;
  /** Further files; they are written in the order of their ids, encrypted when there is a key; file 18 never is. */
  readonly files: readonly { readonly id: number; readonly content: ByteSource }[];
  readonly key?: { readonly datastoreKey: Uint8Array; readonly secrets: Secrets };
}

export interface CreatedStore {
  /** The bytes of the store, without a footer. */
  readonly image: ByteSource;
  readonly store: Store;
}

/** @throws CvmError format VMGS_SIZE; usage VMGS_NO_SPACE | VMGS_TABLE_ID */
export function createStore({ geometry, marker, files, key }: NewStore): CreatedStore {
  const steps: Step[] = [];
  const apply = (change: Change): Store => {
    steps.push(...change.steps);
    return change.store;
  };
  let store = apply(formatStore(geometry));
  if (marker !== undefined) {
    const content = sourceFromBytes(marker);
    store = apply(writeFile(store, { id: PROVISIONING_MARKER_ID, content, encrypt: false }));
  }
  if (key !== undefined) store = apply(addFirstKey(store, key.datastoreKey, key.secrets));
  for (const { id, content } of files.toSorted((a, b) => a.id - b.id)) {
    const encrypt = key !== undefined && id !== PROVISIONING_MARKER_ID;
    store = apply(writeFile(store, { id, content, encrypt }, key?.secrets));
  }
  return { image: applySteps(sparseSource(geometry.storeBytes, []), steps), store };
}

/**
 * The id of a VHD that was not given one: from its content, so that equal stores are equal files, and from the seed, if
 * there is one. A UUID of version 8 (RFC 9562, section 5.8).
 */
export function derivedVhdId(image: ByteSource, seed?: Uint8Array): Uint8Array {
  const content = digestData(image);
  const id =
    seed === undefined
      ? digestBytes('sha256', concatBytes(utf8Bytes('rules_cvm vmgs vhd id\0'), content)).slice(0, 16)
      : seededVhdId(seed, content);
  // Byte 7 holds the version, as the third field of a GUID is little-endian; byte 8 the variant.
  id[7] = ((id[7] as number) & 0x0f) | 0x80;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return id;
}

/** A digest over size and data; holes cost nothing. */
function digestData(image: ByteSource): Uint8Array {
  const state = createHash('sha256').update(`${image.sizeBytes}\n`);
  for (const { offset, length } of image.extents) {
    state.update(`${offset} ${length}\n`);
    for (let at = 0; at < length; at += 1 << 20) {
      state.update(image.read(offset + at, Math.min(1 << 20, length - at)));
    }
  }
  return new Uint8Array(state.digest());
}
