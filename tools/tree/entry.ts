import type { RawText } from '../bytes/text.ts';
import type { ByteSource } from '../bytes/source.ts';

/**
 * A file tree as a list of entries: what archives, file systems and listings turn into and are made from.
 *
 * `path` has no leading or trailing slash and no `.` or `..` component; the root directory is the empty string.
 */
export interface EntryCommon {
  readonly path: RawText;
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  /** Full names (`security.selinux`) to values in the form a Linux getxattr call returns. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

export interface FileEntry extends EntryCommon {
  readonly type: 'file';
  readonly content: ByteSource;
}
export interface DirectoryEntry extends EntryCommon {
  readonly type: 'dir';
}
export interface SymlinkEntry extends EntryCommon {
  readonly type: 'symlink';
  readonly target: RawText;
}
export interface DeviceEntry extends EntryCommon {
  readonly type: 'char' | 'block';
  readonly major: number;
  readonly minor: number;
}
export interface PipeEntry extends EntryCommon {
  readonly type: 'fifo' | 'socket';
}
/** A further name of an entry that stands earlier in the list; the other fields repeat that entry's. */
export interface HardlinkEntry extends EntryCommon {
  readonly type: 'hardlink';
  readonly linkPath: RawText;
}

export type TreeEntry = FileEntry | DirectoryEntry | SymlinkEntry | DeviceEntry | PipeEntry | HardlinkEntry;

export const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

/** The parent's path; of a top-level entry the root, the empty string. */
export function parentPath(path: RawText): RawText {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}

export function baseName(path: RawText): RawText {
  return path.slice(path.lastIndexOf('/') + 1);
}
