import { bytesToHex } from '../../tools/bytes/hex.ts';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../tools/bytes/source.ts';
import { isTableId } from '../../tools/vmgs/file-ids.ts';
import type { StoreGeometry } from '../../tools/vmgs/layout.ts';
import { applySteps } from '../../tools/vmgs/overlay.ts';
import { seededSecrets, type Secrets } from '../../tools/vmgs/secrets.ts';
import { isEncryptedStore, openStore, readFile, unlock, type Store } from '../../tools/vmgs/store.ts';
import { formatStore, writeFile, type Change } from '../../tools/vmgs/update.ts';

/** Keys that are the same in every run. */
export const SECRETS: Secrets = seededSecrets(new Uint8Array(32).fill(7));

export const keyOf = (value: number): Uint8Array => new Uint8Array(32).fill(value);

/** Bytes that differ by `value` and place. */
export const payload = (length: number, value: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + value) & 0xff);

/** A store in memory that changes are applied to. */
export class Device {
  readonly geometry: StoreGeometry;
  image: ByteSource;
  store: Store;

  constructor(storeBytes: number, sectorBytes: StoreGeometry['sectorBytes'] = 512) {
    this.geometry = { storeBytes, sectorBytes };
    this.image = sparseSource(storeBytes, []);
    this.store = this.apply(formatStore(this.geometry));
  }

  apply(change: Change): Store {
    this.image = flattened(applySteps(this.image, change.steps));
    this.store = change.store;
    return change.store;
  }

  write(id: number, content: Uint8Array, encrypt = false): Store {
    return this.apply(writeFile(this.store, { id, content: sourceFromBytes(content), encrypt }, SECRETS));
  }

  /** The bytes, to be changed. */
  bytes(): Uint8Array {
    return this.image.read(0, this.image.sizeBytes).slice();
  }
}

/** A source in one piece: a chain of overlays would grow with every change. */
export function flattened(source: ByteSource): ByteSource {
  return sourceFromBytes(source.read(0, source.sizeBytes));
}

/** Opens a store, with a key where there is encryption, and reads all files: id to hex. */
export function contentsOf(
  image: ByteSource,
  geometry: StoreGeometry,
  key?: Uint8Array,
): Map<number, string> {
  const locked = openStore(image, geometry);
  const store = key !== undefined && isEncryptedStore(locked) ? unlock(image, locked, key) : locked;
  return new Map(
    store.files.flatMap((entry, id) => {
      if (entry === undefined || isTableId(id)) return [];
      const content = readFile(image, store, id);
      return [[id, bytesToHex(content.read(0, content.sizeBytes))] as const];
    }),
  );
}
