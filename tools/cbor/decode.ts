import { utf8FromBytes } from '../bytes/text.ts';
import type { CvmError, Fact } from '../errors.ts';
import { formatError } from '../errors.ts';
import { MAJOR, SELF_DESCRIBE_TAG } from './value.ts';
import type { CborValue } from './value.ts';

/** Nothing of ours comes near it; a larger document is refused before it is looked at. */
export const CBOR_LIMIT_BYTES = 64 << 20;
/** Arrays and maps inside each other. The hash tree of a certificate stays below 40. */
export const CBOR_LIMIT_DEPTH = 64;
/** Data items in one document: bounds the memory that a document of one-byte items can take. */
export const CBOR_LIMIT_ITEMS = 1 << 20;

/**
 * Decodes one CBOR document strictly, so that a value has exactly one encoding up to the order of map keys and the
 * leading tag: what two readers may take differently is refused.
 *
 * Tag 55799 may stand once, at the very front. Refused: indefinite lengths, integers and lengths that are longer than they need
 * be, duplicate keys, keys that are not text, invalid UTF-8, other tags, floating point and other simple values,
 * bytes left over, bytes missing, more than {@link CBOR_LIMIT_DEPTH} levels, {@link CBOR_LIMIT_BYTES} bytes or
 * {@link CBOR_LIMIT_ITEMS} items. Every byte string is a copy that owns its whole buffer: libraries that look at
 * `.buffer` read the right bytes, and a change of the input changes nothing later.
 *
 * Source: RFC 8949 sections 3 and 4.2.1 (without the demand that keys be sorted, which certificates do not meet).
 * @param what names the document in errors
 * @throws CvmError format CBOR_SIZE | CBOR_TRUNCATED | CBOR_TRAILING | CBOR_NON_MINIMAL | CBOR_INDEFINITE |
 *   CBOR_DUPLICATE_KEY | CBOR_KEY_TYPE | CBOR_UTF8 | CBOR_TAG | CBOR_UNSUPPORTED | CBOR_DEPTH | CBOR_ITEMS, with the
 *   byte offset as `at`
 */
export function decodeCbor(bytes: Uint8Array, what = 'CBOR document'): CborValue {
  const reader = new Reader(bytes, what);
  if (bytes.length > CBOR_LIMIT_BYTES) {
    throw reader.error('CBOR_SIZE', 'is larger than any that is read', 0, [
      ['size', `${bytes.length} bytes`],
      ['limit', `${CBOR_LIMIT_BYTES} bytes`],
    ]);
  }
  const value = reader.document();
  if (reader.at !== bytes.length) {
    throw reader.error('CBOR_TRAILING', 'has bytes after its end', reader.at, [
      ['left over', `${bytes.length - reader.at} bytes`],
    ]);
  }
  return value;
}

class Reader {
  at = 0;
  #items = 0;
  readonly #bytes: Uint8Array;
  readonly #what: string;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  error(code: string, problem: string, at: number, facts: readonly Fact[] = []): CvmError {
    return formatError(code, `the ${this.#what} ${problem}`, {
      facts: [['at', `byte ${at}`], ...facts],
      mend: 'the file is damaged or was not written by a deterministic encoder: fetch it again',
    });
  }

  document(): CborValue {
    if (this.#bytes.length > 0 && (this.#bytes[0] as number) >> 5 === MAJOR.tag) {
      const head = this.#head();
      if (head.argument !== SELF_DESCRIBE_TAG) throw this.#badTag(0, head.argument);
    }
    return this.#item(0);
  }

  #item(depth: number): CborValue {
    const start = this.at;
    if (++this.#items > CBOR_LIMIT_ITEMS) {
      throw this.error('CBOR_ITEMS', `holds more than ${CBOR_LIMIT_ITEMS} items`, start);
    }
    const { major, argument } = this.#head();
    switch (major) {
      case MAJOR.unsigned:
        return argument;
      case MAJOR.negative:
        return -1n - argument;
      case MAJOR.bytes:
        // Not .slice(): of a Node Buffer that is a view.
        return new Uint8Array(this.#take(argument, start));
      case MAJOR.text:
        return this.#text(argument, start);
      case MAJOR.array:
        return this.#array(argument, start, depth + 1);
      case MAJOR.map:
        return this.#map(argument, start, depth + 1);
      case MAJOR.tag:
        throw this.#badTag(start, argument);
      default:
        return this.#simple(argument, start);
    }
  }

  /** An item's first byte and the number that belongs to it: RFC 8949 section 3. */
  #head(): { readonly major: number; readonly argument: bigint } {
    const start = this.at;
    const first = this.#take(1n, start)[0] as number;
    const major = first >> 5;
    const info = first & 31;
    if (info < 24) return { major, argument: BigInt(info) };
    if (info === 31) throw this.error('CBOR_INDEFINITE', 'uses an indefinite length or a break', start);
    if (info > 27)
      throw this.error('CBOR_UNSUPPORTED', 'uses a reserved item head', start, [['byte', first]]);
    if (major === MAJOR.simple) {
      throw this.error(
        'CBOR_UNSUPPORTED',
        'holds a floating point number or an unassigned simple value',
        start,
      );
    }
    const width = 1 << (info - 24);
    let argument = 0n;
    for (const byte of this.#take(BigInt(width), start)) argument = (argument << 8n) | BigInt(byte);
    const leastForWidth = width === 1 ? 24n : 1n << BigInt(4 * width);
    if (argument < leastForWidth) {
      throw this.error('CBOR_NON_MINIMAL', 'writes a number in more bytes than it needs', start, [
        ['value', argument],
        ['written in', `${width} bytes`],
      ]);
    }
    return { major, argument };
  }

  #take(count: bigint, start: number): Uint8Array {
    const left = this.#bytes.length - this.at;
    if (count > BigInt(left)) {
      throw this.error('CBOR_TRUNCATED', 'ends inside an item', start, [
        ['needed', `${count} bytes`],
        ['left', `${left} bytes`],
      ]);
    }
    const taken = this.#bytes.subarray(this.at, this.at + Number(count));
    this.at += taken.length;
    return taken;
  }

  #text(length: bigint, start: number): string {
    const bytes = this.#take(length, start);
    try {
      return utf8FromBytes(bytes);
    } catch {
      throw this.error('CBOR_UTF8', 'holds a text string that is not valid UTF-8', start);
    }
  }

  #array(length: bigint, start: number, depth: number): CborValue[] {
    this.#enter(length, 1n, start, depth);
    const items: CborValue[] = [];
    for (let i = 0n; i < length; i++) items.push(this.#item(depth));
    return items;
  }

  #map(length: bigint, start: number, depth: number): Map<string, CborValue> {
    this.#enter(length, 2n, start, depth);
    const map = new Map<string, CborValue>();
    for (let i = 0n; i < length; i++) {
      const keyAt = this.at;
      const key = this.#item(depth);
      if (typeof key !== 'string') {
        throw this.error('CBOR_KEY_TYPE', 'has a map key that is not a text string', keyAt);
      }
      if (map.has(key)) {
        throw this.error('CBOR_DUPLICATE_KEY', 'has the same key twice in one map', keyAt, [['key', key]]);
      }
      map.set(key, this.#item(depth));
    }
    return map;
  }

  /** Refuses depth, and a count that the bytes left cannot hold, before anything is built. */
  #enter(length: bigint, leastBytesEach: bigint, start: number, depth: number): void {
    if (depth > CBOR_LIMIT_DEPTH) {
      throw this.error('CBOR_DEPTH', `nests deeper than ${CBOR_LIMIT_DEPTH} levels`, start);
    }
    const left = this.#bytes.length - this.at;
    if (length * leastBytesEach > BigInt(left)) {
      throw this.error('CBOR_TRUNCATED', 'announces more items than it has bytes for', start, [
        ['items', length],
        ['left', `${left} bytes`],
      ]);
    }
  }

  #simple(argument: bigint, start: number): CborValue {
    switch (argument) {
      case 20n:
        return false;
      case 21n:
        return true;
      case 22n:
        return null;
      case 23n:
        return undefined;
      default:
        throw this.error('CBOR_UNSUPPORTED', 'holds an unassigned simple value', start, [
          ['value', argument],
        ]);
    }
  }

  #badTag(start: number, tag: bigint): CvmError {
    return this.error('CBOR_TAG', 'carries a tag where none belongs', start, [['tag', tag]]);
  }
}
