import { utf8FromBytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';

/** A JSON object that two readers cannot take differently. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Documents of a VMM are a few KiB. */
export const JSON_LIMIT_BYTES = 16 << 20;
const DEPTH_LIMIT = 64;

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/**
 * Reads a JSON document that must be one object; see {@link parseJson}.
 * @throws CvmError format JSON_NOT_OBJECT, those of parseJson
 */
export function parseJsonObject(bytes: Uint8Array, what: string): JsonObject {
  return asObject(parseJson(bytes, what), what);
}

/**
 * Reads a JSON document. `JSON.parse` keeps the last of two equal keys, other readers refuse the
 * document or keep the first: here it is refused. So are numbers with a fraction or an exponent and integers that a
 * double cannot hold, where a reader of integers would stop.
 *
 * @param what names the document in errors, as a file is named
 * @throws CvmError format JSON_INVALID | JSON_DUPLICATE_KEY | JSON_NUMBER | JSON_DEPTH | JSON_SIZE
 */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  if (bytes.length > JSON_LIMIT_BYTES) {
    throw formatError('JSON_SIZE', `${what} is larger than any that is read`, {
      facts: [
        ['size', `${bytes.length} bytes`],
        ['limit', `${JSON_LIMIT_BYTES} bytes`],
      ],
    });
  }
  let text: string;
  let value: unknown;
  try {
    text = utf8FromBytes(bytes, what);
    value = JSON.parse(text);
  } catch (cause) {
    if (!(cause instanceof SyntaxError) && (cause as { code?: unknown }).code !== 'TEXT_NOT_UTF8')
      throw cause;
    throw formatError('JSON_INVALID', `${what} is not valid JSON`, {
      facts: [['problem', cause instanceof Error ? cause.message : String(cause)]],
      mend: 'a value with a quote or a line feed in it was put in without escaping, or the file is cut short',
      cause,
    });
  }
  checkTokens(text, what);
  return value;
}

/** @throws CvmError format JSON_NOT_OBJECT */
export function asObject(value: unknown, what: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw formatError('JSON_NOT_OBJECT', `${what} is not a JSON object`, {
    facts: [['found', jsonKind(value)]],
  });
}

/** What a JSON value is, in words for an error. */
export function jsonKind(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object') return 'an object';
  return `a ${typeof value}`;
}

/** Of a text that is valid JSON: so tokens are where the expression finds them. */
function checkTokens(text: string, what: string): void {
  const scopes: (Set<string> | undefined)[] = [];
  let lastString: string | undefined;
  for (const [token] of text.matchAll(TOKEN)) {
    const first = token.charAt(0);
    if (first === '{' || first === '[') {
      scopes.push(first === '{' ? new Set() : undefined);
      // Whoever walks the value later has a stack that ends.
      if (scopes.length > DEPTH_LIMIT) {
        throw formatError('JSON_DEPTH', `${what} nests deeper than ${DEPTH_LIMIT} levels`);
      }
    } else if (first === '}' || first === ']') scopes.pop();
    else if (first === ':') {
      const key = JSON.parse(lastString ?? '""') as string;
      const keys = scopes.at(-1);
      if (keys?.has(key) === true) {
        throw formatError('JSON_DUPLICATE_KEY', `${what} has a key twice in one object`, {
          facts: [['key', key]],
          mend: 'readers differ in which of the two counts: keep one',
        });
      }
      keys?.add(key);
    } else if (first === '-' || (first >= '0' && first <= '9')) checkNumber(token, what);
    lastString = first === '"' ? token : lastString;
  }
}

function checkNumber(token: string, what: string): void {
  if (/^-?[0-9]+$/.test(token) && Number.isSafeInteger(Number(token))) return;
  throw formatError('JSON_NUMBER', `${what} holds a number that is no plain integer below 2^53`, {
    facts: [['found', token.slice(0, 40)]],
  });
}
