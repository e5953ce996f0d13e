/**
 * Extended attributes in pax records: `SCHILY.xattr.NAME` with the raw value (GNU tar, bsdtar, container tools),
 * `LIBARCHIVE.xattr.NAME` with name URL-encoded and value in base64, `RHT.security.selinux` with the label as text.
 */
import { equalBytes } from '../bytes/compare.ts';
import {
  rawFromBytes,
  rawFromUtf8,
  rawToBytes,
  showRaw,
  utf8FromBytes,
  type RawText,
} from '../bytes/text.ts';
import { NO_XATTRS } from '../tree/entry.ts';
import { tarError } from './header.ts';
import type { PaxRecord } from './pax.ts';

const SCHILY_PREFIX = 'SCHILY.xattr.';
const LIBARCHIVE_PREFIX = 'LIBARCHIVE.xattr.';
const SELINUX_KEY = 'RHT.security.selinux';
const SELINUX_NAME = 'security.selinux';
const ACL_PREFIX = 'SCHILY.acl.';

/** Linux: XATTR_NAME_MAX and XATTR_SIZE_MAX. */
const NAME_LIMIT_BYTES = 255;
const VALUE_LIMIT_BYTES = 65_536;

/**
 * @param records of one member, each key once
 * @returns full names to values in the form getxattr returns
 * @throws CvmError format TAR_XATTR (malformed, or given twice with different values) | TAR_ACL
 */
export function readXattrs(records: Iterable<PaxRecord>, at: number): ReadonlyMap<string, Uint8Array> {
  let found: Map<string, Uint8Array> | undefined;
  for (const { key, value } of records) {
    const attribute = oneXattr(key, value, at);
    if (attribute === undefined) continue;
    const { name } = attribute;
    const earlier = found?.get(name);
    const isSound = name !== '' && name.length <= NAME_LIMIT_BYTES && !name.includes('\0');
    if (
      !isSound ||
      attribute.value.length > VALUE_LIMIT_BYTES ||
      (earlier !== undefined && !equalBytes(earlier, attribute.value))
    ) {
      throw xattrError(isSound ? 'an extended attribute is too large or given twice' : undefined, key, at);
    }
    found ??= new Map();
    found.set(name, attribute.value);
  }
  return found ?? NO_XATTRS;
}

function oneXattr(
  key: RawText,
  value: Uint8Array,
  at: number,
): { readonly name: string; readonly value: Uint8Array } | undefined {
  if (key.startsWith(SCHILY_PREFIX)) {
    // GNU tar escapes the two characters that its own record syntax needs.
    const name = key.slice(SCHILY_PREFIX.length).replace(/%3D|%25/g, (code) => (code === '%25' ? '%' : '='));
    return { name: nameText(name, key, at), value };
  }
  if (key.startsWith(LIBARCHIVE_PREFIX)) {
    const name = key
      .slice(LIBARCHIVE_PREFIX.length)
      .replace(/%([0-9a-fA-F]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
    return { name: nameText(name, key, at), value: base64(rawFromBytes(value), key, at) };
  }
  if (key === SELINUX_KEY) {
    // The text alone; in an inode a NUL ends it.
    const isEnded = value.at(-1) === 0;
    return { name: SELINUX_NAME, value: isEnded ? value : new Uint8Array([...value, 0]) };
  }
  if (key.startsWith(ACL_PREFIX)) {
    // Names of users in it have no meaning here, and without it files would be open to others than before.
    throw tarError(
      'TAR_ACL',
      'a member has an access control list as text',
      at,
      [['key', showRaw(key)]],
      "make the archive with --xattrs --xattrs-include='*' and without --acls: lists are attributes then, by number",
    );
  }
  return undefined;
}

function nameText(name: RawText, key: RawText, at: number): string {
  try {
    return utf8FromBytes(rawToBytes(name));
  } catch {
    throw xattrError('the name of an extended attribute is not UTF-8', key, at);
  }
}

/** Strict: padding may be absent, as libarchive leaves it, but nothing else. */
function base64(text: RawText, key: RawText, at: number): Uint8Array {
  const bytes = new Uint8Array(Buffer.from(text, 'base64'));
  const canonical = Buffer.from(bytes).toString('base64');
  if (text === canonical || text === canonical.replace(/=+$/, '')) return bytes;
  throw xattrError('the value of an extended attribute is not base64', key, at);
}

function xattrError(message: string | undefined, key: RawText, at: number): ReturnType<typeof tarError> {
  return tarError('TAR_XATTR', message ?? 'the name of an extended attribute is impossible', at, [
    ['key', showRaw(key.slice(0, 300))],
  ]);
}

/** The record's key for an attribute, escaped as GNU tar does. */
export function xattrKey(name: string): RawText {
  return SCHILY_PREFIX + rawFromUtf8(name).replace(/[%=]/g, (unit) => (unit === '%' ? '%25' : '%3D'));
}
