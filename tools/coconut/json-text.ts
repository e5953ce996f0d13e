import { formatError, type CvmError, type Fact } from '../errors.ts';

/**
 * JSON with places (RFC 8259). `JSON.parse` forgets where a value stood, moves keys that look like numbers to the front
 * and lets the last of two equal keys win; a recipe's order is the order of its build, and its errors name a line.
 */

interface Place {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
}

export interface JsonMember {
  readonly key: string;
  readonly place: Place;
  readonly value: JsonNode;
}

export type JsonNode = Place &
  (
    | { readonly type: 'object'; readonly members: readonly JsonMember[] }
    | { readonly type: 'array'; readonly items: readonly JsonNode[] }
    | { readonly type: 'string'; readonly text: string }
    | { readonly type: 'number'; readonly text: string }
    | { readonly type: 'boolean'; readonly value: boolean }
    | { readonly type: 'null' }
  );

/** Deeper than any document of ours, far above the end of the stack. */
const DEPTH_MAX = 64;

const NUMBER = /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const SPACE = /[ \t\r\n]*/y;
const WORD = /true|false|null/y;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/** One step of a JSON path (RFC 9535): a name where it is one, else a quoted one. */
export function memberPath(path: string, key: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`;
}

/**
 * Reads one JSON document. Errors name the file, the JSON path as far as it was read, and the place.
 * @param file names the document in errors
 * @throws CvmError format JSON_SYNTAX | JSON_DEPTH | JSON_KEY_TWICE
 */
export function parseJsonText(text: string, file: string): JsonNode {
  return new Reader(text, file).document();
}

class Reader {
  readonly #text: string;
  readonly #file: string;
  #at = 0;
  /** The line that {@link #place} was last asked for, and where it starts: places are asked for in ascending order. */
  #line = 1;
  #lineStart = 0;
  #counted = 0;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  document(): JsonNode {
    const value = this.#value(0, '$');
    this.#skipSpace();
    if (this.#at < this.#text.length) throw this.#syntax('$', 'nothing more after the document');
    return value;
  }

  #value(depth: number, path: string): JsonNode {
    this.#skipSpace();
    const place = this.#place();
    const letter = this.#text[this.#at];
    if (letter === '{' || letter === '[') {
      if (depth === DEPTH_MAX) {
        throw this.#error(path, 'JSON_DEPTH', 'a JSON document is nested too deeply', [
          ['levels at most', DEPTH_MAX],
        ]);
      }
      this.#at++;
      return letter === '{'
        ? { ...place, type: 'object', members: this.#members(depth + 1, path) }
        : { ...place, type: 'array', items: this.#items(depth + 1, path) };
    }
    if (letter === '"') return { ...place, type: 'string', text: this.#string(path) };
    const number = this.#match(NUMBER);
    if (number !== undefined) return { ...place, type: 'number', text: number };
    const word = this.#match(WORD);
    if (word === undefined) throw this.#syntax(path, 'a value');
    return word === 'null'
      ? { ...place, type: 'null' }
      : { ...place, type: 'boolean', value: word === 'true' };
  }

  #members(depth: number, path: string): JsonMember[] {
    const members: JsonMember[] = [];
    const seen = new Map<string, Place>();
    if (this.#takes('}')) return members;
    do {
      this.#skipSpace();
      const place = this.#place();
      if (this.#text[this.#at] !== '"')
        throw this.#syntax(path, members.length === 0 ? 'a key or }' : 'a key');
      const key = this.#string(path);
      const memberAt = memberPath(path, key);
      const earlier = seen.get(key);
      if (earlier !== undefined) {
        throw formatError('JSON_KEY_TWICE', 'an object of a JSON document has one key twice', {
          facts: [
            ['file', this.#file],
            ['path', memberAt],
            ['first', `line ${earlier.line} column ${earlier.column}`],
            ['again', `line ${place.line} column ${place.column}`],
          ],
          mend: 'keep one of the two: programs differ in which they take',
        });
      }
      seen.set(key, place);
      if (!this.#takes(':')) throw this.#syntax(memberAt, ': after a key');
      members.push({ key, place, value: this.#value(depth, memberAt) });
    } while (this.#takes(','));
    if (!this.#takes('}')) throw this.#syntax(path, ', or }');
    return members;
  }

  #items(depth: number, path: string): JsonNode[] {
    const items: JsonNode[] = [];
    if (this.#takes(']')) return items;
    do {
      items.push(this.#value(depth, `${path}[${items.length}]`));
    } while (this.#takes(','));
    if (!this.#takes(']')) throw this.#syntax(path, ', or ]');
    return items;
  }

  #string(path: string): string {
    this.#at++;
    let text = '';
    for (;;) {
      text += this.#match(PLAIN) ?? '';
      const letter = this.#text[this.#at];
      if (letter === '"') {
        this.#at++;
        return text;
      }
      if (letter !== '\\') throw this.#syntax(path, '" at the end of a string');
      text += this.#escape(path);
    }
  }

  #escape(path: string): string {
    const letter = this.#text[this.#at + 1] ?? '';
    if (letter === 'u') {
      const digits = this.#text.slice(this.#at + 2, this.#at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#syntax(path, 'four hex digits after \\u');
      this.#at += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const meant = Object.hasOwn(ESCAPES, letter) ? ESCAPES[letter] : undefined;
    if (meant === undefined) throw this.#syntax(path, 'an escape that JSON has');
    this.#at += 2;
    return meant;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #takes(letter: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== letter) return false;
    this.#at++;
    return true;
  }

  #skipSpace(): void {
    this.#match(SPACE);
  }

  #place(): Place {
    for (; this.#counted < this.#at; this.#counted++) {
      if (this.#text[this.#counted] !== '\n') continue;
      this.#line++;
      this.#lineStart = this.#counted + 1;
    }
    return { line: this.#line, column: this.#at - this.#lineStart + 1 };
  }

  #syntax(path: string, expected: string): CvmError {
    const found = this.#text[this.#at];
    return this.#error(path, 'JSON_SYNTAX', 'a file is not JSON', [
      ['expected', expected],
      ['found', found ?? 'the end of the file'],
    ]);
  }

  #error(path: string, code: string, message: string, facts: readonly Fact[]): CvmError {
    const { line, column } = this.#place();
    return formatError(code, message, {
      facts: [['file', this.#file], ['at', `${path} (line ${line} column ${column})`], ...facts],
      mend: 'correct the file there; JSON has no comments and no comma before a closing bracket',
    });
  }
}
