import { digestBytes, digestSource } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { rawToBytes, showRaw, type RawText } from '../bytes/text.ts';
import type { FirstEntry } from './inode-entry.ts';
import type { InodeType } from './layout.ts';
import type { Ext4Node } from './tree-walk.ts';

/** A value of one JSON line; keys keep their order. */
type Json = string | number | null | { readonly [key: string]: Json };

/**
 * One entry as a JSON object on one line: `path` (absolute), `type`, `mode` (four octal digits), `uid`, `gid`,
 * `size`, `sha256` (of a file's content or a link's target, else null), `nlink`, `mtime`, `mtimeNsec`, `inode`; and
 * where they apply `target`, `major`, `minor`, `xattrs` (name to base64), `hardlinkTo`. Names that are not UTF-8
 * stand with replacement characters, and once more as `pathBase64`, `targetBase64`, `hardlinkToBase64`.
 *
 * Reads the whole content of files.
 */
export function jsonLine(node: Ext4Node): string {
  const { entry, first } = node;
  const link = entry.type === 'hardlink' ? entry : undefined;
  return formatJson({
    ...rawFields('path', `/${entry.path}`),
    type: first.type,
    mode: octal(first.mode),
    uid: first.uid,
    gid: first.gid,
    size: node.sizeBytes,
    sha256: contentDigest(first),
    nlink: node.links,
    mtime: first.mtimeSec,
    mtimeNsec: first.mtimeNsec,
    inode: node.inode,
    ...(first.type === 'symlink' ? rawFields('target', first.target) : {}),
    ...(first.type === 'char' || first.type === 'block' ? { major: first.major, minor: first.minor } : {}),
    ...(first.xattrs.size > 0 ? { xattrs: xattrFields(first) } : {}),
    ...(link === undefined ? {} : rawFields('hardlinkTo', `/${link.linkPath}`)),
  });
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

function contentDigest(entry: FirstEntry): string | null {
  if (entry.type === 'file') return bytesToHex(digestSource('sha256', entry.content));
  if (entry.type === 'symlink') return bytesToHex(digestBytes('sha256', rawToBytes(entry.target)));
  return null;
}

function rawFields(key: string, raw: RawText): { readonly [key: string]: string } {
  const bytes = Buffer.from(rawToBytes(raw));
  const text = bytes.toString('utf8');
  const exact = Buffer.from(text, 'utf8').equals(bytes);
  return exact ? { [key]: text } : { [key]: text, [`${key}Base64`]: bytes.toString('base64') };
}

/** In byte order of their names: the order on disk carries no meaning. */
function xattrFields(entry: FirstEntry): Json {
  const sorted = [...entry.xattrs].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return Object.fromEntries(sorted.map(([name, value]) => [name, Buffer.from(value).toString('base64')]));
}

function formatJson(value: Json): string {
  if (value === null || typeof value !== 'object') return quote(JSON.stringify(value));
  const fields = Object.entries(value).map(
    ([key, field]) => `${quote(JSON.stringify(key))}: ${formatJson(field)}`,
  );
  return `{${fields.join(', ')}}`;
}

/** Characters that would steer a terminal or hide text stay escaped, though JSON allows them as they are. */
function quote(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g,
    (units) => Array.from({ length: units.length }, (_, i) => unitEscape(units.charCodeAt(i))).join(''),
  );
}

function unitEscape(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, '0')}`;
}

const TYPE_LETTERS: Readonly<Record<InodeType, string>> = {
  file: '-',
  dir: 'd',
  symlink: 'l',
  char: 'c',
  block: 'b',
  fifo: 'p',
  socket: 's',
};

/**
 * One entry as a line for people, in the manner of `ls -l`: permissions, links, owner, group, size or device
 * numbers, time (UTC), path. Outside text is made safe to show.
 */
export function textLine(node: Ext4Node): string {
  const { entry, first } = node;
  const size =
    first.type === 'char' || first.type === 'block' ? `${first.major},${first.minor}` : `${node.sizeBytes}`;
  const arrow =
    first.type === 'symlink'
      ? ` -> ${showRaw(first.target)}`
      : entry.type === 'hardlink'
        ? ` = /${showRaw(entry.linkPath)}`
        : '';
  const columns = [
    `${TYPE_LETTERS[first.type]}${permissionLetters(first.mode)}`,
    `${node.links}`.padStart(3),
    `${first.uid}`.padStart(5),
    `${first.gid}`.padStart(5),
    size.padStart(11),
    utcTime(first.mtimeSec),
  ];
  return `${columns.join(' ')} /${showRaw(entry.path)}${arrow}`;
}

function permissionLetters(mode: number): string {
  const triple = (shift: number, special: number, letter: string): string => {
    const bits = (mode >> shift) & 7;
    const execute = (bits & 1) !== 0;
    const isSpecial = (mode & special) !== 0;
    const last = isSpecial ? (execute ? letter : letter.toUpperCase()) : execute ? 'x' : '-';
    return `${(bits & 4) !== 0 ? 'r' : '-'}${(bits & 2) !== 0 ? 'w' : '-'}${last}`;
  };
  return triple(6, 0o4000, 's') + triple(3, 0o2000, 's') + triple(0, 0o1000, 't');
}

/** ext4 times end in the year 2446: inside what a Date holds. */
function utcTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ');
}
