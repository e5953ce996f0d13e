/** A release as it is judged: what is in the folder, and what somebody holds it against. */
import type { FileIdentity } from '../bytes/digest.ts';
import type { ByteSource } from '../bytes/source.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { formatError, type CvmError } from '../errors.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ReleaseImage } from './judge-images.ts';

export interface ReleaseContents {
  /** Every file at the top of the folder, by name. */
  readonly files: ReadonlyMap<string, FileIdentity>;
  /** Of `cas/`, which a published release has beside its names. */
  readonly cas: ReadonlyMap<string, FileIdentity>;
  /** What is there and is no file. */
  readonly others: readonly string[];
  /** A small file in whole. */
  read(name: string): Uint8Array;
  /** The update image's members, or why it cannot be opened. */
  readonly update: ReleaseImage | CvmError;
  /** undefined when there is none. */
  readonly disk: ByteSource | CvmError | undefined;
}

export interface VerifyOptions {
  readonly network: NetworkName;
  /** The sha256 of SHA256SUMS from somewhere else. */
  readonly sumsSha256?: string | undefined;
  /** The base release, to hold the boot partition against. */
  readonly base?: { readonly identity: FileIdentity; readonly boot: ByteSource } | undefined;
  /** package-lock.json of the source. */
  readonly packageLock?: Uint8Array | undefined;
  /** The commit that it should be of. */
  readonly revision?: string | undefined;
  /** The builder that it should be from. */
  readonly builderId?: string | undefined;
}

/** @throws CvmError format RELEASE_FILE_MISSING */
export function requireFile(files: ReadonlyMap<string, FileIdentity>, name: string): void {
  if (files.has(name)) return;
  throw formatError('RELEASE_FILE_MISSING', 'the release lacks a file', {
    facts: [['file', name]],
    mend: 'fetch the whole release',
  });
}

/** @throws CvmError format RELEASE_FILE_MISSING | TEXT_NOT_UTF8 | SOURCE_TOO_LARGE */
export function readText(contents: ReleaseContents, name: string): string {
  requireFile(contents.files, name);
  return utf8FromBytes(contents.read(name), name);
}
