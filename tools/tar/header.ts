/**
 * The 512-byte tar header. Offset/length in bytes (POSIX.1-2024 pax, "ustar Interchange Format"; GNU tar manual,
 * "Basic Tar Format"):
 *
 *     0/100 name       100/8 mode       108/8 uid        116/8 gid       124/12 size     136/12 mtime
 *   148/8   checksum   156/1 type       157/100 link     257/6 magic     263/2 version   265/32 user
 *   297/32  group      329/8 devmajor   337/8 devminor   345/155 prefix (POSIX magic only)
 *
 * Numbers are octal text ended by NUL or space, or, with bit 7 of the first byte set, big-endian two's complement in the
 * remaining bits (GNU). The checksum is the unsigned sum of the header with its own field as spaces.
 */
import { isZero } from '../bytes/compare.ts';
import { rawFromBytes, rawToBytes, showRaw, type RawText } from '../bytes/text.ts';
import { bug, formatError, type CvmError, type Fact } from '../errors.ts';

export const BLOCK_BYTES = 512;

/** What 11 octal digits hold, plus one: sizes and times from here on are written base-256 or as pax records. */
export const OCTAL_11_LIMIT = 8 ** 11;
/** The same for the 7 digits of ids and device numbers. */
export const OCTAL_7_LIMIT = 8 ** 7;

const NAME = { at: 0, length: 100 } as const;
const MODE = { at: 100, length: 8 } as const;
const UID = { at: 108, length: 8 } as const;
const GID = { at: 116, length: 8 } as const;
const SIZE = { at: 124, length: 12 } as const;
const MTIME = { at: 136, length: 12 } as const;
const CHECKSUM = { at: 148, length: 8 } as const;
const TYPE_AT = 156;
const LINK = { at: 157, length: 100 } as const;
const MAGIC_AT = 257;
const MAJOR = { at: 329, length: 8 } as const;
const MINOR = { at: 337, length: 8 } as const;
const PREFIX = { at: 345, length: 155 } as const;

const POSIX_MAGIC = 'ustar\0';
const GNU_MAGIC = 'ustar  \0';

/** What a name field can hold. */
export const NAME_BYTES = NAME.length;

/** A header's fields as they stand; pax records and GNU long names come on top. */
export interface TarHeader {
  readonly dialect: 'posix' | 'gnu' | 'v7';
  /** One character: '0' to '7', 'x', 'g', 'L', 'K', 'S' and others; NUL of old archives is '0'. */
  readonly typeFlag: string;
  readonly name: RawText;
  readonly linkName: RawText;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes stored after the header, before padding. */
  readonly sizeBytes: number;
  readonly mtimeSec: number;
  readonly major: number;
  readonly minor: number;
}

/** @internal A format error of this folder, with the place among its facts. */
export function tarError(
  code: string,
  message: string,
  at: number,
  facts: readonly Fact[] = [],
  mend = 'make or fetch the archive again; if it lists well in other programs, please report it',
): CvmError {
  return formatError(code, message, { facts: [['at byte', at], ...facts], mend });
}

/** @throws CvmError format TAR_CHECKSUM | TAR_NUMBER | TAR_RANGE, `at` as offset */
export function readHeader(block: Uint8Array, at: number): TarHeader {
  // Once as text: cutting it for the numbers is far cheaper than making a string of every field.
  const text = rawFromBytes(block);
  checkChecksum(block, text, at);
  const number = ({ at: from, length }: Field, what: string): number =>
    parseNumber(text.slice(from, from + length), at, what);
  const dialect = text.startsWith(GNU_MAGIC, MAGIC_AT)
    ? 'gnu'
    : text.startsWith(POSIX_MAGIC, MAGIC_AT)
      ? 'posix'
      : 'v7';
  const name = textField(block, text, NAME);
  const prefix = dialect === 'posix' ? textField(block, text, PREFIX) : '';
  const flag = text.charAt(TYPE_AT);
  const hasDevice = dialect !== 'v7' && (flag === '3' || flag === '4');
  return {
    dialect,
    typeFlag: flag === '\0' ? '0' : flag,
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: textField(block, text, LINK),
    mode: number(MODE, 'mode'),
    uid: unsigned32(number(UID, 'uid'), at, 'uid'),
    gid: unsigned32(number(GID, 'gid'), at, 'gid'),
    sizeBytes: unsigned(number(SIZE, 'size'), at, 'size'),
    mtimeSec: number(MTIME, 'mtime'),
    major: hasDevice ? unsigned32(number(MAJOR, 'devmajor'), at, 'devmajor') : 0,
    minor: hasDevice ? unsigned32(number(MINOR, 'devminor'), at, 'devminor') : 0,
  };
}

/** Whether bytes begin with a tar header whose checksum holds. */
export function isTarHeader(block: Uint8Array): boolean {
  return (
    block.length === BLOCK_BYTES &&
    rawFromBytes(block.subarray(MAGIC_AT, MAGIC_AT + 5)) === 'ustar' &&
    octal(rawFromBytes(block.subarray(CHECKSUM.at, CHECKSUM.at + CHECKSUM.length))) === checksumOf(block)
  );
}

function checkChecksum(block: Uint8Array, text: RawText, at: number): void {
  const field = text.slice(CHECKSUM.at, CHECKSUM.at + CHECKSUM.length);
  const expected = octal(field);
  const found = checksumOf(block);
  if (expected === found) return;
  throw tarError('TAR_CHECKSUM', 'a header does not match its checksum', at, [
    ['field', showRaw(field)],
    ['sum', found],
  ]);
}

function checksumOf(block: Uint8Array): number {
  let sum = CHECKSUM.length * 0x20;
  for (let i = 0; i < CHECKSUM.at; i++) sum += block[i] as number;
  for (let i = CHECKSUM.at + CHECKSUM.length; i < BLOCK_BYTES; i++) sum += block[i] as number;
  return sum;
}

interface Field {
  readonly at: number;
  readonly length: number;
}

/** Up to the first NUL, or the whole field. From the bytes: a part of the text would keep all of it in memory. */
function textField(block: Uint8Array, text: RawText, { at, length }: Field): RawText {
  const nul = text.indexOf('\0', at);
  const end = nul < 0 ? at + length : Math.min(nul, at + length);
  return end === at ? '' : rawFromBytes(block.subarray(at, end));
}

/** Octal digits among spaces and NULs; undefined for anything else. All blank is zero, as old writers leave it. */
function octal(text: RawText): number | undefined {
  const match = /^ *([0-7]*)[ \0]*$/.exec(text);
  return match === null ? undefined : match[1] === '' ? 0 : Number.parseInt(match[1] as string, 8);
}

/** @throws CvmError format TAR_NUMBER */
export function readNumber(field: Uint8Array, at: number, what: string): number {
  return parseNumber(rawFromBytes(field), at, what);
}

function parseNumber(field: RawText, at: number, what: string): number {
  const value = (field.charCodeAt(0) & 0x80) === 0 ? octal(field) : base256(rawToBytes(field));
  if (value !== undefined && Number.isSafeInteger(value)) return value;
  throw tarError('TAR_NUMBER', `a header's ${what} is not a number, or an impossible one`, at, [
    ['field', showRaw(field)],
  ]);
}

/** Big-endian two's complement with the sign in bit 6 of the first byte, whose bit 7 is the mark. */
function base256(field: Uint8Array): number {
  const isNegative = ((field[0] as number) & 0x40) !== 0;
  let value = 0n;
  field.forEach((byte, i) => {
    value = (value << 8n) | BigInt(i === 0 ? byte & 0x7f : byte);
  });
  if (isNegative) value -= 1n << BigInt(8 * field.length - 1);
  return Number(value);
}

/** @throws CvmError format TAR_RANGE */
export function unsigned(value: number, at: number, what: string): number {
  if (value >= 0) return value;
  throw tarError('TAR_RANGE', `a member's ${what} is negative`, at, [['found', value]]);
}

/** @throws CvmError format TAR_RANGE */
export function unsigned32(value: number, at: number, what: string): number {
  if (value >= 0 && value <= 0xffff_ffff) return value;
  throw tarError('TAR_RANGE', `a member's ${what} is not an unsigned 32-bit number`, at, [['found', value]]);
}

/** What {@link writeHeader} puts down. Numbers that do not fit octal are written base-256. */
export interface HeaderFields {
  readonly dialect: 'posix' | 'gnu';
  readonly typeFlag: string;
  /** Cut at {@link NAME_BYTES}: the whole name then stands in a pax record. */
  readonly name: RawText;
  readonly linkName?: RawText;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSec: number;
  /** Absent: the fields stay NUL, as GNU tar leaves them in GNU archives and in pax headers. */
  readonly device?: { readonly major: number; readonly minor: number };
}

/** A header block with everything but its checksum, which {@link sealHeader} adds. */
export function writeHeader(fields: HeaderFields): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  block.set(rawToBytes(fields.name.slice(0, NAME.length)), NAME.at);
  writeNumber(block, MODE.at, MODE.length, fields.mode);
  writeNumber(block, UID.at, UID.length, fields.uid);
  writeNumber(block, GID.at, GID.length, fields.gid);
  writeNumber(block, SIZE.at, SIZE.length, fields.sizeBytes);
  writeNumber(block, MTIME.at, MTIME.length, fields.mtimeSec);
  block[TYPE_AT] = fields.typeFlag.charCodeAt(0);
  block.set(rawToBytes((fields.linkName ?? '').slice(0, LINK.length)), LINK.at);
  block.set(rawToBytes(fields.dialect === 'gnu' ? GNU_MAGIC : `${POSIX_MAGIC}00`), MAGIC_AT);
  if (fields.device !== undefined) {
    writeNumber(block, MAJOR.at, MAJOR.length, fields.device.major);
    writeNumber(block, MINOR.at, MINOR.length, fields.device.minor);
  }
  return block;
}

/** Writes the checksum: six octal digits, NUL, space. */
export function sealHeader(block: Uint8Array): Uint8Array {
  const digits = checksumOf(block).toString(8).padStart(6, '0');
  block.set(rawToBytes(`${digits}\0 `), CHECKSUM.at);
  return block;
}

/** Octal digits to fill the field and a NUL; what does not fit is written base-256. `value` is at least 0. */
export function writeNumber(block: Uint8Array, at: number, length: number, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw bug(`${value} cannot stand in a tar header`);
  const digits = value.toString(8);
  if (digits.length < length) {
    block.set(rawToBytes(`${digits.padStart(length - 1, '0')}\0`), at);
    return;
  }
  let rest = value;
  for (let i = length - 1; i > 0; i--) {
    block[at + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  block[at] = 0x80;
}

/** Two zero blocks end an archive. */
export const END_OF_ARCHIVE_BYTES = 2 * BLOCK_BYTES;

export function isEndBlock(block: Uint8Array): boolean {
  return isZero(block);
}

/** Bytes of zeros between a content's end and the next header. */
export function paddingAfter(sizeBytes: number): number {
  return (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
}
