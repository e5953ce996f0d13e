/** Opening VMGS files, and bringing changes to them in an order that survives a power cut at any point. */
import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, statSync, writeSync } from 'node:fs';
import { equalBytes } from '../bytes/compare.ts';
import { CHUNK_BYTES, readAll, sliceSource, type ByteSource } from '../bytes/source.ts';
import { usageError } from '../errors.ts';
import { checkKey } from '../vmgs/cipher.ts';
import { KEY_BYTES } from '../vmgs/header.ts';
import { HEADER_AREA_BYTES, type StoreGeometry } from '../vmgs/layout.ts';
import { randomSecrets, SEED_MAX_BYTES, seededSecrets, type Secrets } from '../vmgs/secrets.ts';
import { hasZeroKeyDefect, isEncryptedStore, openStore, unlock, type Store } from '../vmgs/store.ts';
import type { Change, Step } from '../vmgs/update.ts';
import { readVhdFooter, VHD_SECTOR_BYTES, type VhdFooter } from '../vmgs/vhd.ts';
import type { Io, OptionValues } from './command.ts';
import { fileError, openFile, resolvePath, type OpenFile } from './files.ts';
import { textOption } from './options.ts';
import { filePathOf, keyPathOf, print, rawSectorBytes, sectorBytesOf } from './vmgs-options.ts';

/** A VMGS file that is open for reading. */
export interface VmgsFile {
  readonly path: string;
  /** The whole file, footer and all. */
  readonly file: OpenFile;
  /** The store's bytes. */
  readonly source: ByteSource;
  readonly geometry: StoreGeometry;
  /** Undefined for a raw store. */
  readonly footer: VhdFooter | undefined;
  /** Both header blocks as they were when the file was opened. */
  readonly headerArea: Uint8Array;
}

/**
 * Opens the file that a call names and hands it over; closes it afterwards. Never writes.
 * @throws CvmError those of `openFile` and `readVhdFooter`
 */
export async function withVmgsFile<T>(
  io: Io,
  args: readonly string[],
  options: OptionValues,
  use: (vmgs: VmgsFile) => T | Promise<T>,
): Promise<T> {
  rawSectorBytes(options);
  const path = resolvePath(io, filePathOf(args, options));
  const file = openFile(path);
  try {
    const raw = sectorBytesOf(options, file);
    const footer = raw === undefined ? readVhdFooter(file) : undefined;
    const storeBytes = footer?.currentBytes ?? file.sizeBytes;
    const geometry: StoreGeometry = { storeBytes, sectorBytes: raw ?? VHD_SECTOR_BYTES };
    const source = sliceSource(file, 0, storeBytes);
    return await use({ path, file, source, geometry, footer, headerArea: headerArea(source) });
  } finally {
    file.close();
  }
}

/** {@link withVmgsFile} with the store in it, unlocked when the call has a key. */
export async function withStore<T>(
  io: Io,
  args: readonly string[],
  options: OptionValues,
  use: (store: Store, vmgs: VmgsFile) => T | Promise<T>,
): Promise<T> {
  return withVmgsFile(io, args, options, (vmgs) => {
    const key = readKey(io, keyPathOf(options));
    const locked = openStore(vmgs.source, vmgs.geometry);
    const store = key === undefined ? locked : unlock(vmgs.source, locked, key);
    if (hasZeroKeyDefect(vmgs.source, store)) io.err(ZERO_KEY_WARNING);
    return use(store, vmgs);
  });
}

const ZERO_KEY_WARNING =
  'warning: the tables of this store are encrypted with an all-zero key, and anybody can read its files: see cvm vmgs verify\n';

/** Refuses to put what is read from a store in the store's place. @throws CvmError usage OUTPUT_IS_INPUT */
export function requireOtherFile(vmgs: VmgsFile, path: string): void {
  const [store, other] = [vmgs.path, path].map((name) => statSync(name, { throwIfNoEntry: false }));
  if (other === undefined || store?.ino !== other.ino || store.dev !== other.dev) return;
  throw usageError('OUTPUT_IS_INPUT', 'the output would take the place of the VMGS file', {
    facts: [['path', path]],
    mend: 'give the output a path of its own',
  });
}

/** {@link withStore} for changes: a store that a key belongs to may be changed with that key alone. */
export function requireUnlocked(store: Store): void {
  if (!isEncryptedStore(store) || store.unlocked !== undefined) return;
  throw usageError('VMGS_LOCKED', 'the store is encrypted, and no key is given', {
    mend: 'add --key-path: what is done without the key leaves its tables stale',
  });
}

/**
 * A key file: 32 raw bytes. The key is never shown.
 * @throws CvmError usage VMGS_KEY_LENGTH | VMGS_KEY_ZERO, and those of `openFile`
 */
export function readKey(io: Io, path: string | undefined): Uint8Array | undefined {
  return path === undefined ? undefined : checkKey(readSmall(io, path, KEY_BYTES + 1), `the key of ${path}`);
}

/** The file of `--seed-path`. @throws CvmError usage VMGS_SEED, when it is used */
export function readSeed(io: Io, options: OptionValues): Uint8Array | undefined {
  const path = textOption(options, 'seedPath');
  return path === undefined ? undefined : readSmall(io, path, SEED_MAX_BYTES + 1);
}

/** Fresh random keys, or those of the seed that the call gives. */
export function secretsOf(io: Io, options: OptionValues): Secrets {
  const seed = readSeed(io, options);
  return seed === undefined
    ? randomSecrets((length) => new Uint8Array(randomBytes(length)))
    : seededSecrets(seed);
}

/** The first bytes of a file: enough to see that it is too long. */
function readSmall(io: Io, path: string, limitBytes: number): Uint8Array {
  const file = openFile(resolvePath(io, path));
  try {
    const head = sliceSource(file, 0, Math.min(file.sizeBytes, limitBytes));
    return readAll(head, limitBytes, path).slice();
  } finally {
    file.close();
  }
}

function headerArea(source: ByteSource): Uint8Array {
  return source.read(0, Math.min(source.sizeBytes, HEADER_AREA_BYTES)).slice();
}

/**
 * Brings a change to the file: its writes and its flushes, in their order. A process or a machine that stops in between
 * leaves the old state or the new one.
 * @param changes all of them; nothing is written before the file is open
 * @throws CvmError usage FILE_ACCESS | FILE_CHANGED
 */
export function applyChange(
  { path, file, source, headerArea: before }: VmgsFile,
  ...changes: readonly Change[]
): void {
  let handle: number | undefined;
  try {
    handle = openSync(path, 'r+');
    const { size } = fstatSync(handle);
    // Two changes made from one state would take the same free blocks.
    if (size !== file.sizeBytes || !equalBytes(before, headerArea(source))) {
      throw usageError('FILE_CHANGED', 'the file changed while it was read', {
        facts: [['path', path]],
        mend: 'see who else writes it, and call again: one writer at a time',
      });
    }
    for (const { steps } of changes) for (const step of steps) applyStep(handle, step);
  } catch (cause) {
    throw fileError(path, 'write', cause);
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

/** {@link applyChange}, and what is printed afterwards: the file, `facts` and the store's new sequence number. */
export async function applyAndPrint(
  io: Io,
  options: OptionValues,
  vmgs: VmgsFile,
  change: Change,
  facts: object,
): Promise<void> {
  applyChange(vmgs, change);
  const { sequence } = change.store.header;
  await print(io, options, { file: vmgs.path, ...facts, sequence }, '');
}

function applyStep(handle: number, step: Step): void {
  if (step.kind === 'flush') {
    fsyncSync(handle);
    return;
  }
  const { offset, data } = step;
  for (let at = 0; at < data.sizeBytes; at += CHUNK_BYTES) {
    const bytes = data.read(at, Math.min(CHUNK_BYTES, data.sizeBytes - at));
    for (let done = 0; done < bytes.length;) {
      done += writeSync(handle, bytes, done, bytes.length - done, offset + at + done);
    }
  }
}
