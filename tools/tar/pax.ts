/**
 * Records of pax extended headers: `LENGTH SP KEY=VALUE LF`, LENGTH being the decimal number of bytes of the whole record,
 * its own digits included. Values are raw bytes and may hold `=`, LF and NUL, so records are cut by length alone
 * (POSIX.1-2024 pax, "pax Extended Header").
 */
import { concatBytes } from '../bytes/compare.ts';
import { rawFromBytes, rawToBytes, showRaw, type RawText } from '../bytes/text.ts';
import { tarError } from './header.ts';

export interface PaxRecord {
  readonly key: RawText;
  /** Empty: the key's earlier value is withdrawn. */
  readonly value: Uint8Array;
}

/** @throws CvmError format TAR_PAX_RECORD */
export function readPaxRecords(bytes: Uint8Array, at: number): PaxRecord[] {
  const records: PaxRecord[] = [];
  for (let start = 0; start < bytes.length;) {
    const prefix = rawFromBytes(bytes.subarray(start, start + 20));
    const digits = /^([1-9][0-9]{0,15}) /.exec(prefix)?.[1];
    const end = start + Number(digits ?? Number.NaN);
    const equals = digits === undefined ? -1 : bytes.indexOf(0x3d, start + digits.length + 1);
    if (
      digits === undefined ||
      end > bytes.length ||
      bytes[end - 1] !== 0x0a ||
      equals < 0 ||
      equals >= end - 1 ||
      equals === start + digits.length + 1
    ) {
      throw tarError('TAR_PAX_RECORD', 'a pax record is not LENGTH KEY=VALUE and a line feed', at + start, [
        ['begins', showRaw(prefix)],
      ]);
    }
    const key = rawFromBytes(bytes.subarray(start + digits.length + 1, equals));
    records.push({ key, value: new Uint8Array(bytes.subarray(equals + 1, end - 1)) });
    start = end;
  }
  return records;
}

/** Records in byte order of their keys. */
export function writePaxRecords(records: ReadonlyMap<RawText, Uint8Array>): Uint8Array {
  const sorted = [...records].sort(([a], [b]) => (a < b ? -1 : 1));
  return concatBytes(...sorted.map(([key, value]) => writePaxRecord(key, value)));
}

function writePaxRecord(key: RawText, value: Uint8Array): Uint8Array {
  const rest = key.length + value.length + ' =\n'.length;
  let length = rest;
  // Counting its own digits can add one; then it is stable.
  while (rest + `${length}`.length !== length) length = rest + `${length}`.length;
  return concatBytes(rawToBytes(`${length} ${key}=`), value, rawToBytes('\n'));
}

/**
 * A decimal number with an optional sign and fraction, as times are written.
 * @returns whole seconds, rounded down, and nanoseconds from there
 * @throws CvmError format TAR_PAX_VALUE
 */
export function paxTime(text: RawText, key: RawText, at: number): { sec: number; nsec: number } {
  const match = /^(-?)([0-9]{1,16})(?:\.([0-9]{0,30}))?$/.exec(text);
  if (match === null) throw paxValueError(key, text, at);
  const [, sign = '', whole = '', fraction = ''] = match;
  const sec = Number(whole);
  const nsec = Number(fraction.padEnd(9, '0').slice(0, 9));
  if (!Number.isSafeInteger(sec)) throw paxValueError(key, text, at);
  if (sign === '') return { sec, nsec };
  return nsec === 0 ? { sec: 0 - sec, nsec: 0 } : { sec: -sec - 1, nsec: 1e9 - nsec };
}

/** What {@link paxTime} reads: a decimal number without zeros at the end of its fraction, as GNU tar writes it. */
export function paxTimeText(sec: number, nsec: number): string {
  const isBefore = sec < 0 && nsec > 0;
  const whole = isBefore ? -(sec + 1) : Math.abs(sec);
  const fraction = (isBefore ? 1e9 - nsec : nsec).toString().padStart(9, '0').replace(/0+$/, '');
  return `${sec < 0 ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

/** A decimal number. @throws CvmError format TAR_PAX_VALUE */
export function paxInteger(text: RawText, key: RawText, at: number, max = Number.MAX_SAFE_INTEGER): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value) && value <= max) return value;
  throw paxValueError(key, text, at);
}

export function paxValueError(key: RawText, value: RawText, at: number): ReturnType<typeof tarError> {
  return tarError('TAR_PAX_VALUE', 'a pax record has an impossible value', at, [
    ['key', showRaw(key)],
    ['value', showRaw(value.slice(0, 100))],
  ]);
}
