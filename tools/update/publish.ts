/** Files into a store whose word is not taken: what was uploaded is read back, what is there is compared. */
import { createHash } from 'node:crypto';
import { CvmError, mismatchError, networkError, type Fact } from '../errors.ts';
import { reasonOf, type Wait } from './bounded-fetch.ts';

/** A file to publish. */
export interface Upload {
  readonly name: string;
  readonly size: number;
  /** 64 lower-case hex digits. */
  readonly sha256: string;
  /** The content, from its start, anew with every call. */
  chunks(): Iterable<Uint8Array, void>;
}

/** What a store says of an object without giving it away. What it does not say is undefined. */
export interface ObjectState {
  readonly size: number | undefined;
  readonly sha256: string | undefined;
}

/** Where files go. Errors that may pass are {@link PassingFailure}s. */
export interface ObjectStore {
  /** For people. */
  readonly place: string;
  /** undefined when there is no such object. */
  head(name: string): Promise<ObjectState | undefined>;
  /** undefined when there is no such object. */
  get(name: string): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** @returns false when something was there after all and was not to be replaced */
  put(
    name: string,
    upload: Upload,
    options: { readonly replace: boolean; readonly onSent: (bytes: number) => void },
  ): Promise<boolean>;
}

/** What may pass by itself. */
export class PassingFailure extends CvmError {
  /** How long the store asks to be left alone. */
  readonly retryAfterMs: number;

  constructor(error: CvmError, retryAfterMs = 0) {
    const { facts, mend, cause } = error;
    super(error.kind, error.code, error.message, { facts, cause, ...(mend === undefined ? {} : { mend }) });
    this.retryAfterMs = retryAfterMs;
  }
}

export interface PublishOptions {
  readonly wait: Wait;
  readonly signal: AbortSignal;
  /** One line about what is going on. */
  readonly onNote?: (text: string) => void;
  readonly onSent?: (name: string, bytes: number, size: number) => void;
}

export interface Published {
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
  readonly how: 'uploaded' | 'there';
}

/** Where an object stands under the name of its sha256. */
const CAS = 'cas/';
const TRIES = 5;
const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;

/**
 * Publishes files: first each as `cas/<sha256>`, then under its own name, and `last` at the very end, so that whoever finds it
 * finds all that it lists. Calling it again does nothing but look.
 *
 * - An object that is there under its sha256 is left alone when what HEAD says of it fits: its size, and its sha256 where
 *   the store says one.
 * - Under a name of people it is left alone when it is the same file: by the store's sha256, else by reading it.
 * - The beginning of a file, left behind by a lost connection, is replaced. Anything else is not: what was
 *   published once does not change.
 * - Whatever was uploaded is read back and hashed.
 *
 * @param last the name of the file that lists the others
 * @throws CvmError mismatch PUBLISH_CONFLICT | PUBLISH_READ_BACK; network of the store; what `signal` was aborted with
 */
export async function publishFiles(
  store: ObjectStore,
  uploads: readonly Upload[],
  last: string,
  options: PublishOptions,
): Promise<Published[]> {
  const published: Published[] = [];
  const named = uploads.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const bySha256 = new Map(named.map((upload) => [upload.sha256, upload]));
  for (const [sha256, upload] of bySha256) published.push(await place(store, CAS + sha256, upload, options));
  const ordered = [
    ...named.filter(({ name }) => name !== last),
    ...named.filter(({ name }) => name === last),
  ];
  for (const upload of ordered) published.push(await place(store, upload.name, upload, options));
  return published;
}

async function place(
  store: ObjectStore,
  name: string,
  upload: Upload,
  options: PublishOptions,
): Promise<Published> {
  const { size, sha256 } = upload;
  let uploaded = false;
  for (let tries = 1; ; tries++) {
    try {
      const found = await inspect(store, name, upload, uploaded, options);
      if (found === 'same') return { name, size, sha256, how: uploaded ? 'uploaded' : 'there' };
      if (found === 'other')
        throw uploaded ? notReadBack(store, name, upload) : conflict(store, name, upload);
      if (tries > TRIES) throw notReadBack(store, name, upload);
      const onSent = (bytes: number): void => options.onSent?.(name, bytes, size);
      uploaded = (await store.put(name, upload, { replace: found === 'partial', onSent })) || uploaded;
    } catch (error) {
      if (!(error instanceof PassingFailure) || tries >= TRIES) throw error;
      // Whatever came of it is looked at, in whole, before it is believed.
      uploaded ||= error.code === UPLOAD_LOST;
      const delayMs = Math.min(
        LONGEST_DELAY_MS,
        Math.max(error.retryAfterMs, FIRST_DELAY_MS * 2 ** (tries - 1)),
      );
      options.onNote?.(`${name}: ${reasonOf(error)}; trying again in ${Math.ceil(delayMs / 1000)} s`);
      await options.wait(delayMs, options.signal);
    }
  }
}

/** The code with which a store says that an upload broke off: some of it may be there. */
export const UPLOAD_LOST = 'PUBLISH_UPLOAD_LOST';

type Found = 'absent' | 'same' | 'partial' | 'other';

/** What is there under a name. @param inWhole whether it is read, whatever HEAD says */
async function inspect(
  store: ObjectStore,
  name: string,
  upload: Upload,
  inWhole: boolean,
  { signal }: PublishOptions,
): Promise<Found> {
  signal.throwIfAborted();
  if (!inWhole) {
    const state = await store.head(name);
    if (state === undefined) return 'absent';
    if (state.size !== undefined && state.size > upload.size) return 'other';
    if (state.size === upload.size) {
      if (state.sha256 === upload.sha256) return 'same';
      if (state.sha256 !== undefined) return 'other';
      if (name === CAS + upload.sha256) return 'same';
    }
  }
  const content = await store.get(name);
  return content === undefined ? 'absent' : await compare(content, upload);
}

/** Reads no more than one chunk beyond the size it should have. */
async function compare(content: AsyncIterable<Uint8Array>, upload: Upload): Promise<Found> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of content) {
    size += chunk.length;
    if (size > upload.size) return 'other';
    hash.update(chunk);
  }
  const found = hash.digest('hex');
  if (size === upload.size) return found === upload.sha256 ? 'same' : 'other';
  return found === prefixSha256(upload, size) ? 'partial' : 'other';
}

function prefixSha256(upload: Upload, length: number): string {
  const hash = createHash('sha256');
  let left = length;
  for (const chunk of upload.chunks()) {
    if (left === 0) break;
    const part = chunk.subarray(0, left);
    hash.update(part);
    left -= part.length;
  }
  return hash.digest('hex');
}

function factsOf(store: ObjectStore, name: string, { size, sha256 }: Upload): Fact[] {
  return [
    ['at', store.place],
    ['object', name],
    ['ours', `sha256 ${sha256}, ${size} bytes`],
  ];
}

function conflict(store: ObjectStore, name: string, upload: Upload): CvmError {
  return mismatchError('PUBLISH_CONFLICT', 'something else is published under this name already', {
    facts: factsOf(store, name, upload),
    mend: 'publish to a place of its own, named after the revision; what was published once does not change',
  });
}

function notReadBack(store: ObjectStore, name: string, upload: Upload): CvmError {
  return mismatchError('PUBLISH_READ_BACK', 'what was uploaded does not come back as it went', {
    facts: factsOf(store, name, upload),
    mend: 'look at the server: it changed, cut or lost what it took; remove the object and call the command again',
  });
}

/** For stores: what went wrong on the way, as something that may pass. */
export function lost(code: string, place: string, name: string, cause: unknown): PassingFailure {
  return new PassingFailure(
    networkError(code, 'the connection to the place of publication broke', {
      facts: [
        ['at', place],
        ['object', name],
        ['reason', reasonOf(cause)],
      ],
      mend: 'call the command again: what arrived is not sent twice',
      cause,
    }),
  );
}
