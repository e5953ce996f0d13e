import { formatError } from '../errors.ts';

/**
 * A byte string kept as text: every UTF-16 unit is one byte (0..255). File names on disk are bytes, not text;
 * in this form they sort bytewise with `<`, serve as map keys, and lose nothing. Never print one: see
 * {@link showRaw}.
 */
export type RawText = string;

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function rawFromBytes(bytes: Uint8Array): RawText {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

export function rawToBytes(raw: RawText): Uint8Array {
  return new Uint8Array(Buffer.from(raw, 'latin1'));
}

export function rawFromUtf8(text: string): RawText {
  return Buffer.from(text, 'utf8').toString('latin1');
}

export function utf8Bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** @throws CvmError format TEXT_NOT_UTF8 */
export function utf8FromBytes(bytes: Uint8Array, what = 'text'): string {
  try {
    return strictUtf8.decode(bytes);
  } catch (cause) {
    throw formatError('TEXT_NOT_UTF8', `${what} is not valid UTF-8`, { cause });
  }
}

/**
 * Outside text made safe to show on one line: control characters (C0, C1, DEL), line and paragraph separators,
 * bidirectional controls, zero-width characters and lone surrogates become visible codes. The rest stays.
 */
export function showText(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Cs}|[\u{e0000}-\u{e007f}]/gu,
    (unit) => `\\u{${(unit.codePointAt(0) as number).toString(16)}}`,
  );
}

/** A raw byte string made safe to show: UTF-8 where it is that, else bytes above 0x7e as \xNN. */
export function showRaw(raw: RawText): string {
  try {
    return showText(utf8FromBytes(rawToBytes(raw)));
  } catch {
    return showText(raw.replace(/[\x80-\xff]/g, (unit) => `\\x${unit.charCodeAt(0).toString(16)}`));
  }
}

/**
 * JSON that is safe to print: what a terminal would obey or hide (C1, DEL, bidirectional, zero-width and tag characters, line
 * separators) stands as \uXXXX. The value is the same; `JSON.stringify` escapes C0 alone.
 *
 * @param indent as of `JSON.stringify`
 */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(
    /[\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g,
    // Tag characters (U+E0000 to U+E007F) are two UTF-16 units, and JSON escapes units.
    (hidden) =>
      hidden
        .split('')
        .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
        .join(''),
  );
}
