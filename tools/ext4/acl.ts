import { readU16, readU32, writeU16, writeU32 } from '../bytes/little-endian.ts';
import { formatError, type CvmError } from '../errors.ts';

/*
 * POSIX ACLs have two binary forms. A getxattr call (and so tar) gives u32 version 2, then per entry u16 tag,
 * u16 permissions, u32 id. On disk ext4 keeps u32 version 1, then u16 tag, u16 permissions, and the id for named
 * users and groups only. Source: Linux fs/ext4/acl.h and include/uapi/linux/posix_acl_xattr.h.
 */

const HEADER_BYTES = 4;
const DISK_VERSION = 1;
const LINUX_VERSION = 2;
const SHORT_ENTRY_BYTES = 4;
const LONG_ENTRY_BYTES = 8;
const NO_ID = 0xffffffff;

const TAG_USER = 0x02;
const TAG_GROUP = 0x08;
/** Owner, named user, owning group, named group, mask, others. */
const TAGS: ReadonlySet<number> = new Set([0x01, TAG_USER, 0x04, TAG_GROUP, 0x10, 0x20]);

interface AclEntry {
  readonly tag: number;
  readonly permissions: number;
  readonly id: number;
}

function hasId(tag: number): boolean {
  return tag === TAG_USER || tag === TAG_GROUP;
}

function aclError(what: string, value: number | string): CvmError {
  return formatError('ACL_INVALID', 'a POSIX access control list is malformed', { facts: [[what, value]] });
}

function checkVersion(bytes: Uint8Array, version: number): void {
  if (bytes.length < HEADER_BYTES) throw aclError('length', `${bytes.length} bytes`);
  const found = readU32(bytes, 0);
  if (found !== version) throw aclError('version', `${found}, not ${version}`);
}

function checkTag(tag: number): number {
  if (!TAGS.has(tag)) throw aclError('tag', `0x${tag.toString(16)}`);
  return tag;
}

/** The value on disk to what getxattr returns. @throws CvmError format ACL_INVALID */
export function aclFromDisk(bytes: Uint8Array): Uint8Array {
  checkVersion(bytes, DISK_VERSION);
  const entries: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < bytes.length;) {
    if (at + SHORT_ENTRY_BYTES > bytes.length) throw aclError('length', `${bytes.length} bytes`);
    const tag = checkTag(readU16(bytes, at));
    const length = hasId(tag) ? LONG_ENTRY_BYTES : SHORT_ENTRY_BYTES;
    if (at + length > bytes.length) throw aclError('length', `${bytes.length} bytes`);
    const id = hasId(tag) ? readU32(bytes, at + 4) : NO_ID;
    entries.push({ tag, permissions: readU16(bytes, at + 2), id });
    at += length;
  }
  const result = new Uint8Array(HEADER_BYTES + LONG_ENTRY_BYTES * entries.length);
  writeU32(result, 0, LINUX_VERSION);
  entries.forEach((entry, i) => {
    writeEntry(result, HEADER_BYTES + LONG_ENTRY_BYTES * i, entry);
    writeU32(result, HEADER_BYTES + LONG_ENTRY_BYTES * i + 4, entry.id);
  });
  return result;
}

/** What getxattr returns to the value on disk. @throws CvmError format ACL_INVALID */
export function aclToDisk(bytes: Uint8Array): Uint8Array {
  checkVersion(bytes, LINUX_VERSION);
  if ((bytes.length - HEADER_BYTES) % LONG_ENTRY_BYTES !== 0)
    throw aclError('length', `${bytes.length} bytes`);
  const entries: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < bytes.length; at += LONG_ENTRY_BYTES) {
    const tag = checkTag(readU16(bytes, at));
    entries.push({ tag, permissions: readU16(bytes, at + 2), id: readU32(bytes, at + 4) });
  }
  const named = entries.filter((entry) => hasId(entry.tag)).length;
  const result = new Uint8Array(
    HEADER_BYTES + SHORT_ENTRY_BYTES * entries.length + (LONG_ENTRY_BYTES - SHORT_ENTRY_BYTES) * named,
  );
  writeU32(result, 0, DISK_VERSION);
  let at = HEADER_BYTES;
  for (const entry of entries) {
    writeEntry(result, at, entry);
    at += SHORT_ENTRY_BYTES;
    if (!hasId(entry.tag)) continue;
    writeU32(result, at, entry.id);
    at += LONG_ENTRY_BYTES - SHORT_ENTRY_BYTES;
  }
  return result;
}

function writeEntry(bytes: Uint8Array, at: number, entry: AclEntry): void {
  writeU16(bytes, at, entry.tag);
  writeU16(bytes, at + 2, entry.permissions);
}
